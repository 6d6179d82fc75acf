// SPDX-License-Identifier: MPL-2.0

package control_test

import (
	"context"
	"fmt"
	"image"
	"image/draw"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/virtual"
)

// chatRig is a groupRig in which alice has two contacts, bob and carol, of the same node.
func chatRig(t *testing.T) (r *groupRig, chats []string) {
	t.Helper()
	r = newGroupRig(t)
	ctx := t.Context()
	if _, err := r.client.CreateAccount(ctx, "carol"); err != nil {
		t.Fatal(err)
	}
	accounts, err := r.client.Accounts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]control.Account)
	for _, a := range accounts {
		byName[a.Name] = a
	}
	for _, name := range []string{"bob", "carol"} {
		for _, pair := range [][2]string{{"alice", name}, {name, "alice"}} {
			if _, err := r.client.AddContact(ctx, pair[0], byName[pair[1]].Link); err != nil {
				t.Fatal(err)
			}
		}
		chats = append(chats, byName[name].ID)
	}
	return r, append(chats, r.groups[0].ID, r.groups[1].ID)
}

func TestChats_ContactsAndGroupsAlike(t *testing.T) {
	r, chats := chatRig(t)
	ctx := t.Context()
	// bob writes to alice, in every conversation that they share.
	alice := r.accounts[0].ID.String()
	for _, chat := range []string{alice, r.groups[0].ID, r.groups[1].ID} {
		for _, text := range []string{"one", "two", "three"} {
			if _, err := r.client.Send(ctx, "bob", chat, control.Text{Text: text}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, chat := range []string{chats[0], chats[2], chats[3]} {
		r.eventually("three are unread in "+chat, func() bool {
			c, err := r.client.Conversation(ctx, "alice", chat)
			return err == nil && c.Unread == 3
		})
		all, err := r.client.ChatMessages(ctx, "alice", chat, control.Range{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		all = slices.DeleteFunc(all, func(m control.Message) bool { return m.TypeName != "text" })
		if len(all) != 3 || all[0].Text != "three" || all[2].Text != "one" {
			t.Fatalf("messages of %s: %+v", chat, all)
		}
		after, err := r.client.ChatMessages(ctx, "alice", chat, control.Range{After: all[2].Order, Limit: 1})
		if err != nil || len(after) != 1 || after[0].ID != all[1].ID {
			t.Errorf("after the first: %+v, %v", after, err)
		}
		before, err := r.client.ChatMessages(ctx, "alice", chat, control.Range{Before: all[0].Order, Limit: 1})
		if err != nil || len(before) != 1 || before[0].ID != all[1].ID {
			t.Errorf("before the last: %+v, %v", before, err)
		}
		c, err := r.client.MarkRead(ctx, "alice", chat, all[1].Order)
		if err != nil || c.Unread != 1 || c.FirstUnread != all[0].Order {
			t.Errorf("after reading two: %d unread from %d, %v", c.Unread, c.FirstUnread, err)
		}
		if c, err := r.client.MarkRead(ctx, "alice", chat, all[2].Order); err != nil || c.Unread != 1 {
			t.Errorf("the mark went back: %d unread, %v", c.Unread, err)
		}
		if _, err := r.client.React(ctx, "alice", chat, control.Reaction{Message: all[0].GUID, Emoji: "👍"}); err != nil {
			t.Fatal(err)
		}
		one, err := r.client.ChatMessage(ctx, "alice", chat, all[0].ID)
		if err != nil || len(one.Reactions) != 1 || one.Reactions[0].Emoji != "👍" || one.Reactions[0].Direction != "out" {
			t.Errorf("message with a reaction: %+v, %v", one, err)
		}
		_, err = r.client.ChatMessage(ctx, "alice", chat, "i0000000000000001")
		refused(t, err, http.StatusNotFound, "no such message")
	}
	list, err := r.client.Conversations(ctx, "alice")
	if err != nil || len(list) != 4 {
		t.Fatalf("%d conversations, %v", len(list), err)
	}
	for _, c := range list {
		want := 1
		if c.ID == chats[1] {
			want = 0
		}
		if c.Unread != want || (c.Contact == nil) == (c.Group == nil) || c.Name == "" || (c.Last != nil) != (want == 1) {
			t.Errorf("conversation %+v", c)
		}
	}
	if list[3].ID != chats[1] {
		t.Errorf("the conversation without messages is not the last: %+v", list)
	}
	_, err = r.client.Conversation(ctx, "alice", "nobody")
	refused(t, err, http.StatusNotFound, "no such contact")
	if c, err := r.client.Conversation(ctx, "alice", "Choir"); err != nil || c.ID != chats[2] {
		t.Errorf("a group by name: %+v, %v", c, err)
	}

	sent, err := r.client.SendFile(ctx, "alice", chats[2], client.NewFile{Body: strings.NewReader("0123456789"), Name: "notes.txt"})
	if err != nil || sent.File == nil || sent.Group != chats[2] {
		t.Fatalf("file to a group: %+v, %v", sent, err)
	}
	for part, want := range map[string]string{"": "0123456789", "bytes=2-4": "234"} {
		content, err := r.client.OpenFile(ctx, "alice", chats[2], sent.ID, part)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(content.Body)
		if err != nil || string(raw) != want || content.Body.Close() != nil {
			t.Errorf("part %q of the file: %q, %v", part, raw, err)
		}
	}
	if done, err := r.client.CancelMessage(ctx, "alice", chats[2], sent.ID); err != nil || done.State != "failed" {
		t.Errorf("cancelled: %+v, %v", done, err)
	}
	for _, chat := range append(chats, "") {
		_, err := r.client.Avatar(ctx, "alice", chat)
		refused(t, err, http.StatusNotFound, "no picture")
	}
}

// The code is read as a phone does, from pixels.
func TestQR_ReadsAsLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		node := w.Node("alice")
		if _, err := node.CreateAccount(t.Context(), "carol"); err != nil {
			t.Fatal(err)
		}
		local := client.NewLocal(node.Node, control.Options{})
		defer func() { _ = local.Close() }()
		for _, name := range []string{"alice", "carol"} {
			picture, err := local.QR(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			bitmap, err := gozxing.NewBinaryBitmapFromImage(drawn(t, string(picture)))
			if err != nil {
				t.Fatal(err)
			}
			read, err := qrcode.NewQRCodeReader().Decode(bitmap, map[gozxing.DecodeHintType]any{gozxing.DecodeHintType_PURE_BARCODE: true})
			if err != nil {
				t.Fatal(err)
			}
			if link, err := identity.ParseLink(read.GetText()); err != nil || link.Name != name {
				t.Errorf("the code of %s says %q, %v", name, read.GetText(), err)
			}
		}
	})
}

// drawn draws the picture of a QR code, which has nothing but rows of dark modules.
func drawn(t *testing.T, svg string) image.Image {
	t.Helper()
	var size int
	if _, err := fmt.Sscanf(svg[strings.Index(svg, `viewBox="`):], `viewBox="0 0 %d`, &size); err != nil || !strings.Contains(svg, `fill="#fff"`) {
		t.Fatalf("not a picture of a code: %.200s", svg)
	}
	const scale = 4
	out := image.NewGray(image.Rect(0, 0, size*scale, size*scale))
	draw.Draw(out, out.Rect, image.White, image.Point{}, draw.Src)
	_, dark, _ := strings.Cut(svg, `fill="#000" d="M`)
	for row := range strings.SplitSeq(strings.TrimSuffix(dark, `z"/></svg>`), "zM") {
		var x, y, run int
		if _, err := fmt.Sscanf(row, "%d %dh%dv1", &x, &y, &run); err != nil {
			t.Fatalf("row %q: %v", row, err)
		}
		draw.Draw(out, image.Rect(x*scale, y*scale, (x+run)*scale, (y+1)*scale), image.Black, image.Point{}, draw.Src)
	}
	return out
}

// recorder is the answer to a request that goes on, in memory.
type recorder struct {
	mu     sync.Mutex
	header http.Header
	text   strings.Builder
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}
func (r *recorder) Flush()              {}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

// take returns what was written since the last call.
func (r *recorder) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.text.Reset()
	return r.text.String()
}

func TestFollow_SignsOfLifeChangesAndLastEventID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice, bob, carol := w.Node("alice"), w.Node("bob"), w.Node("carol")
		actorstest.Befriend(alice, bob)
		actorstest.Befriend(alice, carol)
		api := control.Handler(alice.Node, control.Options{})
		follow := func(query, last string) (*recorder, func()) {
			ctx, stop := context.WithCancel(t.Context())
			request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/v1/accounts/alice/events"+query, http.NoBody)
			if last != "" {
				request.Header.Set("Last-Event-ID", last)
			}
			out := &recorder{header: make(http.Header)}
			var done sync.WaitGroup
			done.Go(func() { api.ServeHTTP(out, request) })
			virtual.Sleep(time.Millisecond)
			return out, func() { stop(); done.Wait() }
		}
		quiet, stopQuiet := follow("", "")
		defer stopQuiet()
		live, stopLive := follow("?changes=true", "")
		defer stopLive()
		for name, out := range map[string]*recorder{"quiet": quiet, "live": live} {
			if have := out.take(); have != ": open\n\n" || out.Header().Get("Content-Type") != "text/event-stream" {
				t.Errorf("%s: the stream begins with %q, type %q", name, have, out.Header().Get("Content-Type"))
			}
		}
		virtual.Sleep(46 * time.Second)
		if have := quiet.take(); have != strings.Repeat(": alive\n\n", 3) {
			t.Errorf("in 46 s without an event: %q", have)
		}
		live.take()

		alice.Say(bob, "hello")
		bob.Say(alice, "hello yourself")
		alice.Eventually("both have a text", func() bool { return len(alice.Heard(bob)) == 1 && len(bob.Heard(alice)) == 1 })
		virtual.Sleep(2 * time.Second)
		if have := quiet.take(); !strings.Contains(have, "\nevent: event\ndata: {") || strings.Contains(have, "presence") {
			t.Errorf("events: %q", have)
		}
		have := live.take()
		came := `"kind":"presence","contact":"` + bob.Account.ID.String() + `","name":"bob","online":true`
		if !strings.Contains(have, "event: change\ndata: {") || strings.Count(have, came) != 1 || strings.Contains(have, carol.Account.ID.String()) {
			t.Errorf("changes: %q", have)
		}
		bob.Stop()
		virtual.Sleep(20 * time.Minute)
		gone := `"kind":"presence","contact":"` + bob.Account.ID.String() + `","name":"bob",`
		if have := live.take(); strings.Count(have, gone) != 1 || strings.Contains(have, "\"online\":true") {
			t.Errorf("changes: %q", have)
		}

		last, err := alice.LastEvent(alice.Account.ID)
		if err != nil {
			t.Fatal(err)
		}
		again, stopAgain := follow("?after=0", strconv.FormatUint(last-1, 10))
		defer stopAgain()
		if have := again.take(); strings.Count(have, "\ndata: ") != 1 || !strings.Contains(have, fmt.Sprintf("id: %d\n", last)) {
			t.Errorf("after the event before the last: %q", have)
		}
	})
}
