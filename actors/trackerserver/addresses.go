// SPDX-License-Identifier: MPL-2.0

package trackerserver

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/tracker"
)

// addressTable is what a tracker of generation 1 knows: where devices are by their
// addresses. The rules are those of trackerTable. The lock of the tracker actor
// guards it.
type addressTable struct {
	max        int
	records    map[identity.PublicKey][]addressRecord
	announcers *announcers
}

type addressRecord struct {
	tracker.Record1
	expires time.Time
	from    announcer
}

// own reports whether the device has announced itself, or the node that it lies
// behind has for it.
func (r addressRecord) own() bool {
	address, source := r.Address.Addr(), r.from.addr()
	return address == source || legacy.InSubnetOf(address, source)
}

func newAddressTable(maxIdentities int) *addressTable {
	return &addressTable{max: maxIdentities, records: make(map[identity.PublicKey][]addressRecord), announcers: newAnnouncers()}
}

// announcerAt is the node that a packet of generation 1 comes from.
func announcerAt(from net.Addr) (a announcer) {
	if udp, ok := from.(*net.UDPAddr); ok {
		raw := udp.AddrPort().Addr().As16()
		copy(a[:], raw[:])
	}
	return a
}

func (a announcer) addr() netip.Addr { return netip.AddrFrom16([16]byte(a[:16])) }

// announce stores a record that a node has announced and whose signature has been
// verified; see trackerTable.announceFrom.
func (t *addressTable) announce(from announcer, id identity.PublicKey, r tracker.Record1, now time.Time) bool {
	if !t.admit(from, id) {
		return false
	}
	r.Life = tracker.TTL1
	added := addressRecord{r, now.Add(tracker.TTL1), from}
	fresh := []addressRecord{added}
	for _, o := range t.records[id] {
		if o.ClientID != r.ClientID || o.own() && !added.own() && o.Address != r.Address {
			fresh = append(fresh, o)
		}
	}
	if len(fresh) > tracker.MaxRecords1 {
		fresh = dropExcessAddress(fresh)
	}
	t.set(id, fresh)
	return true
}

// admit is trackerTable.admit.
func (t *addressTable) admit(from announcer, id identity.PublicKey) bool {
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
	var first identity.PublicKey
	var expires time.Time
	for other := range t.announcers.of[largest] {
		for _, r := range t.records[other] {
			if r.from == largest && (expires.IsZero() || r.expires.Before(expires)) {
				first, expires = other, r.expires
			}
		}
	}
	kept := slices.DeleteFunc(slices.Clone(t.records[first]), func(r addressRecord) bool { return r.from == largest })
	t.set(first, kept)
	return len(kept) == 0
}

// dropExcessAddress is dropExcess.
func dropExcessAddress(records []addressRecord) []addressRecord {
	count := make(map[netip.AddrPort]int)
	for _, r := range records {
		count[r.Address]++
	}
	worst := len(records) - 1
	for i := len(records) - 1; i >= 0; i-- { // the oldest first
		r, w := records[i], records[worst]
		if count[r.Address] > count[w.Address] || count[r.Address] == count[w.Address] && w.own() && !r.own() {
			worst = i
		}
	}
	return slices.Delete(records, worst, worst+1)
}

func (t *addressTable) set(id identity.PublicKey, records []addressRecord) {
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

func (t *addressTable) lookup(id identity.PublicKey, now time.Time) []tracker.Record1 {
	var live []tracker.Record1
	for _, r := range t.records[id] {
		if r.expires.After(now) {
			live = append(live, r.Record1)
		}
	}
	return live
}

func (t *addressTable) collect(now time.Time) {
	for id, records := range t.records {
		if slices.ContainsFunc(records, func(r addressRecord) bool { return !r.expires.After(now) }) {
			t.set(id, slices.DeleteFunc(slices.Clone(records), func(r addressRecord) bool { return !r.expires.After(now) }))
		}
	}
}
