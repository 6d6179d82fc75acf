// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
)

// both delivers a text of a member to both accounts, first to one and then to the other.
func (f *groupFixture) both(group store.ConversationID, author identity.PublicKey, first, second identity.PublicKey, text string) {
	f.t.Helper()
	message := store.GroupMessage{Author: author, Payload: []byte(text), GUID: int64(len(text))<<32 + int64(key(text)[0])<<8 + int64(key(text)[1]) + 1}
	f.node.relay(first, group, message)
	f.caughtUp(first, group)
	f.node.relay(second, group, message)
	f.caughtUp(second, group)
}

// caughtUp waits until the bridge has delivered all events of a group to an account's login.
func (f *groupFixture) caughtUp(account identity.PublicKey, group store.ConversationID) {
	f.t.Helper()
	f.await("the log is delivered", func() bool {
		pending, err := f.node.Pending(deliver.Consumer, account)
		if err != nil {
			f.t.Fatal(err)
		}
		return !slices.ContainsFunc(pending, func(p store.PendingConversation) bool { return p.Conversation == group })
	})
}

// heard are the texts of the members and of our users in a room, those that were written there
// too.
func (f *groupFixture) heard(room id.RoomID) (texts []string) {
	for _, evt := range f.homeserver.Timeline(room) {
		var content struct {
			Body string `json:"body"`
		}
		if evt.Type == "m.room.message" && evt.Sender != f.bot() && json.Unmarshal(evt.Content, &content) == nil {
			texts = append(texts, content.Body)
		}
	}
	return texts
}

func (f *groupFixture) checkHeard(room id.RoomID, want ...string) {
	f.t.Helper()
	if have := f.heard(room); !slices.Equal(have, want) {
		f.t.Errorf("the room has %q, want %q", have, want)
	}
}

// Two logins in one group share its room: a message is there once, whichever account has it
// first, whichever user has written it, and however far the other account is behind.
func TestSharedGroup_EachMessage_ShownOnce(t *testing.T) {
	f := newGroupFixture(t)
	room := f.choirRoom
	f.awaitMembers(room, "join", f.alice.UserID(), f.anna.UserID())
	f.both(f.choir, f.bob, f.account, f.second, "alice hears it first")
	f.both(f.choir, f.carol, f.second, f.account, "anna hears it first")
	// Of other devices of our users: each is shown as its user, also to the other one.
	f.both(f.choir, f.account, f.account, f.second, "from the phone of alice")
	f.both(f.choir, f.account, f.second, f.account, "again from the phone of alice")
	f.both(f.choir, f.second, f.account, f.second, "from the phone of anna")
	for text, user := range map[string]id.UserID{
		"from the phone of alice": f.alice.UserID(), "again from the phone of alice": f.alice.UserID(), "from the phone of anna": f.anna.UserID(),
	} {
		f.shownBy(f.alice, room, user, text)
	}
	want := []string{
		"la", "li", "alice hears it first", "anna hears it first", "from the phone of alice", "again from the phone of alice", "from the phone of anna",
	}
	f.checkHeard(room, want...)

	// Anna's account is far behind, and has something of before that alice's has not.
	texts := numbered("verse", 20)
	messages := make([]store.GroupMessage, len(texts))
	for i, text := range texts {
		messages[i] = store.GroupMessage{Author: f.bob, Payload: []byte(text), GUID: int64(5000 + i)}
		f.node.relay(f.account, f.choir, messages[i])
	}
	f.caughtUp(f.account, f.choir)
	f.node.relay(f.second, f.choir, store.GroupMessage{Author: f.carol, Payload: []byte("only anna has it"), GUID: 4999})
	for _, m := range messages {
		f.node.relay(f.second, f.choir, m)
	}
	f.caughtUp(f.second, f.choir)
	want = append(append(want, texts...), "only anna has it")
	f.checkHeard(room, want...)

	// Neither account of the bridge is there as a ghost, too.
	for _, account := range []identity.PublicKey{f.account, f.second} {
		if membership := f.membership(room, f.ghost(account)); membership == "join" {
			t.Errorf("the ghost of one of our users is in the room")
		}
	}
	// The band was heard by alice alone; anna's account hears of it later.
	f.node.says(f.second, f.band, f.bob, "boom")
	f.caughtUp(f.second, f.band)
	f.checkHeard(f.bandRoom, "boom")
	f.awaitMembers(f.bandRoom, "join", f.anna.UserID())
	f.checkFilesAndUnreadable()
	f.checkDeleted()
}

