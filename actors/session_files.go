// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Files between two peers without a server in between: what came with a message,
// what we have asked the contact for, and what it asks us for. A file never has to
// be in memory, and no name from the wire is a path.

const (
	taskTakeFile = "take_file"
	taskSendFile = "send_file"
	// maxFileRequests bounds the files that a contact has asked for and not got yet.
	maxFileRequests = 8
)

type (
	// requestFile is a transfer's: ask the contact for a file.
	requestFile struct{ Request peer.FileRequest }
	// fileTaken is a session's own: a file that came is safe, so the peer may know.
	fileTaken struct{ GUID peer.GUID }
	// fileRead is a session's own: a file small enough for the control stream.
	fileRead struct{ Message peer.Message }
)

// mediaOf says what becomes of the file of a message that has come in; nil for a
// message without one. The message is accepted whatever becomes of its file.
func (s *session) mediaOf(m peer.Message) *store.Media {
	if m.Type != peer.TypeImage && m.Type != peer.TypeFile {
		return nil
	}
	a, err := peer.ParseAttachment(m.Payload)
	if err != nil {
		return nil // shown as what it is: something that nobody can read
	}
	contact, err := s.env.store.Contact(s.Account, s.Contact())
	known := err == nil && contact.State == store.ContactAccepted
	media := s.env.opts.Media.mediaOf(a, known, s.env.nowMillis())
	if media.State == store.MediaDownloading {
		if many, err := s.env.hasManyFiles(s.Conversation); err == nil && many {
			media.State, media.Due, media.Reason = store.MediaOffered, 0, errManyFiles.Error()
		}
	}
	return media
}

// mediaOf decides by the sender's word whether a file is fetched at once.
func (o MediaOptions) mediaOf(a peer.Attachment, known bool, now store.Millis) *store.Media {
	limit := o.AutoDownloadStrangers
	if known {
		limit = o.AutoDownload
	}
	m := &store.Media{State: store.MediaOffered, Size: a.Size}
	switch {
	case !a.Downloadable():
		m.State, m.Reason = store.MediaFailed, errIncomplete.Error()
	case a.Form == peer.FormInline:
		// It is here already, inside of the message; what is decided is whether it is
		// copied.
		if m.Size = int64(len(a.Data)); m.Size <= limit {
			m.State = store.MediaDownloading
		}
	case a.Size > 0 && a.Size <= limit && a.Size <= o.MaxFile:
		m.State = store.MediaDownloading
	}
	if m.State == store.MediaDownloading {
		m.Due = now
	}
	return m
}

// onFileResponse takes a small file, which comes on the control stream, in a
// goroutine: it goes to the disk.
func (s *session) onFileResponse(c *kernel.Context, m peer.Message, credit frameCredit) (later bool) {
	inbox, e, p := c.Inbox(), s.env, s.Conversation
	c.Go(taskTakeFile, func(context.Context) error {
		defer credit.release()
		return e.takeFile(p, bufio.NewReader(bytes.NewReader(m.Payload)), m.DataHeader(), inbox)
	})
	return true
}

// takeFile reads a file that we have asked for. A violation means that src cannot
// be read on.
func (e *env) takeFile(p store.Conversation, src *bufio.Reader, h peer.DataHeader, inbox kernel.Inbox) error {
	request, ok := e.fetches.take(p, h.GUID)
	if !ok {
		return wire.NewViolation(wire.CodeCommand, "a file that nobody asked for")
	}
	finished := false
	defer func() {
		if !finished { // a panic, which the session ends of
			_ = request.finish(nil, errNoAnswer)
		}
	}()
	w, err := e.readFile(src, h, request)
	finished = true
	if err != nil {
		_ = request.finish(nil, err) // the answer is the error
		if errors.Is(err, errNotTheFile) {
			return nil // read to its end; without OK, as in the apps
		}
		return err
	}
	defer w.Discard()
	if err := request.finish(w, nil); err != nil {
		return nil // the transfer has it; the stream is in order
	}
	inbox.Tell(fileTaken{h.GUID})
	return nil
}

