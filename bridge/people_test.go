// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"image"
	"image/png"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
)

// isRequest reports whether a room says of itself that it is a message request.
func (f *fixture) isRequest(room id.RoomID) bool {
	request := false
	for _, evt := range f.homeserver.Timeline(room) {
		if evt.Type == "m.bridge" {
			request = contains(string(evt.Content), `"com.beeper.message_request":true`)
		}
	}
	return request
}

func (f *fixture) awaitContact(contact identity.PublicKey, what string, is func(store.Contact) bool) {
	f.t.Helper()
	f.await("the contact is "+what, func() bool {
		c, err := f.node.Contact(f.account, contact)
		return err == nil && is(c)
	})
}

func isAccepted(c store.Contact) bool { return c.State == store.ContactAccepted }

func TestContactRequest_ShownAsMessageRequest(t *testing.T) {
	f := newFixture(t)
	bob := f.node.ask(f.account, "Bob", "We met <b>yesterday</b>")
	room := f.awaitText(f.alice, f.ghost(bob), "We met <b>yesterday</b>")
	f.botSays(room, "Bob asks to be your contact")
	f.await("it is a message request", func() bool { return f.isRequest(room) })

	// A change of the profile meanwhile says nothing anew.
	f.node.apply(store.UpdateContact{Account: f.account, Contact: bob, Fields: store.FieldNickname, Nickname: "Robert"})
	f.await("the new name is shown", func() bool { return f.displayName(f.ghost(bob)) == "Robert" })
	if texts := f.texts(f.alice, room, f.ghost(bob)); len(texts) != 1 {
		t.Errorf("the contact has said %q", texts)
	}
	// Writing accepts, and is sent.
	f.write(room, "yes, hello")
	f.awaitOutgoing(f.account, bob, "yes, hello")
	f.awaitContact(bob, "accepted", isAccepted)
	f.await("it is a message request no more", func() bool { return !f.isRequest(room) })
	f.toldOnce(bob, "Robert is your contact now")
}

// toldOnce waits until the bot has told of something, and until what happens next
// with the contact is in the room: it was told once.
func (f *fixture) toldOnce(contact identity.PublicKey, text string) {
	f.t.Helper()
	room := f.roomWith(contact)
	f.botSays(room, text)
	f.node.apply(store.UpdateContact{Account: f.account, Contact: contact, Fields: store.FieldMuted, Muted: true})
	f.node.receive(f.account, contact, "what comes next")
	f.awaitText(f.alice, f.ghost(contact), "what comes next")
	count := 0
	for _, said := range f.texts(f.alice, room, f.bot()) {
		if strings.Contains(said, text) {
			count++
		}
	}
	if count != 1 {
		f.t.Errorf("the bot says %q %d times", text, count)
	}
}

func TestContactRequest_AnsweredByCommandOrButton(t *testing.T) {
	f := newFixture(t)
	bob, carol, dave := f.node.ask(f.account, "Bob", ""), f.node.ask(f.account, "Carol", "hi"), f.node.ask(f.account, "Dave", "hi")
	for _, contact := range []identity.PublicKey{bob, carol, dave} {
		f.await("there is a room", func() bool { return f.roomWith(contact) != "" })
		f.botSays(f.roomWith(contact), "asks to be your contact")
	}
	f.say(f.alice, f.roomWith(bob), "!mimir accept", "Bob is your contact now")
	f.awaitContact(bob, "accepted", isAccepted)
	f.toldOnce(bob, "Bob is your contact now")
	f.say(f.alice, f.management, "decline Carol", "declined")
	f.awaitContact(carol, "declined", func(c store.Contact) bool { return c.Declined != 0 })
	f.put(f.roomWith(dave), event.BeeperAcceptMessageRequest, struct{}{})
	f.awaitContact(dave, "accepted", isAccepted)
	f.toldOnce(dave, "Dave is your contact now")
}

