// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/lru"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// download fetches the file of a message from where its form says.
func (j *job) download(ctx context.Context) error {
	if j.service.deps.Now().Sub(j.m.Added.Time()) > fetchTime && !j.m.Asked {
		return permanent(errExpired)
	}
	most := j.service.deps.Options.MaxFile
	switch {
	case !j.file.Downloadable():
		return permanent(errIncomplete)
	case j.file.Size > most:
		return permanent(fmt.Errorf("%w: %d bytes, at most %d", ErrFileTooLarge, j.file.Size, most))
	}
	// While it is decrypted the file is stored twice. No other file is evicted for one
	// that cannot fit.
	if _, quota := j.service.media.Used(); 2*files.SealedSize(j.file.Size) > quota {
		return permanent(fmt.Errorf("%w for the quota", ErrFileTooLarge))
	}
	if err := j.service.evictFor(j.m.Conversation, j.size()); errors.Is(err, ErrFileTooLarge) {
		if !j.m.Asked { // a person can still fetch it
			return permanent(err)
		}
	} else if err != nil {
		return err
	}
	switch j.file.Form {
	case peer.FormInline:
		return j.keepInline()
	case peer.FormRequest:
		if j.m.Conversation.Kind() == store.KindGroup {
			return permanent(errIncomplete) // nobody can be asked for it
		}
		return j.requestFromContact(ctx)
	}
	return j.downloadFromServer(ctx)
}

// size is the size that the message says, or that of the file inside it.
func (j *job) size() int64 {
	if j.file.Form == peer.FormInline {
		return int64(len(j.file.Data))
	}
	return max(j.file.Size, 0)
}

// keepInline copies a file that arrived inside its message.
func (j *job) keepInline() error {
	w, err := j.service.media.Create()
	if err != nil {
		return err
	}
	defer w.Discard()
	if _, err := io.Copy(w, bytes.NewReader(j.file.Data)); err != nil {
		return err
	}
	return j.place(w)
}

// downloadFromServer fetches the encrypted file, resuming the last attempt, and
// decrypts it when it is complete and has the hash of the message.
func (j *job) downloadFromServer(ctx context.Context) error {
	hash, err := files.ParseHash(j.file.Hash)
	if err != nil {
		return permanent(errIncomplete)
	}
	if j.service.deps.Options.KnownServersOnly && j.file.Server != j.service.deps.Options.Server {
		return permanent(errForeignServer)
	}
	sealed, err := j.service.media.Resume(media.Hash(hash))
	if err != nil {
		return err
	}
	if err = j.complete(ctx, hash, sealed); err == nil {
		err = j.open(sealed)
	}
	if err == nil || isPermanent(err) {
		_ = sealed.Remove() // what remains is removed with orphans
		return err
	}
	return errors.Join(err, sealed.Close())
}

// complete fetches the missing part and compares the hash.
func (j *job) complete(ctx context.Context, hash files.Hash, sealed *media.Partial) error {
	resumed := sealed.Size()
	want := files.SealedSize(j.file.Size)
	if j.file.Size == 0 || resumed != want {
		if err := j.fetch(ctx, hash, sealed, want); err != nil {
			return err
		}
	}
	if sealed.Sum() == media.Hash(hash) {
		return nil
	}
	// A power cut may have corrupted the part that was kept; the rest is the server's.
	if err := sealed.Reset(); err != nil {
		return err
	}
	if resumed > 0 || j.m.Attempts < 2 {
		return errNotTheFile
	}
	return permanent(errNotTheFile)
}

func (j *job) fetch(ctx context.Context, hash files.Hash, sealed *media.Partial, want int64) error {
	carrier, ok := j.service.deps.Network.Carrier(overlay.KindStream)
	if !ok {
		return uplink.ErrOffline
	}
	key, err := guest()
	if err != nil {
		return err
	}
	if j.service.unreachable.has(j.file.Server) {
		return errServerSilent
	}
	client, err := dialFiles(ctx, carrier, j.file.Server, key, j.service.deps.Guard)
	if err != nil {
		j.service.unreachable.add(j.file.Server)
		return err
	}
	j.progress.Store(sealed.Size())
	err = client.download(hash, j.m.Message.GUID, sealed.Size(), want, files.SealedSize(j.service.deps.Options.MaxFile), func(b []byte) error {
		_, err := sealed.Write(b)
		j.progress.Store(sealed.Size())
		crashpoint.At(crashpoint.DuringDownload)
		return err
	})
	client.close(err)
	switch {
	case refusal(err) == files.TextNotFound:
		return permanent(errGone)
	case errors.Is(err, errBeyondEnd):
		return errors.Join(err, sealed.Reset())
	case err != nil:
		return fmt.Errorf("download: %w", err)
	}
	return nil
}

// open decrypts the file into the media store. Its size has to be that of the message:
// a file that is cut at the end of a chunk decrypts without an error.
func (j *job) open(sealed *media.Partial) error {
	w, err := j.service.media.Create()
	if err != nil {
		return err
	}
	defer w.Discard()
	_, err = io.Copy(w, files.NewOpener(files.Key(j.file.Key), sealed.Reader()))
	switch {
	case errors.Is(err, files.ErrDecrypt):
		return permanent(err)
	case err != nil:
		return err
	case j.file.Size > 0 && w.Size() != j.file.Size:
		return permanent(fmt.Errorf("%w: %d bytes, not %d", errOtherSize, w.Size(), j.file.Size))
	case w.Size() == 0:
		return permanent(errNotTheFile)
	}
	return j.place(w)
}

// maxUnreachable bounds the servers that are remembered.
const maxUnreachable = 1024

// unreachableServers are file servers that have not answered lately. They are not
// dialled for a while: otherwise a contact who sends a thousand files with the address
// of such a server would delay the files of others. It is safe for concurrent use.
type unreachableServers struct {
	mu    sync.Mutex
	until *lru.Table[identity.NodeKey, time.Time]
}

func newUnreachableServers() *unreachableServers {
	return &unreachableServers{until: lru.New[identity.NodeKey, time.Time](maxUnreachable)}
}

func (s *unreachableServers) add(server identity.NodeKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until.Put(server, time.Now().Add(unreachableTime))
}

func (s *unreachableServers) has(server identity.NodeKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, ok := s.until.Peek(server)
	return ok && !time.Now().After(until)
}
