// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"context"
	"flag"
	"image"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/transfer"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/crypto/attachment"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// all makes TestRoadmap go through its conversation in encrypted rooms too, which
// takes as long again. make e2e does, with the variable of the environment.
var all = flag.Bool("all", os.Getenv("MIMIRD_E2E_ALL") != "", "everything, in encrypted rooms too")

// TestRoadmap goes through what ROADMAP.md promises with a real homeserver and a
// real Matrix client: in one conversation that is not encrypted, and in one that is.
func TestRoadmap(t *testing.T) {
	t.Run("plain", func(t *testing.T) { walk(t, false) })
	if *all {
		t.Run("encrypted", func(t *testing.T) { walk(t, true) })
	}
}

func walk(t *testing.T, encrypted bool) {
	r := newRealWith(t, func(c *matrixconfig.Config) {
		c.Encryption.Allow = encrypted
		c.Bridge.Relay.Enabled = true
		c.Bridge.Permissions["@carol:mimir.test"] = &bridgeconfig.PermissionLevelRelay
		c.Bridge.Permissions["@anna:mimir.test"] = &bridgeconfig.PermissionLevelAdmin
		c.Network.WaitingNotice = 500 * time.Millisecond
	})
	f := &fixture{world: r.world, alice: r.alice, account: r.account}
	attached, err := f.alice.Wait(soon(t), func(evt *event.Event) bool {
		return evt.Sender == f.bot() && evt.Type == event.EventMessage && contains(evt.Content.AsMessage().Body, "You use the Mimir identity")
	})
	if err != nil {
		t.Fatal(err)
	}
	f.management = attached.RoomID
	walk := &roadmap{fixture: f, real: r, whole: t, bob: r.node.addContact(r.account, "Bob")}
	for _, step := range []struct {
		name string
		run  func(t *testing.T)
		long bool // only where there is time
	}{
		{"text", walk.text, false},
		{"delivery", walk.delivery, false},
		{"formatting", walk.formatting, false},
		{"splitting", walk.splitting, false},
		{"replies", walk.replies, false},
		{"edits", walk.edits, false},
		{"quotes", walk.quotes, false},
		{"reactions", walk.reactionsBothWays, false},
		{"deletions", walk.deletions, true},
		{"order", walk.order, true},
		{"waiting", walk.waiting, true},
		{"files-in", walk.filesIn, false},
		{"files-out", walk.filesOut, false},
		{"fetch", walk.fetch, false},
		{"location", walk.location, false},
		{"missed-call", walk.missedCall, false},
		{"profile", walk.profile, false},
		{"devices", walk.devices, false},
		{"double-puppet", walk.doublePuppet, false},
		{"requests", walk.requests, false},
		{"manage", walk.manage, true},
		{"start-chat", walk.startChat, false},
		{"invitation", walk.invitation, true},
		{"relay", walk.relay, true},
		{"village", walk.village, true},
		{"permissions", walk.permissions, true},
		{"provisioning", walk.provisioning, false},
		{"my-link", walk.myLink, false},
		{"help", walk.help, false},
		{"queue", walk.queue, false},
		{"history", walk.historyAnew, false},
		{"deleted-room", walk.deletedRoom, true},
		{"outage", walk.outage, true},
		{"doubt", walk.doubt, true},
		{"groups", walk.groups, false},
		{"group-invites", walk.groupInvited, true},
		{"group-absence", walk.groupAbsence, true},
		{"group-shared", walk.groupShared, true},
		{"identities", walk.identities, true},
		{"logout", walk.logout, false},
	} {
		if step.long && !*all {
			continue
		}
		passed := t.Run(step.name, func(t *testing.T) {
			f.t, f.node.t = t, t
			step.run(t)
		})
		f.t, f.node.t = t, t
		if !passed { // the next ones build on it
			return
		}
	}
	if encrypted {
		r.nothingPlain(100)
	}
}

// roadmap is the conversation of TestRoadmap.
type roadmap struct {
	*fixture
	real  *real
	whole *testing.T // that the steps are parts of
	bob   identity.PublicKey
	room  id.RoomID
	carol *bridgetest.Client // has no login, and may be relayed
}

// restart starts the bridge again, for the steps after this one too.
func (r *roadmap) restart(t *testing.T) {
	t.Helper()
	r.t = r.whole
	r.start()
	r.t = t
}

