// SPDX-License-Identifier: MPL-2.0

package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Data streams carry frames that are too large for the control stream, in one direction
// each. The peer opens one to us right after the handshake, and ends the session if we do
// not accept it; we open ours with the first large frame.

const (
	taskData     = "read_data"
	taskSendData = "send_data"
	// dataPiece is the size of a write, as in the apps.
	dataPiece = 64 << 10
	// slowestPeer is the lowest rate that is expected of a peer, in bytes per second.
	slowestPeer = 8 << 10
)

// onDataStream starts the reader of the peer's data stream. A second stream replaces the
// first.
func (s *session) onDataStream(c *kernel.Context, msg dataStream) {
	if !s.live {
		msg.Stream.Drop()
		return
	}
	if !msg.Stream.claim() {
		return
	}
	data, conn, inbox, d, p := msg.Stream.stream, s.conn, c.Inbox(), s.deps, s.Conversation
	data.noteRead = conn.traffic.noteDataRead
	conn.setData(&conn.incoming, data)
	c.Go(taskData, func(ctx context.Context) error {
		defer func() { _ = data.Close() }()
		// The data stream of a stranger is accepted and not read.
		if err := conn.permission.wait(ctx); err != nil {
			return err
		}
		return d.readData(ctx, p, data, conn, inbox)
	})
}

// readData reads the frames of a data stream until it ends. Files are written to the
// disk; a file that was not requested ends the stream.
func (d *Deps) readData(ctx context.Context, p store.Conversation, data *stream, conn *peerConn, inbox kernel.Inbox) error {
	defer conn.receiving.Store(false)
	for {
		conn.receiving.Store(false)
		if err := data.waitForFrame(); err != nil {
			return err
		}
		conn.receiving.Store(true)
		h, err := peer.ReadDataHeader(data.reader, wire.MaxDataSize)
		if err != nil {
			return err
		}
		withFile := h.Type == peer.TypeImage || h.Type == peer.TypeFile
		switch {
		case h.Type == peer.TypeFileResponse:
			err = d.takeFile(p, data.reader, h, inbox)
		case h.Size > wire.MaxControlPayload && withFile:
			if err = d.takeInline(ctx, p, data.reader, h, inbox); err != nil {
				err = &notTakenError{err}
			}
		default:
			err = readDataMessage(ctx, data, h, conn.credits, inbox)
		}
		if err != nil {
			return err
		}
	}
}

func readDataMessage(ctx context.Context, data *stream, h peer.DataHeader, credits *kernel.Credits, inbox kernel.Inbox) error {
	r := wire.NewReader(data.reader)
	payload := r.Bytes("data", h.Size, wire.MaxControlPayload)
	if err := r.Err(); err != nil {
		return err
	}
	credit := Credit{credits, frameOverhead + h.Size}
	if err := credits.Acquire(ctx, credit.cost); err != nil {
		return err
	}
	if !inbox.Tell(frameRead{h.Message(payload), credit}) {
		return kernel.ErrStopped
	}
	return nil
}

// sendData sends a message on our data stream, which it opens if there is none.
func (s *session) sendData(c *kernel.Context, m peer.Message) {
	s.inFlight.until = time.Now().Add(ackTime + dialTime + s.servingTime() + transferTime(int64(len(m.Payload))))
	s.inFlight.onData = true
	carrier, ok := s.deps.Network.Carrier(overlay.KindStream)
	if !ok {
		s.end(c, uplink.ErrOffline)
		return
	}
	conn, place := s.conn, s.place
	c.Go(taskSendData, func(ctx context.Context) error {
		if err := conn.openData(ctx, carrier); err != nil {
			return fmt.Errorf("open data stream: %w", err)
		}
		place.DataOpened()
		return conn.copyData(ctx, m.DataHeader(), bytes.NewReader(m.Payload))
	})
}

// transferTime is the time that a peer has for so many bytes.
func transferTime(size int64) time.Duration { return time.Duration(size/slowestPeer) * time.Second }

// notTakenError says that a message was not accepted that the peer has sent completely:
// the peer sends it again only in another session.
type notTakenError struct{ error }

func (e *notTakenError) Unwrap() error { return e.error }

// onDataDone handles the end of a data stream. That of the peer may end without the
// session, unless a message on it was not accepted. Ours may not: its message would never
// be acknowledged.
func (s *session) onDataDone(c *kernel.Context, msg kernel.TaskDone) {
	if msg.Name == taskSendData {
		s.end(c, fmt.Errorf("send on the data stream: %w", msg.Err))
		return
	}
	if notTaken, ok := errors.AsType[*notTakenError](msg.Err); ok {
		s.end(c, fmt.Errorf("take a message with its file: %w", notTaken.error))
		return
	}
	c.Log().Debug("data stream of the peer ended", "node", s.conn.node.Short(), "err", msg.Err)
}

// openData opens our data stream unless it is open.
func (p *peerConn) openData(ctx context.Context, carrier overlay.Carrier) error {
	if err := p.takeDataTurn(ctx); err != nil {
		return err
	}
	defer p.giveDataTurn()
	if p.data(&p.outgoing) != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := carrier.Dial(ctx, p.node, peer.Port)
	if err != nil {
		return err
	}
	p.setData(&p.outgoing, conn)
	if err := conn.SetWriteDeadline(time.Now().Add(stallTime)); err != nil {
		return err
	}
	_, err = conn.Write([]byte{byte(peer.RoleData)})
	return err
}

// copyData writes one frame in pieces; src has h.Size bytes.
func (p *peerConn) copyData(ctx context.Context, h peer.DataHeader, src io.Reader) error {
	if err := p.takeDataTurn(ctx); err != nil {
		return err
	}
	defer p.giveDataTurn()
	conn := p.data(&p.outgoing)
	whole := io.MultiReader(bytes.NewReader(h.AppendTo(nil)), src)
	piece := make([]byte, dataPiece)
	for left := peer.DataHeaderSize + h.Size; left > 0; {
		n, err := io.ReadFull(whole, piece[:min(left, dataPiece)])
		if err != nil {
			return fmt.Errorf("read the content of a frame: %w", err)
		}
		if err := conn.SetWriteDeadline(time.Now().Add(stallTime)); err != nil {
			return err
		}
		if _, err := conn.Write(piece[:n]); err != nil {
			return err
		}
		left -= int64(n)
		p.traffic.noteDataWritten()
		crashpoint.At(crashpoint.DuringData)
	}
	return nil
}

// takeDataTurn waits until the data stream is free: frames are written one after the
// other.
func (p *peerConn) takeDataTurn(ctx context.Context) error {
	select {
	case p.dataTurn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *peerConn) giveDataTurn() { <-p.dataTurn }
