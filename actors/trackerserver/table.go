// SPDX-License-Identifier: MPL-2.0

package trackerserver

import (
	"encoding/binary"
	"iter"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/tracker"
)

const (
	// maxNodeRecords is how many devices of one identity a nodeTable has. The reference
	// has no limit; people have a phone, a node, a spare.
	maxNodeRecords = 16
	// maxPerAnnouncer is how many identities one node may announce. A family's node has
	// a few; who has more needs another node for them.
	maxPerAnnouncer = 64
)

// place is where a device is: a node key, or an address and a port in the first bytes.
type place [32]byte

func placeOf(address netip.AddrPort) (p place) {
	raw := address.Addr().As16()
	binary.BigEndian.PutUint16(p[copy(p[:], raw[:]):], address.Port())
	return p
}

// announcer is the sender of an announcement: a node key, or the address of a node in
// the first bytes.
type announcer [32]byte

// announcerAt is the node at the address that a packet comes from.
func announcerAt(from net.Addr) (a announcer) {
	if udp, ok := from.(*net.UDPAddr); ok {
		raw := udp.AddrPort().Addr().As16()
		copy(a[:], raw[:])
	}
	return a
}

func (a announcer) addr() netip.Addr { return netip.AddrFrom16([16]byte(a[:16])) }

// record is a device of an identity, until it expires.
type record[V any] struct {
	// value is what a lookup answers.
	value  V
	client uint32
	place  place
	// from is the node that announced it. An announcement has no date and can be
	// repeated by anybody, but only the node itself can send it under its own key.
	from announcer
	// own says that the device has announced itself.
	own     bool
	ttl     time.Duration
	expires time.Time
}

// table has the records of identities. Its values are the records of one version of the
// protocol. It has no clock and no lock.
//
// A node has at most maxPerAnnouncer identities. When the table is full, an identity that
// it does not have evicts one of the node with the most, when that node has at least two
// more than the newcomer's; otherwise the table refuses it. So a node that floods the
// table evicts its own identities.
type table[V any] struct {
	maxIdentities int
	maxRecords    int // of one identity
	records       map[identity.PublicKey][]record[V]
	announcers    *announcers
}

func newTable[V any](maxIdentities, maxRecords int) table[V] {
	return table[V]{
		maxIdentities: maxIdentities, maxRecords: maxRecords,
		records: make(map[identity.PublicKey][]record[V]), announcers: newAnnouncers(),
	}
}

// admit reports whether a record of an identity may be stored, and evicts another
// identity when that is necessary.
func (t *table[V]) admit(from announcer, id identity.PublicKey) bool {
	if !t.announcers.allows(from, id) {
		return false
	}
	if _, known := t.records[id]; known || len(t.records) < t.maxIdentities {
		return true
	}
	largest, ok := t.announcers.largest()
	if !ok || t.announcers.count(largest) < t.announcers.count(from)+2 {
		return false
	}
	return t.evict(largest)
}

// evict removes, of what a node has announced, the identity that expires first. It
// reports whether there is space then: an identity with records of other nodes keeps
// those.
func (t *table[V]) evict(from announcer) bool {
	var first identity.PublicKey
	var expires time.Time
	for _, id := range t.announcers.of[from] {
		for _, r := range t.records[id] {
			if r.from == from && (expires.IsZero() || r.expires.Before(expires)) {
				first, expires = id, r.expires
			}
		}
	}
	kept := slices.DeleteFunc(slices.Clone(t.records[first]), func(r record[V]) bool { return r.from == from })
	t.set(first, kept)
	return len(kept) == 0
}

// find returns the record of a device at a place.
func (t *table[V]) find(id identity.PublicKey, client uint32, at place) (record[V], bool) {
	for _, r := range t.records[id] {
		if r.client == client && r.place == at {
			return r, true
		}
	}
	return record[V]{}, false
}