// sent waits for another message in the outbox and returns it.
func (r *roadmap) sent(before int) store.Message {
	r.t.Helper()
	r.await("it is queued", func() bool { return len(r.node.outgoing(r.account, r.bob)) > before })
	return r.node.outgoing(r.account, r.bob)[before]
}

func (r *roadmap) outgoing() int { return len(r.node.outgoing(r.account, r.bob)) }

// since are the texts of the outbox after the first so many.
func (r *roadmap) since(before int) (texts []string) {
	for _, m := range r.node.outgoing(r.account, r.bob)[before:] {
		texts = append(texts, string(m.Payload))
	}
	return texts
}

// last waits until the last texts that somebody has written in a room are these.
func (r *roadmap) last(room id.RoomID, sender id.UserID, want ...string) {
	r.t.Helper()
	var have []string
	r.await("the room has all texts", func() bool {
		have = r.texts(r.alice, room, sender)
		return slices.Contains(have, want[len(want)-1])
	})
	if have = have[max(0, len(have)-len(want)):]; !slices.Equal(have, want) {
		r.t.Errorf("the room ends with %q, want %q", have, want)
	}
}

// redact deletes an event, which Dendrite may fail to do while it is busy.
func (r *roadmap) redact(evt id.EventID) {
	r.t.Helper()
	r.await("Dendrite redacts", func() bool {
		_, err := r.alice.Matrix.RedactEvent(soon(r.t), r.room, evt)
		return err == nil
	})
}

// redacted waits until somebody has deleted an event.
func (r *roadmap) redacted(target id.EventID, by id.UserID) {
	r.t.Helper()
	_, err := r.alice.Wait(soon(r.t), func(evt *event.Event) bool {
		return evt.Type == event.EventRedaction && evt.Sender == by && evt.Redacts == target
	})
	if err != nil {
		r.t.Errorf("%s is not deleted: %v", target, err)
	}
}

// newUser registers somebody else. Their client syncs until the end of all steps: Dendrite
// v0.15.2 dies of "cannot start a transaction within a transaction" when a client goes away
// at the wrong moment of a sync.
func (r *roadmap) newUser(name string) *bridgetest.Client {
	r.t.Helper()
	if err := r.real.server.CreateUser(soon(r.t), name, "long-secret", false); err != nil {
		r.t.Fatal(err)
	}
	t := r.t
	r.t = r.whole
	client := r.person(r.real.server.URL(), name)
	r.t = t
	return client
}

// invite brings somebody else into a room.
func (r *roadmap) invite(name string, room id.RoomID) *bridgetest.Client {
	r.t.Helper()
	client := r.newUser(name)
	if _, err := r.alice.Matrix.InviteUser(soon(r.t), room, &mautrix.ReqInviteUser{UserID: client.UserID()}); err != nil {
		r.t.Fatal(err)
	}
	for _, sees := range []*bridgetest.Client{r.alice, client} {
		_, err := sees.Wait(soon(r.t), func(evt *event.Event) bool {
			return evt.RoomID == room && evt.Type == event.StateMember && evt.GetStateKey() == string(client.UserID()) &&
				evt.Content.AsMember().Membership == event.MembershipJoin
		})
		if err != nil {
			r.t.Fatalf("%s does not join: %v", name, err)
		}
	}
	return client
}

func (r *roadmap) text(*testing.T) {
	r.node.receive(r.account, r.bob, "hello Alice")
	r.room = r.awaitText(r.alice, r.ghost(r.bob), "hello Alice")
	r.write(r.room, "hello Bob")
	r.awaitOutgoing(r.account, r.bob, "hello Bob")
	r.await("it is in the list of direct chats", func() bool {
		var direct map[id.UserID][]id.RoomID
		err := r.alice.Matrix.GetAccountData(soon(r.t), "m.direct", &direct)
		return err == nil && slices.Contains(direct[r.ghost(r.bob)], r.room)
	})
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
		t.Error("the answer is not a reply")
	}
	r.node.accept(store.AcceptMessage{Account: r.account, Conversation: store.ContactConversation(r.bob), Payload: []byte("his answer"), ReplyTo: sent.ID.GUID})
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

func (r *roadmap) quotes(t *testing.T) {
	before := r.outgoing()
	notice, err := r.alice.Wait(soon(t), isNotice(r.room, "Mimir has no edits"))
	if err != nil {
		t.Fatal(err)
	}
	r.put(r.room, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgText, Body: "do you see that?", RelatesTo: (&event.RelatesTo{}).SetReplyTo(notice.ID),
	})
	text := string(r.sent(before).Payload)
	if !strings.HasPrefix(text, "> ") || !strings.Contains(text, "Mimir has no edits") || !strings.HasSuffix(text, "\n\ndo you see that?") {
		t.Errorf("sent %q", text)
	}
}

