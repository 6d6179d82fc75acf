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

// Trackers pass on what is announced to them, over a stream between each two of them
// that lasts. Who is passed something passes it on in turn, a few times.
//
// The reference takes such streams from everybody. Here both sides name each other:
// a signature proves who made a record, not that it is the latest.

const (
	// syncQueue is how many records wait for one partner, as in the reference. Further
	// ones are not passed on: their devices announce again.
	syncQueue = 512
	// syncPingEvery is within the 30 s after which the reference gives up. Its own
	// pings come up to 31 s apart; syncSilence is when we give up.
	syncPingEvery = 12 * time.Second
	syncSilence   = 45 * time.Second
	// syncRetry is the pause before the next attempt, shortened at random.
	syncRetry = 30 * time.Second
	// syncAgain bounds what a stream repeats of the one before.
	syncAgain = 64
	// syncWrite is how long one write, the greeting and a dial may take.
	syncWrite = 15 * time.Second
	// syncRecent is for how long an identity that was passed on is not passed on again.
	syncRecent = 10 * time.Second
)

// Partner is another tracker, which passes on to us what it is told and is passed
// on what we are told. It must name us too.
type Partner struct {
	Node identity.NodeKey
	// Old says that it is of generation 2, and reached over QUIC.
	Old bool
}

// ParsePartner reads "<64 hex digits>:69" for a tracker of today, "<64 hex digits>"
// for one of generation 2: as trackers are written everywhere.
func ParsePartner(s string) (Partner, error) {
	if !strings.Contains(s, ":") {
		node, err := identity.ParseNodeKey(s)
		return Partner{Node: node, Old: true}, err
	}
	a, err := tracker.ParseAddress(s)
	if err == nil && a.Port != tracker.Port {
		err = fmt.Errorf("port %d: trackers meet at %d", a.Port, tracker.Port)
	}
	return Partner{Node: a.Node}, err
}

// String is the form that ParseSyncPartner reads.
func (p Partner) String() string {
	if p.Old {
		return p.Node.String()
	}
	return tracker.Address{Node: p.Node, Port: tracker.Port}.String()
}

// syncItem is a record on its way to other trackers.
type syncItem struct {
	identity identity.PublicKey
	record   trackerRecord
	hop      uint8
}

// syncLine is what there is between us and a partner.
type syncLine struct {
	partner Partner
	queue   chan syncItem

	mu      sync.Mutex
	conn    overlay.Conn // the stream in use, nil without one
	dialled bool         // by us
	// written are the latest that went out, at most syncAgain. What was written into a
	// stream that ends just then, as when both sides have dialled, does not arrive, so
	// the next stream begins with them.
	written []syncItem
}

// enter makes a stream the one in use. While there is one it is dropped, unless both
// sides have dialled: then the dial of the smaller key stays, and both sides see that.
func (l *syncLine) enter(conn overlay.Conn, own identity.NodeKey, dialled bool) bool {
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

// take notes that an item goes out over a stream. It returns false when that is not
// the one in use any more.
func (l *syncLine) take(conn overlay.Conn, item syncItem) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != conn {
		return false
	}
	if len(l.written) == syncAgain {
		l.written = l.written[1:]
	}
	l.written = append(l.written, item)
	return true
}

// again returns what a stream that has just become the one in use begins with.
func (l *syncLine) again() []syncItem {
	l.mu.Lock()
	defer l.mu.Unlock()
	written := l.written
	l.written = nil
	return written
}

func (l *syncLine) leave(conn overlay.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == conn {
		l.conn = nil
	}
}

func (l *syncLine) busy() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn != nil
}

// line returns the one to a partner, nil when it is none of that generation.
func (t *actor) line(node identity.NodeKey, old bool) *syncLine {
	for _, l := range t.lines {
		if l.partner == (Partner{node, old}) {
			return l
		}
	}
	return nil
}

// pass hands a record to all partners but the one it came from. The caller holds the
// lock, so that each partner gets records in the order in which they were stored.
func (t *actor) pass(item syncItem, from *syncLine, now time.Time) {
	if len(t.lines) == 0 {
		return
	}
	t.recent[item.identity] = now
	for _, l := range t.lines {
		if l == from {
			continue
		}
		select {
		case l.queue <- item:
		default:
		}
	}
}

// announced tells the partners what was announced here. The caller holds the lock.
func (t *actor) announced(id identity.PublicKey, now time.Time) {
	if records := t.table.records[id]; len(records) > 0 {
		t.pass(syncItem{id, records[0], tracker.FirstHop}, nil, now)
	}
}

// onSynced stores what a partner passes on, whose signature has been verified, and
// passes it on.
func (t *actor) onSynced(from *syncLine, f tracker.SyncRecord, now time.Time) {
	if f.Hop == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	record := trackerRecord{Record: f.Record, ttl: f.PreviousTTL(), expires: now.Add(f.Life())}
	if !t.table.put(f.Identity, record, now) {
		return // nothing new
	}
	last, seen := t.recent[f.Identity]
	if f.Hop > 1 && (!seen || now.Sub(last) >= syncRecent) {
		t.pass(syncItem{f.Identity, record, f.Hop - 1}, from, now)
	}
	t.recent[f.Identity] = now
}

