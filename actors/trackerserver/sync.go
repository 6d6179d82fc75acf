// SPDX-License-Identifier: MPL-2.0

package trackerserver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/tracker"
)

// Trackers forward announcements to each other, over a lasting stream between each two of
// them, and forward again what was forwarded to them, a few hops.
//
// The reference accepts such streams from everybody. Here both sides name each other: a
// signature proves that the owner signed a record, not that it is the latest.

const (
	// syncQueue is how many records are queued for one partner, as in the reference.
	// Further ones are dropped: their devices announce again.
	syncQueue = 512
	// syncPingEvery is within the 30 s after which the reference gives up. Its own pings
	// come up to 31 s apart; syncIdle is when we give up.
	syncPingEvery = 12 * time.Second
	syncIdle      = 45 * time.Second
	// syncRetry is the pause before the next dial, shortened at random.
	syncRetry = 30 * time.Second
	// syncRepeat bounds what a stream repeats of the one before.
	syncRepeat = 64
	// syncTimeout is how long a write, the hello and a dial may take.
	syncTimeout = 15 * time.Second
	// syncRecent is for how long an identity that was forwarded is not forwarded again.
	syncRecent = 10 * time.Second
)

// Partner is another tracker, with which announcements are shared both ways. It must name
// us too.
type Partner struct {
	Node identity.NodeKey
	// V1 says that it speaks version 1, over QUIC.
	V1 bool
}

// ParsePartner reads "<64 hex digits>:69" for a tracker of version 2, "<64 hex digits>"
// for one of version 1, as apps write trackers.
func ParsePartner(s string) (Partner, error) {
	if !strings.Contains(s, ":") {
		node, err := identity.ParseNodeKey(s)
		return Partner{Node: node, V1: true}, err
	}
	a, err := tracker.ParseAddress(s)
	if err == nil && a.Port != tracker.Port {
		err = fmt.Errorf("port %d: trackers connect to port %d", a.Port, tracker.Port)
	}
	return Partner{Node: a.Node}, err
}

// String returns the form that [ParsePartner] reads.
func (p Partner) String() string {
	if p.V1 {
		return p.Node.String()
	}
	return tracker.Address{Node: p.Node, Port: tracker.Port}.String()
}

// syncItem is a record on its way to other trackers.
type syncItem struct {
	identity identity.PublicKey
	record   record[tracker.Record]
	hop      uint8
}

// syncLink is the connection to a partner, over one stream after the other.
type syncLink struct {
	partner Partner
	queue   chan syncItem

	mu      sync.Mutex
	conn    overlay.Conn // the stream in use, nil without one
	dialled bool         // by us
	// written are the latest items that were written, at most syncRepeat. An item that
	// was written when the stream ended, as when both sides have dialled, is lost, so the
	// next stream begins with them.
	written []syncItem
}

// enter makes a stream the one in use; false when the link has one. When both sides have
// dialled, both use the stream that the smaller key has dialled.
func (l *syncLink) enter(conn overlay.Conn, own identity.NodeKey, dialled bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		theirs := bytes.Compare(l.partner.Node[:], own[:]) < 0
		if l.dialled == dialled || dialled == theirs {
			return false
		}
		_ = l.conn.Abort() // its goroutine ends
	}
	l.conn, l.dialled = conn, dialled
	return true
}

// note notes that an item is written to a stream. It returns false when another stream is
// in use.
func (l *syncLink) note(conn overlay.Conn, item syncItem) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != conn {
		return false
	}
	if len(l.written) == syncRepeat {
		l.written = l.written[1:]
	}
	l.written = append(l.written, item)
	return true
}

// takeWritten returns, and clears, what a new stream repeats of the one before.
func (l *syncLink) takeWritten() []syncItem {
	l.mu.Lock()
	defer l.mu.Unlock()
	written := l.written
	l.written = nil
	return written
}

