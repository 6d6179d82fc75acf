// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/mimird/mimird/actors/lru"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// maxStrangers is how many nodes without streams are remembered. Forgetting
	// one gives it a new allowance of packets and ends its silence.
	maxStrangers = 4096
	// silence is how long a node that did not answer twice is left alone. Some
	// nodes drop packets of an encryption session they have lost without a word,
	// and every packet of ours keeps our half of it alive for a minute.
	silence         = 65 * time.Second
	silenceFailures = 2
	// coldAfter is how long a node may be quiet before only the newest of several
	// packets reaches it: sessions end after 60 s without traffic.
	coldAfter = 50 * time.Second
	// resetPause is the shortest time between two RSTs to one node.
	resetPause = 100 * time.Millisecond
	// peerPackets is how many packets a second a node with an open stream may send; see
	// Limits.StrangerPackets.
	peerPackets = 20_000
	// burstSeconds is how many seconds' worth of packets may come at once.
	burstSeconds = 4
)

// peer is what we know of one other node. The table's lock guards its fields.
type peer struct {
	key     identity.NodeKey
	packets *rate.Limiter
	// streams counts connections; while there are any the peer is not forgotten.
	streams int
	// accepted are those of them that the peer opened. The carrier's lock guards
	// it, not the table's.
	accepted []*streamConn
	failures int
	resetAt  time.Duration

	// early is what waits behind gaps in all streams of the peer, in bytes.
	early atomic.Int64

	// heard is when the last packet came, silentUntil when the silence ends, both
	// in nanoseconds since the stack's start; never heard is below zero.
	heard, silentUntil atomic.Int64
}

// silent is for how long nothing may be sent to the peer.
func (p *peer) silent(now time.Duration) time.Duration {
	return max(0, time.Duration(p.silentUntil.Load())-now)
}

// cold says that the network may have forgotten the way to the peer.
func (p *peer) cold(now time.Duration) bool {
	heard := p.heard.Load()
	return heard < 0 || now-time.Duration(heard) > coldAfter
}

// peerTable remembers nodes: as long as they have streams, or the latest.
type peerTable struct {
	start   time.Time
	limits  Limits
	dropped atomic.Uint64

	mu        sync.Mutex
	pinned    map[identity.NodeKey]*peer // those with streams
	strangers *lru.Table[identity.NodeKey, *peer]
}

func newPeerTable(start time.Time, limits Limits) *peerTable {
	return &peerTable{start: start, limits: limits, pinned: make(map[identity.NodeKey]*peer), strangers: lru.New[identity.NodeKey, *peer](maxStrangers)}
}

// get returns the peer with that key, which it creates when the table does not have it.
func (t *peerTable) get(key identity.NodeKey) *peer {
	if p := t.pinned[key]; p != nil {
		return p
	}
	if p, ok := t.strangers.Get(key); ok {
		return p
	}
	perSecond := t.limits.StrangerPackets
	p := &peer{key: key, packets: rate.NewLimiter(rate.Limit(perSecond), burstSeconds*perSecond)}
	p.heard.Store(-1)
	t.strangers.Put(key, p)
	return p
}

// find returns the peer with that key when the table has it.
func (t *peerTable) find(key identity.NodeKey) (*peer, bool) {
	if p := t.pinned[key]; p != nil {
		return p, true
	}
	return t.strangers.Peek(key)
}

func (t *peerTable) allow(p *peer, perSecond int) {
	p.packets.SetLimit(rate.Limit(perSecond))
	p.packets.SetBurst(burstSeconds * perSecond)
}

// admit notes a packet from a node and says whether it may be handled.
func (t *peerTable) admit(key identity.NodeKey) bool {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.get(key)
	p.heard.Store(int64(now.Sub(t.start)))
	if p.failures > 0 {
		p.failures = 0
	}
	p.silentUntil.Store(0)
	if !p.packets.AllowN(now, 1) {
		t.dropped.Add(1)
		return false
	}
	return true
}

// pin returns the peer and keeps it until unpin.
func (t *peerTable) pin(key identity.NodeKey) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.get(key)
	p.streams++
	if p.streams == 1 {
		t.strangers.Delete(key)
		t.pinned[key] = p
	}
	return p
}

func (t *peerTable) unpin(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.streams--
	if p.streams == 0 {
		t.allow(p, t.limits.StrangerPackets)
		delete(t.pinned, p.key)
		t.strangers.Put(p.key, p)
	}
}

// established gives a peer with an open stream its larger allowance.
func (t *peerTable) established(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.allow(p, peerPackets)
}

// allowMany is established for a carrier whose packets are small.
func (t *peerTable) allowMany(p *peer, times int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.allow(p, times*peerPackets)
}

// heardSince reports whether a packet from a node has come since a time.
func (t *peerTable) heardSince(key identity.NodeKey, since time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.find(key)
	return ok && time.Duration(p.heard.Load()) > since
}

// failed notes that a node did not answer.
func (t *peerTable) failed(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.failures++
	if p.failures >= silenceFailures {
		p.failures = 0
		p.silentUntil.Store(int64(time.Since(t.start) + silence))
	}
}

// silent is for how long nothing may be sent to a node.
func (t *peerTable) silent(key identity.NodeKey) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, ok := t.find(key); ok {
		return p.silent(time.Since(t.start))
	}
	return 0
}

// mayReset says whether an RST may be sent to a node now, and counts it.
func (t *peerTable) mayReset(key identity.NodeKey) bool {
	now := time.Since(t.start)
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.get(key)
	if p.resetAt != 0 && now-p.resetAt < resetPause {
		return false
	}
	p.resetAt = max(now, 1)
	return true
}
