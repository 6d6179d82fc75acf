// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
)

func isCreateRoom(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/createRoom") }

// claims counts the rooms that the bot is in and that say to be for a contact.
func (f *fixture) claims(contact identity.PublicKey) (rooms []id.RoomID) {
	for _, room := range f.homeserver.Rooms() {
		for _, evt := range f.homeserver.Timeline(room) {
			if evt.Type == "m.bridge" && strings.Contains(string(evt.Content), contact.String()) && f.joined(room, f.bot()) {
				rooms = append(rooms, room)
				break
			}
		}
	}
	return rooms
}

// The homeserver makes each room, and the bridge does not hear of it.
func TestCreateRoom_AnswerLost_RoomIsFoundAgain(t *testing.T) {
	f := newFixture(t)
	_, old := f.conversation("Old")
	var asked atomic.Int32
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultLoseAnswer, Only: func(r *http.Request) bool {
		if isCreateRoom(r) {
			asked.Add(1)
		}
		return isCreateRoom(r)
	}})
	const count = 8
	contacts := make([]identity.PublicKey, count)
	for i := range contacts {
		name := fmt.Sprintf("New %d", i)
		contacts[i] = f.node.addContact(f.account, name)
		f.node.receive(f.account, contacts[i], "I am "+name)
	}
	for i, contact := range contacts { // while no answer ever comes
		room := f.awaitText(f.alice, f.ghost(contact), fmt.Sprintf("I am New %d", i))
		if rooms := f.claims(contact); !slices.Equal(rooms, []id.RoomID{room}) {
			t.Errorf("%s has the rooms %v, is shown in %s", contact.Short(), rooms, room)
		}
	}
	if n := asked.Load(); n != count {
		t.Errorf("%d rooms were asked for, want %d", n, count)
	}
	f.awaitShown(old, "I am Old")
}

func TestCreateRoom_SlowHomeserver_HoldsUpNoOtherRoom(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	var asked atomic.Int32
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHang, Only: func(r *http.Request) bool {
		if isCreateRoom(r) {
			asked.Add(1)
		}
		return isCreateRoom(r)
	}})
	const count = 80 // more than are delivered at once
	for i := range count {
		contact := f.node.addContact(f.account, fmt.Sprintf("New %d", i))
		f.node.receive(f.account, contact, "let me in")
	}
	f.await("two rooms are being created", func() bool { return asked.Load() == 2 })
	for i := range 5 {
		f.node.receive(f.account, bob, fmt.Sprintf("text %d", i))
	}
	f.awaitShown(room, append([]string{"I am Bob"}, numbered("text", 5)...)...)
	if n := asked.Load(); n != 2 {
		t.Errorf("%d rooms are being created at a time", n)
	}
	f.homeserver.SetFault(bridgetest.Fault{})
	f.await("all are delivered", func() bool { return f.status().Conversations == 0 })
	if n := len(f.roomsOf(f.alice)); n < count+2 {
		t.Errorf("alice is in %d rooms", n)
	}
}

// A room is about to be created, so the state of the rooms that the tables do not know is
// read: also of Bob's, which is being created, before its members are in it. That old
// state must not replace what the bridge knows of the members by the time it arrives.
func TestCreateRoom_StateOfAnotherNewRoom_DoesNotReplaceItsMembers(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		bob := b.meet("Bob")
		var invitations atomic.Int32
		invites := func(r *http.Request) bool {
			is := r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/state/m.room.member/")
			if is {
				invitations.Add(1)
			}
			return is
		}
		var first atomic.Pointer[http.Request]
		reads := func(r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/state") {
				return false
			}
			return first.CompareAndSwap(nil, r) || first.Load() == r
		}
		creates := bridgetest.Fault{Kind: bridgetest.FaultHoldAnswer, Content: bob.contact.String(), Only: isCreateRoom}
		hold := bridgetest.Fault{Kind: bridgetest.FaultHoldAnswer, Only: reads}
		b.homeserver.SetFaults(creates)
		bob.says("hello")
		b.pass(time.Second)
		b.homeserver.SetFaults(creates, hold)
		carol := b.meet("Carol")
		carol.says("hello")
		b.pass(time.Second)
		if first.Load() == nil {
			t.Fatal("the state of Bob's room is not read")
		}
		b.homeserver.SetFaults(hold)
		b.pass(time.Second)
		if !bob.hasText("hello") {
			t.Error("Bob's message waits for Carol's room")
		}
		b.homeserver.SetFaults(bridgetest.Fault{})
		b.pass(10 * time.Second)
		if !carol.hasText("hello") {
			t.Error("Carol's message is not shown")
		}
		b.homeserver.SetFaults(bridgetest.Fault{Kind: bridgetest.FaultDown, Content: "in no request", Only: invites})
		bob.says("and again")
		b.pass(time.Second)
		if !bob.hasText("and again") || invitations.Load() != 0 {
			t.Errorf("%d invitations into a room whose members are in it", invitations.Load())
		}
	})
}