func (r *roadmap) reactionsBothWays(t *testing.T) {
	hello, err := r.alice.WaitText(soon(t), r.room, r.alice.UserID(), "hello Bob")
	if err != nil {
		t.Fatal(err)
	}
	target := r.node.outgoing(r.account, r.bob)[0].ID.GUID
	react := func(emoji string, at store.Millis) {
		r.node.accept(store.AcceptMessage{
			Account: r.account, Conversation: store.ContactConversation(r.bob), Type: int32(peer.TypeReaction), ReplyTo: target, SendTime: at,
			Payload: peer.Reaction{Emoji: emoji, Target: peer.GUID(target)}.AppendTo(nil),
		})
	}
	react("👍️", 2_000_000_000_000)
	shown, err := r.alice.Wait(soon(t), func(evt *event.Event) bool {
		return evt.Sender == r.ghost(r.bob) && evt.Type == event.EventReaction && evt.Content.AsReaction().RelatesTo.EventID == hello.ID
	})
	if err != nil {
		t.Fatalf("no reaction: %v", err)
	}
	react("", 2_000_000_001_000)
	r.redacted(shown.ID, r.ghost(r.bob))
	before := r.outgoing()
	his, err := r.alice.WaitText(soon(t), r.room, r.ghost(r.bob), "his answer")
	if err != nil {
		t.Fatal(err)
	}
	mine := r.put(r.room, event.EventReaction, &event.ReactionEventContent{
		RelatesTo: event.RelatesTo{Type: event.RelAnnotation, EventID: his.ID, Key: "😂"},
	})
	if sent, err := peer.ParseReaction(r.sent(before).Payload); err != nil || sent.Emoji != "😂" {
		t.Errorf("sent %+v, %v", sent, err)
	}
	r.redact(mine)
	if sent, err := peer.ParseReaction(r.sent(before + 1).Payload); err != nil || sent.Emoji != "" {
		t.Errorf("sent %+v, %v", sent, err)
	}
}

// leftOnMachine is the caption of a voice message of the answering machine.
const leftOnMachine = "Left on the answering machine during a call: 0:07"

func (r *roadmap) filesIn(t *testing.T) {
	data := picture(t, 30, 20)
	message := r.node.offer(r.account, r.bob, transfer.Info{
		Name: "cat.png", MIMEType: "image/png", Picture: true, Caption: "my cat", State: store.MediaDownloading,
	})
	r.node.arrive(message, store.MediaStored, data)
	content := r.awaitFile(r.room, r.ghost(r.bob), "cat.png")
	if content.MsgType != event.MsgImage || content.GetCaption() != "my cat" || !bytes.Equal(r.download(content), data) {
		t.Errorf("the picture is %+v", content)
	}
	message = r.node.offer(r.account, r.bob, transfer.Info{
		Name: "voice_message.m4a", MIMEType: "audio/mp4", Voice: true, Caption: leftOnMachine, State: store.MediaDownloading,
	})
	r.node.arrive(message, store.MediaStored, []byte("sound"))
	if content := r.awaitFile(r.room, r.ghost(r.bob), "voice_message.m4a"); content.MSC3245Voice == nil || content.GetCaption() != leftOnMachine {
		t.Errorf("the voice message of a call is %+v", content)
	}
}

func (r *roadmap) filesOut(t *testing.T) {
	data := picture(t, 3, 3)
	for _, c := range []struct {
		kind    event.Type
		content event.MessageEventContent
		name    string
		caption string
	}{
		{event.EventMessage, event.MessageEventContent{MsgType: event.MsgImage, Body: "look", FileName: "dog.png"}, "dog.png", "look"},
		{event.EventMessage, event.MessageEventContent{MsgType: event.MsgFile, Body: "x.bin"}, "x.bin", ""},
		{event.EventMessage, event.MessageEventContent{MsgType: event.MsgVideo, Body: "x.mp4"}, "x.mp4", ""},
		{event.EventMessage, event.MessageEventContent{MsgType: event.MsgAudio, Body: "x.ogg", MSC3245Voice: &event.MSC3245Voice{}}, "x.ogg", ""},
		{event.EventSticker, event.MessageEventContent{Body: "a laughing cat"}, "sticker", ""},
	} {
		c.content.Info = &event.FileInfo{MimeType: "image/png"}
		r.upload(data, &c.content)
		before := r.outgoing()
		r.put(r.room, c.kind, &c.content)
		sent := r.sent(before)
		r.await("it is stored", func() bool { return r.node.fileOf(sent.ID).data != nil })
		file := r.node.fileOf(sent.ID)
		if !bytes.Equal(file.data, data) || file.info.Caption != c.caption || file.info.Name != c.name ||
			file.info.Voice != (c.content.MSC3245Voice != nil) {
			t.Errorf("%s is sent as %+v", c.name, file.info)
		}
	}
}

