// SPDX-License-Identifier: MPL-2.0

package trackerserver

import (
	"testing"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

func nodeAt(node byte) identity.NodeKey { return identity.NodeKey{node} }

func nodeRecord(node byte, clientID uint32) tracker.Record {
	return tracker.Record{Node: identity.NodeKey{node}, ClientID: clientID}
}

func TestNodeTable_SteadyDevice_TTLDoubles(t *testing.T) {
	table, now := newNodeTable(10), time.Unix(1e9, 0)
	id := identity.PublicKey{1}
	for i, want := range []time.Duration{4, 8, 16, 16} {
		ttl, ok := table.announce(nodeAt(1), id, nodeRecord(1, 1), now)
		if !ok || ttl != want*time.Minute {
			t.Errorf("announcement %d: %v %v, want %v minutes", i, ttl, ok, want)
		}
	}
	if ttl, _ := table.announce(nodeAt(2), id, nodeRecord(2, 1), now); ttl != 4*time.Minute {
		t.Errorf("at another node: %v, want it to begin anew", ttl)
	}
}

func TestNodeTable_OneRecordPerDevice(t *testing.T) {
	table, now := newNodeTable(10), time.Unix(1e9, 0)
	id := identity.PublicKey{1}
	table.announce(nodeAt(1), id, nodeRecord(1, 1), now)
	table.announce(nodeAt(2), id, nodeRecord(2, 2), now)
	table.announce(nodeAt(3), id, nodeRecord(3, 1), now) // the first device has moved
	found := table.lookup(id, now)
	if len(found) != 2 || found[0].Node != (identity.NodeKey{3}) || found[1].Node != (identity.NodeKey{2}) {
		t.Errorf("found %v, want the new node of device 1, then device 2", found)
	}
}

func TestNodeTable_Expires(t *testing.T) {
	table, now := newNodeTable(10), time.Unix(1e9, 0)
	id := identity.PublicKey{1}
	table.announce(nodeAt(1), id, nodeRecord(1, 1), now)
	last := now.Add(5 * time.Minute) // the time and a minute of grace
	if found := table.lookup(id, last.Add(-time.Millisecond)); len(found) != 1 || found[0].ExpiresMS != 1 {
		t.Errorf("just before the end: %v", found)
	}
	if found := table.lookup(id, last); len(found) != 0 {
		t.Errorf("after the end: %v", found)
	}
	table.expire(last)
	if len(table.records) != 0 {
		t.Errorf("%d identities are left", len(table.records))
	}
}

func TestNodeTable_Bounded(t *testing.T) {
	table, now := newNodeTable(2), time.Unix(1e9, 0)
	for i := range byte(2) {
		if _, ok := table.announce(nodeAt(i), identity.PublicKey{i}, nodeRecord(i, 1), now); !ok {
			t.Fatal("refused while there is room")
		}
	}
	if _, ok := table.announce(nodeAt(9), identity.PublicKey{9}, nodeRecord(9, 1), now); ok {
		t.Error("a full table took another identity")
	}
	if _, ok := table.announce(nodeAt(1), identity.PublicKey{1}, nodeRecord(1, 1), now); !ok {
		t.Error("a full table refused an identity it serves")
	}
	for i := range uint32(100) {
		table.announce(nodeAt(byte(i)), identity.PublicKey{1}, nodeRecord(byte(i), i), now)
	}
	if n := len(table.lookup(identity.PublicKey{1}, now)); n != maxNodeRecords {
		t.Errorf("%d records of one identity", n)
	}
}
