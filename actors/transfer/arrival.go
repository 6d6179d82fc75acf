// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// The methods that sessions call, see session.Files.

// Connected notes that a contact has a live session. The service calls request, from
// any goroutine, to ask the contact for a file. The session calls disconnected when it
// ends. Connected does not block.
func (s *Service) Connected(c store.Conversation, request func(peer.FileRequest)) (disconnected func()) {
	return s.fetches.enter(c, request)
}

// Awaits reports whether a contact was asked for a file that has not begun to arrive.
// It does not block.
func (s *Service) Awaits(c store.Conversation) bool { return s.fetches.awaits(c) }

// Incoming returns the row of the file of a received message, nil for a message without
// one. The message is accepted whether or not its file is fetched. Incoming reads the
// store.
func (s *Service) Incoming(c store.Conversation, m peer.Message) *store.Media {
	if m.Type != peer.TypeImage && m.Type != peer.TypeFile {
		return nil
	}
	a, err := peer.ParseAttachment(m.Payload)
	if err != nil {
		return nil // shown as a message that cannot be read
	}
	contact, err := s.deps.Store.Contact(c.Account, c.Contact())
	known := err == nil && contact.State == store.ContactAccepted
	row := s.deps.Options.Incoming(a, known, s.nowMillis())
	if row.State == store.MediaDownloading {
		if many, err := s.hasManyFiles(c); err == nil && many {
			row.State, row.Due, row.Reason = store.MediaOffered, 0, errManyFiles.Error()
		}
	}
	return row
}

// Take reads a file that a contact was asked for, and hands it to its transfer. It
// reports whether the file was stored, so that the session may acknowledge it. After an
// error src cannot be read any further; the error is a violation when nobody asked for
// the file. Take waits for src, the disk and the store.
func (s *Service) Take(c store.Conversation, src *bufio.Reader, h peer.DataHeader) (taken bool, err error) {
	request, ok := s.fetches.take(c, h.GUID)
	if !ok {
		return false, wire.NewViolation(wire.CodeCommand, "a file that nobody asked for")
	}
	finished := false
	defer func() {
		if !finished { // a panic, which ends the session
			_ = request.finish(nil, errNoAnswer)
		}
	}()
	w, err := s.readFile(src, h, request)
	finished = true
	if err != nil {
		_ = request.finish(nil, err) // the answer is the error
		if errors.Is(err, errNotTheFile) {
			return false, nil // read to its end, and not acknowledged, as in the apps
		}
		return false, err
	}
	defer w.Discard()
	if err := request.finish(w, nil); err != nil {
		return false, nil // the transfer reports the error; src can be read on
	}
	return true, nil
}

// readFile reads a file to the disk and compares it with the request. Name, hash and
// size that the peer sends with it are ignored.
func (s *Service) readFile(src *bufio.Reader, h peer.DataHeader, request *fileRequest) (*media.Writer, error) {
	_, size, err := peer.ReadFileMeta(src, h.Size)
	if err != nil {
		return nil, err
	}
	if size > request.limit() || request.size > 0 && size != request.size {
		return nil, permanent(wire.NewViolation(wire.CodeLength, "file of %d bytes, want %d", size, request.limit()))
	}
	w, err := s.media.Create()
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(countingWriter{w, request.progress}, src, size); err != nil {
		w.Discard()
		return nil, err
	}
	if w.Sum() != request.hash {
		w.Discard()
		return nil, permanent(errNotTheFile)
	}
	return w, nil
}

// countingWriter calls progress with the bytes written so far.
type countingWriter struct {
	*media.Writer
	progress func(int64)
}

func (w countingWriter) Write(b []byte) (int, error) {
	n, err := w.Writer.Write(b)
	w.progress(w.Size())
	crashpoint.At(crashpoint.DuringArrival)
	return n, err
}

// Keep stores a file of that size that arrives inside a message, also above the limit
// of automatic downloads, because it cannot be fetched later. It then calls accept with
// the row of the file, which accepts the message; until accept returns, the file is not
// removed. A file that is larger than the share of a contact is read and discarded, and
// the row says why. When there is no space at the moment Keep fails, so that the contact
// sends the message again. Keep waits for src and the disk.
func (s *Service) Keep(c store.Conversation, src io.Reader, size int64, accept func(store.Media) error) error {
	if size > s.deps.Options.MaxFile {
		return wire.NewViolation(wire.CodeLength, "file of %d bytes, allowed %d", size, s.deps.Options.MaxFile)
	}
	err := s.evictFor(c.ID, size)
	if errors.Is(err, ErrFileTooLarge) {
		if _, err := io.CopyN(io.Discard, src, size); err != nil {
			return err
		}
		return accept(store.Media{State: store.MediaFailed, Size: size, Reason: clipReason(err.Error())})
	}
	if err != nil {
		return err
	}
	w, err := s.media.Create()
	if err != nil {
		return err
	}
	defer w.Discard()
	if _, err := io.CopyN(countingWriter{w, func(int64) {}}, src, size); err != nil {
		return err
	}
	defer s.placements.place(w.Sum())()
	info, err := w.Commit()
	if err != nil {
		return err
	}
	crashpoint.At(crashpoint.AfterArrival)
	return accept(store.Media{State: store.MediaStored, Hash: info.Hash, Size: info.Size, MIMEType: info.MIMEType})
}

// Offered returns the file that was offered to a contact under that guid; false when
// none was, or another one. It reads the store.
func (s *Service) Offered(c store.Conversation, f peer.FileRequest) (peer.FileMeta, bool) {
	id := store.MessageID{Dir: store.Out, GUID: int64(f.GUID)}
	m, err := s.deps.Store.Media(c.Account, c.ID, id)
	if err != nil {
		return peer.FileMeta{}, false
	}
	hash, err := media.ParseHash(f.Hash)
	if err != nil || hash != m.Hash {
		return peer.FileMeta{}, false
	}
	msg, err := s.deps.Store.Message(c.Account, c.ID, id)
	if err != nil || msg.State == store.StateFailed || msg.Held {
		return peer.FileMeta{}, false
	}
	a, err := peer.ParseAttachment(msg.Payload)
	return peer.FileMeta{Name: a.Name, Hash: hash.String(), Size: m.Size}, err == nil
}

// OpenOffered opens a file that Offered returned; the caller closes it. It fails when
// the file was removed, or has another size. It reads from the disk.
func (s *Service) OpenOffered(offered peer.FileMeta) (io.ReadCloser, error) {
	hash, err := media.ParseHash(offered.Hash)
	if err != nil {
		return nil, err
	}
	f, err := s.media.Open(hash)
	if err != nil {
		return nil, err
	}
	if f.Size != offered.Size {
		_ = f.Close() // only read
		return nil, fmt.Errorf("%w: %d bytes, not %d", errOtherSize, f.Size, offered.Size)
	}
	return f, nil
}
