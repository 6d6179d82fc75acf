// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	matrixconfig "github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/connector"
	"github.com/mimird/mimird/proto/identity"
)

// stuckNode does not come back from sending to one contact until it is released.
type stuckNode struct {
	bridge.Node
	contact atomic.Pointer[identity.PublicKey]
	waiting atomic.Int32
	release chan struct{}
}

func (n *stuckNode) Send(ctx context.Context, m node.Outgoing) (store.Message, error) {
	if stuck := n.contact.Load(); stuck != nil && *stuck == m.Contact {
		n.waiting.Add(1)
		select {
		case <-n.release:
		case <-ctx.Done():
		}
	}
	return n.Node.Send(ctx, m)
}

// Bar R07, from Matrix to Mimir: 20 rooms of two logins, one of which does not get
// on. The others, and the commands of the management room, do.
func TestInbound_StuckRoom_OthersHandled(t *testing.T) {
	f := newFixture(t)
	node := &stuckNode{Node: f.node, release: make(chan struct{})}
	f.stop()
	f.facing = node
	f.start()
	f.homeserver.CreateUser("carol", "long-secret")
	carol := f.person(f.homeserver.URL(), "carol")
	management := f.greeted(carol)
	f.say(carol, management, "login new", "Please enter your name")
	f.say(carol, management, "Carol", "Your Mimir identity Carol is created")
	other := key("created Carol")

	const rooms = 20
	type conversation struct {
		who              *bridgetest.Client
		account, contact identity.PublicKey
		room             id.RoomID
	}
	var all []conversation
	for i := range rooms {
		c := conversation{who: f.alice, account: f.account}
		if i%2 == 1 {
			c.who, c.account = carol, other
		}
		c.contact = f.node.addContact(c.account, fmt.Sprintf("Bob %d", i))
		f.node.receive(c.account, c.contact, fmt.Sprintf("I am Bob %d", i))
		c.room = f.awaitText(c.who, f.ghost(c.contact), fmt.Sprintf("I am Bob %d", i))
		all = append(all, c)
	}
	stuck := all[0]
	node.contact.Store(&stuck.contact)
	write := func(c conversation, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if _, err := c.who.SendText(soon(t), c.room, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(stuck, numbered("late", 3)...)
	f.await("the room is stuck", func() bool { return node.waiting.Load() == 1 })
	for _, c := range all[1:] {
		write(c, numbered("text", 5)...)
	}
	for _, c := range all[1:] {
		f.awaitOutgoing(c.account, c.contact, numbered("text", 5)...)
	}
	f.say(f.alice, f.management, "contacts", "Bob 18")
	if waiting := node.waiting.Load(); waiting != 1 {
		t.Errorf("%d messages of the stuck room are being handled, want 1", waiting)
	}
	if status := f.status(); status.Transactions == 0 {
		t.Error("the events of the stuck room are not kept")
	}
	// What was handled is not handled again after a restart, and the rest is.
	f.stop()
	node.contact.Store(nil)
	f.start()
	f.awaitOutgoing(stuck.account, stuck.contact, numbered("late", 3)...)
	for _, c := range all[1:] {
		f.awaitOutgoing(c.account, c.contact, numbered("text", 5)...)
	}
	f.await("nothing is left", func() bool { return f.status().Transactions == 0 })
}

// Bar R07, from Matrix to Mimir: a room whose events cannot be handled does not fill the
// journal, which is one for all rooms. What it writes beyond its share is not sent, and
// it is told so.
func TestInbound_FloodedRoom_HasABudget(t *testing.T) {
	const share = 20
	f := newFixtureIn(newWorldOn(t, store.Options{FS: vfs.NewMem(), JournalRows: 8 * share}), func(*matrixconfig.Config) {}, func(url string) string { return url })
	node := &stuckNode{Node: f.node, release: make(chan struct{})}
	f.stop()
	f.facing = node
	f.start()
	bob, flooded := f.conversation("Bob")
	carol, other := f.conversation("Carol")
	f.await("all is handled", func() bool { return f.status().Transactions == 0 })
	node.contact.Store(&bob)
	f.write(flooded, "text 0")
	f.await("the room is stuck", func() bool { return node.waiting.Load() == 1 })
	for i := range 8 * share { // the whole journal
		f.write(flooded, fmt.Sprintf("text %d", i+1))
	}
	for _, text := range numbered("mine", 3) {
		f.write(other, text)
	}
	f.awaitOutgoing(f.account, carol, numbered("mine", 3)...)
	if n := f.status().Transactions; n > 2*share {
		t.Errorf("%d events are in the journal, want at most %d of the room", n, share)
	}
	f.stop() // the budget is known after a restart
	f.start()
	f.await("the room is stuck again", func() bool { return node.waiting.Load() == 2 })
	f.write(flooded, "too many")
	f.write(other, "behind it") // pushed after it
	f.awaitOutgoing(f.account, carol, append(numbered("mine", 3), "behind it")...)
	close(node.release)
	f.botSays(flooded, "Those that were written after this one, until now, were not sent")
	f.await("the room is handled", func() bool { return f.status().Transactions == 0 })
	f.write(flooded, "later")
	f.awaitOutgoing(f.account, bob, append(numbered("text", share), "later")...)
}

// oddAnswers are answers of homeservers and proxies that tell nothing about a
// message.
func oddAnswers() map[string]http.HandlerFunc {
	answer := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	const html = "<html><head><title>Error</title></head><body>nginx</body></html>"
	return map[string]http.HandlerFunc{
		"414 HTML":            answer(http.StatusRequestURITooLong, "text/html", html),
		"500":                 answer(http.StatusInternalServerError, "application/json", `{"errcode":"M_UNKNOWN","error":"x"}`),
		"502 HTML":            answer(http.StatusBadGateway, "text/html", html),
		"504":                 answer(http.StatusGatewayTimeout, "text/html", html),
		"403 HTML":            answer(http.StatusForbidden, "text/html", html),
		"404 HTML":            answer(http.StatusNotFound, "text/html", html),
		"401":                 answer(http.StatusUnauthorized, "application/json", `{"errcode":"M_MISSING_TOKEN","error":"x"}`),
		"429":                 answer(http.StatusTooManyRequests, "application/json", `{"errcode":"M_LIMIT_EXCEEDED","error":"x","retry_after_ms":3600000}`),
		"M_INVALID_PARAM":     answer(http.StatusBadRequest, "application/json", `{"errcode":"M_INVALID_PARAM","error":"x"}`),
		"M_UNRECOGNIZED":      answer(http.StatusNotFound, "application/json", `{"errcode":"M_UNRECOGNIZED","error":"x"}`),
		"200 and nothing":     answer(http.StatusOK, "application/json", ``),
		"200 and garbage":     answer(http.StatusOK, "text/html", strings.Repeat("garbage ", 128<<10)),
		"200 and wrong types": answer(http.StatusOK, "application/json", `{"type":5,"content":[],"event_id":{}}`),
		"a broken connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"no answer":           func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	}
}

// getsEvent selects the requests for one event.
func getsEvent(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/rooms/") && strings.Contains(r.URL.Path, "/event/")
}

// Whatever becomes of the look for a quotation, the message is sent, and those behind
// it.
func TestInbound_QuotationFails_MessageSent(t *testing.T) {
	t.Cleanup(connector.SetQuoteTimeForTest(300 * time.Millisecond))
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	var want []string
	for name, handler := range oddAnswers() {
		f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHandler, Handler: handler, Only: getsEvent})
		for _, target := range []id.EventID{"$unknown", id.EventID("$" + strings.Repeat("long", 4096))} {
			text := fmt.Sprintf("reply to %.8s while %s", target, name)
			f.put(room, event.EventMessage, &event.MessageEventContent{
				MsgType: event.MsgText, Body: text, RelatesTo: (&event.RelatesTo{}).SetReplyTo(target),
			})
			want = append(want, text)
		}
		f.awaitOutgoing(f.account, bob, want...)
	}
	for _, text := range f.texts(f.alice, room, f.bot()) {
		if strings.Contains(text, "not bridged") {
			t.Errorf("the bot says %q", text)
		}
	}
}

func downloads(r *http.Request) bool { return strings.Contains(r.URL.Path, "/media/download/") }

// upload stores a file at the homeserver.
func (f *fixture) upload(data string) id.ContentURIString {
	f.t.Helper()
	uploaded, err := f.alice.Matrix.UploadMedia(soon(f.t), mautrix.ReqUploadMedia{
		ContentBytes: []byte(data), ContentLength: int64(len(data)), ContentType: "application/octet-stream",
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return uploaded.ContentURI.CUString()
}

// sendFile writes a message with a file.
func (f *fixture) sendFile(room id.RoomID, url id.ContentURIString, name string) id.EventID {
	f.t.Helper()
	return f.put(room, event.EventMessage, &event.MessageEventContent{MsgType: event.MsgFile, Body: name, URL: url})
}

// A file that the homeserver does not serve holds up its own room for a moment,
// no other room at all, and is sent when it is served again.
func TestInbound_FileNotServed_OthersHandled(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"504": oddAnswers()["504"],
		"a cut body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "the beginning")
		},
		"a broken connection": oddAnswers()["a broken connection"],
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			bob, room := f.conversation("Bob")
			eve, other := f.conversation("Eve")
			url := f.upload("the file")
			f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHandler, Handler: handler, Only: downloads})
			f.sendFile(room, url, "report.txt")
			f.write(room, "behind the file")
			f.write(other, "elsewhere")
			f.awaitOutgoing(f.account, eve, "elsewhere")
			f.awaitOutgoing(f.account, bob, "behind the file")
			f.botSays(room, "the homeserver does not serve the file at the moment")
			f.stop() // it is kept over a restart
			f.homeserver.SetFault(bridgetest.Fault{})
			f.start()
			f.awaitOutgoing(f.account, bob, "behind the file", "report.txt||")
		})
	}
}