// What one of our users writes in the room is sent once, by their account, and is recognised
// when the mediator delivers it to the other one: also a long text, of which the room has one
// event and the group several messages, before it is known that the mediator has it.
func TestSharedGroup_WrittenInRoom_SentOnce(t *testing.T) {
	f := newManaged(t)
	room := f.choirRoom
	f.awaitMembers(room, "join", f.alice.UserID(), f.anna.UserID())
	long := strings.TrimSpace(strings.Repeat("tra la la ", 1500))
	f.write(room, "of alice")
	longEvent := f.write(room, long)
	fromAnna, err := f.anna.SendText(soon(t), room, "of anna")
	if err != nil {
		t.Fatal(err)
	}
	f.await("all is queued", func() bool { return len(f.outgoing(f.account, f.choir)) > 2 && len(f.outgoing(f.second, f.choir)) == 1 })
	sent := f.outgoing(f.account, f.choir)
	slices.SortFunc(sent, func(a, b store.Message) int { return int(a.Order) - int(b.Order) })
	if string(sent[0].Payload) != "of alice" || len(sent) < 3 {
		t.Fatalf("alice's account sends %d messages, the first is %.20q", len(sent), sent[0].Payload)
	}
	if m := f.outgoing(f.second, f.choir)[0]; string(m.Payload) != "of anna" {
		t.Errorf("anna's account sends %q", m.Payload)
	}
	want := []string{"la", "li", "of alice", long, "of anna"}
	delivered := func(account identity.PublicKey, m store.Message) store.GroupMessage {
		return store.GroupMessage{Author: account, Payload: m.Payload, GUID: m.ID.GUID}
	}
	for _, m := range sent { // the mediator is quicker with anna than with its answer to alice
		f.node.relay(f.second, f.choir, delivered(f.account, m))
	}
	f.caughtUp(f.second, f.choir)
	mine := f.outgoing(f.second, f.choir)[0]
	f.node.relay(f.account, f.choir, delivered(f.second, mine))
	f.caughtUp(f.account, f.choir)
	f.checkHeard(room, want...)
	// The answer is for alice's message, and for it alone.
	for _, m := range sent {
		f.node.must(store.Do[bool](context.Background(), f.node.actor, store.MarkDelivered{Account: f.account, Conversation: f.choir, GUID: m.ID.GUID}))
	}
	f.await("alice is told", func() bool {
		statuses := f.statuses(longEvent)
		return len(statuses) > 0 && statuses[len(statuses)-1].Status == event.MessageStatusSuccess
	})
	for _, status := range f.statuses(fromAnna) {
		if status.Status == event.MessageStatusSuccess {
			t.Error("anna is told that her message was delivered")
		}
	}

	// Anna replies to what alice has written, and reacts: with her account.
	f.putAs(f.anna, room, &event.MessageEventContent{MsgType: event.MsgText, Body: "well sung", RelatesTo: new(event.RelatesTo).SetReplyTo(longEvent)})
	if _, err := f.anna.Matrix.SendReaction(soon(t), room, longEvent, "🎶"); err != nil {
		t.Fatal(err)
	}
	last := sent[len(sent)-1]
	f.await("both are queued", func() bool {
		out := f.outgoing(f.second, f.choir)
		return slices.ContainsFunc(out, func(m store.Message) bool { return string(m.Payload) == "well sung" && m.ReplyTo == last.ID.GUID }) &&
			slices.ContainsFunc(out, func(m store.Message) bool { return peer.MessageType(m.Type) == peer.TypeReaction })
	})
	if out := f.outgoing(f.account, f.choir); len(out) != len(sent) {
		t.Errorf("alice's account has sent %d messages, want %d", len(out), len(sent))
	}
	// And alice's account hears of them.
	for _, m := range f.outgoing(f.second, f.choir) {
		if peer.MessageType(m.Type) == peer.TypeReaction {
			f.node.relay(f.account, f.choir, store.GroupMessage{
				Author: f.second, Type: m.Type, Payload: m.Payload, ReplyTo: last.ID.GUID, GUID: m.ID.GUID, SendTime: m.SendTime,
			})
		}
	}
	f.caughtUp(f.account, f.choir)
	reactions := 0
	for _, evt := range f.homeserver.Timeline(room) {
		if evt.Type == "m.reaction" {
			reactions++
		}
	}
	if reactions != 1 {
		t.Errorf("the room has %d reactions", reactions)
	}
	f.checkManagement()
}

