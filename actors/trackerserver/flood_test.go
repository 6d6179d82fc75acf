// SPDX-License-Identifier: MPL-2.0

package trackerserver

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

func identityAt(n int) (id identity.PublicKey) {
	binary.BigEndian.PutUint64(id[:], uint64(n)+1)
	return id
}

func names(records []tracker.Record, node byte) bool {
	for _, r := range records {
		if r.Node == (identity.NodeKey{node}) {
			return true
		}
	}
	return false
}

// An old, valid announcement can be repeated by anybody, under any client id. It
// pushes out neither the node where the identity is, nor its other devices.
func TestTrackerTable_ReplayedAnnouncement_KeepsTheTrueNode(t *testing.T) {
	const truth, spare, old = 1, 2, 3
	mallory := identity.NodeKey{9}
	id, now := identity.PublicKey{1}, time.Unix(1e9, 0)
	for name, order := range map[string][]string{"true node first": {"true", "replay"}, "replay first": {"replay", "true"}, "again": {"true", "replay", "replay"}} {
		table := newNodeTable(10)
		for _, who := range order {
			if who == "true" {
				table.announce(id, record(truth, 1), now)
				table.announce(id, record(spare, 500), now)
				continue
			}
			for client := range uint32(40) {
				table.announceFrom(mallory, id, record(old, client), now)
			}
		}
		found := table.lookup(id, now)
		if !names(found, truth) || !names(found, spare) || len(found) > maxTrackerRecords {
			t.Errorf("%s: %d records, true node %v, spare %v", name, len(found), names(found, truth), names(found, spare))
		}
		// Whoever has the old node does not do better.
		for client := range uint32(40) {
			table.announce(id, record(old, client+2), now)
		}
		if found := table.lookup(id, now); !names(found, truth) || !names(found, spare) {
			t.Errorf("%s: pushed out by the old node itself", name)
		}
	}
}

// A device that moves is found at its new node only, also when another tracker says
// so.
func TestTrackerTable_MovedDevice_Replaced(t *testing.T) {
	id, now := identity.PublicKey{1}, time.Unix(1e9, 0)
	table := newNodeTable(10)
	synced := func(node byte) {
		table.put(id, trackerRecord{Record: record(node, 1), ttl: time.Minute, expires: now.Add(10 * time.Minute)}, now)
	}
	synced(1)
	synced(2)
	if found := table.lookup(id, now); len(found) != 1 || !names(found, 2) {
		t.Errorf("passed on: %v", found)
	}
	table.announce(id, record(3, 1), now)
	if found := table.lookup(id, now); len(found) != 1 || !names(found, 3) {
		t.Errorf("announced: %v", found)
	}
	synced(4) // perhaps an old one, repeated elsewhere
	if found := table.lookup(id, now); len(found) != 2 || !names(found, 3) {
		t.Errorf("passed on after it was announced here: %v", found)
	}
}