// While a download hangs, another room is not later, and neither are texts of the
// contact.
func TestInbound_DownloadHangs_OtherRoomsHandled(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	eve, other := f.conversation("Eve")
	url := f.upload("the file")
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHang, Only: downloads})
	f.sendFile(room, url, "report.txt")
	for i := range 40 { // more than there are places for downloads
		f.sendFile(f.roomOf(fmt.Sprintf("Contact %d", i)), url, "more.txt")
	}
	f.write(other, "elsewhere")
	f.awaitOutgoing(f.account, eve, "elsewhere")
	f.node.receive(f.account, bob, "from the contact")
	f.awaitShown(room, "I am Bob", "from the contact")
	f.homeserver.SetFault(bridgetest.Fault{})
	f.awaitOutgoing(f.account, bob, "report.txt||")
}

// roomOf makes a conversation and returns its room.
func (f *fixture) roomOf(name string) id.RoomID {
	f.t.Helper()
	_, room := f.conversation(name)
	return room
}

// What was deleted while its file was waited for is not sent.
func TestInbound_RedactedBeforeDownload_NotSent(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	url := f.upload("the file")
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHandler, Handler: oddAnswers()["504"], Only: downloads})
	evt := f.sendFile(room, url, "secret.txt")
	f.botSays(room, "the homeserver does not serve the file at the moment")
	if _, err := f.alice.Matrix.RedactEvent(soon(t), room, evt); err != nil {
		t.Fatal(err)
	}
	f.write(room, "after")
	f.awaitOutgoing(f.account, bob, "after")
	f.await("it is not kept any more", func() bool {
		entries, err := f.node.Journal("matrix-files", 0, 1)
		return err == nil && len(entries) == 0
	})
	f.homeserver.SetFault(bridgetest.Fault{})
	f.stop()
	f.start()
	f.sendFile(room, url, "public.txt")
	f.awaitOutgoing(f.account, bob, "after", "public.txt||")
}

