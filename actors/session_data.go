// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
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
		msg.Stream.drop()
		return
	}
	if !msg.Stream.claim() {
		return
	}
	data, conn, inbox := msg.Stream.stream, s.conn, c.Inbox()
	conn.setData(&conn.incoming, data)
	c.Go(taskData, func(ctx context.Context) error {
		defer func() { _ = data.Close() }()
		return readData(ctx, data, conn.credits, inbox)
	})
}

// readData reads the frames of a data stream until it ends. Only messages are
// taken here; a file nobody asked for ends the stream.
func readData(ctx context.Context, data *stream, credits *kernel.Credits, inbox kernel.Inbox) error {
	for {
		if err := data.waitForFrame(); err != nil {
			return err
		}
		h, err := peer.ReadDataHeader(data.reader, wire.MaxControlPayload)
		if err != nil {
			return err
		}
		if h.Type == peer.TypeFileResponse {
			return wire.NewViolation(wire.CodeCommand, "a file that nobody asked for")
		}
		r := wire.NewReader(data.reader)
		payload := r.Bytes("data", h.Size, wire.MaxControlPayload)
		if err := r.Err(); err != nil {
			return err
		}
		cost := frameOverhead + h.Size
		if err := credits.Acquire(ctx, cost); err != nil {
			return err
		}
		if !inbox.Tell(frameRead{h.Message(payload), cost}) {
			return kernel.ErrStopped
		}
	}
}

// sendData sends one message on our data stream, and opens that first when there
// is none.
func (s *session) sendData(c *kernel.Context, m peer.Message) {
	s.inFlight.until = time.Now().Add(ackTime + dialTime + time.Duration(len(m.Payload)/slowestPeer)*time.Second)
	carrier, ok := s.env.net.carrier()
	if !ok {
		s.end(c, ErrOffline)
		return
	}
	conn := s.conn
	c.Go(taskSendData, func(ctx context.Context) error {
		if err := conn.openData(ctx, carrier); err != nil {
			return fmt.Errorf("open data stream: %w", err)
		}
		return conn.writeData(m)
	})
}

// onDataDone: the peer's data stream may end without the session, ours may not:
// the message on it would never be acknowledged.
func (s *session) onDataDone(c *kernel.Context, msg kernel.TaskDone) {
	if msg.Name == taskSendData {
		s.end(c, fmt.Errorf("send on the data stream: %w", msg.Err))
		return
	}
	c.Log().Debug("The peer's data stream ended", "node", s.conn.node.Short(), "err", msg.Err)
}

// openData opens our data stream, once. Only one goroutine at a time uses it.
func (p *peerConn) openData(ctx context.Context, carrier overlay.Carrier) error {
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

func (p *peerConn) writeData(m peer.Message) error {
	conn := p.data(&p.outgoing)
	rest := append(m.DataHeader().AppendTo(nil), m.Payload...)
	for len(rest) > 0 {
		piece := rest[:min(len(rest), dataPiece)]
		if err := conn.SetWriteDeadline(time.Now().Add(stallTime)); err != nil {
			return err
		}
		if _, err := conn.Write(piece); err != nil {
			return err
		}
		rest = rest[len(piece):]
	}
	return nil
}