// awaitSent waits until an account sends a text to the choir.
func (f *groupFixture) awaitSent(account identity.PublicKey, text string) {
	f.t.Helper()
	f.await("it is sent: "+text, func() bool {
		return slices.ContainsFunc(f.outgoing(account, f.choir), func(m store.Message) bool { return string(m.Payload) == text })
	})
}

// putAs sends a message as somebody.
func (f *groupFixture) putAs(who *bridgetest.Client, room id.RoomID, content *event.MessageEventContent) {
	f.t.Helper()
	if _, err := who.Matrix.SendMessageEvent(soon(f.t), room, event.EventMessage, content); err != nil {
		f.t.Fatal(err)
	}
}

// checkDeleted checks that what was deleted, and a reaction that was taken back, is not shown
// again because another account still has it.
func (f *groupFixture) checkDeleted() {
	t, room := f.t, f.choirRoom
	t.Helper()
	gone := store.GroupMessage{Author: f.carol, Payload: []byte("I regret that"), GUID: 7001}
	kept := store.GroupMessage{Author: f.carol, Payload: []byte("I stand by that"), GUID: 7002}
	react := func(guid int64, emoji string, at store.Millis) store.GroupMessage {
		return store.GroupMessage{
			Author: f.bob, Type: int32(peer.TypeReaction), Payload: peer.Reaction{Emoji: emoji, Target: peer.GUID(kept.GUID)}.AppendTo(nil),
			ReplyTo: kept.GUID, GUID: guid, SendTime: at,
		}
	}
	now := store.MillisOf(time.Now())
	for _, m := range []store.GroupMessage{gone, kept, react(7003, "🎶", now)} {
		f.node.relay(f.account, f.choir, m)
	}
	count := func(kind string) (n int) {
		for _, evt := range f.homeserver.Timeline(room) {
			if evt.Type == kind {
				n++
			}
		}
		return n
	}
	f.await("the reaction is shown", func() bool { return count("m.reaction") == 1 })
	f.node.relay(f.account, f.choir, react(7004, "", now+1))
	f.node.reports(f.account, f.choir, mediator.System{Event: mediator.EventMessageDeleted, Actor: f.carol, GUID: peer.GUID(gone.GUID)},
		store.GroupMessage{Deletes: true, DeletedGUID: gone.GUID, GUID: 7005})
	f.await("both are gone", func() bool { // a reaction perhaps twice: what came back from the homeserver is taken back, too
		gone := make(map[id.EventID]bool)
		for _, evt := range f.homeserver.Timeline(room) {
			if evt.Type == "m.room.redaction" {
				gone[evt.Redacts] = true
			}
		}
		return len(gone) == 2
	})
	f.caughtUp(f.account, f.choir)
	messages := count("m.room.message")
	for _, m := range []store.GroupMessage{gone, kept, react(7003, "🎶", now)} {
		f.node.relay(f.second, f.choir, m)
	}
	f.caughtUp(f.second, f.choir)
	if n := count("m.room.message"); n != messages {
		t.Errorf("%d messages were shown again", n-messages)
	}
	if n := count("m.reaction"); n != 1 {
		t.Errorf("the reaction was shown again")
	}
	// What anna moderates away in the room, alice's account has later.
	f.hasRole(f.second, f.choir, mediator.PermissionModerator)
	f.await("anna may moderate", func() bool { return f.level(room, f.anna.UserID()) == 50 })
	spam := store.GroupMessage{Author: f.bob, Payload: []byte("spam"), GUID: 7006}
	f.node.relay(f.second, f.choir, spam)
	evt, err := f.anna.WaitText(soon(t), room, f.ghost(f.bob), "spam")
	if err != nil {
		t.Fatal(err)
	}
	f.caughtUp(f.second, f.choir)
	if _, err := f.anna.Matrix.RedactEvent(soon(t), room, evt.ID); err != nil {
		t.Fatal(err)
	}
	if task := f.task(f.second, f.choir); task.Kind != store.TaskDeleteMessage || task.Message.GUID != spam.GUID {
		t.Errorf("the task is %+v", task)
	}
	f.noTask(f.account, f.choir)
	messages = count("m.room.message")
	f.node.relay(f.account, f.choir, spam)
	f.both(f.choir, f.bob, f.account, f.second, "behind it")
	if n := count("m.room.message"); n != messages+1 {
		t.Errorf("the room has %d messages, want %d", n, messages+1)
	}
}

