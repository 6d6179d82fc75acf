// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/mimird/mimird/actors/transfer"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/peer"
)

// awaitFile waits for a file of somebody in a room.
func (f *fixture) awaitFile(room id.RoomID, sender id.UserID, name string) *event.MessageEventContent {
	f.t.Helper()
	evt, err := f.alice.Wait(soon(f.t), func(evt *event.Event) bool {
		return evt.RoomID == room && evt.Sender == sender && evt.Type == event.EventMessage &&
			evt.Content.AsMessage().MsgType.IsMedia() && evt.Content.AsMessage().GetFileName() == name
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return evt.Content.AsMessage()
}

func (f *fixture) download(content *event.MessageEventContent) []byte {
	f.t.Helper()
	address := content.URL
	if f.encrypted {
		address = content.File.URL
	}
	uri, err := address.Parse()
	if err != nil {
		f.t.Fatal(err)
	}
	data, err := f.alice.Matrix.DownloadBytes(soon(f.t), uri)
	if err != nil {
		f.t.Fatal(err)
	}
	if f.encrypted {
		if err := content.File.PrepareForDecryption(); err != nil {
			f.t.Fatal(err)
		}
		if err := content.File.DecryptInPlace(data); err != nil {
			f.t.Fatal(err)
		}
	}
	return data
}

func TestFiles_ToMatrix_Types(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	picture := picture(t, 30, 20)
	for _, c := range []struct {
		info transfer.Info
		kind event.MessageType
	}{
		{transfer.Info{Name: "cat.png", MIMEType: "image/png", Picture: true, Caption: "my <cat>"}, event.MsgImage},
		{transfer.Info{Name: "song.ogg", MIMEType: "audio/ogg"}, event.MsgAudio},
		{transfer.Info{Name: "voice_message.m4a", MIMEType: "audio/mp4", Voice: true}, event.MsgAudio},
		{transfer.Info{Name: "film.mp4", MIMEType: "video/mp4"}, event.MsgVideo},
		{transfer.Info{Name: "../\u202eevil.svg", MIMEType: "image/svg+xml"}, event.MsgFile},
		{transfer.Info{Name: "", MIMEType: "application/pdf"}, event.MsgFile},
	} {
		c.info.State = store.MediaDownloading
		message := f.node.offer(f.account, bob, c.info)
		f.node.arrive(message, store.MediaStored, picture)
		name := map[string]string{"../\u202eevil.svg": "../evil.svg", "": "file.pdf"}[c.info.Name]
		if name == "" {
			name = c.info.Name
		}
		content := f.awaitFile(room, f.ghost(bob), name)
		if content.MsgType != c.kind || content.GetCaption() != c.info.Caption || content.FormattedBody != "" {
			t.Errorf("%s is shown as %s with the text %q", c.info.Name, content.MsgType, content.GetCaption())
		}
		if content.Info.MimeType != c.info.MIMEType || content.Info.Size != len(picture) {
			t.Errorf("%s is described as %+v", c.info.Name, content.Info)
		}
		if (content.MSC3245Voice != nil) != c.info.Voice {
			t.Errorf("%s: the mark of a voice message is wrong", c.info.Name)
		}
		if c.info.Picture && (content.Info.Width != 30 || content.Info.Height != 20) {
			t.Errorf("the picture is %d x %d", content.Info.Width, content.Info.Height)
		}
		if !bytes.Equal(f.download(content), picture) {
			t.Errorf("%s has other content", c.info.Name)
		}
	}
}

func TestFiles_Missing_NoticeAndFetchCommand(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	message := f.node.offer(f.account, bob, transfer.Info{
		Name: "big.zip", Size: 5 << 20, MIMEType: "application/zip", State: store.MediaOffered,
	})
	note, err := f.alice.Wait(soon(t), isNotice(room, "big.zip (5.0 MiB): it was not fetched"))
	if err != nil {
		t.Fatal(err)
	}
	f.put(room, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgText, Body: "!mimir fetch", RelatesTo: (&event.RelatesTo{}).SetReplyTo(note.ID),
	})
	f.botSays(room, "being fetched")
	f.node.arrive(message, store.MediaStored, []byte("PK data"))
	if content := f.awaitFile(room, f.ghost(bob), "big.zip"); string(f.download(content)) != "PK data" {
		t.Error("the file has other content")
	}
}

// A file that turns out to be damaged while it is uploaded is not shown; when it is
// here again it is, and what came behind it was not held up.
func TestFiles_Corrupt_NotShown(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	message := f.node.offer(f.account, bob, transfer.Info{Name: "a.zip", MIMEType: "application/zip", State: store.MediaDownloading})
	f.node.rot(message)
	f.node.arrive(message, store.MediaStored, []byte("PK damaged"))
	behind := f.node.offer(f.account, bob, transfer.Info{Name: "b.zip", MIMEType: "application/zip", State: store.MediaDownloading})
	f.node.arrive(behind, store.MediaStored, []byte("PK behind"))
	f.awaitFile(room, f.ghost(bob), "b.zip")
	f.node.arrive(message, store.MediaDownloading, nil)
	f.node.arrive(message, store.MediaStored, []byte("PK whole"))
	if content := f.awaitFile(room, f.ghost(bob), "a.zip"); string(f.download(content)) != "PK whole" {
		t.Errorf("the damaged file was shown: %q", f.download(content))
	}
}

func TestFiles_FromMatrix(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	data := picture(t, 3, 3)
	uploaded, err := f.alice.Matrix.UploadBytes(soon(t), data, "image/png")
	if err != nil {
		t.Fatal(err)
	}
	send := func(kind event.Type, content *event.MessageEventContent) file {
		t.Helper()
		content.URL = uploaded.ContentURI.CUString()
		before := len(f.node.outgoing(f.account, bob))
		f.put(room, kind, content)
		f.await("it is queued", func() bool {
			sent := f.node.outgoing(f.account, bob)
			return len(sent) > before && f.node.fileOf(sent[before].ID).data != nil
		})
		return f.node.fileOf(f.node.outgoing(f.account, bob)[before].ID)
	}
	sent := send(event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgImage, Body: "look **here**", FileName: "cat.png", Info: &event.FileInfo{MimeType: "image/png"},
		Format: event.FormatHTML, FormattedBody: "look <b>here</b>",
	})
	if sent.info.Caption != "look here" || sent.info.Name != "cat.png" || !bytes.Equal(sent.data, data) || sent.info.Voice {
		t.Errorf("sent %+v", sent.info)
	}
	sent = send(event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgAudio, Body: "Voice message", Info: &event.FileInfo{MimeType: "audio/ogg"}, MSC3245Voice: &event.MSC3245Voice{},
	})
	if !sent.info.Voice || sent.info.Caption != "" {
		t.Errorf("the voice message is %+v", sent.info)
	}
	sent = send(event.EventSticker, &event.MessageEventContent{Body: "a laughing cat", Info: &event.FileInfo{MimeType: "image/png"}})
	if sent.info.Caption != "" || sent.info.Name != "sticker" || !sent.info.Picture {
		t.Errorf("the sticker is %+v", sent.info)
	}
	for _, kind := range []event.MessageType{event.MsgVideo, event.MsgFile} {
		if sent = send(event.EventMessage, &event.MessageEventContent{MsgType: kind, Body: "x.bin"}); sent.info.Name != "x.bin" {
			t.Errorf("%s is %+v", kind, sent.info)
		}
	}
	f.put(room, event.EventMessage, &event.MessageEventContent{MsgType: event.MsgFile, Body: "gone", URL: "mxc://mimir.test/gone"})
	f.botSays(room, "does not give out the file")
}

