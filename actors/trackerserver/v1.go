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

// The tracker role for apps of generations 1 and 2, as far as the carriers of its
// network run: UDP for the first, a QUIC stream for each request of the second.
// Generation 2 names nodes, so it shares what is known with version 2.

const (
	// maxOldRequests bounds the requests of generation 2 that are being answered.
	maxOldRequests = 64
	// oldRequestTime is what one may take, with the time that the other side needs
	// to end its stream.
	oldRequestTime = 10 * time.Second
)

// answerOld answers a request of version 1 that a node has sent; false says that
// there is no answer.
func (t *actor) answerOld(from announcer, q tracker.Request1, layout tracker.Layout, now time.Time) ([]byte, bool) {
	reply := tracker.Reply1{Command: q.Command, Nonce: q.Nonce}
	switch q.Command {
	case tracker.CommandAnnounce:
		if q.Record.Verify(q.Identity) != nil {
			return nil, false
		}
		var ok bool
		t.mu.Lock()
		if layout == tracker.LayoutAddress {
			reply.TTL, ok = tracker.AnnounceEvery1, t.addresses.announce(from, q.Identity, q.Record, now)
		} else {
			reply.TTL, ok = t.table.announceFrom(identity.NodeKey(from), q.Identity, q.Record.V2(), now)
			if ok {
				t.announced(q.Identity, now)
			}
		}
		t.mu.Unlock()
		if !ok {
			t.deps.Strangers.Warn("announcement refused: no place for the identity", "component", "tracker")
			return nil, false
		}
	case tracker.CommandLookup:
		t.mu.Lock()
		defer t.mu.Unlock()
		if layout == tracker.LayoutAddress {
			reply.Records = t.addresses.lookup(q.Identity, now)
			break
		}
		for _, r := range t.table.lookup(q.Identity, now) {
			reply.Records = append(reply.Records, r.V1())
		}
	case tracker.CommandPing:
	}
	return reply.AppendTo(nil), true
}

// servePackets answers requests of generation 1 until the port is closed. What
// comes there has a source in Yggdrasil's ranges, and an answer goes nowhere else.
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
		if reply, ok := t.answerOld(announcerAt(from), q, tracker.LayoutAddress, time.Now()); ok {
			// What cannot be sent is asked for again.
			_, _ = port.WriteTo(reply, from)
		}
	}
}

// serveStreams answers requests of generation 2 until the listener is closed.
func (t *actor) serveStreams(ctx context.Context, l overlay.Listener) error {
	var requests sync.WaitGroup
	defer requests.Wait()
	places := make(chan struct{}, maxOldRequests)
	for {
		conn, err := l.Accept(ctx)
		if err != nil {
			return err
		}
		select {
		case places <- struct{}{}:
		default:
			_ = conn.Abort() // too many at once; the app asks again
			continue
		}
		requests.Go(func() {
			_ = t.deps.Strangers.Protect("old tracker", func() error { t.serveStream(ctx, conn); return nil })
			<-places
		})
	}
}

// serveStream answers the one request of a stream. Another tracker that calls to pass
// records on is taken when it is a partner.
func (t *actor) serveStream(ctx context.Context, conn overlay.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Abort() })
	defer stop()
	defer func() { _ = conn.Close() }()
	if conn.SetDeadline(time.Now().Add(oldRequestTime)) != nil {
		return
	}
	src := bufio.NewReader(conn)
	selector, err := src.ReadByte()
	if l := t.line(conn.RemoteKey(), true); err == nil && selector == tracker.SelectorSync && l != nil {
		t.acceptLine(ctx, l, conn, src)
		return
	}
	if err != nil || selector != tracker.SelectorClient {
		return
	}
	q, err := tracker.ReadRequest1(src)
	if err != nil {
		return
	}
	reply, ok := t.answerOld(announcer(conn.RemoteKey()), q, tracker.LayoutNode, time.Now())
	if !ok {
		return
	}
	if _, err := conn.Write(reply); err != nil {
		return
	}
	// The app closes when it has read the answer; before that our end would take it
	// away from it.
	_ = conn.CloseWrite()
	_, _ = src.ReadByte()
}
