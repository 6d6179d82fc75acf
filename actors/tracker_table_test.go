// SPDX-License-Identifier: MPL-2.0

package actors

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
	table, now := newTrackerTable(10), time.Unix(1e9, 0)
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
	table, now := newTrackerTable(10), time.Unix(1e9, 0)
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
	table, now := newTrackerTable(10), time.Unix(1e9, 0)
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
	table, now := newTrackerTable(2), time.Unix(1e9, 0)
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

func TestTrackersAreRankedAndLeftAlone(t *testing.T) {
	now := time.Unix(1e9, 0)
	slow, quick, silent := &trackerState{latency: time.Second}, &trackerState{latency: time.Millisecond}, &trackerState{latency: time.Microsecond}
	silent.silent(now, 0)
	all := []*trackerState{silent, slow, quick}
	if got := best(all, 3, now); len(got) != 2 || got[0] != quick || got[1] != slow {
		t.Error("want the quick one first, and the one that was silent left alone")
	}
	later := now.Add(quietFirst)
	if got := best(all, 3, later); len(got) != 3 || got[2] != silent {
		t.Error("it must be asked again after a while, after those that answer")
	}
	silent.open = 1
	if got := best(all, 3, later); len(got) != 2 {
		t.Error("by one question at a time")
	}
	for range 20 {
		silent.silent(silent.quietUntil, 0)
	}
	if pause := silent.quietUntil.Sub(now); pause > 20*quietMost {
		t.Errorf("20 failures: left alone for %v", pause)
	}
	silent.silent(silent.quietUntil.Add(-1), 0)
	if silent.failures != 21 {
		t.Errorf("%d failures, questions that were open together count once", silent.failures)
	}
	silent.open = 0
	silent.answered(time.Millisecond)
	if got := best(all, 1, now); len(got) != 1 || got[0] != quick && got[0] != silent {
		t.Error("one that answers again is like the others")
	}
}