// A node announces at most 64 identities, and no number of nodes that do so keeps
// newcomers out, or pushes out those whose node has a few.
func TestTrackerTable_Flood_NewcomersAndServedStay(t *testing.T) {
	const most = 10 * maxPerAnnouncer
	now := time.Unix(1e9, 0)
	table := newNodeTable(most)
	taken := 0
	for n := range 2 * maxPerAnnouncer {
		if _, ok := table.announce(identityAt(n), record(100, 1), now); ok {
			taken++
		}
	}
	if taken != maxPerAnnouncer {
		t.Errorf("one node has %d identities", taken)
	}
	if _, ok := table.announce(identityAt(0), record(100, 1), now); !ok {
		t.Error("an identity of it cannot be announced again")
	}
	served := func(n int) bool { return len(table.lookup(identityAt(n), now)) == 1 }
	for n := range 3 { // a family
		table.announce(identityAt(1_000_000+n), record(1, 1), now)
	}
	for node := range byte(20) {
		for n := range maxPerAnnouncer {
			table.announce(identityAt(10_000*int(node+1)+n), record(101+node, 1), now)
		}
	}
	if len(table.records) != most {
		t.Fatalf("%d identities", len(table.records))
	}
	for n := range 20 {
		id := identityAt(2_000_000 + n)
		if _, ok := table.announce(id, record(byte(30+n), 1), now); !ok || !served(2_000_000+n) {
			t.Fatalf("newcomer %d is refused", n)
		}
		if len(table.records) > most {
			t.Fatalf("%d identities", len(table.records))
		}
	}
	for n := range 3 {
		if !served(1_000_000 + n) {
			t.Errorf("the family's %d was pushed out", n)
		}
	}
	// Somebody who repeats others' announcements takes no place of theirs.
	mallory := identity.NodeKey{250}
	for n := range 20 {
		table.announceFrom(mallory, identityAt(2_000_000+n), record(byte(30+n), 7), now)
	}
	for n := range 20 {
		table.announce(identityAt(3_000_000+n), record(byte(60+n), 1), now)
	}
	for n := range 20 {
		if !served(2_000_000+n) && len(table.lookup(identityAt(2_000_000+n), now)) == 0 {
			t.Errorf("newcomer %d was pushed out by a repetition", n)
		}
	}
	table.collect(now.Add(time.Hour))
	if len(table.records) != 0 || len(table.announcers.of) != 0 {
		t.Errorf("%d identities and %d nodes are left", len(table.records), len(table.announcers.of))
	}
	for n, of := range table.announcers.bySize {
		if len(of) != 0 {
			t.Errorf("%d nodes with %d identities are left", len(of), n)
		}
	}
}

// The same for generation 1, where addresses stand for nodes.
func TestAddressTable_FloodAndReplay(t *testing.T) {
	now := time.Unix(1e9, 0)
	address := func(b byte) netip.Addr { return netip.AddrFrom16([16]byte{0x02, b}) }
	from := func(b byte) announcer { return announcerAt(&net.UDPAddr{IP: net.IP(address(b).AsSlice()), Port: 5050}) }
	at := func(b byte, client uint32) tracker.Record1 {
		return tracker.Record1{Layout: tracker.LayoutAddress, Address: netip.AddrPortFrom(address(b), 5050), ClientID: client}
	}
	found := func(table *addressTable, id identity.PublicKey, b byte) bool {
		for _, r := range table.lookup(id, now) {
			if r.Address.Addr() == address(b) {
				return true
			}
		}
		return false
	}
	table := newAddressTable(2 * maxPerAnnouncer)
	id := identityAt(-5)
	table.announce(from(1), id, at(1, 1), now)
	for client := range uint32(40) {
		table.announce(from(9), id, at(3, client), now)
	}
	if !found(table, id, 1) || len(table.lookup(id, now)) > tracker.MaxRecords1 {
		t.Errorf("the true address is gone: %v", table.lookup(id, now))
	}
	for node := range byte(10) {
		for n := range 2 * maxPerAnnouncer {
			table.announce(from(100+node), identityAt(1000*int(node)+n), at(100+node, 1), now)
		}
	}
	if len(table.records) != 2*maxPerAnnouncer || !found(table, id, 1) {
		t.Errorf("%d identities", len(table.records))
	}
	if !table.announce(from(50), identityAt(-7), at(50, 1), now) || !found(table, identityAt(-7), 50) {
		t.Error("a newcomer is refused")
	}
	behind := addressRecord{Record1: tracker.Record1{Address: netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x03, 1, 0, 0, 0, 0, 0, 0, 7}), 5050)}, from: from(1)}
	if !behind.own() || (addressRecord{Record1: at(2, 1), from: from(1)}).own() {
		t.Error("who has announced itself is not recognised")
	}
	table.collect(now.Add(2 * tracker.TTL1))
	if len(table.records) != 0 || len(table.announcers.of) != 0 {
		t.Error("something is left")
	}
}
