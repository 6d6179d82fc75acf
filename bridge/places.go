// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"errors"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

const (
	// deliveriesAtOnce bounds how many conversations are delivered at the same time, not
	// counting those that are slow.
	deliveriesAtOnce = 64
	// slowAfter is after how long a delivery is slow and gives its place to others: its
	// room, or what it asks the homeserver for, is slow, and the others may not be.
	slowAfter = time.Second
	// maxDeliveries bounds all deliveries, slow ones included.
	maxDeliveries = 256
)

// errAwaitAlone means that a delivery has to be the only one for its contact, and is
// not. It is delivered when it is.
var errAwaitAlone = errors.New("another account's conversation with the same contact is being delivered")

// places decides which conversations are delivered at the same time. Conversations of
// several accounts with the same contact share a ghost, which bridgev2 does not lock.
// While the library only reads it, which is when its name and picture are settled,
// they do not wait for each other. It is not safe for concurrent use.
type places struct {
	quick, all int
	running    map[identity.PublicKey]int  // deliveries by contact
	alone      map[identity.PublicKey]bool // contacts with one that may change the ghost
	settled    map[identity.PublicKey]bool // contacts whose ghost the library only reads
}

func newPlaces() places {
	return places{
		running: make(map[identity.PublicKey]int), alone: make(map[identity.PublicKey]bool), settled: make(map[identity.PublicKey]bool),
	}
}

// take gives a place to a delivery for a contact, if there is one. alone says that it
// is the only one for its contact.
func (p *places) take(contact identity.PublicKey) (alone, ok bool) {
	alone = !p.settled[contact] && !contact.IsZero() // what concerns an account has no ghost
	if p.quick >= deliveriesAtOnce || p.all >= maxDeliveries || p.alone[contact] || alone && p.running[contact] > 0 {
		return false, false
	}
	p.quick++
	p.all++
	p.running[contact]++
	if alone {
		p.alone[contact] = true
	}
	return alone, true
}

// slow lets a delivery go on without its place.
func (p *places) slow() { p.quick-- }

// leave ends a delivery, and settles the ghost of its contact or not.
func (p *places) leave(contact identity.PublicKey, slow, settled bool) {
	if !slow {
		p.quick--
	}
	p.all--
	if p.running[contact]--; p.running[contact] == 0 {
		delete(p.running, contact)
	}
	delete(p.alone, contact)
	if settled {
		p.settled[contact] = true
	} else {
		delete(p.settled, contact)
	}
}
