// SPDX-License-Identifier: MPL-2.0

package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// partSize is what is in memory of an upload, and bounds a backup to 10,000 times that.
	partSize = 16 << 20
	// answerTime is how long a server may take to begin its answer.
	answerTime = 2 * time.Minute
)

// bucket is a prefix in a bucket. Objects are there whole or not at all by themselves.
type bucket struct {
	ctx    context.Context //nolint:containedctx // of the run for which it was opened
	place  place
	client *minio.Client
	idle   func()
}

func openS3(ctx context.Context, p place, o S3) (Target, error) {
	secret, err := secretLine(o.SecretKeyFile)
	if err != nil {
		return nil, err
	}
	endpoint, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: dialTime, ResponseHeaderTimeout: answerTime, MaxIdleConnsPerHost: 2,
		DisableCompression: true, // what is stored is what is read
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: credentials.NewStaticV4(o.AccessKey, secret, ""), Secure: endpoint.Scheme == "https", Region: o.Region, Transport: transport, MaxRetries: 4,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	b := &bucket{ctx, p, client, transport.CloseIdleConnections}
	return functions{b.list, b.create, b.open, b.remove, b.sweep, b.close}, nil
}

// functions is a [Target] of functions. A bucket is none itself: a library of the program
// calls methods by their names (text/template), so the linker keeps all exported methods of
// every type that is reached from a value in an interface. Those of the S3 client would make
// the program almost a megabyte larger.
type functions struct {
	list   func() ([]Entry, error)
	create func(name string, write func(io.Writer) error) error
	open   func(name string) (io.ReadCloser, error)
	remove func(name string) error
	sweep  func(prefix string) error
	close  func() error
}

// List implements [Target].
func (f functions) List() ([]Entry, error) { return f.list() }

// Create implements [Target].
func (f functions) Create(name string, write func(io.Writer) error) error {
	return f.create(name, write)
}

// Open implements [Target].
func (f functions) Open(name string) (io.ReadCloser, error) { return f.open(name) }

// Remove implements [Target].
func (f functions) Remove(name string) error { return f.remove(name) }

// Sweep implements [Target].
func (f functions) Sweep(prefix string) error { return f.sweep(prefix) }

// Close implements [Target].
func (f functions) Close() error { return f.close() }

func (b *bucket) list() ([]Entry, error) {
	ctx, cancel := context.WithCancel(b.ctx) // ends the library's goroutine when we return early
	defer cancel()
	var out []Entry
	for object := range b.client.ListObjects(ctx, b.place.bucket, minio.ListObjectsOptions{Prefix: b.place.prefix}) {
		if object.Err != nil {
			return nil, fmt.Errorf("list objects: %w", object.Err)
		}
		if name := strings.TrimPrefix(object.Key, b.place.prefix); plain(name) == nil && len(out) < maxEntries {
			out = append(out, Entry{name, object.Size})
		}
	}
	return out, nil
}

func (b *bucket) create(name string, write func(io.Writer) error) error {
	if err := plain(name); err != nil {
		return err
	}
	_, err := b.client.StatObject(b.ctx, b.place.bucket, b.place.prefix+name, minio.StatObjectOptions{})
	if err == nil {
		return &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	if minio.ToErrorResponse(err).StatusCode != http.StatusNotFound {
		return fmt.Errorf("look for object: %w", err)
	}
	reader, writer := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := write(writer)
		_ = writer.CloseWithError(err) // with an error the upload fails, and is aborted
		written <- err
	}()
	_, err = b.client.PutObject(b.ctx, b.place.bucket, b.place.prefix+name, reader, -1, minio.PutObjectOptions{
		PartSize: partSize, NumThreads: 1, SendContentMd5: true, ContentType: "application/octet-stream",
	})
	_ = reader.CloseWithError(errUploadEnded) // which ends write
	writeErr := <-written
	switch {
	case writeErr != nil && !errors.Is(writeErr, errUploadEnded):
		return writeErr // the library aborts the upload of a reader that fails
	case err != nil:
		return fmt.Errorf("upload object: %w", err)
	}
	return writeErr
}

// errUploadEnded is what write gets when the server wants nothing more.
var errUploadEnded = errors.New("upload ended early")

func (b *bucket) open(name string) (io.ReadCloser, error) {
	if err := plain(name); err != nil {
		return nil, err
	}
	object, err := b.client.GetObject(b.ctx, b.place.bucket, b.place.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, fmt.Errorf("read object: %w", err)
	}
	if _, err := object.Stat(); err != nil { // the first request: GetObject makes none
		return nil, errors.Join(fmt.Errorf("read object: %w", err), object.Close())
	}
	return object, nil
}

func (b *bucket) remove(name string) error {
	if err := plain(name); err != nil {
		return err
	}
	if err := b.client.RemoveObject(b.ctx, b.place.bucket, b.place.prefix+name, minio.RemoveObjectOptions{}); err != nil {
		return fmt.Errorf("remove object: %w", err)
	}
	return nil
}

// sweep aborts the uploads that a crash has left.
func (b *bucket) sweep(prefix string) error {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	var failed error
	for upload := range b.client.ListIncompleteUploads(ctx, b.place.bucket, b.place.prefix+prefix, false) {
		if upload.Err != nil {
			if code := minio.ToErrorResponse(upload.Err).StatusCode; code == http.StatusNotImplemented || code == http.StatusForbidden {
				return failed // the server forgets them by itself, or only its owner may see them
			}
			return errors.Join(failed, fmt.Errorf("list unfinished uploads: %w", upload.Err))
		}
		if err := b.client.RemoveIncompleteUpload(ctx, b.place.bucket, upload.Key); err != nil {
			failed = errors.Join(failed, fmt.Errorf("abort unfinished upload: %w", err))
		}
	}
	return failed
}

func (b *bucket) close() error {
	b.idle()
	return nil
}
