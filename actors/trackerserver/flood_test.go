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
func TestNodeTable_ReplayedAnnouncement_KeepsTheTrueNode(t *testing.T) {
	const truth, spare, old = 1, 2, 3
	mallory := identity.NodeKey{9}
	id, now := identity.PublicKey{1}, time.Unix(1e9, 0)
	for name, order := range map[string][]string{"true node first": {"true", "replay"}, "replay first": {"replay", "true"}, "again": {"true", "replay", "replay"}} {
		table := newNodeTable(10)
		for _, who := range order {
			if who == "true" {
				table.announce(nodeAt(truth), id, nodeRecord(truth, 1), now)
				table.announce(nodeAt(spare), id, nodeRecord(spare, 500), now)
				continue
			}
			for client := range uint32(40) {
				table.announce(mallory, id, nodeRecord(old, client), now)
			}
		}
		found := table.lookup(id, now)
		if !names(found, truth) || !names(found, spare) || len(found) > maxNodeRecords {
			t.Errorf("%s: %d records, true node %v, spare %v", name, len(found), names(found, truth), names(found, spare))
		}
		// The owner of the old node does not do better.
		for client := range uint32(40) {
			table.announce(nodeAt(old), id, nodeRecord(old, client+2), now)
		}
		if found := table.lookup(id, now); !names(found, truth) || !names(found, spare) {
			t.Errorf("%s: pushed out by the old node itself", name)
		}
	}
}

// A device that moves is found at its new node only, also when another tracker says
// so.
func TestNodeTable_MovedDevice_Replaced(t *testing.T) {
	id, now := identity.PublicKey{1}, time.Unix(1e9, 0)
	table := newNodeTable(10)
	synced := func(node byte) {
		table.forwarded(id, nodeRecord(node, 1), time.Minute, now.Add(10*time.Minute), now)
	}
	synced(1)
	synced(2)
	if found := table.lookup(id, now); len(found) != 1 || !names(found, 2) {
		t.Errorf("passed on: %v", found)
	}
	table.announce(nodeAt(3), id, nodeRecord(3, 1), now)
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
func TestNodeTable_Flood_NewcomersAndServedStay(t *testing.T) {
	const most = 10 * maxPerAnnouncer
	now := time.Unix(1e9, 0)
	table := newNodeTable(most)
	taken := 0
	for n := range 2 * maxPerAnnouncer {
		if _, ok := table.announce(nodeAt(100), identityAt(n), nodeRecord(100, 1), now); ok {
			taken++
		}
	}
	if taken != maxPerAnnouncer {
		t.Errorf("one node has %d identities", taken)
	}
	if _, ok := table.announce(nodeAt(100), identityAt(0), nodeRecord(100, 1), now); !ok {
		t.Error("an identity of it cannot be announced again")
	}
	served := func(n int) bool { return len(table.lookup(identityAt(n), now)) == 1 }
	for n := range 3 { // a family
		table.announce(nodeAt(1), identityAt(1_000_000+n), nodeRecord(1, 1), now)
	}
	for node := range byte(20) {
		for n := range maxPerAnnouncer {
			table.announce(nodeAt(101+node), identityAt(10_000*int(node+1)+n), nodeRecord(101+node, 1), now)
		}
	}
	if len(table.records) != most {
		t.Fatalf("%d identities", len(table.records))
	}
	for n := range 20 {
		id := identityAt(2_000_000 + n)
		if _, ok := table.announce(nodeAt(byte(30+n)), id, nodeRecord(byte(30+n), 1), now); !ok || !served(2_000_000+n) {
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
		table.announce(mallory, identityAt(2_000_000+n), nodeRecord(byte(30+n), 7), now)
	}
	for n := range 20 {
		table.announce(nodeAt(byte(60+n)), identityAt(3_000_000+n), nodeRecord(byte(60+n), 1), now)
	}
	for n := range 20 {
		if !served(2_000_000+n) && len(table.lookup(identityAt(2_000_000+n), now)) == 0 {
			t.Errorf("newcomer %d was pushed out by a repetition", n)
		}
	}
	table.expire(now.Add(time.Hour))
	if len(table.records) != 0 || len(table.announcers.of) != 0 {
		t.Errorf("%d identities and %d nodes are left", len(table.records), len(table.announcers.of))
	}
	for n, of := range table.announcers.bySize {
		if len(of) != 0 {
			t.Errorf("%d nodes with %d identities are left", len(of), n)
		}
	}
}

// The same for gen1, where addresses stand for nodes.
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
	behind := netip.AddrFrom16([16]byte{0x03, 1, 0, 0, 0, 0, 0, 0, 7})
	if !ownAddress(behind, address(1)) || !ownAddress(address(1), address(1)) || ownAddress(address(2), address(1)) {
		t.Error("a device that has announced itself is not recognised, or another is")
	}
	table.expire(now.Add(2 * tracker.TTL1))
	if len(table.records) != 0 || len(table.announcers.of) != 0 {
		t.Error("something is left")
	}
}