// reactions are the reactions of somebody in a room that were not taken back.
func (f *fixture) reactions(room id.RoomID, sender id.UserID) map[id.EventID]string {
	found := make(map[id.EventID]string)
	targets := make(map[id.EventID]id.EventID)
	for _, evt := range f.homeserver.Timeline(room) {
		switch {
		case evt.Type == "m.reaction" && evt.Sender == sender:
			var content event.ReactionEventContent
			if err := json.Unmarshal(evt.Content, &content); err != nil {
				f.t.Fatal(err)
			}
			found[content.RelatesTo.EventID], targets[evt.ID] = content.RelatesTo.Key, content.RelatesTo.EventID
		case evt.Type == "m.room.redaction":
			if target, ok := targets[evt.Redacts]; ok {
				delete(found, target)
			}
		}
	}
	return found
}

func TestReactions_ToMatrix(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	evt := f.write(room, "how do you like it")
	f.awaitOutgoing(f.account, bob, "how do you like it")
	target := f.node.outgoing(f.account, bob)[0].ID.GUID
	react := func(emoji string, at store.Millis) {
		f.node.accept(store.AcceptMessage{
			Account: f.account, Conversation: store.ContactConversation(bob), Type: int32(peer.TypeReaction), ReplyTo: target, SendTime: at,
			Payload: peer.Reaction{Emoji: emoji, Target: peer.GUID(target)}.AppendTo(nil),
		})
	}
	shows := func(want string) {
		t.Helper()
		f.await("the reaction is "+want, func() bool { return f.reactions(room, f.ghost(bob))[evt] == want })
	}
	react("👍️", 1_700_000_000_000)
	shows("👍️")
	react("👍️", 1_700_000_000) // once more, in seconds
	react("😂", 1_700_000_001_000)
	shows("😂")
	react("👎", 1_699_999_999_000) // older: it came late
	react("", 1_700_000_002_000)
	shows("")
	f.await("all is told", func() bool { return f.status().Conversations == 0 })
	count := 0
	for _, event := range f.homeserver.Timeline(room) {
		if event.Type == "m.reaction" {
			count++
		}
	}
	if count != 2 {
		t.Errorf("%d reactions were shown, want 2", count)
	}
}

