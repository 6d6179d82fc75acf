// SPDX-License-Identifier: MPL-2.0

package identity

import (
	"sync"

	"filippo.io/edwards25519"
)

// Guard knows values that an identity must not sign for somebody else: node keys
// (a signature over one is an announcement) and challenges of our own (a
// signature over one is our own answer, reflected). Guards are asked from many
// goroutines at once.
type Guard interface {
	// Refuses reports whether value must not be signed.
	Refuses(value [32]byte) bool
}

// GuardFunc makes a guard of a function, for one that looks into a store or a
// table.
type GuardFunc func(value [32]byte) bool

// Refuses calls f.
func (f GuardFunc) Refuses(value [32]byte) bool { return f(value) }

// GuardSet refuses what any of its guards refuses. It fails closed: with no
// guard in it, or a nil one, it refuses everything.
type GuardSet []Guard

// Refuses asks the guards in turn.
func (s GuardSet) Refuses(value [32]byte) bool {
	for _, g := range s {
		if g == nil || g.Refuses(value) {
			return true
		}
	}
	return len(s) == 0
}

// Keys refuses a fixed set of keys; see [KeyGuard].
type Keys map[[32]byte]struct{}

// KeyGuard returns a guard that refuses these node keys: our own, those of
// trackers, mediators and file servers.
func KeyGuard(nodes ...NodeKey) Keys {
	set := make(Keys, len(nodes))
	for _, n := range nodes {
		set[n] = struct{}{}
	}
	return set
}

// Refuses looks the value up.
func (k Keys) Refuses(value [32]byte) bool {
	_, known := k[value]
	return known
}

// CurvePoints refuses every value that could be a public key at all, known to us
// or not. It closes the hole for good, at a price: half of all random challenges
// look like one, so every second handshake with an app fails. Challenges made by
// this project never do, so between its nodes it costs nothing.
type CurvePoints struct{}

// Refuses decodes the value as a point.
func (CurvePoints) Refuses(value [32]byte) bool { return IsCurvePoint(value) }

// IsCurvePoint reports whether value decodes as a point of the curve, in
// canonical form or not.
func IsCurvePoint(value [32]byte) bool {
	_, err := new(edwards25519.Point).SetBytes(value[:])
	return err == nil
}

// Issued remembers the challenges that we have sent, so that none is signed when
// somebody reflects it to us on another connection. It has no clock: its owner
// calls [Issued.Rotate] at an interval, and a challenge is remembered for at
// least that long and at most twice as long. It is safe for concurrent use.
type Issued struct {
	limit int

	mu sync.Mutex
	// A challenge goes into young. When young is full, or on Rotate, it becomes
	// old and what was old is forgotten: at most 2*limit are held.
	young, old map[Challenge]struct{}
}

// NewIssued makes an empty memory. When more than limit challenges are issued
// within one interval, the oldest are forgotten early. That does no harm as long
// as limit is above the number of handshakes that can be open at once: a
// signature over the challenge of a dead one is worth nothing.
func NewIssued(limit int) *Issued {
	return &Issued{limit: max(limit, 1), young: make(map[Challenge]struct{})}
}

// Add remembers a challenge, before it is sent.
func (i *Issued) Add(c Challenge) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.young) >= i.limit {
		i.rotateLocked()
	}
	i.young[c] = struct{}{}
}

// Refuses reports whether value is a challenge of ours.
func (i *Issued) Refuses(value [32]byte) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, young := i.young[value]
	_, old := i.old[value]
	return young || old
}

// Rotate forgets what was issued before the last but one interval.
func (i *Issued) Rotate() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.rotateLocked()
}

func (i *Issued) rotateLocked() {
	i.old, i.young = i.young, make(map[Challenge]struct{})
}