// checkFilesAndUnreadable checks that a file is shown once, and that it does not come is said
// once. That one account cannot read a message is not said when the other one can.
func (f *groupFixture) checkFilesAndUnreadable() {
	t, room := f.t, f.choirRoom
	t.Helper()
	info := transfer.Info{Name: "score.txt", MIMEType: "text/plain", Size: 9, State: store.MediaOffered}
	offered := f.node.offerIn(f.account, f.choir, f.carol, info)
	copied := func(id store.MessageID) {
		m, err := f.node.ConversationMessage(f.account, f.choir, id)
		if err != nil {
			t.Fatal(err)
		}
		f.node.relay(f.second, f.choir, store.GroupMessage{GUID: id.GUID, Author: f.carol, Type: m.Type, Payload: m.Payload})
		f.caughtUp(f.second, f.choir)
	}
	if _, err := f.alice.Wait(soon(t), isNotice(room, "score.txt")); err != nil {
		t.Fatal(err)
	}
	copied(offered)
	f.node.arrive(offered, store.MediaStored, []byte("la la la!"))
	f.awaitFile(room, f.ghost(f.carol), "score.txt")
	f.caughtUp(f.account, f.choir)
	here := f.node.offerIn(f.account, f.choir, f.carol, transfer.Info{Name: "text.txt", MIMEType: "text/plain", Size: 9, State: store.MediaDownloading})
	f.node.arrive(here, store.MediaStored, []byte("li li li!"))
	f.awaitFile(room, f.ghost(f.carol), "text.txt")
	f.caughtUp(f.account, f.choir)
	copied(here)
	files, notices := 0, 0
	for _, evt := range f.homeserver.Timeline(room) {
		switch {
		case evt.Type != "m.room.message":
		case contains(string(evt.Content), `"m.file"`):
			files++
		case contains(string(evt.Content), "was not fetched"):
			notices++
		}
	}
	if files != 2 || notices != 1 {
		t.Errorf("%d files and %d notices, want 2 and 1", files, notices)
	}

	position := func(account identity.PublicKey) int64 {
		at, _, err := f.node.GroupPosition(account, f.choir)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for position(f.account) != position(f.second) { // the mediator gives a message one number
		behind := f.account
		if position(f.account) > position(f.second) {
			behind = f.second
		}
		f.node.says(behind, f.choir, f.carol, "only to have the number")
	}
	f.node.relay(f.account, f.choir, store.GroupMessage{Author: f.bob, Payload: []byte("plain to alice"), GUID: 8001})
	f.caughtUp(f.account, f.choir)
	f.node.relay(f.second, f.choir, store.GroupMessage{Author: f.bob, Unreadable: true, Payload: []byte{1, 2, 3}, GUID: 8001})
	f.caughtUp(f.second, f.choir)
	for _, text := range f.heard(room) {
		if contains(text, "could not be decrypted") {
			t.Error("what alice can read is said to be unreadable")
		}
	}
}

// A login that ends takes its user out of the room, which goes on; when it is back, the room
// is theirs again, without anything being shown twice, and with what came meanwhile.
func TestSharedGroup_LoggedOutAndIn(t *testing.T) {
	f := newGroupFixture(t)
	room := f.choirRoom
	f.awaitMembers(room, "join", f.alice.UserID(), f.anna.UserID())
	bobsNote, err := f.anna.WaitText(soon(t), room, f.ghost(f.bob), "la")
	if err != nil {
		t.Fatal(err)
	}
	management := f.managementOf(f.anna)
	f.say(f.anna, management, "logout "+f.second.String(), "Logged out")
	f.awaitMembers(room, "leave", f.anna.UserID())
	f.awaitMembers(room, "join", f.ghost(f.second)) // as any member
	f.node.relay(f.account, f.choir, store.GroupMessage{Author: f.second, Payload: []byte("from anna's phone"), GUID: 9001})
	f.shownBy(f.alice, room, f.ghost(f.second), "from anna's phone")
	f.node.relay(f.second, f.choir, store.GroupMessage{Author: f.second, Payload: []byte("from anna's phone"), GUID: 9001})
	f.node.relay(f.second, f.choir, store.GroupMessage{Author: f.bob, Payload: []byte("only anna's account has it"), GUID: 9002})
	f.node.relay(f.account, f.choir, store.GroupMessage{Author: f.bob, Payload: []byte("both have it"), GUID: 9003})
	f.node.relay(f.second, f.choir, store.GroupMessage{Author: f.bob, Payload: []byte("both have it"), GUID: 9003})
	f.caughtUp(f.account, f.choir)
	f.checkHeard(room, "la", "li", "from anna's phone", "both have it")

	f.say(f.anna, management, "login attach", "You use the Mimir identity Anna")
	f.awaitMembers(room, "join", f.anna.UserID())
	f.awaitMembers(room, "leave", f.ghost(f.second))
	f.caughtUp(f.second, f.choir)
	f.checkHeard(room, "la", "li", "from anna's phone", "both have it", "only anna's account has it")
	if evt, err := f.anna.SendText(soon(t), room, "here I am"); err != nil || evt == bobsNote.ID {
		t.Fatal(err)
	}
	f.awaitSent(f.second, "here I am")
	if out := f.outgoing(f.account, f.choir); len(out) != 0 {
		t.Errorf("alice's account sends %q", out[0].Payload)
	}
	f.checkKilled(f.heard(room))
	f.checkInvitedAndLeaving()
	f.checkNewRoom(f.heard(room))
}

func (f *groupFixture) managementOf(who *bridgetest.Client) (room id.RoomID) {
	f.t.Helper()
	for _, candidate := range f.homeserver.Rooms() {
		members := f.homeserver.Members(candidate, "join")
		if len(members) == 2 && slices.Contains(members, who.UserID()) && slices.Contains(members, f.bot()) &&
			len(f.texts(who, candidate, who.UserID())) > 0 {
			room = candidate
		}
	}
	return room
}

// checkManagement checks that a change of the room is one of the account whose user has made it,
// and is reported to nobody, and that our users are members, as others are.
func (f *groupFixture) checkManagement() {
	t, room := f.t, f.choirRoom
	t.Helper()
	before := f.count(room, event.StateRoomName, f.bot())
	f.setState(f.alice.Matrix, room, event.StateRoomName, &event.RoomNameEventContent{Name: "Great Choir"})
	task := f.task(f.account, f.choir)
	f.noTask(f.second, f.choir)
	// Anna's account does not know of it, and leaves the name alone.
	f.node.apply(store.UpdateGroup{Account: f.second, Group: f.choir, Fields: store.GroupFieldMuted, Muted: true})
	f.caughtUp(f.second, f.choir)
	f.node.answer(task, "")
	f.caughtUp(f.account, f.choir)
	name := "Great Choir"
	f.node.reports(f.second, f.choir, mediator.System{Event: mediator.EventInfoChanged, Actor: f.account, Name: &name}, store.GroupMessage{
		Info: &store.GroupInfo{Name: &name}, GUID: f.lastGUID(f.account, f.choir),
	})
	f.both(f.choir, f.bob, f.account, f.second, "a fine name")
	if state := f.state(room, "m.room.name"); !contains(state, name) {
		t.Errorf("the name is %s", state)
	}
	if n := f.count(room, event.StateRoomName, f.bot()); n != before {
		t.Errorf("the bot has set the name %d times, before %d", n, before)
	}
	for _, text := range f.texts(f.alice, room, f.bot()) {
		if contains(text, "changed the name") {
			t.Errorf("the room is told %q", text)
		}
	}

	// A role, of a user of the bridge.
	f.setLevel(f.alice.Matrix, room, f.anna.UserID(), 50)
	if task = f.task(f.account, f.choir); task.Kind != store.TaskRole || task.User != f.second || task.Permissions != store.Permissions(mediator.PermissionModerator) {
		t.Errorf("the task is %+v", task)
	}
	f.node.answer(task, "")
	// One may only read, the other writes.
	f.hasRole(f.second, f.choir, mediator.PermissionReadOnly)
	f.node.apply(store.SetGroupState{Account: f.second, Group: f.choir, State: store.GroupReadOnly, Permissions: store.Permissions(mediator.PermissionReadOnly)})
	f.await("anna may not write", func() bool { return f.level(room, f.anna.UserID()) == -10 })
	f.said(f.anna, f.managementOf(f.anna), "Choir: You may only read in this group.")
	f.write(room, "and I may")
	f.awaitSent(f.account, "and I may")

	// A ban, of a user of the bridge: she is told, and reads the room no more.
	f.hasRole(f.second, f.choir, mediator.PermissionUser)
	f.node.apply(store.SetGroupState{Account: f.second, Group: f.choir, State: store.GroupMember, Permissions: store.Permissions(mediator.PermissionUser)})
	f.homeserver.SetMember(room, f.alice.UserID(), f.anna.UserID(), "leave")
	if task = f.task(f.account, f.choir); task.Kind != store.TaskBan || task.User != f.second {
		t.Fatalf("the task is %+v", task)
	}
	f.node.answer(task, "")
	f.node.apply(store.SetGroupState{Account: f.second, Group: f.choir, State: store.GroupBanned})
	f.said(f.anna, f.managementOf(f.anna), "Choir: You were banned from this group")
	f.node.relay(f.account, f.choir, store.GroupMessage{Author: f.bob, Payload: []byte("without anna"), GUID: 9901})
	f.awaitText(f.alice, f.ghost(f.bob), "without anna")
	f.caughtUp(f.second, f.choir)
	f.membersSet(room)
	f.awaitMembers(room, "leave", f.anna.UserID())
	f.write(room, "still here")
	f.awaitSent(f.account, "still here")
}

// membersSet waits until the members of the room were looked at once more.
func (f *groupFixture) membersSet(room id.RoomID) {
	f.t.Helper()
	dave := key("Dave")
	f.node.join(f.account, f.choir, "Dave", mediator.PermissionUser)
	f.awaitMembers(room, "join", f.ghost(dave))
}

// lastGUID returns the guid of the last message of a group.
func (f *groupFixture) lastGUID(account identity.PublicKey, group store.ConversationID) int64 {
	f.t.Helper()
	page, err := f.node.ConversationMessages(account, group, 0, 1)
	if err != nil || len(page) == 0 {
		f.t.Fatal(err)
	}
	return page[0].ID.GUID
}

// checkInvitedAndLeaving checks that an invite to a group whose room is there is answered in the
// room with the bot: who is not a member does not read it. Who leaves reads it no more, and the
// others go on.
func (f *groupFixture) checkInvitedAndLeaving() {
	t := f.t
	t.Helper()
	opera := f.node.addGroup(f.account, 31, "Opera")
	f.node.join(f.account, opera, "Bob", mediator.PermissionUser)
	f.node.says(f.account, opera, f.bob, "overture")
	room := f.awaitText(f.alice, f.ghost(f.bob), "overture")
	f.node.apply(store.ReceiveInvite{Group: store.Group{
		Account: f.second, Mediator: mediatorNode, Chat: 31, Name: "Opera", Key: store.GroupKey{1}, Inviter: f.bob, Invite: 1,
	}})
	management := f.managementOf(f.anna)
	f.said(f.anna, management, "invites you to the group Opera. Say `!mimir accept Opera` or `!mimir decline Opera`.")
	if membership := f.membership(room, f.anna.UserID()); membership != "" && membership != "leave" {
		t.Errorf("anna is in the room before she has accepted: %s", membership)
	}
	f.say(f.anna, management, "accept Opera", "The answer to the invite is on its way.")
	f.node.member(f.account, opera, store.MemberChange{
		Member: f.second, Fields: store.MemberPermissions | store.MemberStanding, Permissions: store.Permissions(mediator.PermissionUser),
	})
	f.node.apply(store.SetGroupState{Account: f.second, Group: opera, State: store.GroupMember, Permissions: store.Permissions(mediator.PermissionUser)})
	f.awaitMembers(room, "join", f.anna.UserID())
	f.node.relay(f.second, opera, store.GroupMessage{Author: f.bob, Payload: []byte("overture"), GUID: f.lastGUID(f.account, opera)})
	f.caughtUp(f.second, opera)
	f.checkHeard(room, "overture")

	f.say(f.anna, room, "!mimir leave-group", "You leave the group as soon as its mediator confirms it.")
	f.node.answer(f.task(f.second, opera), "")
	f.said(f.anna, management, "Opera: You have left this group")
	f.awaitMembers(room, "leave", f.anna.UserID())
	f.node.says(f.account, opera, f.bob, "first act")
	if in := f.awaitText(f.alice, f.ghost(f.bob), "first act"); in != room {
		t.Error("alice has another room")
	}
	f.write(room, "bravo")
	f.await("alice's account sends it", func() bool { return len(f.outgoing(f.account, opera)) == 1 })
}

// checkNewRoom checks that the room that follows a deleted one has both users, and all messages
// once, whichever of them has them.
func (f *groupFixture) checkNewRoom(before []string) {
	t := f.t
	t.Helper()
	if _, err := f.alice.SendText(soon(t), f.choirRoom, "!mimir delete-portal"); err != nil {
		t.Fatal(err)
	}
	f.await("the room is given up", func() bool { return !slices.Contains(f.homeserver.Members(f.choirRoom, "join"), f.ghost(f.bob)) })
	f.node.relay(f.second, f.choir, store.GroupMessage{Author: f.carol, Payload: []byte("anew"), GUID: 9701})
	evt, err := f.anna.Wait(soon(t), func(evt *event.Event) bool {
		return evt.RoomID != f.choirRoom && evt.Type == event.EventMessage && evt.Content.AsMessage().Body == "anew"
	})
	if err != nil {
		t.Fatal(err)
	}
	f.awaitMembers(evt.RoomID, "join", f.alice.UserID(), f.anna.UserID())
	f.node.relay(f.account, f.choir, store.GroupMessage{Author: f.carol, Payload: []byte("anew"), GUID: 9701})
	f.caughtUp(f.account, f.choir)
	have, want := f.heard(evt.RoomID), append(before, "anew")
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("the new room has %q, want %q", have, want)
	}
}

