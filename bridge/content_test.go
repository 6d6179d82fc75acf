// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/mimird/mimird/actors/transfer"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
)

// put sends any content as alice.
func (f *fixture) put(room id.RoomID, kind event.Type, content any) id.EventID {
	f.t.Helper()
	resp, err := f.alice.Matrix.SendMessageEvent(soon(f.t), room, kind, content)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.EventID
}

func TestContent_LongText_Split(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	first, second, third := strings.Repeat("one ", 1249)+"one", strings.Repeat("two ", 1249)+"two", "the end"
	evt := f.write(room, first+"\n"+second+"\n"+third)
	f.awaitOutgoing(f.account, bob, first, second, third)
	parts := f.node.outgoing(f.account, bob)
	f.await("it is pending", func() bool { return len(f.statuses(evt)) == 1 })
	f.node.acknowledge(f.account, bob, parts[0].ID, parts[1].ID)
	f.await("all is told", func() bool { return f.status().Conversations == 0 })
	if n := len(f.statuses(evt)); n != 1 {
		t.Errorf("%d statuses before the contact has all", n)
	}
	f.node.acknowledge(f.account, bob, parts[2].ID)
	f.await("it is delivered", func() bool { return len(f.statuses(evt)) == 2 })

	// An answer to any of them is an answer to the event.
	f.node.accept(store.AcceptMessage{Account: f.account, Conversation: store.ContactConversation(bob), Payload: []byte("to the first"), ReplyTo: parts[0].ID.GUID})
	answer, err := f.alice.WaitText(soon(t), room, f.ghost(bob), "to the first")
	if err != nil {
		t.Fatal(err)
	}
	if target := answer.Content.AsMessage().RelatesTo.GetReplyTo(); target != evt {
		t.Errorf("replies to %q, want %q", target, evt)
	}
	f.write(room, strings.Repeat("x", 5001*33)[:60_000]) // the homeserver takes it
	f.await("it is cut", func() bool { return len(f.node.outgoing(f.account, bob)) == 3+12 })
}

func TestContent_ReplyToNotice_Quoted(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.write(room, "  ")
	f.botSays(room, "there is nothing to send")
	notice, err := f.alice.Wait(soon(t), isNotice(room, "there is nothing to send"))
	if err != nil {
		t.Fatal(err)
	}
	f.put(room, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgText, Body: "do you see that?", RelatesTo: (&event.RelatesTo{}).SetReplyTo(notice.ID),
	})
	f.await("it is sent", func() bool { return len(f.node.outgoing(f.account, bob)) == 1 })
	sent := string(f.node.outgoing(f.account, bob)[0].Payload)
	if !strings.HasPrefix(sent, "> ") || !strings.HasSuffix(sent, "there is nothing to send in it\n\ndo you see that?") {
		t.Errorf("sent %q", sent)
	}
}

func TestContent_ReplyToUnshownMessage_Quoted(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	old := f.node.receive(f.account, bob, "an old\nquestion")[0]
	f.awaitShown(room, "I am Bob", "an old\nquestion")
	f.stop()
	f.forgetLast() // it was written before there was a room
	f.start()
	f.node.accept(store.AcceptMessage{Account: f.account, Conversation: store.ContactConversation(bob), Payload: []byte("I know it now"), ReplyTo: old.GUID})
	f.node.accept(store.AcceptMessage{Account: f.account, Conversation: store.ContactConversation(bob), Payload: []byte("nobody knows what I mean"), ReplyTo: 4711})
	f.awaitShown(room, "I am Bob", "an old\nquestion", "> an old\n> question\n\nI know it now", "nobody knows what I mean")
}

func TestContent_Edit_Refused(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	evt := f.write(room, "hallo")
	f.awaitOutgoing(f.account, bob, "hallo")
	f.put(room, event.EventMessage, edited(evt, "hello"))
	f.botSays(room, "Mimir has no edits")
	f.awaitOutgoing(f.account, bob, "hallo")
}

func edited(evt id.EventID, text string) *event.MessageEventContent {
	content := &event.MessageEventContent{MsgType: event.MsgText, Body: text}
	content.SetEdit(evt)
	return content
}

func TestContent_Edit_SentAsCorrection(t *testing.T) {
	f := newFixtureWith(t, func(config *matrixconfig.Config) { config.Network.Edits = matrixconfig.EditsCorrection })
	bob, room := f.conversation("Bob")
	evt := f.write(room, "hallo")
	f.put(room, event.EventMessage, edited(evt, "hello"))
	f.awaitOutgoing(f.account, bob, "hallo", "✏️ hello")
	sent := f.node.outgoing(f.account, bob)
	if sent[1].ReplyTo != sent[0].ID.GUID {
		t.Errorf("the correction answers %d, want %d", sent[1].ReplyTo, sent[0].ID.GUID)
	}
}

func TestContent_Redaction_CancelsUndelivered(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	waits, had := f.write(room, "never mind"), f.write(room, "he has this")
	f.awaitOutgoing(f.account, bob, "never mind", "he has this")
	f.node.acknowledge(f.account, bob, f.node.outgoing(f.account, bob)[1].ID)
	for _, evt := range []id.EventID{waits, had} {
		if _, err := f.alice.Matrix.RedactEvent(soon(t), room, evt); err != nil {
			t.Fatal(err)
		}
	}
	f.botSays(room, "the contact has the message and keeps it")
	sent := f.node.outgoing(f.account, bob)
	if sent[0].State != store.StateFailed || sent[1].State != store.StateDelivered {
		t.Errorf("states are %s and %s", sent[0].State, sent[1].State)
	}
}

