// SPDX-License-Identifier: MPL-2.0

package actors

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
}

// trackerTable is what a tracker knows. It has no clock and no lock: one actor
// owns it and tells it the time.
type trackerTable struct {
	max     int // identities
	records map[identity.PublicKey][]trackerRecord
}

func newTrackerTable(maxIdentities int) *trackerTable {
	return &trackerTable{max: maxIdentities, records: make(map[identity.PublicKey][]trackerRecord)}
}

// announce stores a record whose signature has been verified and returns for how
// long it counts. The time doubles with each repetition by the same device at the
// same node, so that steady nodes ask rarely. While the table is full it takes no
// identity it does not know: whoever floods it cannot push out those it serves,
// and new ones find another tracker.
func (t *trackerTable) announce(id identity.PublicKey, r tracker.Record, now time.Time) (ttl time.Duration, ok bool) {
	old, known := t.records[id]
	if !known && len(t.records) >= t.max {
		return 0, false
	}
	var previous time.Duration
	for _, o := range old {
		if o.ClientID == r.ClientID && o.Node == r.Node {
			previous = o.ttl
		}
	}
	ttl = tracker.NextTTL(previous)
	t.insert(id, trackerRecord{Record: r, ttl: ttl, expires: now.Add(ttl + tracker.Grace)})
	return ttl, true
}

// put stores a record that another tracker passes on, whose signature has been
// verified, unless there is nothing new in it: what one has passed on may come back,
// and then it has less time to live. A full table is as in announce.
func (t *trackerTable) put(id identity.PublicKey, r trackerRecord, now time.Time) bool {
	old, known := t.records[id]
	if !known && len(t.records) >= t.max || !r.expires.After(now) {
		return false
	}
	for _, o := range old {
		if o.ClientID == r.ClientID && o.Node == r.Node && !r.expires.After(o.expires) {
			return false
		}
	}
	t.insert(id, r)
	return true
}

// insert puts a record first: the newest is, and there is one for each device.
func (t *trackerTable) insert(id identity.PublicKey, r trackerRecord) {
	old := t.records[id]
	fresh := make([]trackerRecord, 0, min(len(old)+1, maxTrackerRecords))
	fresh = append(fresh, r)
	for _, o := range old {
		if o.ClientID != r.ClientID && len(fresh) < maxTrackerRecords {
			fresh = append(fresh, o)
		}
	}
	t.records[id] = fresh
}

// lookup returns the records of an identity that have not expired, newest first.
func (t *trackerTable) lookup(id identity.PublicKey, now time.Time) []tracker.Record {
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
func (t *trackerTable) collect(now time.Time) {
	for id, records := range t.records {
		records = slices.DeleteFunc(records, func(r trackerRecord) bool { return !r.expires.After(now) })
		if len(records) == 0 {
			delete(t.records, id)
		} else {
			t.records[id] = records
		}
	}
}
