// SPDX-License-Identifier: MPL-2.0

package session

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Files between two peers without a server in between: what came with a message,
// what we have asked the contact for, and what it asks us for. A file never has to
// be in memory, and no name from the wire is a path.

// Files is what sessions need of the files of messages. Its methods are safe
// for concurrent use. Connected, Awaits, Incoming and Offered are called in session
// actors, the others in goroutines: they wait for the disk.
type Files interface {
	// Connected notes that a contact has a live session. request asks the contact for
	// a file; it may be called from any goroutine until disconnected has been.
	Connected(c store.Conversation, request func(peer.FileRequest)) (disconnected func())
	// Awaits reports whether a contact was asked for a file that has not begun to come.
	Awaits(c store.Conversation) bool
	// Incoming says what becomes of the file of a message that has come in; nil for a
	// message without one.
	Incoming(c store.Conversation, m peer.Message) *store.Media
	// Take reads a file that a contact was asked for, and reports whether it is safe,
	// so that the contact may be told. An error means that src cannot be read on.
	Take(c store.Conversation, src *bufio.Reader, h peer.DataHeader) (taken bool, err error)
	// Keep reads a file that comes inside of a message and calls accept with its row,
	// which accepts the message. When the file can be kept later only, Keep fails.
	Keep(c store.Conversation, src io.Reader, size int64, accept func(store.Media) error) error
	// Offered returns the file that was offered to a contact under that guid, and false
	// for anything else. OpenOffered opens it; it fails when the file is not here.
	Offered(c store.Conversation, f peer.FileRequest) (peer.FileMeta, bool)
	OpenOffered(f peer.FileMeta) (io.ReadCloser, error)
}

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

// onFileResponse takes a small file, which comes on the control stream, in a
// goroutine: it goes to the disk.
func (s *session) onFileResponse(c *kernel.Context, m peer.Message, credit Credit) (later bool) {
	inbox, d, p := c.Inbox(), s.deps, s.Conversation
	c.Go(taskTakeFile, func(context.Context) error {
		defer credit.Release()
		return d.takeFile(p, bufio.NewReader(bytes.NewReader(m.Payload)), m.DataHeader(), inbox)
	})
	return true
}

// takeFile reads a file that we have asked for. A violation means that src cannot
// be read on.
func (d *Deps) takeFile(p store.Conversation, src *bufio.Reader, h peer.DataHeader, inbox kernel.Inbox) error {
	taken, err := d.Files.Take(p, src, h)
	if taken {
		inbox.Tell(fileTaken{h.GUID})
	}
	return err
}

// takeInline reads a message from a data stream that has its file inside and is
// too large to be held in memory. The file goes to the media store; what is kept
// of the payload is the description. It runs in the goroutine that reads.
func (d *Deps) takeInline(ctx context.Context, p store.Conversation, src *bufio.Reader, h peer.DataHeader, inbox kernel.Inbox) error {
	contact, err := d.Store.Contact(p.Account, p.Contact())
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
	var accepted store.Accepted
	err = d.Files.Keep(p, src, size, func(file store.Media) (err error) {
		accepted, err = store.Do[store.Accepted](ctx, d.Writer, store.AcceptMessage{
			Account: p.Account, Conversation: p.ID,
			GUID: int64(h.GUID), Type: int32(h.Type), ReplyTo: int64(h.ReplyTo),
			SendTime: store.Millis(peer.NormalizeSendTime(h.SendTime)), EditTime: store.Millis(h.EditTime),
			Received: d.nowMillis(), Payload: payload, Media: &file,
		})
		return err
	})
	if err != nil {
		return err
	}
	if accepted.Crowded {
		d.noteCrowded(p)
		return nil // not ours, so no OK
	}
	inbox.Tell(fileTaken{h.GUID})
	return nil
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
	offered, ok := s.deps.Files.Offered(s.Conversation, f)
	if !ok {
		c.Log().Debug("ignoring a request for a file that was not offered")
		return
	}
	if slices.ContainsFunc(s.toServe, func(other servedFile) bool { return other.guid == f.GUID }) {
		return // asked for again while it is on its way
	}
	s.toServe = append(s.toServe, servedFile{guid: f.GUID, meta: offered})
	if len(s.toServe) == 1 {
		s.serve(c)
	}
}

// servedFile is a file that the contact has asked for.
type servedFile struct {
	guid peer.GUID
	meta peer.FileMeta
}

// frameSize is the size of the file with what is before it in its frame.
func (f servedFile) frameSize() int64 { return int64(len(f.meta.AppendTo(nil))) + f.meta.Size }

// serve sends the next of the files that the contact has asked for.
func (s *session) serve(c *kernel.Context) {
	carrier, ok := s.deps.Network.Carrier(overlay.KindStream)
	if !ok {
		return // the session ends with the network
	}
	file, conn, place, d, inbox := s.toServe[0], s.conn, s.place, s.deps, c.Inbox()
	if file.frameSize() > wire.DataStreamThreshold && !s.mayUseData() {
		s.claimNode(c)
		return
	}
	c.Go(taskSendFile, func(ctx context.Context) error {
		f, err := d.Files.OpenOffered(file.meta)
		if err != nil {
			return nil // removed meanwhile, or not what was offered: no answer, by the protocol
		}
		defer func() { _ = f.Close() }() // only read
		h := peer.DataHeader{
			GUID: file.guid, SendTime: int64(d.nowMillis()), Type: peer.TypeFileResponse, Size: file.frameSize(),
		}
		whole := io.MultiReader(bytes.NewReader(file.meta.AppendTo(nil)), f)
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
		size += f.meta.Size
	}
	return transferTime(size)
}
