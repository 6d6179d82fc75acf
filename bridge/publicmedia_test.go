// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/bridge/bridgetest"
	matrixconfig "github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/proto/identity"
)

// publicAddress is that of the bridge for everybody, in tests.
const publicAddress = "https://bridge.mimir.test/files"

func withPublicMedia(c *matrixconfig.Config) {
	c.PublicMedia.Enabled, c.AppService.PublicAddress = true, publicAddress
}

// linkIn matches a link to a file.
var linkIn = regexp.MustCompile(`https://bridge\.mimir\.test/files/_mautrix/publicmedia/[^\s"<\\]+`)

// awaitLink waits for the notice with a link to a file, and returns the link.
func (f *fixture) awaitLink(room id.RoomID, name string, not ...string) (link string) {
	f.t.Helper()
	f.await("a link to "+name, func() bool {
		for _, evt := range f.homeserver.Timeline(room) {
			content := string(evt.Content)
			if found := linkIn.FindString(content); found != "" && strings.Contains(content, name) && !strings.Contains(strings.Join(not, " "), found) {
				link = found
				return true
			}
		}
		return false
	})
	return link
}

// follow asks the listener of the bridge for a link, as a proxy does.
func (f *fixture) follow(link string) (status int, body string, header http.Header) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(soon(f.t), http.MethodGet, strings.Replace(link, publicAddress, f.config.AppService.Address, 1), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.StatusCode, string(content), resp.Header
}

// tooLarge is a homeserver that takes no files.
var tooLarge = bridgetest.Fault{
	Kind: bridgetest.FaultAnswer, Status: http.StatusRequestEntityTooLarge, Body: []byte(`{"errcode":"M_TOO_LARGE","error":"too large"}`),
	Only: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/upload") },
}

// arriveAs makes a file of a contact be here.
func (f *fixture) arriveAs(contact identity.PublicKey, info transfer.Info, content string) store.MessageID {
	f.t.Helper()
	info.State = store.MediaDownloading
	message := f.node.offer(f.account, contact, info)
	f.node.arrive(message, store.MediaStored, []byte(content))
	return message
}

func TestPublicMedia_TooLargeForHomeserver_LinkInRoom(t *testing.T) {
	f := newFixtureWith(t, withPublicMedia)
	bob, bobRoom := f.conversation("Bob")
	carol, carolRoom := f.conversation("Carol")
	f.homeserver.SetFault(tooLarge)
	first := f.arriveAs(bob, transfer.Info{Name: "film.mp4", MIMEType: "video/mp4", Caption: "look <here>"}, "the film of Bob")
	f.arriveAs(carol, transfer.Info{Name: "page.html", MIMEType: "text/html"}, "<script>of Carol</script>")
	film, page := f.awaitLink(bobRoom, "film.mp4"), f.awaitLink(carolRoom, "page.html")
	if _, err := f.alice.Wait(soon(t), isNotice(bobRoom, "look <here>")); err != nil {
		t.Error("the caption is lost:", err)
	}
	for _, c := range []struct{ link, body, kind, name string }{
		{film, "the film of Bob", "video/mp4", "film.mp4"},
		{page, "<script>of Carol</script>", "application/octet-stream", "page.html"},
	} {
		status, body, header := f.follow(c.link)
		if status != http.StatusOK || body != c.body || header.Get("Content-Type") != c.kind ||
			header.Get("Content-Disposition") != "attachment; filename="+c.name || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s answers %d %q with %v", c.link, status, body, header)
		}
		changed := strings.Replace(c.link, "/publicmedia/", "/publicmedia/A", 1)
		if status, body, _ := f.follow(changed); status != http.StatusNotFound || strings.Contains(body, "of ") {
			t.Errorf("a changed link answers %d %q", status, body)
		}
	}

	// A reply gets another link, while both are good.
	notice, err := f.alice.Wait(soon(t), isNotice(bobRoom, "film.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	f.put(bobRoom, event.EventMessage, &event.MessageEventContent{
		MsgType: event.MsgText, Body: "!mimir retry", RelatesTo: (&event.RelatesTo{}).SetReplyTo(notice.ID),
	})
	again := f.awaitLink(bobRoom, "film.mp4", film)
	if status, body, _ := f.follow(again); status != http.StatusOK || body != "the film of Bob" {
		t.Errorf("the new link answers %d %q", status, body)
	}

	// What came behind goes on, and what is deleted is gone.
	f.node.receive(f.account, bob, "behind the film")
	f.await("it is shown", func() bool { return len(f.sendsOf("behind the film")) == 1 })
	f.node.forget(first)
	for _, link := range []string{film, again} {
		if status, _, _ := f.follow(link); status != http.StatusNotFound {
			t.Errorf("the file of a deleted message answers %d", status)
		}
	}
	if status, _, _ := f.follow(page); status != http.StatusOK {
		t.Errorf("the other file answers %d", status)
	}

	// So it is when the homeserver has said before how large files may be; links stay.
	f.stop()
	f.homeserver.SetFault(bridgetest.Fault{
		Kind: bridgetest.FaultAnswer, Status: http.StatusOK, Body: []byte(`{"m.upload.size":10}`),
		Only: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/media/config") },
	})
	f.start()
	f.arriveAs(carol, transfer.Info{Name: "large.zip", MIMEType: "application/zip"}, "more than ten bytes")
	if status, body, _ := f.follow(f.awaitLink(carolRoom, "large.zip")); status != http.StatusOK || body != "more than ten bytes" {
		t.Errorf("the link to the third file answers %d %q", status, body)
	}
	if status, _, _ := f.follow(page); status != http.StatusOK {
		t.Errorf("a link from before the restart answers %d", status)
	}
	f.arriveAs(carol, transfer.Info{Name: "s.txt", MIMEType: "text/plain"}, "small")
	f.awaitFile(carolRoom, f.ghost(carol), "s.txt")
}

// Without the configuration there is no link, and nothing serves files.
func TestPublicMedia_Off_NoticeAlone(t *testing.T) {
	f := newFixture(t)
	f.homeserver.SetFault(tooLarge)
	for _, name := range []string{"Bob", "Carol"} {
		contact, room := f.conversation(name)
		f.arriveAs(contact, transfer.Info{Name: "film.mp4", MIMEType: "video/mp4"}, "the film of "+name)
		if _, err := f.alice.Wait(soon(t), isNotice(room, "is larger than your homeserver takes. It is kept on the node")); err != nil {
			t.Fatal(err)
		}
	}
	if status, _, _ := f.follow(publicAddress + "/_mautrix/publicmedia/abc"); status != http.StatusNotFound {
		t.Errorf("something answers with %d", status)
	}
}