func TestContacts_BlockedMutedRenamed(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.say(f.alice, room, "!mimir block", "You have blocked Bob")
	f.awaitContact(bob, "blocked", func(c store.Contact) bool { return c.State == store.ContactBlocked })
	f.say(f.alice, f.management, "unblock Bob", "Bob is unblocked")
	f.awaitContact(bob, "accepted", isAccepted)
	if _, err := f.alice.SendText(soon(t), room, "!mimir mute"); err != nil {
		t.Fatal(err)
	}
	f.awaitContact(bob, "muted", func(c store.Contact) bool { return c.Muted })
	f.say(f.alice, room, "!mimir rename Bobby", "is shown as Bobby")
	f.await("the room has the name", func() bool { return f.displayName(f.ghost(bob)) == "Bobby" })
	f.say(f.alice, f.management, "contacts", "Bobby")
}

func TestStartChat_ByName_CommandAndAPI(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.say(f.alice, f.management, "start-chat bob", "You already have a direct chat")
	f.say(f.alice, f.management, "search bo", "Bob")
	f.say(f.alice, f.management, "resolve-identifier "+bob.String(), "Bob")
	f.say(f.alice, f.management, "start-chat nobody", "the name of a contact")
	for _, path := range []string{"/v3/contacts", "/v3/resolve_identifier/Bob", "/v3/whoami"} {
		if answer := f.provision("GET", path, ""); !contains(answer, bob.String()) && path != "/v3/whoami" {
			t.Errorf("%s answers %s", path, answer)
		}
	}
	if answer := f.provision("POST", "/v3/search_users", `{"query":"bo"}`); !contains(answer, bob.String()) {
		t.Errorf("the search answers %s", answer)
	}
	if answer := f.provision("POST", "/v3/create_dm/bob", ""); !contains(answer, string(room)) {
		t.Errorf("a chat with Bob is %s", answer)
	}
	carol := identity.Link{Key: validKey(t, 1), Name: "Carol"}
	f.say(f.alice, f.management, "start-chat "+carol.String(), "Created chat with")
	f.awaitContact(carol.Key, "asked", func(c store.Contact) bool { return c.Asked == store.AskWaiting })
}

func TestNotices_AnswersAndMissedCalls(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.node.apply(store.AskContact{Account: f.account, Contact: bob})
	f.node.apply(store.MarkAsked{Account: f.account, Contact: bob})
	f.node.apply(store.MarkAnswered{Account: f.account, Contact: bob, Accepted: true})
	f.botSays(room, "Bob has accepted your contact request")
	f.node.apply(store.NoteMissedCall{Account: f.account, Contact: bob})
	evt, err := f.alice.Wait(soon(t), isNotice(room, "Missed call"))
	if err != nil {
		t.Fatal(err)
	}
	if evt.Sender != f.ghost(bob) || evt.Content.AsMessage().MsgType != event.MsgNotice {
		t.Errorf("%s says it as %s", evt.Sender, evt.Content.AsMessage().MsgType)
	}
}

func TestNotices_MissedCallsSwitchedOff(t *testing.T) {
	f := newFixtureWith(t, func(config *matrixconfig.Config) { config.Network.CallNotices = false })
	bob, room := f.conversation("Bob")
	f.node.apply(store.NoteMissedCall{Account: f.account, Contact: bob})
	f.node.receive(f.account, bob, "I have called you")
	f.awaitShown(room, "I am Bob", "I have called you")
}

func TestAvatar_Changed_Updated(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.node.apply(store.UpdateContact{Account: f.account, Contact: bob, Fields: store.FieldAvatar, Avatar: picture(t, 3, 2)})
	f.await("the room has the picture", func() bool {
		return slices.ContainsFunc(f.homeserver.Timeline(room), func(evt bridgetest.Event) bool {
			return evt.Type == "m.room.avatar" && contains(string(evt.Content), "mxc://")
		})
	})
}

// picture returns a picture of that size, in one colour.
func picture(t *testing.T, width, height int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, height))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// provision asks the provisioning API for alice.
func (f *fixture) provision(method, path, body string) string {
	f.t.Helper()
	req, err := http.NewRequestWithContext(soon(f.t), method,
		f.config.AppService.Address+"/_matrix/provision"+path+"?user_id="+string(f.alice.UserID()), strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Authorization", "Bearer "+f.config.Provisioning.SharedSecret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		f.t.Fatalf("%s %s: %s %s, %v", method, path, resp.Status, answer, err)
	}
	return string(answer)
}
