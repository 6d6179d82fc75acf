// SPDX-License-Identifier: MPL-2.0

package trackerserver

import (
	"testing"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

func record(node byte, clientID uint32) tracker.Record {
	return tracker.Record{Node: identity.NodeKey{node}, ClientID: clientID}
}

func TestTrackerTableDoublesTheTimeOfSteadyDevices(t *testing.T) {
	table, now := newNodeTable(10), time.Unix(1e9, 0)
	id := identity.PublicKey{1}
	for i, want := range []time.Duration{4, 8, 16, 16} {
		ttl, ok := table.announce(id, record(1, 1), now)
		if !ok || ttl != want*time.Minute {
			t.Errorf("announcement %d: %v %v, want %v minutes", i, ttl, ok, want)
		}
	}
	if ttl, _ := table.announce(id, record(2, 1), now); ttl != 4*time.Minute {
		t.Errorf("at another node: %v, want it to begin anew", ttl)
	}
}

func TestTrackerTableKeepsOneRecordForEachDevice(t *testing.T) {
	table, now := newNodeTable(10), time.Unix(1e9, 0)
	id := identity.PublicKey{1}
	table.announce(id, record(1, 1), now)
	table.announce(id, record(2, 2), now)
	table.announce(id, record(3, 1), now) // the first device has moved
	found := table.lookup(id, now)
	if len(found) != 2 || found[0].Node != (identity.NodeKey{3}) || found[1].Node != (identity.NodeKey{2}) {
		t.Errorf("found %v, want the new node of device 1, then device 2", found)
	}
}

func TestTrackerTableForgets(t *testing.T) {
	table, now := newNodeTable(10), time.Unix(1e9, 0)
	id := identity.PublicKey{1}
	table.announce(id, record(1, 1), now)
	last := now.Add(5 * time.Minute) // the time and a minute of grace
	if found := table.lookup(id, last.Add(-time.Millisecond)); len(found) != 1 || found[0].ExpiresMS != 1 {
		t.Errorf("just before the end: %v", found)
	}
	if found := table.lookup(id, last); len(found) != 0 {
		t.Errorf("after the end: %v", found)
	}
	table.collect(last)
	if len(table.records) != 0 {
		t.Errorf("%d identities are left", len(table.records))
	}
}

func TestTrackerTableIsBounded(t *testing.T) {
	table, now := newNodeTable(2), time.Unix(1e9, 0)
	for i := range byte(2) {
		if _, ok := table.announce(identity.PublicKey{i}, record(i, 1), now); !ok {
			t.Fatal("refused while there is room")
		}
	}
	if _, ok := table.announce(identity.PublicKey{9}, record(9, 1), now); ok {
		t.Error("a full table took another identity")
	}
	if _, ok := table.announce(identity.PublicKey{1}, record(1, 1), now); !ok {
		t.Error("a full table refused an identity it serves")
	}
	for i := range uint32(100) {
		table.announce(identity.PublicKey{1}, record(byte(i), i), now)
	}
	if n := len(table.lookup(identity.PublicKey{1}, now)); n != maxTrackerRecords {
		t.Errorf("%d records of one identity", n)
	}
}