func TestReactions_FromMatrix(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	asked, err := f.alice.WaitText(soon(t), room, f.ghost(bob), "I am Bob")
	if err != nil {
		t.Fatal(err)
	}
	reaction := f.put(room, event.EventReaction, &event.ReactionEventContent{
		RelatesTo: event.RelatesTo{Type: event.RelAnnotation, EventID: asked.ID, Key: "❤️"},
	})
	f.await("it is queued", func() bool { return len(f.node.outgoing(f.account, bob)) == 1 })
	if _, err := f.alice.Matrix.RedactEvent(soon(t), room, reaction); err != nil {
		t.Fatal(err)
	}
	f.await("it is taken back", func() bool { return len(f.node.outgoing(f.account, bob)) == 2 })
	for i, want := range []string{"❤️", ""} {
		sent, err := peer.ParseReaction(f.node.outgoing(f.account, bob)[i].Payload)
		if err != nil || sent.Emoji != want || sent.Target == 0 {
			t.Errorf("sent %+v, %v, want %q", sent, err, want)
		}
	}
	f.put(room, event.EventReaction, &event.ReactionEventContent{
		RelatesTo: event.RelatesTo{Type: event.RelAnnotation, EventID: asked.ID, Key: "mxc://mimir.test/cat"},
	})
	f.await("a picture is refused", func() bool { return f.log.contains("only emoji can be reactions") })
}

// The homeserver has the reaction, and we do not know.
//
// Bar R01
func TestReaction_TransactionForgotten_ShownOnce(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	evt := f.write(room, "so?")
	f.awaitOutgoing(f.account, bob, "so?")
	target := f.node.outgoing(f.account, bob)[0].ID.GUID
	f.await("all is told", func() bool { return f.status().Conversations == 0 })
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultLoseAnswer, Only: bridgetest.MessagesOnly})
	f.node.accept(store.AcceptMessage{
		Account: f.account, Conversation: store.ContactConversation(bob), Type: int32(peer.TypeReaction), ReplyTo: target, SendTime: 2_000_000_000_000,
		Payload: peer.Reaction{Emoji: "👍️", Target: peer.GUID(target)}.AppendTo(nil),
	})
	f.await("it is in the room", func() bool { return f.reactions(room, f.ghost(bob))[evt] != "" })
	f.homeserver.ForgetTransactions()
	f.homeserver.SetFault(bridgetest.Fault{})
	f.await("all is told", func() bool { return f.status().Conversations == 0 })
	count := 0
	for _, event := range f.homeserver.Timeline(room) {
		if event.Type == "m.reaction" {
			count++
		}
	}
	if count != 1 {
		t.Errorf("the reaction is shown %d times", count)
	}
}