// insert adds the newest record, which replaces the one of the same device. What another
// node says of a device does not replace what the device itself has announced: both stay.
func (t *table[V]) insert(id identity.PublicKey, r record[V]) {
	fresh := append(make([]record[V], 0, len(t.records[id])+1), r) // most identities have one
	for _, o := range t.records[id] {
		if o.client != r.client || o.own && !r.own && o.place != r.place {
			fresh = append(fresh, o)
		}
	}
	if len(fresh) > t.maxRecords {
		fresh = dropExcess(fresh)
	}
	t.set(id, fresh)
}

// dropExcess drops one record: the oldest of the place with the most, as a person has one
// device there; of places with as many, one that another node has announced.
func dropExcess[V any](records []record[V]) []record[V] {
	count := make(map[place]int)
	for _, r := range records {
		count[r.place]++
	}
	worst := len(records) - 1
	for i := len(records) - 1; i >= 0; i-- { // the oldest first
		r, w := records[i], records[worst]
		if count[r.place] > count[w.place] || count[r.place] == count[w.place] && w.own && !r.own {
			worst = i
		}
	}
	return slices.Delete(records, worst, worst+1)
}

// set replaces the records of an identity and counts its announcers.
func (t *table[V]) set(id identity.PublicKey, records []record[V]) {
	for _, r := range t.records[id] {
		t.announcers.remove(r.from, id)
	}
	for _, r := range records {
		t.announcers.add(r.from, id)
	}
	if len(records) == 0 {
		delete(t.records, id)
		return
	}
	t.records[id] = records
}

// live iterates over the records of an identity that have not expired, newest first.
func (t *table[V]) live(id identity.PublicKey, now time.Time) iter.Seq[*record[V]] {
	return func(yield func(*record[V]) bool) {
		records := t.records[id]
		for i := range records {
			if r := &records[i]; r.expires.After(now) && !yield(r) {
				return
			}
		}
	}
}

// expire removes the records that have expired.
func (t *table[V]) expire(now time.Time) {
	expired := func(r record[V]) bool { return !r.expires.After(now) }
	for id, records := range t.records {
		if slices.ContainsFunc(records, expired) {
			t.set(id, slices.DeleteFunc(slices.Clone(records), expired))
		}
	}
}

// nodeTable has the node keys of identities. Their values have no ExpiresMS, which
// depends on the time of the lookup.
type nodeTable struct{ table[tracker.Record] }

func newNodeTable(maxIdentities int) *nodeTable {
	return &nodeTable{newTable[tracker.Record](maxIdentities, maxNodeRecords)}
}

// announce stores a record that a node has announced and whose signature has been
// verified, and returns its TTL. The TTL doubles with each repetition by the same device
// at the same node, so that steady nodes ask rarely. It returns false when the table
// refuses it.
func (t *nodeTable) announce(from identity.NodeKey, id identity.PublicKey, r tracker.Record, now time.Time) (ttl time.Duration, ok bool) {
	if !t.admit(announcer(from), id) {
		return 0, false
	}
	previous, _ := t.find(id, r.ClientID, place(r.Node))
	ttl = tracker.NextTTL(previous.ttl)
	t.insert(id, record[tracker.Record]{
		value: r, client: r.ClientID, place: place(r.Node), from: announcer(from), own: from == r.Node,
		ttl: ttl, expires: now.Add(ttl + tracker.Grace),
	})
	return ttl, true
}

// forwarded stores a record that another tracker has forwarded, whose signature has been
// verified. Its announcer is unknown, so it counts as the node's. It returns false when
// there is nothing new in it, as when a record of ours comes back, which then has less
// time to live, and when the table refuses it.
func (t *nodeTable) forwarded(id identity.PublicKey, r tracker.Record, ttl time.Duration, expires, now time.Time) bool {
	if !expires.After(now) {
		return false
	}
	if o, known := t.find(id, r.ClientID, place(r.Node)); known && !expires.After(o.expires) {
		return false
	}
	from := announcer(r.Node)
	if !t.admit(from, id) {
		return false
	}
	t.insert(id, record[tracker.Record]{value: r, client: r.ClientID, place: place(r.Node), from: from, ttl: ttl, expires: expires})
	return true
}

