// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix/id"

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
			var content struct {
				Body string `json:"body"`
			}
			if event.Type == "m.room.message" && json.Unmarshal(event.Content, &content) == nil {
				texts = append(texts, content.Body)
			}
		}
	}
	return texts
}

func TestTrouble_BrokenRooms_UserTold(t *testing.T) {
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
		told = strings.Join(b.told(talks...), "\n")
		if strings.Count(told, "Messages from Bob have not") != 1 || strings.Count(told, "Messages from Carol have not") != 1 {
			t.Errorf("told more than once: %s", told)
		}
		// In each of the two rooms four events an attempt, which comes every 30 to 60 minutes.
		if tries := len(b.homeserver.Sends()) - before; tries > 2*4*60 {
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
func TestTrouble_AfterOutage_UserNotTold(t *testing.T) {
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

// The profile of our own user, which all conversations share, delays none of them.
func TestTrouble_OwnProfileHangs_OthersDelivered(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		own := "@mimir_" + b.account.String() + ":mimir.test"
		b.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHang, Only: func(r *http.Request) bool {
			return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/profile/"+own+"/")
		}})
		bob, carol := b.meet("Bob"), b.meet("Carol")
		bob.says("hello")
		carol.says("hello")
		b.pass(2 * time.Second)
		for _, c := range []*talk{bob, carol} {
			if !c.hasText("hello") {
				t.Errorf("%s's room after 2 s: %q", c.name, c.shown())
			}
		}
		b.homeserver.SetFault(bridgetest.Fault{})
		b.pass(10 * time.Minute)
		if name := b.homeserver.DisplayName(b.ghostOf(b.account)); name != "Alice" {
			t.Errorf("our own user is called %q", name)
		}
	})
}

// A room that cannot be told what waits delays no other room.
func TestTrouble_OutboxNoticeHangs_OthersDelivered(t *testing.T) {
	inAnswerBubbleWith(t, func(c *matrixconfig.Config) { c.Network.WaitingNotice = time.Minute }, func(b *bubble) {
		bob, carol := b.meet("Bob"), b.meet("Carol")
		for _, c := range []*talk{bob, carol} {
			c.says("hello")
			c.sends("waits")
		}
		b.pass(10 * time.Second)
		b.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHang, Only: inRoom(bob, "/send/")})
		b.pass(90 * time.Second)
		told := func(c *talk) bool {
			return slices.ContainsFunc(c.shown(), func(text string) bool { return strings.HasPrefix(text, "⏳ Waiting for "+c.name) })
		}
		if !told(carol) || told(bob) {
			t.Errorf("Carol's room is told %v, Bob's %v", told(carol), told(bob))
		}
		b.homeserver.SetFault(bridgetest.Fault{})
		b.pass(10 * time.Minute)
		if !told(bob) {
			t.Errorf("Bob's room: %q", bob.shown())
		}
	})
}

// What a room lacks is repaired where the bot may.
func TestTrouble_BrokenRoom_Repaired(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		banned, mute, gone, locked := b.meet("Banned"), b.meet("Mute"), b.meet("Gone"), b.meet("Locked")
		talks := []*talk{banned, mute, gone, locked}
		for _, c := range talks {
			c.says("hello")
		}
		b.pass(10 * time.Second)
		const bot id.UserID = "@mimirbot:mimir.test"
		b.homeserver.SetMember(banned.room(), bot, b.ghostOf(banned.contact), "ban")
		b.homeserver.SetState(mute.room(), bot, "m.room.power_levels", map[string]any{
			"users": map[string]int{string(bot): 100}, "events_default": 50,
		})
		old := gone.room()
		b.homeserver.SetMember(old, bot, b.ghostOf(gone.contact), "leave")
		b.homeserver.SetMember(old, bot, bot, "leave")
		if err := b.bridge.Encrypted(b.t.Context(), locked.room()); err != nil {
			t.Fatal(err)
		}
		for _, c := range talks {
			c.says("later")
		}
		b.pass(75 * time.Second)
		for _, c := range []*talk{banned, mute, gone} {
			if !c.hasText("later") {
				t.Errorf("%s: not repaired: %q, %+v", c.name, c.shown(), c.waiting())
			}
		}
		if gone.room() == old {
			t.Error("the bot is back in a room that it had left")
		}
		if w := locked.waiting(); !strings.Contains(w.Error, "encrypted") || !strings.Contains(w.Remedy, "history Locked") {
			t.Errorf("the encrypted room: %+v", w)
		}
		b.bridge.Rebuild(b.account, locked.contact)
		b.pass(10 * time.Second)
		if !locked.hasText("later") {
			t.Errorf("the room that was encrypted, made anew: %q, %+v", locked.shown(), locked.waiting())
		}
	})
}
