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

// Data streams carry what is too large for the control stream, one way each: the
// peer opens one to us right after the handshake and gives the session up when
// we do not take it; we open ours when we have something for it.

const (
	taskData     = "read_data"
	taskSendData = "send_data"
	// dataPiece is what is written at once, as in the apps.
	dataPiece = 64 << 10
	// slowestPeer is what a large message gets time for, in bytes per second.
	slowestPeer = 8 << 10
)

// onDataStream reads messages from the peer's data stream. One is enough: a
// second takes the place of the first.
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
		// A stranger's data stream is there and not read.
		if err := conn.permission.wait(ctx); err != nil {
			return err
		}
		return d.readData(ctx, p, data, conn, inbox)
	})
}

// readData reads the frames of a data stream until it ends. Files go to the disk;
// one that nobody asked for ends the stream.
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

// sendData sends one message on our data stream, and opens that first when there
// is none.
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
		place.dataOpened()
		return conn.copyData(ctx, m.DataHeader(), bytes.NewReader(m.Payload))
	})
}

// transferTime is what a peer gets for size bytes.
func transferTime(size int64) time.Duration { return time.Duration(size/slowestPeer) * time.Second }

// notTakenError says that a message broke off that the peer takes for sent: it sends
// that again only in another session.
type notTakenError struct{ error }

func (e *notTakenError) Unwrap() error { return e.error }

// onDataDone: the peer's data stream may end without the session, unless a message on
// it was not taken; ours may not: the message on it would never be acknowledged.
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

// openData opens our data stream, once.
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

// copyData writes one frame, a piece at a time. h.Size says how much there is.
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
			return fmt.Errorf("read what is sent: %w", err)
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

// takeDataTurn waits for our data stream: one frame after the other goes over it.
func (p *peerConn) takeDataTurn(ctx context.Context) error {
	select {
	case p.dataTurn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *peerConn) giveDataTurn() { <-p.dataTurn }