func (l *syncLink) leave(conn overlay.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == conn {
		l.conn = nil
	}
}

func (l *syncLink) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn != nil
}

// link returns the one to a partner; nil when that node is not a partner of that version.
func (t *actor) link(node identity.NodeKey, v1 bool) *syncLink {
	for _, l := range t.links {
		if l.partner == (Partner{node, v1}) {
			return l
		}
	}
	return nil
}

// startSync dials the partners and accepts their streams, when there are any.
func (t *actor) startSync(c *kernel.Context) error {
	if len(t.links) == 0 {
		return nil
	}
	listener, err := t.net.Stream().Listen(tracker.Port)
	if err != nil {
		return fmt.Errorf("listen for other trackers: %w", err)
	}
	c.Go("sync_accept", func(ctx context.Context) error {
		defer func() { _ = listener.Close() }()
		return t.acceptLinks(ctx, listener)
	})
	for _, l := range t.links {
		c.Go("sync_"+l.partner.Node.Short(), func(ctx context.Context) error { return t.maintainLink(ctx, l) })
	}
	return nil
}

// forward queues an item for all partners but the one it came from. The caller holds the
// lock, so that each partner gets records in the order in which they were stored.
func (t *actor) forward(item syncItem, from *syncLink, now time.Time) {
	if len(t.links) == 0 {
		return
	}
	t.forwardedAt[item.identity] = now
	for _, l := range t.links {
		if l == from {
			continue
		}
		select {
		case l.queue <- item:
		default:
		}
	}
}

// onSynced stores a record of a partner, whose signature has been verified, and forwards
// it.
func (t *actor) onSynced(from *syncLink, f tracker.SyncRecord, now time.Time) {
	if f.Hop == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	ttl, expires := f.PreviousTTL(), now.Add(f.Life())
	if !t.nodes.forwarded(f.Identity, f.Record, ttl, expires, now) {
		return
	}
	last, seen := t.forwardedAt[f.Identity]
	if f.Hop > 1 && (!seen || now.Sub(last) >= syncRecent) {
		t.forward(syncItem{f.Identity, record[tracker.Record]{value: f.Record, ttl: ttl, expires: expires}, f.Hop - 1}, from, now)
	}
	t.forwardedAt[f.Identity] = now
}

// maintainLink dials a partner whenever there is no stream to it.
func (t *actor) maintainLink(ctx context.Context, l *syncLink) error {
	for {
		if !l.busy() {
			err := t.dialLink(ctx, l)
			t.deps.Log.Debug("sync link ended", "component", "tracker", "server", l.partner.String(), "err", err)
		}
		pause := time.NewTimer(kernel.Jitter(syncRetry))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

// dialLink connects to a partner and returns when the stream has ended.
func (t *actor) dialLink(ctx context.Context, l *syncLink) error {
	carrier, port := t.net.Stream(), tracker.Port
	if l.partner.V1 {
		var ok bool
		if carrier, ok = t.deps.Cell.Carrier(overlay.KindQUIC); !ok {
			return overlay.ErrNoCarrier
		}
		port = peer.Port // QUIC has no ports
	}
	dialCtx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	conn, err := carrier.Dial(dialCtx, l.partner.Node, port)
	if err != nil {
		return err
	}
	own := carrier.Key()
	hello := own[:]
	if l.partner.V1 {
		hello = tracker.AppendSyncHello1(nil, own)
	}
	if err = conn.SetWriteDeadline(time.Now().Add(syncTimeout)); err == nil {
		_, err = conn.Write(hello)
	}
	if err != nil || !l.enter(conn, own, true) {
		_ = conn.Abort()
		return err
	}
	return t.runLink(ctx, l, conn, bufio.NewReader(conn))
}

// acceptLinks serves the streams of partners of version 2 until the listener is closed.
func (t *actor) acceptLinks(ctx context.Context, listener overlay.Listener) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		conn, err := listener.Accept(ctx)
		if err != nil {
			return err
		}
		l := t.link(conn.RemoteKey(), false)
		if l == nil {
			_ = conn.Abort()
			t.deps.Log.Debug("sync link refused: not a partner", "component", "tracker", "node", conn.RemoteKey().Short())
			continue
		}
		// The overlay bounds how many streams one node has.
		running.Go(func() {
			_ = t.deps.Strangers.Protect("tracker sync", func() error { t.acceptLink(ctx, l, conn, bufio.NewReader(conn)); return nil })
		})
	}
}