// collectRecent forgets what may be passed on again. The caller holds the lock.
func (t *actor) collectRecent(now time.Time) {
	for id, at := range t.recent {
		if now.Sub(at) >= syncRecent {
			delete(t.recent, id)
		}
	}
}

// keepLine connects to a partner again and again.
func (t *actor) keepLine(ctx context.Context, l *syncLine) error {
	for {
		if !l.busy() {
			err := t.dialLine(ctx, l)
			t.deps.Log.Debug("Not in sync with a tracker", "component", "tracker", "tracker", l.partner.String(), "err", err)
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

// dialLine connects to a partner and returns when the stream has ended.
func (t *actor) dialLine(ctx context.Context, l *syncLine) error {
	carrier, port := t.net.Stream(), tracker.Port
	if l.partner.Old {
		var ok bool
		if carrier, ok = t.deps.Cell.Carrier(overlay.KindQUIC); !ok {
			return overlay.ErrNoCarrier
		}
		port = peer.Port // which QUIC does not look at
	}
	dialling, cancel := context.WithTimeout(ctx, syncWrite)
	defer cancel()
	conn, err := carrier.Dial(dialling, l.partner.Node, port)
	if err != nil {
		return err
	}
	own := carrier.Key()
	greeting := own[:]
	if l.partner.Old {
		greeting = tracker.AppendSyncHello1(nil, own)
	}
	if err = conn.SetWriteDeadline(time.Now().Add(syncWrite)); err == nil {
		_, err = conn.Write(greeting)
	}
	if err != nil || !l.enter(conn, own, true) {
		_ = conn.Abort()
		return err
	}
	return t.runLine(ctx, l, conn, bufio.NewReader(conn))
}

// acceptLines takes the streams of partners of today until the listener is closed.
func (t *actor) acceptLines(ctx context.Context, listener overlay.Listener) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		conn, err := listener.Accept(ctx)
		if err != nil {
			return err
		}
		l := t.line(conn.RemoteKey(), false)
		if l == nil {
			_ = conn.Abort()
			t.deps.Log.Debug("Refused a tracker that is no partner", "component", "tracker", "node", conn.RemoteKey().Short())
			continue
		}
		// The overlay bounds how many streams one node has.
		running.Go(func() {
			_ = t.deps.Strangers.Protect("tracker sync", func() error { t.acceptLine(ctx, l, conn, bufio.NewReader(conn)); return nil })
		})
	}
}

// acceptLine reads the greeting of a partner and runs the line.
func (t *actor) acceptLine(ctx context.Context, l *syncLine, conn overlay.Conn, src *bufio.Reader) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Abort() })
	defer stop()
	var caller identity.NodeKey
	err := conn.SetDeadline(time.Now().Add(syncWrite))
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
	err = t.runLine(ctx, l, conn, src)
	t.deps.Log.Debug("Not in sync with a tracker", "component", "tracker", "tracker", l.partner.String(), "err", err)
}

// runLine passes records both ways until the stream ends.
func (t *actor) runLine(ctx context.Context, l *syncLine, conn overlay.Conn, src *bufio.Reader) error {
	defer l.leave(conn)
	defer func() { _ = conn.Close() }()
	t.deps.Log.Info("In sync with a tracker", "component", "tracker", "tracker", l.partner.String())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.Abort() })
	defer stop()
	var writing sync.WaitGroup
	defer writing.Wait()
	defer cancel()
	writing.Go(func() {
		defer cancel()
		_ = l.write(ctx, conn) // the reader sees the end
	})
	read := tracker.ReadSync
	if l.partner.Old {
		read = tracker.ReadSync1
	}
	for {
		if err := conn.SetReadDeadline(time.Now().Add(syncSilence)); err != nil {
			return err
		}
		frame, err := read(src)
		if err != nil {
			return err
		}
		if record, ok := frame.(tracker.SyncRecord); ok {
			t.onSynced(l, record, time.Now())
		}
	}
}

// write sends what waits for a partner, each frame in one piece, and pings.
func (l *syncLine) write(ctx context.Context, conn overlay.Conn) error {
	for _, item := range l.again() {
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

// errOtherLine ends the writing to a stream that is not the one in use any more.
var errOtherLine = errors.New("another stream is in use")

func (l *syncLine) writeItem(conn overlay.Conn, item syncItem) error {
	life := time.Until(item.record.expires)
	if life < time.Second {
		return nil // it has waited too long
	}
	if !l.take(conn, item) {
		select {
		case l.queue <- item: // for the other one
		default:
		}
		return errOtherLine
	}
	return l.writeFrame(conn, tracker.SyncRecord{
		Hop: item.hop, Identity: item.identity, Record: item.record.Record,
		TTLSeconds: uint64(life / time.Second), PrevTTLMinutes: uint32(item.record.ttl / time.Minute),
	})
}

func (l *syncLine) writeFrame(conn overlay.Conn, frame tracker.SyncFrame) error {
	b := frame.AppendTo(nil)
	if l.partner.Old {
		b = tracker.AppendSync1(nil, frame)
	}
	if err := conn.SetWriteDeadline(time.Now().Add(syncWrite)); err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return fmt.Errorf("write to a tracker: %w", err)
	}
	return nil
}
