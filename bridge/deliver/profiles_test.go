// SPDX-License-Identifier: MPL-2.0

package deliver

import (
	"slices"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// What is not shown when the process ends is shown after the next start.
func TestProfiles_WhatIsDueOutlivesARestart(t *testing.T) {
	alice, carol := identity.PublicKey{1}, identity.PublicKey{2}
	bob, dave := store.ConversationWith(alice, identity.PublicKey{3}), store.ConversationWith(carol, identity.PublicKey{3})
	now := time.Unix(1_800_000_000, 0)
	var saved []store.Conversation
	p := newProfiles(time.Minute)
	p.save = func(due []store.Conversation) { saved = due }
	for _, conversation := range []store.Conversation{bob, dave} {
		if _, ok := p.mayShow(conversation, now); !ok {
			t.Error("the first change has to wait")
		}
		p.noteShown(conversation, now, true)
	}
	if wait, ok := p.mayShow(bob, now.Add(time.Second)); ok || wait != 59*time.Second {
		t.Errorf("%v, %v", wait, ok)
	}
	if wait, ok := p.mayShow(bob, now.Add(2*time.Second)); ok || wait != 0 {
		t.Errorf("told again: %v, %v", wait, ok)
	}
	if !slices.Equal(saved, []store.Conversation{bob}) || p.isDue(bob, now.Add(59*time.Second)) || !p.isDue(bob, now.Add(time.Minute)) {
		t.Errorf("saved is %v", saved)
	}
	next := newProfiles(time.Minute)
	next.restore(saved)
	if !next.isDue(bob, now) || next.isDue(dave, now) || !slices.Equal(next.of(alice), []store.Conversation{bob}) || len(next.of(carol)) != 0 {
		t.Error("what was due is not due after a restart")
	}
	p.noteShown(bob, now.Add(time.Minute), true)
	if len(saved) != 0 || p.isDue(bob, now.Add(time.Hour)) {
		t.Errorf("still due: %v", saved)
	}
}