// acceptLink reads the hello of a partner and runs the link.
func (t *actor) acceptLink(ctx context.Context, l *syncLink, conn overlay.Conn, src *bufio.Reader) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Abort() })
	defer stop()
	var caller identity.NodeKey
	err := conn.SetDeadline(time.Now().Add(syncTimeout))
	if err == nil {
		_, err = io.ReadFull(src, caller[:])
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil || caller != l.partner.Node || !l.enter(conn, t.net.Stream().Key(), false) {
		_ = conn.Abort()
		return
	}
	err = t.runLink(ctx, l, conn, src)
	t.deps.Log.Debug("sync link ended", "component", "tracker", "server", l.partner.String(), "err", err)
}

// runLink sends and receives records until the stream ends.
func (t *actor) runLink(ctx context.Context, l *syncLink, conn overlay.Conn, src *bufio.Reader) error {
	defer l.leave(conn)
	defer func() { _ = conn.Close() }()
	t.deps.Log.Info("sync link up", "component", "tracker", "server", l.partner.String())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Abort() })
	defer stop()
	var writing sync.WaitGroup
	defer writing.Wait()
	defer cancel()
	writing.Go(func() {
		defer cancel()
		_ = l.write(ctx, conn) // the reader fails then too
	})
	read := tracker.ReadSync
	if l.partner.V1 {
		read = tracker.ReadSync1
	}
	for {
		if err := conn.SetReadDeadline(time.Now().Add(syncIdle)); err != nil {
			return err
		}
		frame, err := read(src)
		if err != nil {
			return err
		}
		if f, ok := frame.(tracker.SyncRecord); ok {
			t.onSynced(l, f, time.Now())
		}
	}
}

// write sends the queue of a partner and pings until it fails. Each frame is one write.
func (l *syncLink) write(ctx context.Context, conn overlay.Conn) error {
	for _, item := range l.takeWritten() {
		if err := l.writeItem(conn, item); err != nil {
			return err
		}
	}
	ping := time.NewTicker(syncPingEvery)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ping.C:
			err = l.writeFrame(conn, tracker.SyncPing{})
		case item := <-l.queue:
			err = l.writeItem(conn, item)
		}
		if err != nil {
			return err
		}
	}
}

// errOtherStream ends the writing to a stream that is no longer in use.
var errOtherStream = errors.New("another stream is in use")

func (l *syncLink) writeItem(conn overlay.Conn, item syncItem) error {
	life := time.Until(item.record.expires)
	if life < time.Second {
		return nil // it expired in the queue
	}
	if !l.note(conn, item) {
		select {
		case l.queue <- item: // for the other one
		default:
		}
		return errOtherStream
	}
	return l.writeFrame(conn, tracker.SyncRecord{
		Hop: item.hop, Identity: item.identity, Record: item.record.value,
		TTLSeconds: uint64(life / time.Second), PrevTTLMinutes: uint32(item.record.ttl / time.Minute),
	})
}

func (l *syncLink) writeFrame(conn overlay.Conn, frame tracker.SyncFrame) error {
	b := frame.AppendTo(nil)
	if l.partner.V1 {
		b = tracker.AppendSync1(nil, frame)
	}
	if err := conn.SetWriteDeadline(time.Now().Add(syncTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return fmt.Errorf("write to tracker: %w", err)
	}
	return nil
}
