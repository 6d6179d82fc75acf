// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

func (r *roadmap) deletions(t *testing.T) {
	before := r.outgoing()
	waits, had := r.write(r.room, "never mind"), r.write(r.room, "he has this")
	r.sent(before + 1)
	r.node.acknowledge(r.account, r.bob, r.sent(before+1).ID)
	r.redact(waits)
	r.redact(had)
	r.botSays(r.room, "the contact has the message and keeps it")
	r.awaitGivenUp(func() []store.Message { return r.node.outgoing(r.account, r.bob) }, "never mind")
	if state := r.sent(before + 1).State; state != store.StateDelivered {
		t.Errorf("what he has is %s", state)
	}
}

func (r *roadmap) order(t *testing.T) {
	before := r.outgoing()
	incoming, outgoing := numbered("in", 50), numbered("out", 50)
	for i := range incoming {
		r.node.receive(r.account, r.bob, incoming[i])
		r.write(r.room, outgoing[i])
	}
	r.sent(before + len(outgoing) - 1)
	if have := r.since(before); !slices.Equal(have, outgoing) {
		t.Errorf("sent %q", have)
	}
	r.last(r.room, r.ghost(r.bob), incoming...)
	r.node.accept(store.AcceptMessage{Account: r.account, Conversation: store.ContactConversation(r.bob), SendTime: 1_600_000_000_000, Payload: []byte("long ago")})
	evt, err := r.alice.WaitText(soon(t), r.room, r.ghost(r.bob), "long ago")
	if err != nil {
		t.Fatal(err)
	}
	if evt.Timestamp != 1_600_000_000_000 {
		t.Errorf("it is shown at %s", time.UnixMilli(evt.Timestamp))
	}
}

