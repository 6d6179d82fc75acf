// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
)

// household is a bridge with two logins, each with two conversations, and with the
// same two contacts.
type household struct {
	*fixture
	dave           *bridgetest.Client
	daveManagement id.RoomID
	daveAccount    identity.PublicKey
	bob, carol     identity.PublicKey
	// The rooms, by login and contact.
	aliceBob, aliceCarol, daveBob, daveCarol id.RoomID
}

func newHousehold(t *testing.T) *household {
	t.Helper()
	return householdWith(t, func(*matrixconfig.Config) {})
}

// fill makes the second login and the conversations.
func (h *household) fill() {
	t := h.t
	t.Helper()
	h.homeserver.CreateUser("dave", "long-secret")
	h.dave = h.person(h.homeserver.URL(), "dave")
	h.daveManagement = h.greeted(h.dave)
	h.say(h.dave, h.daveManagement, "login new", "Please enter your name")
	h.say(h.dave, h.daveManagement, "Dave", "Your Mimir identity Dave is created")
	accounts, err := h.node.Accounts()
	if err != nil {
		t.Fatal(err)
	}
	for _, account := range accounts {
		if account.ID != h.account {
			h.daveAccount = account.ID
		}
	}
	h.bob, h.aliceBob = h.conversation("Bob")
	h.carol, h.aliceCarol = h.conversation("Carol")
	h.daveBob, h.daveCarol = h.conversationOfDave("Bob"), h.conversationOfDave("Carol")
	h.awaitAllIn(h.aliceBob, h.alice, h.bob)
	h.awaitAllIn(h.aliceCarol, h.alice, h.carol)
	h.awaitAllIn(h.daveBob, h.dave, h.bob)
	h.awaitAllIn(h.daveCarol, h.dave, h.carol)
	h.await("both have a space", func() bool { return len(h.spaces()) == 2 })
	h.await("all is delivered", func() bool { return h.status().Conversations == 0 })
}

func (h *household) conversationOfDave(name string) id.RoomID {
	h.t.Helper()
	contact := h.node.addContact(h.daveAccount, name)
	h.node.receive(h.daveAccount, contact, "I am "+name+", Dave")
	return h.awaitText(h.dave, h.ghost(contact), "I am "+name+", Dave")
}

func (h *household) awaitAllIn(room id.RoomID, who *bridgetest.Client, contact identity.PublicKey) {
	h.t.Helper()
	h.await("all are in", func() bool { return h.joined(room, who.UserID()) && h.joined(room, h.ghost(contact)) })
}

// spaces are the rooms that are spaces.
func (f *fixture) spaces() (spaces []id.RoomID) {
	for _, room := range f.homeserver.Rooms() {
		for _, evt := range f.homeserver.Timeline(room) {
			if evt.Type == "m.room.create" && strings.Contains(string(evt.Content), `"m.space"`) {
				spaces = append(spaces, room)
			}
		}
	}
	return spaces
}

