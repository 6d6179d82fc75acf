// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"testing"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

func TestSuspicions_NewsOnceForAWhile(t *testing.T) {
	var s suspicions
	now := time.Unix(1_700_000_000, 0)
	bob, carol := store.ConversationWith(identity.PublicKey{1}, identity.PublicKey{2}), store.ConversationWith(identity.PublicKey{1}, identity.PublicKey{3})
	node := identity.NodeKey{9}
	note := func(kind SuspicionKind, p store.Conversation) bool { return s.note(kind, p, node, false, now) }
	if !note(SuspicionRelay, bob) || note(SuspicionRelay, bob) || !note(SuspicionRelay, carol) || !note(SuspicionDevice, bob) {
		t.Error("news is wrong")
	}
	now = now.Add(suspicionRepeat)
	if !note(SuspicionRelay, bob) {
		t.Error("after a while there is no alarm")
	}
	all, total := s.current(now)
	if len(all) != 3 || total != 5 {
		t.Errorf("%d, %d in all", len(all), total)
	}
	if all, _ := s.current(now.Add(suspicionMemory + time.Second)); len(all) != 0 {
		t.Errorf("shown for ever: %+v", all)
	}
}

// Strangers can raise any number of suspicions. They are counted, few raise an alarm,
// and none evicts those about contacts.
func TestSuspicions_OfStrangers_Bounded(t *testing.T) {
	var s suspicions
	now := time.Unix(1_700_000_000, 0)
	bob := store.ConversationWith(identity.PublicKey{1}, identity.PublicKey{2})
	s.note(SuspicionRelay, bob, identity.NodeKey{9}, false, now)
	news := 0
	for i := range 10_000 {
		p := store.ConversationWith(identity.PublicKey{1}, identity.PublicKey{7, byte(i), byte(i >> 8)})
		if s.note(SuspicionRelay, p, identity.NodeKey{8, byte(i), byte(i >> 8)}, true, now) {
			news++
		}
	}
	all, total := s.current(now)
	if news != maxStrangerNews || len(all) != 1+maxStrangerNews || total != 10_001 {
		t.Errorf("%d news, %d shown, %d counted", news, len(all), total)
	}
	if !s.note(SuspicionRelay, bob, identity.NodeKey{10}, false, now) {
		t.Error("a contact's raises none any more")
	}
	if !s.note(SuspicionRelay, store.ConversationWith(identity.PublicKey{1}, identity.PublicKey{7}), identity.NodeKey{7}, true, now.Add(suspicionRepeat)) {
		t.Error("an hour later a stranger's raises none")
	}
}
