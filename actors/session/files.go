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

// Files between two peers without a server: files inside messages, files that we have
// requested from the contact, and files that the contact requests. A large file is never
// completely in memory, and no name from the wire is a path.

// Files has the files of messages, for sessions. Its methods are safe for concurrent use.
// Sessions call Connected, Awaits, Incoming and Offered in Receive, the others in
// goroutines, because they wait for the disk.
type Files interface {
	// Connected notes that a contact has a live session. request asks the contact for
	// a file; it may be called from any goroutine until disconnected has been.
	Connected(c store.Conversation, request func(peer.FileRequest)) (disconnected func())
	// Awaits reports whether a contact was asked for a file that has not begun to arrive.
	Awaits(c store.Conversation) bool
	// Incoming returns the row of the file of a received message, nil for a message
	// without one.
	Incoming(c store.Conversation, m peer.Message) *store.Media
	// Take reads a file that a contact was asked for, and reports whether it was stored,
	// so that the session may acknowledge it. After an error src cannot be read further.
	Take(c store.Conversation, src *bufio.Reader, h peer.DataHeader) (taken bool, err error)
	// Keep stores a file that arrives inside a message and calls accept with its row,
	// which accepts the message. It fails when the file cannot be stored at the moment.
	Keep(c store.Conversation, src io.Reader, size int64, accept func(store.Media) error) error
	// Offered returns the file that was offered to a contact under that guid, and false
	// for anything else. OpenOffered opens it; it fails when the file is not here.
	Offered(c store.Conversation, f peer.FileRequest) (peer.FileMeta, bool)
	OpenOffered(f peer.FileMeta) (io.ReadCloser, error)
}

const (
	taskTakeFile = "take_file"
	taskSendFile = "send_file"
	// maxFileRequests bounds the requested files of a contact that were not sent.
	maxFileRequests = 8
)

type (
	// requestFile requests a file from the contact, see Files.Connected.
	requestFile struct{ Request peer.FileRequest }
	// fileTaken says that a file was stored, so that it is acknowledged.
	fileTaken struct{ GUID peer.GUID }
	// fileRead has a file that is small enough for the control stream.
	fileRead struct{ Message peer.Message }
)

// onFileResponse stores a small file, which arrives on the control stream, in a
// goroutine, because that waits for the disk.
func (s *session) onFileResponse(c *kernel.Context, m peer.Message, credit Credit) (later bool) {
	inbox, d, p := c.Inbox(), s.deps, s.Conversation
	c.Go(taskTakeFile, func(context.Context) error {
		defer credit.Release()
		return d.takeFile(p, bufio.NewReader(bytes.NewReader(m.Payload)), m.DataHeader(), inbox)
	})
	return true
}

// takeFile stores a file that we have requested. After an error src cannot be read
// further.
func (d *Deps) takeFile(p store.Conversation, src *bufio.Reader, h peer.DataHeader, inbox kernel.Inbox) error {
	taken, err := d.Files.Take(p, src, h)
	if taken {
		inbox.Tell(fileTaken{h.GUID})
	}
	return err
}

// takeInline accepts a message on a data stream that has its file inside and is too large
// for memory. The file is stored apart; the payload of the stored message has only the
// description. It runs in the reading goroutine.
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
		accepted, err = store.Do[store.Accepted](ctx, d.Writer, AcceptOp(p, peer.Message{
			GUID: h.GUID, ReplyTo: h.ReplyTo, SendTime: h.SendTime, EditTime: h.EditTime, Type: h.Type, Payload: payload,
		}, d.nowMillis(), &file))
		return err
	})
	if err != nil {
		return err
	}
	if accepted.Crowded {
		d.noteCrowded(p)
		return nil // not accepted, so no OK
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

// onFileRequest sends a file that was offered to this contact under that guid. By the
// protocol other requests have no answer.
func (s *session) onFileRequest(c *kernel.Context, f peer.FileRequest) {
	if !s.allowed || len(s.toServe) >= maxFileRequests {
		return
	}
	offered, ok := s.deps.Files.Offered(s.Conversation, f)
	if !ok {
		c.Log().Debug("contact requested a file that was not offered")
		return
	}
	if slices.ContainsFunc(s.toServe, func(other servedFile) bool { return other.guid == f.GUID }) {
		return // requested again while it is being sent
	}
	s.toServe = append(s.toServe, servedFile{guid: f.GUID, meta: offered})
	if len(s.toServe) == 1 {
		s.serve(c)
	}
}

// servedFile is a file that the contact has requested.
type servedFile struct {
	guid peer.GUID
	meta peer.FileMeta
}

// frameSize is the size of the frame: the description and the file.
func (f servedFile) frameSize() int64 { return int64(len(f.meta.AppendTo(nil))) + f.meta.Size }

// serve sends the next requested file.
func (s *session) serve(c *kernel.Context) {
	carrier, ok := s.deps.Network.Carrier(overlay.KindStream)
	if !ok {
		return // the network is down, and the session ends with it
	}
	file, conn, place, d, inbox := s.toServe[0], s.conn, s.place, s.deps, c.Inbox()
	if file.frameSize() > wire.DataStreamThreshold && !s.mayUseData() {
		s.claimNode(c)
		return
	}
	c.Go(taskSendFile, func(ctx context.Context) error {
		f, err := d.Files.OpenOffered(file.meta)
		if err != nil {
			return nil // removed meanwhile: the protocol has no answer
		}
		defer func() { _ = f.Close() }() // only read
		h := peer.DataHeader{
			GUID: file.guid, SendTime: int64(d.nowMillis()), Type: peer.TypeFileResponse, Size: file.frameSize(),
		}
		whole := io.MultiReader(bytes.NewReader(file.meta.AppendTo(nil)), f)
		if h.Size <= wire.DataStreamThreshold {
			payload := make([]byte, h.Size)
			if _, err := io.ReadFull(whole, payload); err != nil {
				return nil // corrupt: the protocol has no answer
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
		place.DataOpened()
		return conn.copyData(ctx, h, whole)
	})
}

// onServed continues with the next file.
func (s *session) onServed(c *kernel.Context, err error) {
	if err != nil {
		// The stream has a part of the file, and cannot be used any more.
		s.end(c, fmt.Errorf("send a file: %w", err))
		return
	}
	s.lastActivity = time.Now()
	if len(s.toServe) == 0 {
		return // all are owed by now, see claimNode
	}
	if s.toServe = s.toServe[1:]; len(s.toServe) > 0 {
		s.serve(c)
	}
}

// servingTime is the time for the files that are sent before a message on our data
// stream.
func (s *session) servingTime() time.Duration {
	var size int64
	for _, f := range s.toServe {
		size += f.meta.Size
	}
	return transferTime(size)
}
