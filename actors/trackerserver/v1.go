// SPDX-License-Identifier: MPL-2.0

package trackerserver

import (
	"bufio"
	"context"
	"net"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

// Version 1, for apps of gen1 and gen2, as far as the carriers of the role's network run:
// UDP for gen1, a QUIC stream for each request of gen2. gen2 names nodes, so it shares the
// table of version 2.

const (
	// maxV1Streams bounds the streams of gen2 that are being served.
	maxV1Streams = 64
	// v1StreamTime is how long one may take, with the time that the other side needs to
	// end its stream.
	v1StreamTime = 10 * time.Second
)

// answerV1 answers a request of version 1 that a node has sent; false for none.
func (t *actor) answerV1(from announcer, q tracker.Request1, layout tracker.Layout, now time.Time) ([]byte, bool) {
	reply := tracker.Reply1{Command: q.Command, Nonce: q.Nonce}
	switch q.Command {
	case tracker.CommandAnnounce:
		if q.Record.Verify(q.Identity) != nil {
			return nil, false
		}
		var ok bool
		if layout == tracker.LayoutAddress {
			reply.TTL, ok = tracker.AnnounceEvery1, t.announceAddress(from, q.Identity, q.Record, now)
		} else {
			reply.TTL, ok = t.announce(identity.NodeKey(from), q.Identity, q.Record.V2(), now)
		}
		if !ok {
			return nil, false
		}
	case tracker.CommandLookup:
		t.mu.Lock()
		defer t.mu.Unlock()
		if layout == tracker.LayoutAddress {
			reply.Records = t.addresses.lookup(q.Identity, now)
			break
		}
		for _, r := range t.nodes.lookup(q.Identity, now) {
			reply.Records = append(reply.Records, r.V1())
		}
	case tracker.CommandPing:
	}
	return reply.AppendTo(nil), true
}

// announceAddress stores a record of gen1 whose signature has been verified. It returns
// false when the table refuses it.
func (t *actor) announceAddress(from announcer, id identity.PublicKey, r tracker.Record1, now time.Time) bool {
	t.mu.Lock()
	ok := t.addresses.announce(from, id, r, now)
	t.mu.Unlock()
	if !ok {
		t.refused(from.addr().String())
	}
	return ok
}

// servePackets answers the packets of gen1 until the port is closed. Their sources are in
// Yggdrasil's ranges, so no answer goes to another network.
func (t *actor) servePackets(port net.PacketConn) error {
	buf := make([]byte, 2048)
	for {
		n, from, err := port.ReadFrom(buf)
		if err != nil {
			return err
		}
		q, err := tracker.ParseRequest1(buf[:n], tracker.LayoutAddress)
		if err != nil || q.Record.Layout == tracker.LayoutAddress && !overlay.IsYggdrasil(q.Record.Address.Addr()) {
			continue
		}
		if reply, ok := t.answerV1(announcerAt(from), q, tracker.LayoutAddress, time.Now()); ok {
			// When the answer is lost, the client asks again.
			_, _ = port.WriteTo(reply, from)
		}
	}
}

// serveStreams serves the streams of gen2 until the listener is closed.
func (t *actor) serveStreams(ctx context.Context, l overlay.Listener) error {
	var requests sync.WaitGroup
	defer requests.Wait()
	slots := make(chan struct{}, maxV1Streams)
	for {
		conn, err := l.Accept(ctx)
		if err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = conn.Abort() // too many at once; the client asks again
			continue
		}
		requests.Go(func() {
			_ = t.deps.Strangers.Protect("tracker v1", func() error { t.serveStream(ctx, conn); return nil })
			<-slots
		})
	}
}

// serveStream answers the one request of a stream. A stream of a partner is a sync link.
func (t *actor) serveStream(ctx context.Context, conn overlay.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Abort() })
	defer stop()
	defer func() { _ = conn.Close() }()
	if conn.SetDeadline(time.Now().Add(v1StreamTime)) != nil {
		return
	}
	src := bufio.NewReader(conn)
	selector, err := src.ReadByte()
	if l := t.link(conn.RemoteKey(), true); err == nil && selector == tracker.SelectorSync && l != nil {
		t.acceptLink(ctx, l, conn, src)
		return
	}
	if err != nil || selector != tracker.SelectorClient {
		return
	}
	q, err := tracker.ReadRequest1(src)
	if err != nil {
		return
	}
	reply, ok := t.answerV1(announcer(conn.RemoteKey()), q, tracker.LayoutNode, time.Now())
	if !ok {
		return
	}
	if _, err := conn.Write(reply); err != nil {
		return
	}
	// The client closes when it has read the answer. If we closed before that, the answer
	// could be lost.
	_ = conn.CloseWrite()
	_, _ = src.ReadByte()
}
