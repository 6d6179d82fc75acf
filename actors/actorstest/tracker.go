// SPDX-License-Identifier: MPL-2.0

package actorstest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

// Tracker is a tracker that answers what a test says.
type Tracker struct {
	node   *memnet.Node
	answer func(tracker.Request) [][]byte

	mu      sync.Mutex
	lookups []time.Time
}

// NewTracker starts a tracker. answer returns the datagrams that answer a request;
// none is silence. It is called by one goroutine at a time.
func (w *World) NewTracker(answer func(tracker.Request) [][]byte) *Tracker {
	w.t.Helper()
	f := &Tracker{node: w.Net.Node(overlay.Limits{}), answer: answer}
	port, err := f.node.ListenDatagrams(tracker.Port)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			from, payload, err := port.Receive(ctx)
			if err != nil {
				return
			}
			q, err := tracker.ParseRequest(payload)
			if err != nil {
				continue
			}
			if q.Command() == tracker.CommandLookup {
				f.mu.Lock()
				f.lookups = append(f.lookups, time.Now())
				f.mu.Unlock()
			}
			for _, reply := range answer(q) {
				_ = port.Send(from, tracker.Port, reply)
			}
		}
	})
	w.t.Cleanup(func() {
		cancel()
		serving.Wait()
		_ = f.node.Close()
	})
	return f
}

// Silence answers nothing.
func Silence(tracker.Request) [][]byte { return nil }

// Address returns the address of the tracker.
func (f *Tracker) Address() tracker.Address {
	return tracker.Address{Node: f.node.Key(), Port: tracker.Port}
}

// Lookups returns when the tracker was asked for an identity.
func (f *Tracker) Lookups() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]time.Time(nil), f.lookups...)
}

// LyingTracker accepts every announcement, and answers every lookup with the records
// of the last Say.
type LyingTracker struct {
	*Tracker
	// Announced counts the announcements.
	Announced atomic.Int32

	records atomic.Pointer[[]tracker.Record]
}

// NewLyingTracker starts a LyingTracker that knows nobody.
func (w *World) NewLyingTracker() *LyingTracker {
	w.t.Helper()
	l := &LyingTracker{}
	l.Say()
	l.Tracker = w.NewTracker(func(q tracker.Request) [][]byte {
		switch q := q.(type) {
		case tracker.Announce:
			l.Announced.Add(1)
			return [][]byte{tracker.AnnounceReply{Nonce: q.Nonce, TTLSeconds: 240}.AppendTo(nil)}
		case tracker.Lookup:
			return [][]byte{tracker.LookupReply{Nonce: q.Nonce, Records: *l.records.Load()}.AppendTo(nil)}
		}
		return nil
	})
	return l
}

// Say replaces the records.
func (l *LyingTracker) Say(records ...tracker.Record) { l.records.Store(&records) }

// RecordFor makes a record of an identity at a node, which expires in ten minutes.
func RecordFor(key identity.PrivateKey, node identity.NodeKey, priority uint8) tracker.Record {
	r := tracker.NewRecord(key, node, priority, 7)
	r.ExpiresMS = 600_000
	return r
}

// WithTrackers gives a node other trackers than the world's own.
func WithTrackers(addresses ...tracker.Address) func(*node.Options) {
	return func(o *node.Options) { o.Trackers = addresses }
}