// isStateOf selects the requests for the whole state of some rooms.
func isStateOf(rooms ...id.RoomID) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return slices.ContainsFunc(rooms, func(room id.RoomID) bool { return strings.HasSuffix(r.URL.Path, "/rooms/"+string(room)+"/state") })
	}
}

// Rooms whose state is never answered cost the first new room some time, and the others
// none: the search of all rooms alone reads them again.
func TestCreateRoom_UnreadableRooms_DelayNoOther(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		var stuck []id.RoomID
		for _, name := range []string{"one", "two"} {
			room, err := b.bridge.CreateRoom(b.t.Context(), name)
			if err != nil {
				b.t.Fatal(err)
			}
			stuck = append(stuck, room)
		}
		var reads atomic.Int32
		isRead := func(r *http.Request) bool {
			ours := isStateOf(stuck...)(r)
			if ours {
				reads.Add(1)
			}
			return ours
		}
		b.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHang, Only: isRead})
		first := b.meet("First")
		first.says("hello")
		b.pass(30 * time.Minute)
		if !first.hasText("hello") || reads.Load() == 0 {
			b.t.Fatalf("the first room after %d reads: %q, %+v", reads.Load(), first.shown(), first.waiting())
		}
		reads.Store(0)
		for _, name := range []string{"Bob", "Carol"} {
			c := b.meet(name)
			c.says("hello")
			b.pass(2 * time.Second)
			if !c.hasText("hello") {
				b.t.Errorf("%s waits for the state of other rooms: %+v", name, c.waiting())
			}
		}
		if n := reads.Load(); n != 0 {
			b.t.Errorf("the rooms are read %d times more", n)
		}
		b.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultDown, Content: "in no request", Only: isRead})
		search, stop := context.WithCancel(b.t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.bridge.SearchRooms(search) }()
		b.pass(time.Minute)
		stop()
		if err := <-ended; err != nil {
			b.t.Error(err)
		}
		if n := reads.Load(); int(n) < len(stuck) {
			b.t.Errorf("the search has read %d of %d rooms", n, len(stuck))
		}
	})
}

// A room that the bridge has just created is not in its tables yet. What it is for is
// known: nobody reads its state to learn that.
func TestCreateRoom_OwnNewRoom_IsNotRead(t *testing.T) {
	inAnswerBubble(t, func(b *bubble) {
		talks := []*talk{b.meet("Bob"), b.meet("Carol")}
		for _, c := range talks {
			c.says("hello")
			b.pass(2 * time.Second)
			if err := b.bridge.Forget(b.t.Context(), c.account, c.contact); err != nil {
				b.t.Fatal(err)
			}
		}
		rooms := []id.RoomID{talks[0].room(), talks[1].room()}
		var reads atomic.Int32
		b.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHang, Only: func(r *http.Request) bool {
			ours := isStateOf(rooms...)(r)
			if ours {
				reads.Add(1)
			}
			return ours
		}})
		dave := b.meet("Dave")
		dave.says("hello")
		b.pass(2 * time.Second)
		if n := reads.Load(); n != 0 || !dave.hasText("hello") {
			b.t.Errorf("%d reads of rooms that are known, Dave has %q", n, dave.shown())
		}
	})
}
