// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// Time limits for a file server, as in the apps.
const (
	serverDialTime    = 10 * time.Second
	serverRequestTime = 15 * time.Second
	serverChunkTime   = 60 * time.Second
	// serverWriteTime is how long a write to a server may block.
	serverWriteTime = 30 * time.Second
	// answerBuffer is the size of the buffer for answers. Chunks are read past it.
	answerBuffer = 4 << 10
)

// fileClient is an authenticated connection to a file server. It is for one goroutine,
// which calls close at the end.
type fileClient struct {
	conn overlay.Conn
	in   *bufio.Reader
	last uint16
	stop func() bool
}

// dialFiles connects to a file server and logs in as an identity. The connection ends
// with ctx.
func dialFiles(ctx context.Context, carrier overlay.Carrier, server identity.NodeKey, key identity.PrivateKey, guard identity.Guard) (*fileClient, error) {
	dialCtx, cancel := context.WithTimeout(ctx, serverDialTime)
	defer cancel()
	conn, err := carrier.Dial(dialCtx, server, files.Port)
	if err != nil {
		return nil, fmt.Errorf("dial file server %s: %w", server.Short(), err)
	}
	f := &fileClient{conn: conn, in: bufio.NewReaderSize(conn, answerBuffer)}
	f.stop = context.AfterFunc(ctx, func() { _ = conn.Abort() }) // ends a blocked read
	if err := f.login(key, guard); err != nil {
		f.close(err)
		return nil, fmt.Errorf("log in at file server %s: %w", server.Short(), err)
	}
	return f, nil
}

// close closes the connection, or resets it after an error.
func (f *fileClient) close(err error) {
	f.stop()
	if err != nil {
		_ = f.conn.Abort() // nothing more to send
		return
	}
	_ = f.conn.Close() // everything is acknowledged
}

func (f *fileClient) login(key identity.PrivateKey, guard identity.Guard) error {
	if err := f.write(files.Opening()); err != nil {
		return err
	}
	r, err := f.call(files.GetNonce{Identity: key.Public()}, serverRequestTime)
	if err != nil {
		return err
	}
	nonce, err := r.Nonce()
	if err != nil {
		return err
	}
	signature, err := key.SignServerNonce(nonce, guard)
	if err != nil {
		return err
	}
	r, err = f.call(files.Auth{Identity: key.Public(), Nonce: nonce, Signature: signature}, serverRequestTime)
	if err != nil {
		return err
	}
	return r.Err()
}

// call sends a request and reads the answer, which may be a refusal.
func (f *fileClient) call(q files.Request, patience time.Duration) (files.Response, error) {
	id, err := f.send(q)
	if err != nil {
		return files.Response{}, err
	}
	return f.answer(id, patience)
}

func (f *fileClient) send(q files.Request) (id uint16, err error) {
	f.last++
	if f.last == 0 {
		f.last = 1
	}
	return f.last, f.write(q.AppendTo(nil, f.last))
}

func (f *fileClient) write(b []byte) error {
	if err := f.conn.SetWriteDeadline(time.Now().Add(serverWriteTime)); err != nil {
		return err
	}
	_, err := f.conn.Write(b)
	return err
}

func (f *fileClient) answer(id uint16, patience time.Duration) (files.Response, error) {
	if err := f.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return files.Response{}, err
	}
	r, err := files.ReadResponse(f.in)
	switch {
	case err != nil:
		return files.Response{}, err
	case r.ID != id:
		return files.Response{}, wire.NewViolation(wire.CodeValue, "an answer to request %d, want %d", r.ID, id)
	}
	return r, nil
}

// refusal returns the text of a refusal by the server, "" for any other error.
func refusal(err error) string {
	if refused, ok := errors.AsType[*files.ServerError](err); ok {
		return refused.Text
	}
	return ""
}

// stored reports whether the server has the complete file.
func (f *fileClient) stored(hash files.Hash, size int64) (bool, error) {
	r, err := f.call(files.FileInfo{Hash: hash}, serverRequestTime)
	if err != nil {
		return false, err
	}
	info, err := r.Info()
	switch {
	case refusal(err) == files.TextNotFound:
		return false, nil
	case err != nil:
		return false, err
	}
	return info.Total == uint64(size), nil
}

// upload is an encrypted file to be sent to a server.
type upload struct {
	hash files.Hash
	guid int64
	size int64
	// sealed returns the encrypted file from an offset on.
	sealed func(offset int64) (io.Reader, error)
	done   func(int64)
	// again says that the server may have a part already.
	again bool
}