// checkKilled checks the moment at which the event of one account is in the room and not in the
// tables: the process was killed, and the homeserver has forgotten the transaction. The other
// account has the message next.
func (f *groupFixture) checkKilled(before []string) {
	room := f.choirRoom
	f.t.Helper()
	f.caughtUp(f.account, f.choir)
	f.caughtUp(f.second, f.choir)
	message := store.GroupMessage{Author: f.bob, Payload: []byte("in doubt"), GUID: 6001}
	f.node.relay(f.account, f.choir, message)
	f.caughtUp(f.account, f.choir)
	f.stop()
	f.forgetLast()
	f.homeserver.ForgetTransactions()
	f.node.relay(f.second, f.choir, message)
	f.start()
	f.awaitState("running")
	f.caughtUp(f.second, f.choir)
	f.both(f.choir, f.bob, f.account, f.second, "after it")
	f.checkHeard(room, append(before, "in doubt", "after it")...)
}

// In the room of a village a member of the group is not relayed.
func TestSharedGroup_BoundRoom_MembersWriteThemselves(t *testing.T) {
	v := newVillage(t)
	square := v.rooms[0]
	v.bind()
	v.awaitSent(v.choir, "bridged to a Matrix room (Village Square)")
	v.write(v.anna, square, "I sing myself")
	v.await("anna's account sends it", func() bool { return len(v.outgoing(v.second, v.choir)) == 1 })
	v.write(v.dora, square, "I listen")
	for _, text := range v.awaitSent(v.choir, "@dora:mimir.test: I listen") {
		if contains(text, "I sing myself") {
			t.Errorf("alice's account sends %q", text)
		}
	}
	v.both(v.choir, v.bob, v.second, v.account, "good morning")
	if have := v.texts(v.dora, square, v.ghost(v.bob)); !slices.Equal(have, []string{"good morning"}) {
		t.Errorf("the village hears %q", have)
	}
	// Anna leaves the group, and stays one of the village.
	v.node.apply(store.SetGroupState{Account: v.second, Group: v.choir, State: store.GroupLeft})
	v.said(v.anna, v.managementOf(v.anna), "Choir: You have left this group")
	v.both(v.choir, v.bob, v.account, v.account, "without anna")
	if membership := v.membership(square, v.anna.UserID()); membership != "join" {
		t.Errorf("anna is %s in the village", membership)
	}
}