func (r *roadmap) waiting(t *testing.T) {
	before := r.outgoing()
	r.write(r.room, "are you there")
	r.sent(before)
	notice, err := r.alice.Wait(soon(t), isNotice(r.room, "Waiting for Bob since"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.node.outgoing(r.account, r.bob) {
		if m.State == store.StatePending {
			r.node.acknowledge(r.account, r.bob, m.ID)
		}
	}
	_, err = r.alice.Wait(soon(t), func(evt *event.Event) bool {
		return evt.RoomID == r.room && evt.Type == event.EventMessage && evt.Content.AsMessage().RelatesTo.GetReplaceID() == notice.ID &&
			contains(evt.Content.AsMessage().NewContent.Body, "Bob has everything")
	})
	if err != nil {
		t.Errorf("the notice is not edited: %v", err)
	}
}

func (r *roadmap) devices(t *testing.T) {
	for _, name := range []string{"phone", "other phone"} {
		if _, err := kernelDo(r.fixture, store.RecordNodeKey{Account: r.account, Contact: r.bob, Key: identity.NodeKey(key(name))}); err != nil {
			t.Fatal(err)
		}
	}
	r.botSays(r.room, "reachable at a new device ("+identity.NodeKey(key("other phone")).Short()+")")
	r.node.apply(store.NoteForeignNode{Account: r.account, Node: identity.NodeKey(key("no device of hers"))})
	r.botSays(r.management, identity.NodeKey(key("no device of hers")).String())
}

func (r *roadmap) manage(*testing.T) {
	ida, room := r.conversation("Ida")
	r.say(r.alice, room, "!mimir block", "You have blocked Ida")
	r.awaitContact(ida, "blocked", func(c store.Contact) bool { return c.State == store.ContactBlocked })
	r.say(r.alice, r.management, "unblock Ida", "Ida is unblocked")
	r.awaitContact(ida, "accepted", isAccepted)
	r.write(room, "!mimir mute")
	r.awaitContact(ida, "muted", func(c store.Contact) bool { return c.Muted })
	r.say(r.alice, room, "!mimir rename Idalia", "is shown as Idalia")
	r.await("the ghost has the name", func() bool { return r.displayName(r.ghost(ida)) == "Idalia" })
}

func (r *roadmap) invitation(t *testing.T) {
	invited := validKey(t, 2)
	room, err := r.alice.OpenDirect(soon(t), r.ghost(invited))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.alice.Wait(soon(t), isNotice(room, "Private chat portal created")); err != nil {
		t.Fatal(err)
	}
	r.write(room, "nice to meet you")
	r.awaitOutgoing(r.account, invited, "nice to meet you")
	r.node.receive(r.account, invited, "likewise")
	if answered := r.awaitText(r.alice, r.ghost(invited), "likewise"); answered != room {
		t.Error("the answer is in another room")
	}
}

func (r *roadmap) relay(t *testing.T) {
	julia, room := r.conversation("Julia")
	carol := r.invite("carol", room)
	r.carol = carol
	r.say(r.alice, room, "!mimir set-relay", "will now be relayed through")
	if _, err := carol.SendText(soon(t), room, "hello from carol"); err != nil {
		t.Fatal(err)
	}
	r.await("all is queued", func() bool { return len(r.node.outgoing(r.account, julia)) == 2 })
	sent := r.node.outgoing(r.account, julia)
	if !strings.Contains(string(sent[0].Payload), "bridged to a Matrix room") {
		t.Errorf("the contact is told %q", sent[0].Payload)
	}
	if text := string(sent[1].Payload); !strings.HasSuffix(text, ": hello from carol") {
		t.Errorf("sent %q", text)
	}
}

func (r *roadmap) village(t *testing.T) {
	group := r.node.addGroup(r.account, 9, "Village")
	r.node.join(r.account, group, "Wanda", mediator.PermissionUser)
	request := &mautrix.ReqCreateRoom{Name: "Village Square", Preset: "private_chat", Invite: []id.UserID{r.bot(), r.carol.UserID()}}
	if r.encrypted {
		request.InitialState = []*event.Event{{Type: event.StateEncryption, Content: event.Content{
			Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1},
		}}}
	}
	created, err := r.alice.Matrix.CreateRoom(soon(t), request)
	if err != nil {
		t.Fatal(err)
	}
	room := created.RoomID
	for _, user := range []id.UserID{r.bot(), r.carol.UserID()} {
		_, err := r.alice.Wait(soon(t), func(evt *event.Event) bool {
			return evt.RoomID == room && evt.Type == event.StateMember && evt.GetStateKey() == string(user) &&
				evt.Content.AsMember().Membership == event.MembershipJoin
		})
		if err != nil {
			t.Fatalf("%s does not join: %v", user, err)
		}
	}
	r.say(r.alice, room, "!mimir bridge Village", "are one now")
	sent := func() (texts []string) {
		page, err := r.node.ConversationMessages(r.account, group, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page { // newest first
			if m.ID.Dir == store.Out {
				texts = append([]string{string(m.Payload)}, texts...)
			}
		}
		return texts
	}
	if _, err := r.carol.SendText(soon(t), room, "hello from the village"); err != nil {
		t.Fatal(err)
	}
	r.await("it is sent", func() bool { return len(sent()) == 2 })
	if texts := sent(); !strings.Contains(texts[0], "bridged to a Matrix room") || !strings.HasSuffix(texts[1], ": hello from the village") {
		t.Errorf("sent %q", texts)
	}
	r.node.says(r.account, group, key("Wanda"), "hello village")
	if shown := r.awaitText(r.carol, r.ghost(key("Wanda")), "hello village"); shown != room {
		t.Error("the answer is in another room")
	}
	r.say(r.carol, room, "!mimir relay off", "leaves this room")
	if _, err := r.carol.SendText(soon(t), room, "among us"); err != nil {
		t.Fatal(err)
	}
	r.say(r.carol, room, "!mimir relay on", "is sent to people on Mimir")
	if _, err := r.carol.SendText(soon(t), room, "back again"); err != nil {
		t.Fatal(err)
	}
	r.await("it is sent", func() bool { return len(sent()) >= 3 })
	if texts := sent(); !strings.HasSuffix(texts[2], ": back again") {
		t.Errorf("sent %q", texts)
	}
}

func (r *roadmap) permissions(t *testing.T) {
	kurt, room := r.conversation("Kurt")
	logins := r.status().Logins
	for _, name := range []string{"eve", "dave"} { // eve may do nothing, dave has no login here
		client := r.invite(name, room)
		for _, text := range []string{"I am not Alice", "!mimir login attach"} {
			if _, err := client.SendText(soon(t), room, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.write(room, "I am Alice")
	r.awaitOutgoing(r.account, kurt, "I am Alice")
	if n := r.status().Logins; n != logins {
		t.Errorf("there are %d logins", n)
	}
}

func (r *roadmap) help(*testing.T) {
	r.say(r.alice, r.management, "help", "my-link")
}

func (r *roadmap) deletedRoom(t *testing.T) {
	lena, room := r.conversation("Lena")
	r.write(room, "hello Lena")
	r.awaitOutgoing(r.account, lena, "hello Lena")
	r.write(room, "!mimir delete-portal")
	r.await("the room is given up", func() bool {
		joined, err := r.alice.Matrix.JoinedMembers(soon(t), room)
		if err != nil {
			return true // alice is out herself
		}
		_, in := joined.Joined[r.ghost(lena)]
		return !in
	})
	r.node.receive(r.account, lena, "where have you been")
	again := r.awaitText(r.alice, r.ghost(lena), "where have you been")
	if again == room {
		t.Fatal("it is the same room")
	}
	r.last(again, r.ghost(lena), "I am Lena", "where have you been")
	if _, err := r.alice.WaitText(soon(t), again, r.alice.UserID(), "hello Lena"); err != nil {
		t.Error(err)
	}
}

// The homeserver is killed, then the bridge is stopped.
func (r *roadmap) outage(t *testing.T) {
	before := r.outgoing()
	if err := r.real.server.Kill(); err != nil {
		t.Fatal(err)
	}
	during := numbered("during", 10)
	r.node.receive(r.account, r.bob, during...)
	r.awaitState(bridge.StateDegraded)
	if err := r.real.server.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	r.last(r.room, r.ghost(r.bob), during...)
	r.awaitState(bridge.StateRunning)

	r.stop()
	while := numbered("meanwhile", 10)
	for _, text := range while {
		r.node.receive(r.account, r.bob, text)
		r.write(r.room, text)
	}
	r.restart(t)
	r.sent(before + len(while) - 1)
	if have := r.since(before); !slices.Equal(have, while) {
		t.Errorf("sent %q", have)
	}
	r.last(r.room, r.ghost(r.bob), while...)
}

// The homeserver has the event, the bridge is killed before it knows, and the
// homeserver has forgotten the transaction.
func (r *roadmap) doubt(t *testing.T) {
	r.await("all is noted", func() bool { return r.status().Conversations == 0 })
	r.node.setCursorError(errTest)
	r.node.receive(r.account, r.bob, "in doubt")
	r.awaitText(r.alice, r.ghost(r.bob), "in doubt")
	r.await("it was noted", func() bool { return len(r.status().Waiting) == 1 && r.status().Waiting[0].Error != "" })
	r.stop()
	r.node.setCursorError(nil)
	r.forgetLast()
	if err := r.real.server.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	r.restart(t)
	r.node.receive(r.account, r.bob, "after")
	r.last(r.room, r.ghost(r.bob), "in doubt", "after")
	count := 0
	for _, text := range r.texts(r.alice, r.room, r.ghost(r.bob)) {
		if text == "in doubt" {
			count++
		}
	}
	if count != 1 {
		t.Errorf("it is shown %d times", count)
	}
}

func (r *roadmap) identities(t *testing.T) {
	logins := r.status().Logins
	r.say(r.alice, r.management, "login new", "Please enter your name")
	r.say(r.alice, r.management, "Alicia", "Your Mimir identity Alicia is created")
	r.say(r.alice, r.management, "login import", "Please enter your secret key")
	seen := r.alice.Seen(r.botSaying(r.management, "Please enter your name"))
	secret := r.write(r.management, "01020300000000000000000000000000000000000000000000000000000000ff")
	r.hear(r.alice, r.management, "Please enter your name", seen)
	r.say(r.alice, r.management, "Alison", "You use the Mimir identity Alison")
	r.redacted(secret, r.bot())
	work := r.node.addAccount("Work")
	r.say(r.alice, r.management, "login attach", "You use the Mimir identity Work")
	r.await("all are served", func() bool { return r.status().Logins == logins+3 })
	mona := r.node.addContact(work, "Mona")
	r.node.receive(work, mona, "to your work")
	r.awaitText(r.alice, r.ghost(mona), "to your work")
}
