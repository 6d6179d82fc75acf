// SPDX-License-Identifier: MPL-2.0

package trackerserver

import (
	"slices"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

// maxTrackerRecords is how many devices of one identity are kept. The reference
// has no limit; people have a phone, a node, a spare.
const maxTrackerRecords = 16

// trackerRecord is a device of an identity, with how long it counts.
type trackerRecord struct {
	tracker.Record // without ExpiresMS, which depends on when it is asked for
	ttl            time.Duration
	expires        time.Time
	// from is the node that announced it. An announcement has no date and can be
	// repeated by anybody, but only the node itself can send it under its own key.
	from announcer
	// passedOn says that another tracker has passed it on: nobody knows who announced
	// it, and it counts as the node's.
	passedOn bool
}

// own reports whether the node has announced itself.
func (r trackerRecord) own() bool { return !r.passedOn && r.from == announcer(r.Node) }

// nodeTable is what a tracker knows. It has no clock and no lock: one actor
// owns it and tells it the time.
type nodeTable struct {
	max        int // identities
	records    map[identity.PublicKey][]trackerRecord
	announcers *announcers
}

func newNodeTable(maxIdentities int) *nodeTable {
	return &nodeTable{max: maxIdentities, records: make(map[identity.PublicKey][]trackerRecord), announcers: newAnnouncers()}
}

// announce is announceFrom for a node that announces itself.
func (t *nodeTable) announce(id identity.PublicKey, r tracker.Record, now time.Time) (ttl time.Duration, ok bool) {
	return t.announceFrom(r.Node, id, r, now)
}

// announceFrom stores a record that a node has announced and whose signature has
// been verified, and returns for how long it counts. The time doubles with each
// repetition by the same device at the same node, so that steady nodes ask rarely.
//
// A node has at most maxPerAnnouncer identities. While the table is full an
// identity that it does not know takes the place of one of the node with the most,
// when that has at least two more than the newcomer's; else it is refused: whoever
// floods the table pushes out themselves.
func (t *nodeTable) announceFrom(from identity.NodeKey, id identity.PublicKey, r tracker.Record, now time.Time) (ttl time.Duration, ok bool) {
	if !t.admit(announcer(from), id) {
		return 0, false
	}
	var previous time.Duration
	for _, o := range t.records[id] {
		if o.ClientID == r.ClientID && o.Node == r.Node {
			previous = o.ttl
		}
	}
	ttl = tracker.NextTTL(previous)
	t.insert(id, trackerRecord{Record: r, ttl: ttl, expires: now.Add(ttl + tracker.Grace), from: announcer(from)})
	return ttl, true
}

// put stores a record that another tracker passes on, whose signature has been
// verified, unless there is nothing new in it: what one has passed on may come back,
// and then it has less time to live. A full table is as in announceFrom.
func (t *nodeTable) put(id identity.PublicKey, r trackerRecord, now time.Time) bool {
	if !r.expires.After(now) {
		return false
	}
	for _, o := range t.records[id] {
		if o.ClientID == r.ClientID && o.Node == r.Node && !r.expires.After(o.expires) {
			return false
		}
	}
	r.from, r.passedOn = announcer(r.Node), true
	if !t.admit(r.from, id) {
		return false
	}
	t.insert(id, r)
	return true
}

// admit reports whether a record of an identity may be stored, and makes room for
// it.
func (t *nodeTable) admit(from announcer, id identity.PublicKey) bool {
	if !t.announcers.allows(from, id) {
		return false
	}
	if _, known := t.records[id]; known || len(t.records) < t.max {
		return true
	}
	largest, ok := t.announcers.largest()
	if !ok || t.announcers.count(largest) < t.announcers.count(from)+2 {
		return false
	}
	return t.evict(largest)
}

// evict removes, of what a node has announced, the identity that expires first. It
// reports whether there is room then: an identity with records of other nodes
// keeps those.
func (t *nodeTable) evict(from announcer) bool {
	var first identity.PublicKey
	var expires time.Time
	for id := range t.announcers.of[from] {
		for _, r := range t.records[id] {
			if r.from == from && (expires.IsZero() || r.expires.Before(expires)) {
				first, expires = id, r.expires
			}
		}
	}
	kept := slices.DeleteFunc(slices.Clone(t.records[first]), func(r trackerRecord) bool { return r.from == from })
	t.set(first, kept)
	return len(kept) == 0
}

// insert puts a record first: the newest is, and there is one for each device. A
// device that a node has announced for itself is not replaced by what another node
// says of it: both stay.
func (t *nodeTable) insert(id identity.PublicKey, r trackerRecord) {
	fresh := append(make([]trackerRecord, 0, maxTrackerRecords+1), r)
	for _, o := range t.records[id] {
		if o.ClientID != r.ClientID || o.own() && !r.own() && o.Node != r.Node {
			fresh = append(fresh, o)
		}
	}
	if len(fresh) > maxTrackerRecords {
		fresh = dropExcess(fresh)
	}
	t.set(id, fresh)
}

// dropExcess drops one record: of the node key with the most, as a person has one
// device there, the oldest; among nodes with as many, one that another node has
// announced.
func dropExcess(records []trackerRecord) []trackerRecord {
	count := make(map[identity.NodeKey]int)
	for _, r := range records {
		count[r.Node]++
	}
	worst := len(records) - 1
	for i := len(records) - 1; i >= 0; i-- { // the oldest first
		r, w := records[i], records[worst]
		if count[r.Node] > count[w.Node] || count[r.Node] == count[w.Node] && w.own() && !r.own() {
			worst = i
		}
	}
	return slices.Delete(records, worst, worst+1)
}

// set replaces the records of an identity and counts who has announced it.
func (t *nodeTable) set(id identity.PublicKey, records []trackerRecord) {
	before := t.records[id]
	for _, r := range before {
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

// lookup returns the records of an identity that have not expired, newest first.
func (t *nodeTable) lookup(id identity.PublicKey, now time.Time) []tracker.Record {
	var live []tracker.Record
	for _, r := range t.records[id] {
		if r.expires.After(now) {
			r.ExpiresMS = uint64(r.expires.Sub(now).Milliseconds())
			live = append(live, r.Record)
		}
	}
	return live
}

// collect forgets what has expired.
func (t *nodeTable) collect(now time.Time) {
	for id, records := range t.records {
		if slices.ContainsFunc(records, func(r trackerRecord) bool { return !r.expires.After(now) }) {
			t.set(id, slices.DeleteFunc(slices.Clone(records), func(r trackerRecord) bool { return !r.expires.After(now) }))
		}
	}
}
