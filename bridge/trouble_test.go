// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/bridge/bridgetest"
)

// forbidden is how a homeserver answers to those who may not write.
func forbidden(only func(*http.Request) bool) bridgetest.Fault {
	return bridgetest.Fault{
		Kind: bridgetest.FaultAnswer, Status: http.StatusForbidden, Body: []byte(`{"errcode":"M_FORBIDDEN","error":"no"}`), Only: only,
	}
}

// told are the texts of the bot outside of the rooms of conversations.
func (b *bubble) told(talks ...*talk) (texts []string) {
	b.t.Helper()
	for _, room := range b.homeserver.Rooms() {
		if slices.ContainsFunc(talks, func(c *talk) bool { return c.room() == room }) {
			continue
		}
		for _, event := range b.homeserver.Timeline(room) {
			if event.Type == "m.room.message" {
				texts = append(texts, string(event.Content))
			}
		}
	}
	return texts
}

func TestUserIsToldOfRoomsThatAreBroken(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		bob, carol, dave := b.meet("Bob"), b.meet("Carol"), b.meet("Dave")
		talks := []*talk{bob, carol, dave}
		for _, c := range talks {
			c.says("hello")
		}
		b.pass(10 * time.Second)
		b.homeserver.SetFaults(forbidden(inRoom(bob, "/send/")), forbidden(inRoom(carol, "/send/")))
		for _, c := range talks {
			c.says("later")
		}
		b.pass(50 * time.Second)
		if told := b.told(talks...); len(told) != 0 {
			t.Errorf("told too early: %q", told)
		}
		b.pass(25 * time.Second)
		told := strings.Join(b.told(talks...), "\n")
		for name, want := range map[string]bool{"Bob": true, "Carol": true, "Dave": false, "M_FORBIDDEN": true, "history Bob": true} {
			if strings.Contains(told, name) != want {
				t.Errorf("%s is in what the user was told: %v: %s", name, !want, told)
			}
		}
		for _, c := range []*talk{bob, carol} {
			w := c.waiting()
			if w.Name != c.name || w.Room != c.room() || !strings.Contains(w.Error, "M_FORBIDDEN") || !strings.Contains(w.Remedy, "power") ||
				time.Since(w.Since) < time.Minute {
				t.Errorf("status: %+v", w)
			}
		}
		state := b.bridge.BridgeState(b.account)
		if !strings.Contains(state.Message, "do not reach their room") || state.Error != "mimir-room-waits" {
			t.Errorf("bridge state: %+v", state)
		}
		before := len(b.homeserver.Sends())
		b.pass(24 * time.Hour)
		if again := len(b.told(talks...)); again != 1 {
			t.Errorf("told %d times", again)
		}
		if tries := len(b.homeserver.Sends()) - before; tries > 2*2*40 {
			t.Errorf("%d events in a day", tries)
		}
		b.homeserver.SetFault(bridgetest.Fault{})
		b.bridge.Retry(b.account, bob.contact)
		b.pass(time.Minute)
		if !bob.hasText("later") {
			t.Errorf("Bob's room after the repair: %q", bob.shown())
		}
		b.pass(2 * time.Hour)
		if !carol.hasText("later") {
			t.Errorf("Carol's room after the repair: %q", carol.shown())
		}
		if told := strings.Join(b.told(talks...), "\n"); strings.Count(told, "reach their room again") != 2 {
			t.Errorf("told at the end: %s", told)
		}
		if state := b.bridge.BridgeState(b.account); state.Message != "" || state.Error != "" {
			t.Errorf("bridge state at the end: %+v", state)
		}
	})
}

// After an outage of the whole homeserver nobody is told of rooms that are late.
func TestUserIsNotToldOfRoomsAfterAnOutage(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		var talks []*talk
		for _, name := range []string{"Bob", "Carol", "Dave"} {
			c := b.meet(name)
			c.says("hello")
			talks = append(talks, c)
		}
		b.pass(10 * time.Second)
		for _, kind := range []bridgetest.FaultKind{bridgetest.FaultDown, bridgetest.FaultHang, bridgetest.FaultError} {
			b.homeserver.SetFault(bridgetest.Fault{Kind: kind})
			for _, c := range talks {
				c.says("later")
			}
			b.pass(10 * time.Minute)
			b.homeserver.SetFault(bridgetest.Fault{})
			b.pass(10 * time.Minute)
		}
		for _, c := range talks {
			if shown := c.shown(); len(shown) != 4 {
				t.Errorf("%s's room: %q", c.name, shown)
			}
		}
		if told := b.told(talks...); len(told) != 0 {
			t.Errorf("told: %q", told)
		}
	})
}
