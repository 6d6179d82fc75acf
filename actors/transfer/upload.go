// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/peer"
)

// upload sends a file to the file server and adds to the message where the contact finds
// it.
//
// The encrypted file is never on the disk: the file is encrypted while it is read, once
// for the hash and once to be sent. The key is stored before, so every attempt produces
// the same bytes, also after a restart.
func (j *job) upload(ctx context.Context) error {
	if j.msg.State != store.StatePending {
		return errSettled // cancelled by a person, or delivered without an upload
	}
	server := j.service.deps.Options.Server
	if server.IsZero() {
		return errNoFileServer
	}
	file, err := j.service.media.Open(j.m.Hash)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return permanent(errFileLost)
	case errors.Is(err, media.ErrDamaged):
		return permanent(media.ErrDamaged)
	case err != nil:
		return err
	}
	defer func() { _ = file.Close() }() // only read
	again := !j.m.Key.IsZero() && j.m.Server == server
	if !again {
		if err := j.chooseKey(ctx, file); err != nil {
			if errors.Is(err, media.ErrDamaged) {
				err = permanent(media.ErrDamaged)
			}
			return err
		}
	}
	key, ok := j.service.deps.Key(j.m.Account)
	if !ok {
		return errNoKey
	}
	carrier, ok := j.service.deps.Network.Carrier(overlay.KindStream)
	if !ok {
		return uplink.ErrOffline
	}
	crashpoint.At(crashpoint.BeforeUpload)
	client, err := dialFiles(ctx, carrier, server, key, j.service.deps.Guard)
	if err != nil {
		return err
	}
	err = client.upload(upload{
		hash: j.m.FileHash, guid: j.m.Message.GUID, size: files.SealedSize(file.Size), again: again, done: j.progress.Store,
		sealed: func(offset int64) (io.Reader, error) { return sealedFrom(file, j.m.Key, offset) },
	})
	if err == nil && !j.service.deps.Options.TrustUploads {
		err = j.verify(client)
	}
	client.close(err)
	if files.IsHashMismatch(refusal(err)) || errors.Is(err, errSpoilt) {
		j.m.Key = files.Key{} // under this hash the server has another file
	}
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	crashpoint.At(crashpoint.AfterUpload)
	a := j.file
	a.Form, a.Hash, a.Key, a.Server = peer.FormServer, j.m.FileHash.String(), j.m.Key[:], server
	j.payload = a.AppendTo(nil)
	j.m.State, j.m.Uploaded, j.m.Reason = store.MediaStored, j.service.nowMillis(), ""
	return nil
}

// verify reads the file back. The public server compares the hash of the bytes that it
// has received, not of those that it has written, and under load it was seen to write two
// chunks in the wrong order. It would keep them for 15 days, the contact could not
// decrypt them, and we would never know.
func (j *job) verify(client *fileClient) error {
	size := files.SealedSize(j.m.Size)
	if size <= files.UploadChunk {
		return nil // one chunk
	}
	h := sha256.New()
	err := client.download(j.m.FileHash, j.m.Message.GUID, 0, size, size, func(b []byte) error {
		_, err := h.Write(b)
		return err
	})
	if isPermanent(err) || err == nil && files.Hash(h.Sum(nil)) != j.m.FileHash {
		return errSpoilt // another size than the server had confirmed
	}
	return err
}

// chooseKey creates the key of an upload, computes the hash of the encrypted file, and
// stores both.
func (j *job) chooseKey(ctx context.Context, file *media.File) error {
	key, err := files.NewKey(rand.Reader)
	if err != nil {
		return err
	}
	sealed, err := sealedFrom(file, key, 0)
	if err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(h, ctxReader{ctx, sealed}); err != nil {
		return fmt.Errorf("encrypt: %w", err)
	}
	j.m.Key, j.m.FileHash, j.m.Server = key, files.Hash(h.Sum(nil)), j.service.deps.Options.Server
	written, err := store.Do[bool](ctx, j.service.deps.Writer(), store.ChangeMedia{From: store.MediaUploading, Media: j.m})
	if err == nil && !written {
		err = errSettled
	}
	return err
}

// sealedFrom returns the encrypted form of a file from an offset on.
func sealedFrom(file *media.File, key files.Key, offset int64) (io.Reader, error) {
	chunk, skip := offset/files.SealedChunk, offset%files.SealedChunk
	plain := io.NewSectionReader(file, chunk*files.PlainChunk, file.Size-chunk*files.PlainChunk)
	sealed := files.NewSealer(key, plain, uint64(chunk))
	if _, err := io.CopyN(io.Discard, sealed, skip); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return sealed, nil
}

// ctxReader fails when its context has ended.
type ctxReader struct {
	ctx context.Context
	src io.Reader
}

func (r ctxReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.src.Read(b)
}