func TestInbound_FileTooLarge_Refused(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	for name, handler := range map[string]http.HandlerFunc{
		"announced": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "1000000000000") },
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for chunk := make([]byte, 64<<10); r.Context().Err() == nil; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		},
	} {
		f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHandler, Handler: handler, Only: downloads})
		f.sendFile(room, f.upload("x"), name+".bin")
		f.await(name+" is refused", func() bool {
			n := 0
			for _, text := range f.texts(f.alice, room, f.bot()) {
				n += strings.Count(text, "larger than this node sends")
			}
			return n > 0
		})
	}
	f.write(room, "after")
	f.awaitOutgoing(f.account, bob, "after")
	if status := f.status(); !status.Homeserver.OK {
		t.Errorf("the homeserver is taken for broken: %+v", status.Homeserver)
	}
}

// An invitation that the homeserver does not let the bot accept now is accepted
// later.
func TestInbound_InvitationFails_AcceptedLater(t *testing.T) {
	f := newFixture(t)
	f.homeserver.CreateUser("carol", "long-secret")
	carol := f.person(f.homeserver.URL(), "carol")
	var tries atomic.Int32
	f.homeserver.SetFault(bridgetest.Fault{
		Kind: bridgetest.FaultHandler,
		Only: func(r *http.Request) bool {
			return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/join") && tries.Add(1) <= 4
		},
		Handler: oddAnswers()["502 HTML"],
	})
	f.greeted(carol)
	if tries.Load() <= 4 {
		t.Errorf("%d tries", tries.Load())
	}
}