// Bar S16
func TestContent_TextOfPeer_NeverMarkup(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	abuse := []string{
		"<b>bold</b> <img src=x> @room @alice:mimir.test", "https://matrix.to/#/@alice:mimir.test **md** `code`",
		"\u202egnirts desrever", "a" + strings.Repeat("\u0301", 32_000),
	}
	f.node.receive(f.account, bob, abuse...)
	f.node.receive(f.account, bob, "done")
	f.awaitText(f.alice, f.ghost(bob), "done")
	events, err := f.alice.Timeline(soon(t), room)
	if err != nil {
		t.Fatal(err)
	}
	whole := ""
	for _, evt := range events {
		if evt.Sender != f.ghost(bob) || evt.Type != event.EventMessage {
			continue
		}
		content := evt.Content.AsMessage()
		whole += content.Body
		if content.Format != "" || content.FormattedBody != "" {
			t.Errorf("the event has markup: %q", content.FormattedBody)
		}
		if content.Mentions == nil || content.Mentions.Room || len(content.Mentions.UserIDs) > 0 {
			t.Errorf("the event mentions %+v", content.Mentions)
		}
	}
	if want := "I am Bob" + strings.Join(abuse, "") + "done"; whole != want {
		t.Errorf("%d bytes are shown, %d were sent", len(whole), len(want))
	}
}

// What Mimir does not have is answered once, and what belongs to the same thing is
// not answered again.
func TestContent_Unsupported_RefusedOnce(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	answered := func(part string) (n int) {
		for _, text := range f.texts(f.alice, room, f.bot()) {
			n += strings.Count(text, part)
		}
		return n
	}
	kind := func(name string) event.Type { return event.Type{Type: name, Class: event.MessageEventType} }
	want := make(map[string]int)
	put := func(name, answer string, content map[string]any) {
		t.Helper()
		f.put(room, kind(name), content)
		if answer != "" {
			want[answer]++
			f.await("there is an answer to "+name, func() bool { return answered(answer) >= want[answer] })
		}
	}
	put("m.call.invite", "calls cannot be bridged", map[string]any{"call_id": "1", "version": "1", "lifetime": 60000, "offer": map[string]any{}})
	put("m.call.candidates", "", map[string]any{"call_id": "1"})
	put("m.call.hangup", "", map[string]any{"call_id": "1"})
	put("org.matrix.msc4075.rtc.notification", "calls cannot be bridged", map[string]any{})
	for _, name := range []string{
		"m.poll.start", "m.poll.response", "m.poll.end",
		"org.matrix.msc3381.poll.start", "org.matrix.msc3381.poll.response", "org.matrix.msc3381.poll.end",
	} {
		put(name, "Mimir has no polls", map[string]any{
			"org.matrix.msc3381.poll.start": map[string]any{"question": map[string]any{"body": "?"}, "answers": []any{}},
			"m.relates_to":                  map[string]any{"rel_type": "m.reference", "event_id": "$poll"},
		})
	}
	for _, content := range []map[string]any{
		{"msgtype": "org.example.dance", "body": "dances"}, {"msgtype": "m.key.verification.request", "body": "verify"}, {"body": "no type"},
	} {
		put("m.room.message", "no messages of this kind", content)
	}
	if _, err := f.alice.Matrix.SendStateEvent(soon(t), room, event.Type{Type: "org.matrix.msc3672.beacon_info", Class: event.StateEventType},
		f.alice.UserID().String(), map[string]any{"live": true, "timeout": 60000}); err != nil {
		t.Fatal(err)
	}
	want["no live locations"]++
	f.await("there is an answer to the live location", func() bool { return answered("no live locations") == 1 })
	put("org.matrix.msc3672.beacon", "", map[string]any{"m.relates_to": map[string]any{"rel_type": "m.reference", "event_id": "$beacon"}})
	f.write(room, "after")
	f.awaitOutgoing(f.account, bob, "after")
	for answer, n := range want {
		if have := answered(answer); have != n {
			t.Errorf("%q was said %d times, want %d", answer, have, n)
		}
	}
}

// A picture that is dangerous to decode is a file.
func TestContent_HugeImage_SentAsFile(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	for size, want := range map[[2]uint32]event.MessageType{{9000, 9000}: event.MsgFile, {1 << 30, 1 << 30}: event.MsgFile, {8000, 8000}: event.MsgImage} {
		picture := pngHeader(size[0], size[1])
		name := fmt.Sprintf("%d.png", size[0])
		id := f.node.offer(f.account, bob, transfer.Info{Name: name, Size: int64(len(picture)), MIMEType: "image/png", Picture: true})
		f.node.arrive(id, store.MediaStored, picture)
		evt, err := f.alice.Wait(soon(t), func(evt *event.Event) bool {
			return evt.RoomID == room && evt.Type == event.EventMessage && evt.Content.AsMessage().Body == name
		})
		if err != nil {
			t.Fatal(err)
		}
		if content := evt.Content.AsMessage(); content.MsgType != want || want == event.MsgFile && content.Info.Width != 0 {
			t.Errorf("%v is shown as %s, %+v", size, content.MsgType, content.Info)
		}
	}
}

// pngHeader is the beginning of a picture of a size.
func pngHeader(width, height uint32) []byte {
	head := binary.BigEndian.AppendUint32([]byte("IHDR"), width)
	head = binary.BigEndian.AppendUint32(head, height)
	head = append(head, 8, 6, 0, 0, 0)
	out := binary.BigEndian.AppendUint32([]byte("\x89PNG\r\n\x1a\n"), uint32(len(head)-4))
	out = append(out, head...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(head))
}