// lookup returns what a tracker answers, newest first.
func (t *nodeTable) lookup(id identity.PublicKey, now time.Time) []tracker.Record {
	var found []tracker.Record
	for r := range t.live(id, now) {
		value := r.value
		value.ExpiresMS = uint64(r.expires.Sub(now).Milliseconds())
		found = append(found, value)
	}
	return found
}

// addressTable has the addresses of identities, for gen1.
type addressTable struct{ table[tracker.Record1] }

func newAddressTable(maxIdentities int) *addressTable {
	return &addressTable{newTable[tracker.Record1](maxIdentities, tracker.MaxRecords1)}
}

// announce stores a record that a node has announced and whose signature has been
// verified. It returns false when the table refuses it.
func (t *addressTable) announce(from announcer, id identity.PublicKey, r tracker.Record1, now time.Time) bool {
	if !t.admit(from, id) {
		return false
	}
	r.Life = tracker.TTL1
	t.insert(id, record[tracker.Record1]{
		value: r, client: r.ClientID, place: placeOf(r.Address), from: from, own: ownAddress(r.Address.Addr(), from.addr()),
		ttl: tracker.TTL1, expires: now.Add(tracker.TTL1),
	})
	return true
}

// ownAddress reports whether the announcer at source is the device itself, or the node
// that the device lies behind.
func ownAddress(device, source netip.Addr) bool {
	return device == source || legacy.InSubnetOf(device, source)
}

// lookup returns what a tracker answers, newest first.
func (t *addressTable) lookup(id identity.PublicKey, now time.Time) []tracker.Record1 {
	var found []tracker.Record1
	for r := range t.live(id, now) {
		found = append(found, r.value)
	}
	return found
}

// announcers counts the identities that each node has announced, so that none takes a
// tracker's table for itself. It has no lock.
type announcers struct {
	of map[announcer][]identity.PublicKey // most have one; no order
	// bySize are the announcers by how many identities they have.
	bySize [maxPerAnnouncer + 1]map[announcer]struct{}
}

func newAnnouncers() *announcers {
	return &announcers{of: make(map[announcer][]identity.PublicKey)}
}

// allows reports whether a node may announce an identity.
func (a *announcers) allows(from announcer, id identity.PublicKey) bool {
	return len(a.of[from]) < maxPerAnnouncer || slices.Contains(a.of[from], id)
}

// count is the number of identities of a node.
func (a *announcers) count(from announcer) int { return len(a.of[from]) }

func (a *announcers) add(from announcer, id identity.PublicKey) {
	if ids := a.of[from]; !slices.Contains(ids, id) {
		a.set(from, append(ids[:len(ids):len(ids)], id))
	}
}

func (a *announcers) remove(from announcer, id identity.PublicKey) {
	ids := a.of[from]
	if at := slices.Index(ids, id); at >= 0 {
		a.set(from, slices.Delete(slices.Clone(ids), at, at+1))
	}
}

// set changes what a node has announced.
func (a *announcers) set(from announcer, ids []identity.PublicKey) {
	delete(a.bySize[len(a.of[from])], from)
	if len(ids) == 0 {
		delete(a.of, from)
		return
	}
	a.of[from] = ids
	if a.bySize[len(ids)] == nil {
		a.bySize[len(ids)] = make(map[announcer]struct{})
	}
	a.bySize[len(ids)][from] = struct{}{}
}

// largest returns a node with the most identities, false when there is none.
func (a *announcers) largest() (announcer, bool) {
	for n := maxPerAnnouncer; n > 0; n-- {
		for from := range a.bySize[n] {
			return from, true
		}
	}
	return announcer{}, false
}