// upload sends the file, resuming an earlier attempt if the server has kept a part of
// it; the public server never does.
func (f *fileClient) upload(u upload) error {
	if there, err := f.stored(u.hash, u.size); there || err != nil {
		return err
	}
	offset := int64(0)
	if u.again && u.size > files.UploadChunk {
		var err error
		if offset, err = f.resumeUpload(u); err != nil {
			return err
		}
	}
	src, err := u.sealed(offset)
	if err != nil {
		return err
	}
	chunk := make([]byte, files.UploadChunk)
	for offset < u.size {
		u.done(offset)
		n, err := io.ReadFull(src, chunk[:min(u.size-offset, int64(len(chunk)))])
		if err != nil {
			return fmt.Errorf("read file to be uploaded: %w", err)
		}
		if err := f.uploadChunk(u, offset, chunk[:n]); err != nil {
			return err
		}
		offset += int64(n)
		crashpoint.At(crashpoint.DuringUpload)
	}
	u.done(offset)
	return nil
}

func (f *fileClient) uploadChunk(u upload, offset int64, chunk []byte) error {
	r, err := f.call(files.Upload{
		Hash: u.hash, GUID: u.guid, Offset: uint64(offset), Total: uint64(u.size), Data: chunk,
	}, serverChunkTime)
	if err != nil {
		return err
	}
	return r.Err()
}

// resumeUpload returns the offset from which an upload is resumed: it sends the second
// chunk, and a server that expects another one says which. 0 means from the beginning.
func (f *fileClient) resumeUpload(u upload) (int64, error) {
	src, err := u.sealed(files.UploadChunk)
	if err != nil {
		return 0, err
	}
	chunk := make([]byte, min(u.size-files.UploadChunk, files.UploadChunk))
	if _, err := io.ReadFull(src, chunk); err != nil {
		return 0, fmt.Errorf("read file to be uploaded: %w", err)
	}
	err = f.uploadChunk(u, files.UploadChunk, chunk)
	if err == nil {
		return files.UploadChunk + int64(len(chunk)), nil
	}
	text := refusal(err)
	if text == "" {
		return 0, err
	}
	if want, ok := files.ParseExpectedOffset(text); ok && want < uint64(u.size) {
		return int64(want), nil
	}
	return 0, nil
}

// errBeyondEnd says that our part of a file is longer than the file on the server.
var errBeyondEnd = errors.New("the local part is longer than the file on the server")

// download requests a file from an offset on and calls take with the chunks, in order.
// size is that of the complete encrypted file, or 0 when the message does not say it;
// most bounds it then.
func (f *fileClient) download(hash files.Hash, guid, offset, size, most int64, take func([]byte) error) error {
	id, err := f.send(files.Download{Hash: hash, GUID: guid, Offset: uint64(offset)})
	if err != nil {
		return err
	}
	total := uint64(size)
	for {
		r, err := f.answer(id, serverChunkTime)
		if err != nil {
			return err
		}
		chunk, err := r.Chunk()
		if refusal(err) == files.TextBeyondEnd {
			return errBeyondEnd
		}
		if err != nil {
			return err
		}
		if total == 0 {
			total = chunk.Total
		}
		switch {
		case chunk.Total != total:
			return permanent(fmt.Errorf("%w: %d bytes, not %d", errOtherSize, chunk.Total, total))
		case total > uint64(most):
			return permanent(fmt.Errorf("%w: %d bytes, at most %d", ErrFileTooLarge, total, most))
		case chunk.Offset != uint64(offset):
			return wire.NewViolation(wire.CodeValue, "chunk at %d, want %d", chunk.Offset, offset)
		case len(chunk.Data) == 0 || uint64(len(chunk.Data)) > total-uint64(offset):
			return wire.NewViolation(wire.CodeLength, "chunk of %d bytes at %d of %d", len(chunk.Data), offset, total)
		}
		if err := take(chunk.Data); err != nil {
			return err
		}
		if offset += int64(len(chunk.Data)); uint64(offset) == total {
			return nil
		}
	}
}

// guest creates an identity for one download. Servers give a file to any identity, and
// the sender chooses the server: it must not learn who fetches, nor get a signature of
// one of our accounts.
func guest() (identity.PrivateKey, error) { return identity.GeneratePrivateKey(rand.Reader) }
