// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"context"
	"image"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// TestRoadmap goes through what ROADMAP.md promises with a real homeserver and a
// real Matrix client, in one conversation.
func TestRoadmap(t *testing.T) {
	r := newReal(t)
	bob := r.node.addContact(r.account, "Bob")
	f := &fixture{world: r.world, alice: r.alice, account: r.account}
	attached, err := f.alice.Wait(soon(t), func(evt *event.Event) bool {
		return evt.Sender == f.bot() && evt.Type == event.EventMessage && contains(evt.Content.AsMessage().Body, "You use the Mimir identity")
	})
	if err != nil {
		t.Fatal(err)
	}
	f.management = attached.RoomID
	walk := &roadmap{fixture: f, bob: bob}
	for _, step := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"text", walk.text},
		{"delivery", walk.delivery},
		{"formatting", walk.formatting},
		{"splitting", walk.splitting},
		{"replies", walk.replies},
		{"edits", walk.edits},
		{"reactions", walk.reactionsBothWays},
		{"files-in", walk.filesIn},
		{"files-out", walk.filesOut},
		{"location", walk.location},
		{"missed-call", walk.missedCall},
		{"profile", walk.profile},
		{"double-puppet", walk.doublePuppet},
		{"requests", walk.requests},
		{"start-chat", walk.startChat},
		{"provisioning", walk.provisioning},
		{"my-link", walk.myLink},
		{"queue", walk.queue},
		{"history", walk.historyAnew},
		{"logout", walk.logout},
	} {
		t.Run(step.name, func(t *testing.T) {
			f.t, f.node.t = t, t
			step.run(t)
		})
		f.t, f.node.t = r.t, r.t
	}
}

// roadmap is the conversation of TestRoadmap.
type roadmap struct {
	*fixture
	bob  identity.PublicKey
	room id.RoomID
}

// sent waits for another message in the outbox and returns it.
func (r *roadmap) sent(before int) store.Message {
	r.t.Helper()
	r.await("it is queued", func() bool { return len(r.node.outgoing(r.account, r.bob)) > before })
	return r.node.outgoing(r.account, r.bob)[before]
}

func (r *roadmap) outgoing() int { return len(r.node.outgoing(r.account, r.bob)) }

func (r *roadmap) text(*testing.T) {
	r.node.receive(r.account, r.bob, "hello Alice")
	r.room = r.awaitText(r.alice, r.ghost(r.bob), "hello Alice")
	r.write(r.room, "hello Bob")
	r.awaitOutgoing(r.account, r.bob, "hello Bob")
}

func (r *roadmap) delivery(t *testing.T) {
	hello, err := r.alice.WaitText(soon(t), r.room, r.alice.UserID(), "hello Bob")
	if err != nil {
		t.Fatal(err)
	}
	r.node.acknowledge(r.account, r.bob, r.node.outgoing(r.account, r.bob)[0].ID)
	_, err = r.alice.Wait(soon(t), func(evt *event.Event) bool {
		status, ok := evt.Content.Parsed.(*event.BeeperMessageStatusEventContent)
		return ok && status.RelatesTo.EventID == hello.ID && status.DeliveredToUsers != nil
	})
	if err != nil {
		t.Errorf("no delivery status: %v", err)
	}
}

func (r *roadmap) formatting(t *testing.T) {
	before := r.outgoing()
	r.put(r.room, event.EventMessage, map[string]any{
		"msgtype": "m.text", "body": "fallback", "format": "org.matrix.custom.html",
		"formatted_body": `Dear <a href="https://matrix.to/#/` + string(r.ghost(r.bob)) + `">Bob</a>:<ul><li><b>one</b></li></ul>`,
	})
	if text := string(r.sent(before).Payload); text != "Dear Bob:\n\n• one" {
		t.Errorf("sent %q", text)
	}
}

func (r *roadmap) splitting(t *testing.T) {
	before := r.outgoing()
	r.write(r.room, strings.Repeat("word ", 1500))
	if a, b := r.sent(before), r.sent(before+1); len(a.Payload)+len(b.Payload) != 7498 {
		t.Errorf("sent %d and %d bytes", len(a.Payload), len(b.Payload))
	}
}

func (r *roadmap) replies(t *testing.T) {
	before := r.outgoing()
	hello, err := r.alice.WaitText(soon(t), r.room, r.ghost(r.bob), "hello Alice")
	if err != nil {
		t.Fatal(err)
	}
	answer := r.put(r.room, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgText, Body: "my answer", RelatesTo: (&event.RelatesTo{}).SetReplyTo(hello.ID),
	})
	sent := r.sent(before)
	if sent.ReplyTo == 0 {
		t.Error("the answer is no reply")
	}
	r.node.accept(store.AcceptMessage{Account: r.account, Contact: r.bob, Payload: []byte("his answer"), ReplyTo: sent.ID.GUID})
	evt, err := r.alice.WaitText(soon(t), r.room, r.ghost(r.bob), "his answer")
	if err != nil {
		t.Fatal(err)
	}
	if target := evt.Content.AsMessage().RelatesTo.GetReplyTo(); target != answer {
		t.Errorf("replies to %q, want %q", target, answer)
	}
}