// roomsOf are the rooms that somebody is in, or invited to.
func (f *fixture) roomsOf(who *bridgetest.Client) (rooms []id.RoomID) {
	for _, room := range f.homeserver.Rooms() {
		if f.joined(room, who.UserID()) || slices.Contains(f.homeserver.Members(room, "invite"), who.UserID()) {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

// loseTables starts the bridge again without its tables. They are not removed but left where they
// are: the library may have left a goroutine with a connection behind, which on its end
// removes the log that SQLite keeps beside a file of that name.
func (w *world) loseTables() {
	w.t.Helper()
	w.stop()
	if _, err := os.Stat(filepath.Join(w.dir, w.config.Database.URI)); err != nil {
		w.t.Fatal(err)
	}
	w.config.Database.URI = "after-" + w.config.Database.URI
	w.start()
	w.awaitState(bridge.StateRunning)
}

// told waits until the bot answers a message in a room with a reason.
func (h *household) told(who *bridgetest.Client, room id.RoomID, text, reason string) {
	h.t.Helper()
	before := who.Seen(h.botSaying(room, reason))
	if _, err := who.SendText(soon(h.t), room, text); err != nil {
		h.t.Fatal(err)
	}
	h.hear(who, room, reason, before)
}

func TestLostTables_UserAttaches_RoomsAdopted(t *testing.T) {
	h := newHousehold(t)
	roomsOfAlice, roomsOfDave := h.roomsOf(h.alice), h.roomsOf(h.dave)
	h.loseTables()

	// Until then, every message is answered, and none is sent.
	h.told(h.alice, h.aliceBob, "first", "login attach")
	h.told(h.alice, h.aliceBob, "second", "login attach")
	h.told(h.dave, h.daveCarol, "third", "login attach")
	h.node.receive(h.account, h.bob, "while nobody is logged in")

	// Dave is not an admin: his space says that the identity was his.
	h.say(h.dave, h.daveManagement, "login attach", "You use the Mimir identity Dave")
	h.told(h.alice, h.aliceCarol, "fourth", "login attach")
	h.say(h.alice, h.management, "login attach", "You use the Mimir identity Alice")
	for _, c := range []struct {
		who              *bridgetest.Client
		room             id.RoomID
		account, contact identity.PublicKey
	}{
		{h.alice, h.aliceBob, h.account, h.bob},
		{h.alice, h.aliceCarol, h.account, h.carol},
		{h.dave, h.daveBob, h.daveAccount, h.bob},
		{h.dave, h.daveCarol, h.daveAccount, h.carol},
	} {
		if _, err := c.who.SendText(soon(t), c.room, "to "+c.contact.Short()); err != nil {
			t.Fatal(err)
		}
		h.awaitOutgoing(c.account, c.contact, "to "+c.contact.Short())
		h.node.receive(c.account, c.contact, "still here, "+c.account.Short())
		if room := h.awaitText(c.who, h.ghost(c.contact), "still here, "+c.account.Short()); room != c.room {
			t.Errorf("the conversation goes on in %s, not in %s", room, c.room)
		}
	}
	if room := h.awaitText(h.alice, h.ghost(h.bob), "while nobody is logged in"); room != h.aliceBob {
		t.Errorf("what came meanwhile is in %s, not in %s", room, h.aliceBob)
	}
	h.await("all is delivered", func() bool { return h.status().Conversations == 0 })
	if rooms := h.roomsOf(h.alice); !slices.Equal(rooms, roomsOfAlice) {
		t.Errorf("alice is in %v, was in %v", rooms, roomsOfAlice)
	}
	if rooms := h.roomsOf(h.dave); !slices.Equal(rooms, roomsOfDave) {
		t.Errorf("dave is in %v, was in %v", rooms, roomsOfDave)
	}
}

// A room whose state was copied, and into which a ghost and the bot were invited, is
// nobody's.
func TestLostTables_ForeignRooms_Ignored(t *testing.T) {
	h := newHousehold(t)
	h.homeserver.CreateUser("mallory", "long-secret")
	mallory := h.person(h.homeserver.URL(), "mallory")
	var state []*event.Event
	for _, evt := range h.homeserver.Timeline(h.aliceBob) {
		if evt.StateKey != nil && (strings.Contains(evt.Type, "bridge") || evt.Type == "m.room.name") {
			content := map[string]any{}
			if err := json.Unmarshal(evt.Content, &content); err != nil {
				t.Fatal(err)
			}
			state = append(state, &event.Event{
				Type: event.NewEventType(evt.Type), StateKey: evt.StateKey, Content: event.Content{Raw: content},
			})
		}
	}
	if len(state) < 2 {
		t.Fatalf("the state to copy is %v", state)
	}
	h.loseTables()
	made, err := mallory.Matrix.CreateRoom(soon(t), &mautrix.ReqCreateRoom{
		Preset: "private_chat", InitialState: state, Invite: []id.UserID{h.ghost(h.bob), h.bot(), h.alice.UserID()},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.await("alice and the bot are in", func() bool {
		return h.joined(made.RoomID, h.alice.UserID()) && h.joined(made.RoomID, h.bot())
	})
	if _, err := mallory.Matrix.LeaveRoom(soon(t), made.RoomID); err != nil {
		t.Fatal(err) // now only alice and the bridge are in it
	}
	h.say(h.dave, h.daveManagement, "login attach", "You use the Mimir identity Dave")
	h.say(h.alice, h.management, "login attach", "You use the Mimir identity Alice")
	if _, err := h.alice.SendText(soon(t), made.RoomID, "into the wrong room"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.alice.SendText(soon(t), h.aliceBob, "into the right room"); err != nil {
		t.Fatal(err)
	}
	h.awaitOutgoing(h.account, h.bob, "into the right room")
	h.node.receive(h.account, h.bob, "a secret")
	if room := h.awaitText(h.alice, h.ghost(h.bob), "a secret"); room != h.aliceBob {
		t.Errorf("Bob's words go to %s, not to %s", room, h.aliceBob)
	}
	if h.joined(made.RoomID, h.ghost(h.bob)) {
		t.Error("the ghost has accepted")
	}
}

// A room that is genuine, and has come into other hands, is not adopted.
func TestLostTables_OtherMember_RoomNotAdopted(t *testing.T) {
	h := newHousehold(t)
	if _, err := h.alice.Matrix.InviteUser(soon(t), h.aliceBob, &mautrix.ReqInviteUser{UserID: h.dave.UserID()}); err != nil {
		t.Fatal(err)
	}
	h.await("dave is in", func() bool { return h.joined(h.aliceBob, h.dave.UserID()) })
	h.loseTables()
	h.say(h.dave, h.daveManagement, "login attach", "You use the Mimir identity Dave")
	h.say(h.alice, h.management, "login attach", "You use the Mimir identity Alice")
	h.told(h.alice, h.aliceBob, "is anybody here", "does not adopt it")
	h.node.receive(h.account, h.bob, "for alice alone")
	room := h.awaitText(h.alice, h.ghost(h.bob), "for alice alone")
	if room == h.aliceBob || h.joined(room, h.dave.UserID()) {
		t.Errorf("Bob's words are in %s, with dave", room)
	}
	if sent := h.node.outgoing(h.account, h.bob); len(sent) > 0 {
		t.Errorf("%d messages were sent", len(sent))
	}
}

// Of two rooms of a conversation the one used last stays.
func TestLostTables_TwoRooms_LastUsedStays(t *testing.T) {
	h := newHousehold(t)
	// Another database, and a login that has made a second room.
	h.config.Database.URI = "other.db"
	h.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultError, Only: func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/state") && strings.Contains(r.URL.Path, string(h.aliceCarol))
	}})
	h.stop()
	h.start()
	h.awaitState(bridge.StateRunning)
	h.say(h.dave, h.daveManagement, "login attach", "You use the Mimir identity Dave")
	h.say(h.alice, h.management, "login attach", "You use the Mimir identity Alice")
	h.node.receive(h.account, h.carol, "a new room?")
	second := h.awaitText(h.alice, h.ghost(h.carol), "a new room?")
	if second == h.aliceCarol {
		t.Fatal("there is no second room")
	}
	h.awaitAllIn(second, h.alice, h.carol)
	h.homeserver.SetFault(bridgetest.Fault{})
	h.loseTables()
	h.say(h.dave, h.daveManagement, "login attach", "You use the Mimir identity Dave")
	h.say(h.alice, h.management, "login attach", "You use the Mimir identity Alice")
	h.node.receive(h.account, h.carol, "where now")
	if room := h.awaitText(h.alice, h.ghost(h.carol), "where now"); room != second {
		t.Errorf("it goes on in %s, want %s", room, second)
	}
	h.await("the old room points to it", func() bool {
		for _, evt := range h.homeserver.Timeline(h.aliceCarol) {
			if evt.Type == "m.room.tombstone" && evt.Sender == h.bot() && strings.Contains(string(evt.Content), string(second)) {
				return true
			}
		}
		return false
	})
	h.told(h.alice, h.aliceCarol, "into the old room", "goes on in another room")
}

// What the homeserver got its 200 for, in a room that the tables do not know, was
// answered when the journal is empty.
func TestLostTables_UnknownRoom_UserTold(t *testing.T) {
	h := newHousehold(t)
	h.loseTables()
	adopted := `msg="management room adopted" actor=stage/matrix kind=matrix room_id=` + string(h.management)
	h.await("the bot listens to alice", func() bool { return h.log.contains(adopted) })
	if _, err := h.alice.SendText(soon(t), h.aliceBob, "is anybody here"); err != nil {
		t.Fatal(err)
	}
	h.say(h.alice, h.management, "list-logins", "") // came later, and was answered
	h.await("the journal is empty", func() bool { return h.status().Transactions == 0 })
	for _, evt := range h.homeserver.Timeline(h.aliceBob) {
		if evt.Type == "m.room.message" && evt.Sender == h.bot() && strings.Contains(string(evt.Content), "login attach") {
			return
		}
	}
	t.Error("the message was acknowledged and dropped")
}

// The bot was thrown out of a room that the tables do not know, and a ghost is left in
// it: nobody can answer there, so the log says it. The other room is not concerned.
func TestLostTables_RoomWithoutBot_Logged(t *testing.T) {
	h := newHousehold(t)
	bot, err := mautrix.NewClient(h.homeserver.URL(), h.bot(), h.config.AppService.ASToken)
	if err != nil {
		t.Fatal(err)
	}
	bot.SetAppServiceUserID = true
	h.loseTables()
	if _, err := bot.LeaveRoom(soon(t), h.aliceBob); err != nil {
		t.Fatal(err)
	}
	if _, err := h.alice.SendText(soon(t), h.aliceBob, "is anybody there"); err != nil {
		t.Fatal(err)
	}
	h.await("the message is noted", func() bool {
		return h.log.contains("message in a room without the bot not sent") && h.log.contains(string(h.aliceBob))
	})
	h.told(h.dave, h.daveCarol, "and here", "the bridge does not know this room any more")
}
