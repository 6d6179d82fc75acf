// SPDX-License-Identifier: MPL-2.0

package budget_test

import (
	"testing"
	"time"

	groupactor "github.com/mimird/mimird/actors/group"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/test/grouphost"
	"github.com/mimird/mimird/test/poll"
)

const (
	// maxGroupHeap is what an idle group may cost on the node that is in it.
	maxGroupHeap = 40 * kib
	// spareGoroutines are of the connection to the mediator. A group has none of its own.
	spareGoroutines = 10
)

// TestIdleGroups joins groups of a mediator in another process, reads what they have, and
// measures them when nothing happens in them any more.
func TestIdleGroups(t *testing.T) {
	groups, members := 20, 5
	if *all {
		groups, members = 1000, 20
	}
	r := newRig(t, 0, func(o *node.Options) { o.OpenStore = openSmall })
	host, err := grouphost.Start(t.Context(), grouphost.Options{
		Dir: t.TempDir(), Peer: r.network.ListenAddrs()[0], Account: r.account, Groups: groups, Members: members, Messages: members,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Stop(); err != nil {
			t.Error(err)
		}
	})
	before := measure(t)
	ids := make([]store.ConversationID, groups)
	for i := range ids {
		ids[i], err = r.node.AddGroup(t.Context(), node.KnownGroup{
			Account: r.account, Mediator: host.Key(), Chat: int64(grouphost.Chat(i)), Key: grouphost.GroupKey(i).Bytes(), Name: "group",
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	idle := 0 // the first so many
	r.await("all groups", host.Process(), func() bool {
		for idle < groups && r.idle(ids[idle], members) {
			idle++
		}
		return idle == groups
	})
	// The store frees what it has used for its last writes after a moment.
	var after usage
	var heap int64
	for range 100 {
		after = measure(t)
		heap = (after.heap - before.heap) / int64(groups)
		small := heap <= maxGroupHeap || !*all
		if small && after.goroutines <= before.goroutines+spareGoroutines || !poll.Pass(t.Context(), 100*time.Millisecond) {
			break
		}
	}
	more := after.goroutines - before.goroutines
	show("%6d idle groups of %d members: %5.1f KiB of heap and %.2f goroutines each; the process has %d MiB, %d before",
		groups, members, float64(heap)/kib, float64(more)/float64(groups), after.rss/mib, before.rss/mib)
	if more > spareGoroutines {
		t.Errorf("%d groups have %d goroutines", groups, more)
	}
	if *all && heap > maxGroupHeap {
		t.Errorf("%d groups: %d bytes each", groups, heap)
	}
}

// openSmall opens a store whose memtables, which are bounded, are small: they would be
// counted as the groups', as an empty store has not filled them.
func openSmall(o store.Options) (*store.Store, error) {
	o.MemTableBytes = mib
	return store.Open(o)
}

// idle reports whether a group has read everything, with the profiles of its members.
func (r *rig) idle(id store.ConversationID, members int) bool {
	r.t.Helper()
	if r.node.GroupProgress(r.account, id).Stage != groupactor.StageLive {
		return false
	}
	named := 0
	for m, err := range r.node.GroupMembers(r.account, id) {
		if err != nil {
			r.t.Fatal(err)
		}
		if m.Name != "" {
			named++
		}
	}
	return named >= members-1 && len(r.node.GroupPresence(r.account, id)) == members
}