func (r *roadmap) edits(t *testing.T) {
	hello, err := r.alice.WaitText(soon(t), r.room, r.alice.UserID(), "hello Bob")
	if err != nil {
		t.Fatal(err)
	}
	r.put(r.room, event.EventMessage, edited(hello.ID, "hello Robert"))
	r.botSays(r.room, "Mimir has no edits")
}

func (r *roadmap) reactionsBothWays(t *testing.T) {
	hello, err := r.alice.WaitText(soon(t), r.room, r.alice.UserID(), "hello Bob")
	if err != nil {
		t.Fatal(err)
	}
	target := r.node.outgoing(r.account, r.bob)[0].ID.GUID
	r.node.accept(store.AcceptMessage{
		Account: r.account, Contact: r.bob, Type: int32(peer.TypeReaction), ReplyTo: target, SendTime: 2_000_000_000_000,
		Payload: peer.Reaction{Emoji: "👍️", Target: peer.GUID(target)}.AppendTo(nil),
	})
	_, err = r.alice.Wait(soon(t), func(evt *event.Event) bool {
		return evt.Sender == r.ghost(r.bob) && evt.Type == event.EventReaction && evt.Content.AsReaction().RelatesTo.EventID == hello.ID
	})
	if err != nil {
		t.Errorf("no reaction: %v", err)
	}
	before := r.outgoing()
	his, err := r.alice.WaitText(soon(t), r.room, r.ghost(r.bob), "his answer")
	if err != nil {
		t.Fatal(err)
	}
	r.put(r.room, event.EventReaction, &event.ReactionEventContent{
		RelatesTo: event.RelatesTo{Type: event.RelAnnotation, EventID: his.ID, Key: "😂"},
	})
	if sent, err := peer.ParseReaction(r.sent(before).Payload); err != nil || sent.Emoji != "😂" {
		t.Errorf("sent %+v, %v", sent, err)
	}
}

func (r *roadmap) filesIn(t *testing.T) {
	data := picture(t, 30, 20)
	message := r.node.offer(r.account, r.bob, actors.MediaInfo{
		Name: "cat.png", MIMEType: "image/png", Picture: true, Caption: "my cat", State: store.MediaDownloading,
	})
	r.node.arrive(message, store.MediaStored, data)
	content := r.awaitFile(r.room, r.ghost(r.bob), "cat.png")
	if content.MsgType != event.MsgImage || content.GetCaption() != "my cat" || !bytes.Equal(r.download(content), data) {
		t.Errorf("the picture is %+v", content)
	}
	message = r.node.offer(r.account, r.bob, actors.MediaInfo{
		Name: "voice_message.m4a", MIMEType: "audio/mp4", Voice: true, State: store.MediaDownloading,
	})
	r.node.arrive(message, store.MediaStored, []byte("sound"))
	if content := r.awaitFile(r.room, r.ghost(r.bob), "voice_message.m4a"); content.MSC3245Voice == nil {
		t.Error("the voice message is not marked as one")
	}
}

func (r *roadmap) filesOut(t *testing.T) {
	data := picture(t, 3, 3)
	uploaded, err := r.alice.Matrix.UploadBytes(soon(t), data, "image/png")
	if err != nil {
		t.Fatal(err)
	}
	before := r.outgoing()
	r.put(r.room, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgImage, Body: "look", FileName: "dog.png", URL: uploaded.ContentURI.CUString(),
		Info: &event.FileInfo{MimeType: "image/png"},
	})
	sent := r.sent(before)
	r.await("it is stored", func() bool { return r.node.fileOf(sent.ID).data != nil })
	if file := r.node.fileOf(sent.ID); !bytes.Equal(file.data, data) || file.info.Caption != "look" || file.info.Name != "dog.png" {
		t.Errorf("sent %+v", file.info)
	}
}

func (r *roadmap) location(t *testing.T) {
	before := r.outgoing()
	r.put(r.room, event.EventMessage, &event.MessageEventContent{MsgType: event.MsgLocation, Body: "here", GeoURI: "geo:1.5,2.5"})
	if text := string(r.sent(before).Payload); !strings.Contains(text, "here\nhttps://www.openstreetmap.org/?mlat=1.5&mlon=2.5") {
		t.Errorf("sent %q", text)
	}
}

func (r *roadmap) missedCall(*testing.T) {
	r.node.apply(store.NoteMissedCall{Account: r.account, Contact: r.bob})
	if _, err := r.alice.Wait(soon(r.t), isNotice(r.room, "Missed call")); err != nil {
		r.t.Error(err)
	}
}