// upload gives the homeserver a file, encrypted where the rooms are.
func (r *roadmap) upload(data []byte, content *event.MessageEventContent) {
	r.t.Helper()
	if !r.encrypted {
		uploaded, err := r.alice.Matrix.UploadBytes(soon(r.t), data, content.Info.MimeType)
		if err != nil {
			r.t.Fatal(err)
		}
		content.URL = uploaded.ContentURI.CUString()
		return
	}
	file := &event.EncryptedFileInfo{EncryptedFile: *attachment.NewEncryptedFile()}
	secret := bytes.Clone(data)
	file.EncryptInPlace(secret)
	uploaded, err := r.alice.Matrix.UploadBytes(soon(r.t), secret, "application/octet-stream")
	if err != nil {
		r.t.Fatal(err)
	}
	file.URL, content.File = uploaded.ContentURI.CUString(), file
}

func (r *roadmap) fetch(t *testing.T) {
	message := r.node.offer(r.account, r.bob, transfer.Info{
		Name: "big.zip", Size: 5 << 20, MIMEType: "application/zip", State: store.MediaOffered,
	})
	note, err := r.alice.Wait(soon(t), isNotice(r.room, "big.zip (5.0 MiB): it was not fetched"))
	if err != nil {
		t.Fatal(err)
	}
	r.reply("!mimir fetch", note.ID)
	r.botSays(r.room, "being fetched")
	r.node.arrive(message, store.MediaStored, []byte("PK data"))
	if content := r.awaitFile(r.room, r.ghost(r.bob), "big.zip"); string(r.download(content)) != "PK data" {
		t.Error("the file has other content")
	}
}

func (r *roadmap) reply(text string, to id.EventID) {
	r.t.Helper()
	r.put(r.room, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgText, Body: text, RelatesTo: (&event.RelatesTo{}).SetReplyTo(to),
	})
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
		Account: r.account, Conversation: store.ContactConversation(r.bob), GUID: 4711, Payload: []byte("from elsewhere"), Source: "local:1",
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

	frida, gerd, hans := r.node.ask(r.account, "Frida", "please"), r.node.ask(r.account, "Gerd", "me too"), r.node.ask(r.account, "Hans", "and me")
	r.write(r.awaitText(r.alice, r.ghost(frida), "please"), "gladly")
	r.awaitContact(frida, "accepted", isAccepted)
	r.put(r.awaitText(r.alice, r.ghost(gerd), "me too"), event.BeeperAcceptMessageRequest, struct{}{})
	r.awaitContact(gerd, "accepted", isAccepted)
	r.say(r.alice, r.awaitText(r.alice, r.ghost(hans), "and me"), "!mimir decline", "declined")
	r.awaitContact(hans, "declined", func(c store.Contact) bool { return c.Declined != 0 })
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
	before := r.outgoing()
	last := r.write(r.room, "will you get this")
	r.sent(before)
	r.say(r.alice, r.management, "queue", "Robert: ")
	r.reply("!mimir trace", last)
	r.botSays(r.room, "message_queued")
	r.say(r.alice, r.room, "!mimir cancel", "Not sent any more")
	r.await("nothing waits", func() bool {
		waits, err := r.node.Outbox(r.account, r.bob, 1)
		return err == nil && len(waits) == 0
	})
	r.botSays(r.room, "you have cancelled it")
}

func (r *roadmap) historyAnew(t *testing.T) {
	old := r.room
	r.say(r.alice, old, "!mimir history", "A new room is created")
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
	before := r.status().Logins
	r.say(r.alice, r.management, "logout "+r.account.String(), "Logged out")
	r.await("it is served no more", func() bool { return r.status().Logins == before-1 })
}