// readFile reads a file to the disk and compares it with what was asked for. All
// that the peer says of it counts for nothing.
func (e *env) readFile(src *bufio.Reader, h peer.DataHeader, request *fileRequest) (*media.Writer, error) {
	_, size, err := peer.ReadFileMeta(src, h.Size)
	if err != nil {
		return nil, err
	}
	if size > request.limit() || request.size > 0 && size != request.size {
		return nil, permanent(wire.NewViolation(wire.CodeLength, "file of %d bytes, want %d", size, request.limit()))
	}
	w, err := e.media.Create()
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

// countingWriter reports how much of a file was written.
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

// takeInline reads a message from a data stream that has its file inside and is
// too large to be held in memory. The file goes to the media store; what is kept
// of the payload is the description. It runs in the goroutine that reads.
func (e *env) takeInline(ctx context.Context, p store.Conversation, src *bufio.Reader, h peer.DataHeader, inbox kernel.Inbox) error {
	contact, err := e.store.Contact(p.Account, p.Contact())
	if err != nil || contact.State != store.ContactAccepted || h.GUID == 0 {
		return wire.NewViolation(wire.CodeLength, "message of %d bytes", h.Size)
	}
	r := wire.NewReader(src)
	description := r.Blob("attachment", int(min(wire.MaxJSON, h.Size-4)))
	if r.Err() != nil {
		return r.Err()
	}
	payload := append(wire.AppendInt32(nil, int32(len(description))), description...)
	if _, err := peer.ParseAttachment(payload); err != nil {
		return err
	}
	size := h.Size - int64(len(payload))
	if size > e.opts.Media.MaxFile {
		return wire.NewViolation(wire.CodeLength, "file of %d bytes, allowed %d", size, e.opts.Media.MaxFile)
	}
	stored, w, err := e.keepArriving(p, src, size)
	if err != nil {
		return err
	}
	if w != nil {
		defer w.Discard()
		defer e.placements.place(w.Sum())()
		info, err := w.Commit()
		if err != nil {
			return err
		}
		crashpoint.At(crashpoint.AfterArrival)
		stored = store.Media{State: store.MediaStored, Hash: info.Hash, Size: info.Size, MIMEType: info.MIMEType}
	}
	accepted, err := store.Do[store.Accepted](ctx, e.writer, store.AcceptMessage{
		Account: p.Account, Contact: p.Contact(),
		GUID: int64(h.GUID), Type: int32(h.Type), ReplyTo: int64(h.ReplyTo),
		SendTime: store.Millis(h.SendTime), EditTime: store.Millis(h.EditTime),
		Received: e.nowMillis(), Payload: payload, Media: &stored,
	})
	if err != nil {
		return err
	}
	if accepted.Crowded {
		e.noteCrowded(p)
		return nil // not ours, so no OK
	}
	inbox.Tell(fileTaken{h.GUID})
	return nil
}

// keepArriving reads a file to the disk, also one that is larger than what is fetched
// by itself: it cannot be had again. One that never could be kept is read and
// dropped, and stored says why: the message is taken all the same. When there is no
// room at the moment it fails, so that the contact keeps the message. The caller ends
// w, which is nil for a file that was dropped.
func (e *env) keepArriving(p store.Conversation, src io.Reader, size int64) (stored store.Media, w *media.Writer, err error) {
	err = e.makeShare(p.Contact(), size)
	if errors.Is(err, ErrFileTooLarge) {
		stored = store.Media{State: store.MediaFailed, Size: size, Reason: clipReason(err.Error())}
		_, err = io.CopyN(io.Discard, src, size)
		return stored, nil, err
	}
	if err != nil {
		return stored, nil, err
	}
	if w, err = e.media.Create(); err != nil {
		return stored, nil, err
	}
	if _, err := io.CopyN(countingWriter{w, func(int64) {}}, src, size); err != nil {
		w.Discard()
		return stored, nil, err
	}
	return stored, w, nil
}

func (s *session) onFileTaken(c *kernel.Context, msg fileTaken) {
	s.lastActivity = time.Now()
	if !s.mirror {
		s.send(c, peer.OK{ID: msg.GUID})
	}
}

// onFileRequest serves a file that was offered to this contact under that guid,
// and nothing else. By the protocol there is no answer otherwise.
func (s *session) onFileRequest(c *kernel.Context, f peer.FileRequest) {
	if !s.allowed || len(s.toServe) >= maxFileRequests {
		return
	}
	file, ok := s.env.offered(s.Conversation, f)
	if !ok {
		c.Log().Debug("A file was asked for that was not offered")
		return
	}
	if slices.ContainsFunc(s.toServe, func(other servedFile) bool { return other.guid == file.guid }) {
		return // asked for again while it is on its way
	}
	s.toServe = append(s.toServe, file)
	if len(s.toServe) == 1 {
		s.serve(c)
	}
}

// servedFile is a file that the contact has asked for.
type servedFile struct {
	guid peer.GUID
	hash media.Hash
	size int64
	name string
}

// meta is what is before the file in its frame, frameSize the size of both.
func (f servedFile) meta() []byte {
	return peer.FileMeta{Name: f.name, Hash: f.hash.String(), Size: f.size}.AppendTo(nil)
}

func (f servedFile) frameSize() int64 { return int64(len(f.meta())) + f.size }

// offered looks up what a contact asks for.
func (e *env) offered(p store.Conversation, f peer.FileRequest) (servedFile, bool) {
	id := store.MessageID{Dir: store.Out, GUID: int64(f.GUID)}
	m, err := e.store.Media(p.Account, p.Contact(), id)
	if err != nil {
		return servedFile{}, false
	}
	hash, err := media.ParseHash(f.Hash)
	if err != nil || hash != m.Hash {
		return servedFile{}, false
	}
	msg, err := e.store.Message(p.Account, p.Contact(), id)
	if err != nil || msg.State == store.StateFailed || msg.Held {
		return servedFile{}, false
	}
	a, err := peer.ParseAttachment(msg.Payload)
	return servedFile{guid: f.GUID, hash: hash, size: m.Size, name: a.Name}, err == nil
}

// serve sends the next of the files that the contact has asked for.
func (s *session) serve(c *kernel.Context) {
	carrier, ok := s.env.net.Carrier(overlay.KindStream)
	if !ok {
		return // the session ends with the network
	}
	file, conn, place, e, inbox := s.toServe[0], s.conn, s.place, s.env, c.Inbox()
	if file.frameSize() > wire.DataStreamThreshold && !s.mayUseData() {
		s.claimNode(c)
		return
	}
	c.Go(taskSendFile, func(ctx context.Context) error {
		f, err := e.media.Open(file.hash)
		if err != nil {
			return nil // removed meanwhile: no answer, by the protocol
		}
		defer func() { _ = f.Close() }() // only read
		if f.Size != file.size {
			return nil // not what was offered: no answer
		}
		meta := file.meta()
		h := peer.DataHeader{
			GUID: file.guid, SendTime: int64(e.nowMillis()), Type: peer.TypeFileResponse, Size: int64(len(meta)) + f.Size,
		}
		whole := io.MultiReader(bytes.NewReader(meta), f)
		if h.Size <= wire.DataStreamThreshold {
			payload := make([]byte, h.Size)
			if _, err := io.ReadFull(whole, payload); err != nil {
				return nil // the file cannot be read: no answer
			}
			inbox.Tell(fileRead{h.Message(payload)})
			return nil
		}
		if h.Size > wire.MaxDataSize {
			return nil
		}
		if err := conn.openData(ctx, carrier); err != nil {
			return fmt.Errorf("open data stream: %w", err)
		}
		place.dataOpened()
		return conn.copyData(ctx, h, whole)
	})
}

// onServed goes on with the next file.
func (s *session) onServed(c *kernel.Context, err error) {
	if err != nil {
		// Half a file is on the stream, which cannot be used any more.
		s.end(c, fmt.Errorf("send a file: %w", err))
		return
	}
	s.lastActivity = time.Now()
	if len(s.toServe) == 0 {
		return // all have become owed meanwhile, see claimNode
	}
	if s.toServe = s.toServe[1:]; len(s.toServe) > 0 {
		s.serve(c)
	}
}

// servingTime is how long the files may take that are before a message on our data
// stream.
func (s *session) servingTime() time.Duration {
	var size int64
	for _, f := range s.toServe {
		size += f.size
	}
	return transferTime(size)
}