func (r *roadmap) profile(t *testing.T) {
	r.node.apply(store.UpdateContact{
		Account: r.account, Contact: r.bob, Fields: store.FieldNickname | store.FieldAvatar, Nickname: "Robert", Avatar: picture(t, 4, 4),
	})
	r.await("the ghost has the name and the picture", func() bool {
		profile, err := r.alice.Matrix.GetProfile(soon(r.t), r.ghost(r.bob))
		return err == nil && profile.DisplayName == "Robert" && !profile.AvatarURL.IsEmpty()
	})
}

func (r *roadmap) doublePuppet(t *testing.T) {
	_, err := store.Do[store.Enqueued](context.Background(), r.node.actor, store.EnqueueMessage{
		Account: r.account, Contact: r.bob, GUID: 4711, Payload: []byte("from elsewhere"), Source: "local:1",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.alice.WaitText(soon(t), r.room, r.alice.UserID(), "from elsewhere"); err != nil {
		t.Error(err)
	}
}

func (r *roadmap) requests(*testing.T) {
	carol := r.node.ask(r.account, "Carol", "we met")
	room := r.awaitText(r.alice, r.ghost(carol), "we met")
	r.say(r.alice, room, "!mimir accept", "Carol is your contact now")
	r.awaitContact(carol, "accepted", isAccepted)
	r.say(r.alice, room, "!mimir block", "You have blocked Carol")
	r.awaitContact(carol, "blocked", func(c store.Contact) bool { return c.State == store.ContactBlocked })
}

func (r *roadmap) startChat(t *testing.T) {
	link := identity.Link{Key: validKey(t, 1), Name: "Dora"}
	r.say(r.alice, r.management, "start-chat "+link.String(), "Created chat with")
	r.awaitContact(link.Key, "asked", func(c store.Contact) bool { return c.Asked == store.AskWaiting })
	r.say(r.alice, r.management, "start-chat robert", "You already have a direct chat")
	r.say(r.alice, r.management, "search rob", "Robert")
	r.say(r.alice, r.management, "contacts", "Dora")
}

func (r *roadmap) provisioning(t *testing.T) {
	for _, path := range []string{"/v3/contacts", "/v3/resolve_identifier/robert"} {
		if answer := r.provision("GET", path, ""); !contains(answer, r.bob.String()) {
			t.Errorf("%s answers %s", path, answer)
		}
	}
	if answer := r.provision("GET", "/v3/whoami", ""); !contains(answer, string(mimirid.Login(r.account))) {
		t.Errorf("whoami answers %s", answer)
	}
}

func (r *roadmap) myLink(t *testing.T) {
	link := identity.Link{Key: r.account, Name: "Alice"}.String()
	r.say(r.alice, r.management, "my-link", link)
	code, _, err := image.Decode(bytes.NewReader(r.download(r.awaitFile(r.management, r.bot(), "my-link.png"))))
	if err != nil {
		t.Fatal(err)
	}
	bitmap, err := gozxing.NewBinaryBitmapFromImage(code)
	if err != nil {
		t.Fatal(err)
	}
	if read, err := qrcode.NewQRCodeReader().Decode(bitmap, nil); err != nil || read.GetText() != link {
		t.Errorf("the code says %v, %v", read, err)
	}
}

func (r *roadmap) queue(*testing.T) {
	r.say(r.alice, r.management, "queue", "Robert: ")
	r.say(r.alice, r.room, "!mimir cancel", "Not sent any more")
	r.await("nothing waits", func() bool {
		waits, err := r.node.Outbox(r.account, r.bob, 1)
		return err == nil && len(waits) == 0
	})
}

func (r *roadmap) historyAnew(t *testing.T) {
	old := r.room
	r.say(r.alice, old, "!mimir history", "made anew")
	evt, err := r.alice.Wait(soon(t), func(evt *event.Event) bool {
		return evt.RoomID != old && evt.Sender == r.ghost(r.bob) && evt.Type == event.EventMessage && evt.Content.AsMessage().Body == "his answer"
	})
	if err != nil {
		t.Fatal(err)
	}
	r.room = evt.RoomID
	for _, text := range []string{"hello Alice", "his answer"} {
		before, err := r.alice.WaitText(soon(t), old, r.ghost(r.bob), text)
		if err != nil {
			t.Fatal(err)
		}
		after, err := r.alice.WaitText(soon(t), r.room, r.ghost(r.bob), text)
		if err != nil {
			t.Fatal(err)
		}
		if before.Timestamp != after.Timestamp {
			t.Errorf("%q is shown at %d, and was at %d", text, after.Timestamp, before.Timestamp)
		}
	}
	if _, err := r.alice.WaitText(soon(t), r.room, r.alice.UserID(), "hello Bob"); err != nil {
		t.Error(err)
	}
}

func (r *roadmap) logout(*testing.T) {
	r.say(r.alice, r.management, "list-logins", "Alice")
	r.say(r.alice, r.management, "logout "+r.account.String(), "Logged out")
	r.await("nobody is served", func() bool { return r.status().Logins == 0 })
}
