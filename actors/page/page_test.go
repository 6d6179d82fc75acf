// SPDX-License-Identifier: MPL-2.0

package page_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/proto/aac"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

// TestPage drives every page and form of one node. The parts share the world, which takes
// a second to make.
func TestPage(t *testing.T) {
	r := newRig(t)
	for _, part := range []struct {
		name string
		run  func(t *testing.T, r *rig)
	}{
		{"pages are harmless", everyPage},
		{"login and sessions", sessions},
		{"foreign forms", foreignForms},
		{"backup and undelivered", nodePage},
		{"search", searches},
		{"messages", messages},
		{"files are not run", files},
		{"contacts and requests", contacts},
		{"groups", groups},
		{"calls", calls},
		{"live", liveStream},
	} {
		t.Run(part.name, func(t *testing.T) {
			r.t = t
			part.run(t, r)
		})
	}
}

// everyPage opens all pages, with hostile names, texts and files in them.
func everyPage(t *testing.T, r *rig) {
	b := r.loggedIn()
	b.get("/").has(http.StatusSeeOther)
	paths := []string{r.at(), r.at("contacts"), r.at("groups"), r.at("settings"), "/node", "/settings", r.at("chats"), "/a/" + r.second.ID, "/a/" + r.second.ID + "/settings"}
	for _, chat := range append(r.chats, r.mallory.Account.ID.String()) {
		paths = append(paths, r.at("c", chat), r.at("c", chat, "about"), r.at("c", chat, "composer"))
		all, err := r.api.ChatMessages(t.Context(), r.alice.ID, chat, control.Range{Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			paths = append(paths, r.at("c", chat, "m", m.ID), r.at("c", chat)+"?reply="+m.ID)
		}
	}
	for _, path := range paths {
		page := b.get(path)
		page.has(http.StatusOK)
		page.harmless()
		if len(page.text) > 60<<10 {
			t.Errorf("%s has %d bytes", path, len(page.text))
		}
		if strings.Contains(page.text, "\u202e") && !strings.Contains(path, "/c/") {
			t.Errorf("%s lets a name turn the direction of writing", path)
		}
	}
	b.get(r.at("c", r.chats[0])).has(http.StatusOK, "The doors open at eight.", "<b>this</b>", "The stage", "Bob")
	b.get(r.at("c", r.chats[1])).has(http.StatusOK, "<script>alert(1)</script>")
	b.get(r.at("c", r.chats[2])).has(http.StatusOK, "hello Choir", "Bob & Söhne")
	b.get(r.at("c", r.chats[3])).has(http.StatusOK, "hello Orchestra")
	b.get(r.at("contacts")).has(http.StatusOK, "They ask to be your contacts", r.chats[0][:16])
	b.get("/node").has(http.StatusOK, "supervision tree", "contact", "Trackers")
	b.get(r.at("c", "nobody")).has(http.StatusNotFound)
	b.get("/a/nobody").has(http.StatusNotFound)
	b.get("/nothing").has(http.StatusNotFound)

	size := 0
	for _, name := range []string{"page.js", "page.css", "icon.svg"} {
		asset := r.browser().get("/assets/" + name)
		asset.has(http.StatusOK)
		size += len(asset.text)
	}
	if whole := size + len(b.get(r.at("c", r.chats[0])).text); whole > 150<<10 {
		t.Errorf("a page and what it loads have %d bytes", whole)
	}
	r.browser().get("/assets/htmx/LICENSE").has(http.StatusSeeOther)
	r.browser().get("/assets/LICENSE").has(http.StatusNotFound)
}

func TestAssets_AsNoted(t *testing.T) {
	notes, err := os.ReadFile("assets/htmx/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"htmx.min.js", "hx-sse.min.js"} {
		raw, err := os.ReadFile("assets/htmx/" + name)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(raw)
		if !strings.Contains(string(notes), "| `"+name+"` | `"+hex.EncodeToString(sum[:])+"` |") {
			t.Errorf("%s is not the file that README.md notes", name)
		}
	}
}

func sessions(t *testing.T, r *rig) {
	ctx := t.Context()
	stranger := r.browser()
	for _, path := range []string{"/", r.at(), r.at("c", r.chats[0]), "/node", "/settings", r.at("qr.svg"), r.at("live"), r.at("c", r.chats[0], "m", r.file.ID, "file")} {
		if a := stranger.get(path); a.status != http.StatusSeeOther || a.header.Get("Location") != "/login" || strings.Contains(a.text, "Bob") {
			t.Errorf("%s without a login: %d %.200s", path, a.status, a.text)
		}
	}
	for _, path := range []string{r.at("c", r.chats[0], "send"), r.at("contacts"), "/settings/password", "/logout"} {
		stranger.post(path, url.Values{"csrf": {"x"}}).has(http.StatusUnauthorized)
	}
	if a := stranger.get("/node", "HX-Request", "true"); a.status != http.StatusUnauthorized || a.header.Get("HX-Redirect") != "/login" {
		t.Errorf("a script without a login: %d %v", a.status, a.header)
	}
	stranger.get("/login").has(http.StatusOK, "mimird page link")
	stranger.get("/login").harmless()
	stranger.post("/enter", url.Values{"code": {"wrong"}}).has(http.StatusUnauthorized, "used already")
	stranger.post("/login", url.Values{"password": {""}}).has(http.StatusUnauthorized)

	// A link works once, and looking at it does not use it.
	link, err := r.api.PageLink(ctx)
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(link.URL)
	if err != nil {
		t.Fatal(err)
	}
	code := url.Values{"code": {at.Query().Get("code")}}
	for range 2 {
		stranger.get(at.RequestURI()).has(http.StatusOK)
	}
	one := r.browser()
	one.post("/enter", code).has(http.StatusSeeOther)
	c := one.cookie
	if c == nil || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || len(c.Value) < 40 {
		t.Fatalf("cookie %+v", c)
	}
	r.browser().post("/enter", code).has(http.StatusUnauthorized)
	one.get("/settings").has(http.StatusOK, "This browser")

	// A password.
	two := r.browser()
	if err := r.api.SetPagePassword(ctx, "short"); err == nil {
		t.Error("a short password was taken")
	}
	form := one.get("/settings").form("/settings/password")
	form.Set("password", "correct horse battery")
	form.Set("again", "correct horse batterx")
	one.post("/settings/password", form).has(http.StatusUnprocessableEntity, "not the same")
	form.Set("again", "correct horse battery")
	one.post("/settings/password", form).has(http.StatusSeeOther)
	two.get("/login").has(http.StatusOK, "Password")
	two.post("/login", url.Values{"password": {"wrong wrong wrong"}}).has(http.StatusUnauthorized, "not the password")
	two.post("/login", url.Values{"password": {"correct horse battery"}}).has(http.StatusSeeOther)
	two.get("/node").has(http.StatusOK)

	// Sessions are listed, and end at once.
	state, err := r.api.Page(ctx)
	if err != nil || len(state.Sessions) < 2 || !state.Password || state.URL != r.access.Address() {
		t.Fatalf("state %+v, %v", state, err)
	}
	settings := two.get("/settings")
	own, _, _ := strings.Cut(settings.text[strings.Index(settings.text, "This browser"):], "/end")
	own = own[strings.LastIndex(own, "/")+1:]
	for _, s := range state.Sessions {
		if s.ID != own {
			path := "/settings/sessions/" + s.ID + "/end"
			two.post(path, settings.form(path)).has(http.StatusSeeOther)
		}
	}
	one.get("/node").has(http.StatusSeeOther)
	two.get("/node").has(http.StatusOK)
	two.post("/settings/sessions/all/end", settings.form("/settings/sessions/all/end")).has(http.StatusSeeOther)
	one.get("/node").has(http.StatusSeeOther)
	two.get("/node").has(http.StatusSeeOther)

	// Logging out ends the session, not only the cookie.
	three := r.loggedIn()
	cookie := *three.cookie
	three.post("/logout", url.Values{"csrf": {three.csrf()}}).has(http.StatusSeeOther)
	three.cookie = &cookie
	three.get("/node").has(http.StatusSeeOther)
	if err := r.api.SetPagePassword(ctx, ""); err != nil {
		t.Fatal(err)
	}
}

// nodePage makes a backup, and looks for what waits for a contact and a group.
func nodePage(t *testing.T, r *rig) {
	b := r.loggedIn()
	page := b.get("/node")
	page.harmless()
	for _, want := range []string{"/node?said=backup", "/node?said=backing"} {
		answer := b.post("/node/backup", page.form("/node/backup"))
		if where := answer.header.Get("Location"); where != want {
			t.Errorf("the form leads to %s, want %s: %d", where, want, answer.status)
		}
		b.get(want).has(http.StatusOK, "this page says below how it went")
	}
	if n := r.backups.Load(); n != 2 {
		t.Errorf("%d backups were asked for", n)
	}

	// A group whose mediator is not there, of the other account.
	ctx := t.Context()
	g, err := r.api.JoinGroup(ctx, r.second.ID, control.JoinedGroup{
		Mediator: strings.Repeat("d1", 32), Chat: "77", Key: strings.Repeat("07", 32), Name: "Lost Choir",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.api.Send(ctx, r.second.ID, g.ID, control.Text{Text: "anybody there?"}); err != nil {
		t.Fatal(err)
	}
	page = b.get("/node")
	page.has(http.StatusOK, "Lost Choir")
	page.harmless()
	b.get(page.linkOf("Lost Choir")).has(http.StatusOK, "anybody there?")
}

// csrf is the token in the pages of a browser.
func (b *browser) csrf() string {
	b.t.Helper()
	return b.get("/settings").form("/settings/password").Get("csrf")
}

// foreignForms sends what other sites can send.
func foreignForms(t *testing.T, r *rig) {
	b, other := r.loggedIn(), r.loggedIn()
	chat := r.at("c", r.chats[0])
	before := b.get(chat).text
	token, foreign := b.csrf(), other.csrf()
	wrong := "x" + token[1:]
	if wrong == token {
		wrong = "y" + token[1:]
	}
	forms := map[string]url.Values{
		chat + "/read":                      {"order": {"1"}},
		chat + "/contact/block":             {},
		chat + "/contact/remove":            {"sure": {"yes"}},
		r.at("contacts"):                    {"link": {r.second.Link}},
		r.at("groups"):                      {"name": {"x"}},
		r.at("settings"):                    {"name": {"evil"}},
		"/settings/password":                {"password": {"correct horse battery"}, "again": {"correct horse battery"}},
		"/settings/sessions/all/end":        {},
		"/accounts":                         {"name": {"evil"}},
		"/node/backup":                      {},
		chat + "/m/" + r.file.ID + "/react": {"guid": {r.file.GUID}, "emoji": {"x"}},
		"/logout":                           {},
	}
	for path, form := range forms {
		for name, bad := range map[string]string{"no token": "", "a wrong one": wrong, "another session's": foreign} {
			form.Set("csrf", bad)
			if a := b.post(path, form); a.status != http.StatusForbidden {
				t.Errorf("%s with %s: status %d", path, name, a.status)
			}
		}
		form.Set("csrf", token)
		for name, header := range map[string][]string{
			"cross-site":   {"Sec-Fetch-Site", "cross-site"},
			"same-site":    {"Sec-Fetch-Site", "same-site"},
			"other origin": {"Origin", "https://evil.example"},
			"other port":   {"Origin", "http://127.0.0.1:1"},
		} {
			if a := b.post(path, form, header...); a.status != http.StatusForbidden {
				t.Errorf("%s from %s: status %d", path, name, a.status)
			}
		}
	}
	for name, csrf := range map[string]string{"no token": "", "another session's": foreign} {
		if a := b.upload(chat+"/send", url.Values{"csrf": {csrf}, "text": {"evil"}}, nil); a.status != http.StatusForbidden {
			t.Errorf("a message with %s: status %d", name, a.status)
		}
	}
	if a := b.upload(chat+"/send", url.Values{"csrf": {token}, "text": {"evil"}}, nil, "Sec-Fetch-Site", "cross-site"); a.status != http.StatusForbidden {
		t.Errorf("a message from another site: status %d", a.status)
	}
	b.post(chat+"/send", url.Values{"csrf": {token}, "text": {"evil"}}).has(http.StatusBadRequest)
	// A name that somebody points here.
	for _, path := range []string{"/login", "/node", "/assets/page.css"} {
		b.get(path, "Host", "evil.example:8743").has(http.StatusMisdirectedRequest)
	}
	b.get("/node", "Host", "localhost:8743").has(http.StatusOK)
	if after := b.get(chat).text; strings.Contains(after, "evil") || strings.Count(after, `class="msg`) != strings.Count(before, `class="msg`) {
		t.Error("a foreign form has done something")
	}
	huge := url.Values{"csrf": {token}, "order": {strings.Repeat("1", 3<<20)}}
	if a := b.post(chat+"/read", huge); a.status != http.StatusBadRequest {
		t.Errorf("a form of 3 MiB: status %d", a.status)
	}
}

func messages(t *testing.T, r *rig) {
	b := r.loggedIn()
	ctx := t.Context()
	for _, chat := range []string{r.chats[0], r.chats[2]} {
		page := b.get(r.at("c", chat))
		form := page.form(r.at("c", chat, "send"))
		form.Set("text", "from the page\r\nin two lines "+hostile)
		for range 2 { // sent twice by a double click
			b.upload(r.at("c", chat, "send"), form, nil).has(http.StatusSeeOther)
		}
		all, err := r.api.ChatMessages(ctx, r.alice.ID, chat, control.Range{Limit: 50})
		if err != nil {
			t.Fatal(err)
		}
		var sent []control.Message
		for _, m := range all {
			if strings.HasPrefix(m.Text, "from the page\nin two lines") {
				sent = append(sent, m)
			}
		}
		if len(sent) != 1 || sent[0].Text != "from the page\nin two lines "+hostile {
			t.Fatalf("sent %+v", sent)
		}
		// An answer to it, and a reaction.
		reply := b.get(r.at("c", chat) + "?reply=" + sent[0].ID).form(r.at("c", chat, "send"))
		reply.Set("text", "an answer")
		b.upload(r.at("c", chat, "send"), reply, nil).has(http.StatusSeeOther)
		b.get(r.at("c", chat)).has(http.StatusOK, "an answer", "In reply to: from the page")
		act := b.get(r.at("c", chat, "m", sent[0].ID)).form(r.at("c", chat, "m", sent[0].ID, "react"))
		act.Set("emoji", "🙏")
		b.post(r.at("c", chat, "m", sent[0].ID, "react"), act).has(http.StatusSeeOther)
		after := b.get(r.at("c", chat))
		after.has(http.StatusOK, "🙏", "by you")
		after.harmless()
		// Nothing to send, and too much.
		empty := b.get(r.at("c", chat)).form(r.at("c", chat, "send"))
		empty.Set("text", " \n ")
		b.upload(r.at("c", chat, "send"), empty, nil).has(http.StatusUnprocessableEntity, "nothing to send")
		empty.Set("text", strings.Repeat("x", 1<<20+1))
		b.upload(r.at("c", chat, "send"), empty, nil, "HX-Request", "true").has(http.StatusBadRequest, "too large")
		if a := b.get(r.at("c", chat, "composer"), "HX-Request", "true"); strings.Contains(a.text, "<html") {
			t.Error("a script gets a whole page")
		}
		// What was read.
		c, err := r.api.Conversation(ctx, r.alice.ID, chat)
		if err != nil || c.Unread == 0 {
			t.Fatalf("%d unread, %v", c.Unread, err)
		}
		b.post(r.at("c", chat, "read"), url.Values{"csrf": {form.Get("csrf")}, "order": {"999999"}}, "HX-Request", "true").has(http.StatusNoContent)
		if c, err = r.api.Conversation(ctx, r.alice.ID, chat); err != nil || c.Unread != 0 {
			t.Errorf("%d unread after reading, %v", c.Unread, err)
		}
		b.post(r.at("c", chat, "read"), url.Values{"csrf": {form.Get("csrf")}, "order": {"many"}}).has(http.StatusBadRequest)
		act.Del("emoji")
		b.post(r.at("c", chat, "m", sent[0].ID, "explode"), act).has(http.StatusNotFound)
	}
	// Long conversations come in pages: all of it, each message once.
	for i := range 120 {
		if _, err := r.api.Send(ctx, r.alice.ID, r.chats[1], control.Text{Text: "line " + string(rune('a'+i%26))}); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[string]bool)
	path := r.at("c", r.chats[1])
	for pages := 0; path != "" && pages < 20; pages++ {
		page := b.get(path, "HX-Request", "true")
		if n := strings.Count(page.text, `class="msg`); n > 50 {
			t.Errorf("%d messages in a page", n)
		}
		rest := page.text
		for {
			_, after, ok := strings.Cut(rest, `id="m-`)
			if !ok {
				break
			}
			id, _, _ := strings.Cut(after, `"`)
			if seen[id] {
				t.Errorf("message %s is shown twice", id)
			}
			seen[id], rest = true, after
		}
		_, older, ok := strings.Cut(page.text, `hx-get="`)
		path = ""
		if ok && strings.Contains(page.text, "more older") {
			path, _, _ = strings.Cut(older, `"`)
			path = strings.ReplaceAll(path, "&amp;", "&")
		}
	}
	if len(seen) < 122 {
		t.Errorf("%d messages were shown", len(seen))
	}
	b.get(r.at("c", r.chats[1])+"?after=1").has(http.StatusOK, "Older messages", "Newer messages")
}

func files(t *testing.T, r *rig) {
	b := r.loggedIn()
	ctx := t.Context()
	shown := b.get(r.at("c", r.chats[0], "m", r.file.ID, "file"))
	if shown.status != http.StatusOK || shown.header.Get("Content-Type") != "image/png" || shown.text != string(picture(t)) || !strings.HasPrefix(shown.header.Get("Content-Disposition"), "inline") {
		t.Errorf("picture: %d %v", shown.status, shown.header)
	}
	if part := b.get(r.at("c", r.chats[0], "m", r.file.ID, "file"), "Range", "bytes=1-3"); part.status != http.StatusPartialContent || part.text != "PNG" {
		t.Errorf("a part of the picture: %d %q", part.status, part.text)
	}
	bad := b.get(r.at("c", r.chats[1], "m", r.bad.ID, "file"))
	if bad.status != http.StatusOK || bad.header.Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(bad.header.Get("Content-Disposition"), "attachment") ||
		!strings.Contains(bad.header.Get("Content-Security-Policy"), "sandbox") || bad.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a file with a script: %d %v", bad.status, bad.header)
	}
	for _, chat := range []string{r.chats[0], r.chats[2]} {
		form := b.get(r.at("c", chat)).form(r.at("c", chat, "send"))
		form.Set("text", "two of them")
		b.upload(r.at("c", chat, "send"), form, map[string][]byte{"../../etc/a.txt": []byte("aaaa"), hostile + ".svg": []byte("<svg onload=alert(4)>")}).has(http.StatusSeeOther)
		all, err := r.api.ChatMessages(ctx, r.alice.ID, chat, control.Range{Limit: 10})
		if err != nil || len(all) < 2 || all[0].File == nil || all[1].File == nil || all[1].File.Caption != "two of them" || all[0].File.Caption != "" {
			t.Fatalf("files %+v, %v", all, err)
		}
		for _, m := range all[:2] {
			if strings.ContainsAny(m.File.Name, "/\\") {
				t.Errorf("name %q", m.File.Name)
			}
			if a := b.get(r.at("c", chat, "m", m.ID, "file")); a.header.Get("Content-Type") != "application/octet-stream" {
				t.Errorf("%s is served as %s", m.File.Name, a.header.Get("Content-Type"))
			}
		}
		b.get(r.at("c", chat)).harmless()
	}
	b.get(r.at("c", r.chats[0], "avatar")).has(http.StatusNotFound)
	if code := b.get(r.at("qr.svg")); code.status != http.StatusOK || code.header.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("QR code: %d %v", code.status, code.header)
	}
}

func contacts(t *testing.T, r *rig) {
	b := r.loggedIn()
	ctx := t.Context()
	mallory := r.mallory.Account.ID.String()
	accept := b.get(r.at("contacts")).form(r.at("c", mallory, "contact", "accept"))
	b.post(r.at("c", mallory, "contact", "accept"), accept).has(http.StatusSeeOther)
	for _, step := range []struct{ act, state string }{{"block", "blocked"}, {"unblock", "accepted"}, {"mute", "accepted"}, {"unmute", "accepted"}} {
		form := b.get(r.at("c", mallory, "about")).form(r.at("c", mallory, "contact", step.act))
		a := b.post(r.at("c", mallory, "contact", step.act), form)
		a.has(http.StatusSeeOther)
		b.get(a.header.Get("Location")).has(http.StatusOK, step.state)
	}
	form := b.get(r.at("c", mallory, "about")).form(r.at("c", mallory, "contact", "rename"))
	form.Set("name", hostile)
	b.post(r.at("c", mallory, "contact", "rename"), form).has(http.StatusSeeOther)
	b.get(r.at("c", mallory, "about")).harmless()
	form.Set("name", strings.Repeat("x", 300))
	b.post(r.at("c", mallory, "contact", "rename"), form).has(http.StatusUnprocessableEntity)
	remove := b.get(r.at("c", mallory, "about")).form(r.at("c", mallory, "contact", "remove"))
	b.post(r.at("c", mallory, "contact", "remove"), remove).has(http.StatusUnprocessableEntity, "Nothing was removed")
	remove.Set("sure", "yes")
	b.post(r.at("c", mallory, "contact", "remove"), remove).has(http.StatusSeeOther)
	if _, err := r.api.Conversation(ctx, r.alice.ID, mallory); err == nil {
		t.Error("the contact is still there")
	}
	add := b.get(r.at("contacts")).form(r.at("contacts"))
	for link, status := range map[string]int{"not a link": 422, r.alice.Link: 422, r.second.Link: http.StatusSeeOther} {
		add.Set("link", link)
		add.Set("ask", "yes")
		add.Set("text", "hello")
		b.post(r.at("contacts"), add).has(status)
	}
	b.get(r.at("c", r.second.ID)+"?said=added").has(http.StatusOK, "The contact was added.")

	settings := b.get(r.at("settings")).form(r.at("settings"))
	if settings.Get("strangers") != "ask" || settings.Get("role") == "" {
		t.Errorf("settings %v", settings)
	}
	settings.Set("info", hostile)
	settings.Set("strangers", "refuse")
	b.post(r.at("settings"), settings).has(http.StatusSeeOther)
	after := b.get(r.at("settings"))
	after.harmless()
	if have := after.form(r.at("settings")); have.Get("info") != hostile || have.Get("strangers") != "refuse" {
		t.Errorf("settings %v", have)
	}
	settings.Set("role", "king")
	b.post(r.at("settings"), settings).has(http.StatusUnprocessableEntity)
	account := b.get("/settings").form("/accounts")
	account.Set("name", "third")
	made := b.post("/accounts", account)
	made.has(http.StatusSeeOther)
	guide := b.get(made.header.Get("Location"))
	guide.has(http.StatusOK, "Three steps", "Your contact link")
	guide.harmless()
}

func groups(t *testing.T, r *rig) {
	b := r.loggedIn()
	choir := r.chats[2]
	about := b.get(r.at("c", choir, "about"))
	about.has(http.StatusOK, "Bob & Söhne", "owner", "Members")
	bob := r.bob.Account.ID.String()
	role := about.form(r.at("c", choir, "member", bob, "role"))
	role.Set("role", "moderator")
	b.post(r.at("c", choir, "member", bob, "role"), role).has(http.StatusSeeOther)
	r.eventually("bob is a moderator", func() bool {
		members, err := r.api.GroupMembers(t.Context(), r.alice.ID, choir)
		for _, m := range members {
			if m.ID == bob {
				return err == nil && m.Role == "moderator"
			}
		}
		return false
	})
	edit := b.get(r.at("c", choir, "about")).form(r.at("c", choir, "group", "edit"))
	edit.Set("name", "<b>Choir</b>")
	b.post(r.at("c", choir, "group", "edit"), edit).has(http.StatusSeeOther)
	r.eventually("the group has its new name", func() bool {
		g, err := r.api.Group(t.Context(), r.alice.ID, choir)
		return err == nil && g.Name == "<b>Choir</b>"
	})
	b.get(r.at("c", choir)).harmless()
	r.eventually("what the mediator reports is said in words", func() bool {
		text := b.get(r.at("c", choir)).text
		return strings.Contains(text, "has changed the role of Bob &amp; Söhne to moderator.") &&
			strings.Contains(text, "has changed the name of the group to &lt;b&gt;Choir&lt;/b&gt;.")
	})
	for _, act := range []string{"mute", "unmute"} {
		form := b.get(r.at("c", choir, "about")).form(r.at("c", choir, "group", act))
		b.post(r.at("c", choir, "group", act), form).has(http.StatusSeeOther)
	}
	invite := b.get(r.at("c", choir, "about")).form(r.at("c", choir, "group", "invite"))
	invite.Set("identity", r.carol.Account.ID.String())
	b.post(r.at("c", choir, "group", "invite"), invite).has(http.StatusSeeOther)
	invite.Set("identity", "nobody")
	b.post(r.at("c", choir, "group", "invite"), invite).has(http.StatusNotFound)
	ban := about.form(r.at("c", choir, "member", bob, "role"))
	b.post(r.at("c", choir, "member", bob, "ban"), ban).has(http.StatusSeeOther)
	leave := b.get(r.at("c", choir, "about")).form(r.at("c", choir, "group", "leave"))
	b.post(r.at("c", choir, "group", "leave"), leave).has(http.StatusUnprocessableEntity, "Nothing was done")
	create := b.get(r.at("groups")).form(r.at("groups"))
	create.Set("name", "")
	b.post(r.at("groups"), create).has(http.StatusUnprocessableEntity)
	create.Set("name", "Chess")
	b.post(r.at("groups"), create).has(http.StatusSeeOther)
	b.get(r.at("groups")).has(http.StatusOK, "Chess", "Orchestra")
}

// liveStream follows a conversation while things happen in it.
// follow opens the stream of the page of a conversation, until ctx ends. await waits for texts
// in its lines, in their order.
func follow(ctx context.Context, t *testing.T, r *rig, b *browser, chat string) (lines *bufio.Scanner, await func(what ...string)) {
	t.Helper()
	_, live, ok := strings.Cut(b.get(r.at("c", chat)).text, `hx-sse:connect="`)
	if !ok {
		t.Fatal("the page has no stream")
	}
	live, _, _ = strings.Cut(live, `"`)
	live = strings.ReplaceAll(live, "&amp;", "&")
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+live, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.AddCookie(b.cookie)
	response, err := b.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("stream: %d %v", response.StatusCode, response.Header)
	}
	lines = bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	await = func(what ...string) {
		t.Helper()
		for left := what; len(left) > 0; {
			if !lines.Scan() {
				t.Fatalf("the stream has ended before %q: %v", left, lines.Err())
			}
			if strings.Contains(lines.Text(), left[0]) {
				left = left[1:]
			}
		}
	}
	await(": open")
	return lines, await
}

// calls has two people call one account before and after they write, and another one that has an
// answering machine. Calls in quick succession are one, so each calls each account once.
func calls(t *testing.T, r *rig) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b := r.loggedIn()
	call := func(p *phone.Phone, account control.Account) *phone.Call {
		t.Helper()
		c, err := p.Call(ctx, phone.Key(key(t, account.ID)))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	// shows waits until a conversation has one missed call and the texts, in this order.
	shows := func(account control.Account, chat string, texts ...string) {
		t.Helper()
		r.eventually(fmt.Sprintf("the page has %q", texts), func() bool {
			page := b.get("/a/" + account.ID + "/c/" + chat).text
			if strings.Count(page, "Missed call, ") != 1 {
				return false
			}
			_, page, _ = strings.Cut(page, `id="log"`) // behind the list of conversations
			for _, text := range texts {
				var found bool
				if _, page, found = strings.Cut(page, text); !found {
					return false
				}
			}
			return true
		})
	}
	greeting := aac.Audio{Config: aac.Call(), Units: [][]byte{{0, 1}, {0, 2}}}
	if _, err := r.api.ChangeAccount(ctx, r.second.ID, control.AccountChange{Greeting: greeting.AppendADTS(nil)}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Dora", "Erik"} {
		p := r.w.Phone(name, phone.Quirks{})
		chat, text := identity.PublicKey(p.Key()).String(), "Where are you, says "+name
		for _, account := range []control.Account{r.alice, r.second} {
			if _, err := r.api.AddContact(ctx, account.ID, chat); err != nil {
				t.Fatal(err)
			}
		}
		await := func(...string) {}
		if name == "Erik" {
			p.Write(phone.Key(key(t, r.alice.ID)), text)
			r.eventually("the text is there", func() bool { return strings.Contains(b.get(r.at("c", chat)).text, text) })
			_, await = follow(ctx, t, r, b, chat)
		}
		if err := call(p, r.alice).HangUp(); err != nil {
			t.Fatal(err)
		}
		await(`hx-target="#new" hx-swap="beforeend"><li class="day">Missed call, `)
		if name == "Dora" {
			shows(r.alice, chat, "Missed call, ")
			p.Write(phone.Key(key(t, r.alice.ID)), text)
			shows(r.alice, chat, "Missed call, ", text)
		} else {
			shows(r.alice, chat, text, "Missed call, ")
		}
		c := call(p, r.second)
		if err := errors.Join(c.Await(ctx), c.Send(phone.CallConfig())); err != nil {
			t.Fatal(err)
		}
		r.eventually("the greeting is over", func() bool { return len(c.Heard()) > len(greeting.Units) })
		if err := errors.Join(c.Say(slices.Repeat([][]byte{{1, 2, 3}}, 70)...), c.HangUp()); err != nil {
			t.Fatal(err)
		}
		shows(r.second, chat, "Missed call, ", `aria-label="Voice message"`, "Left on the answering machine during a call: 0:01")
	}
	if page := b.get(r.at("c", r.chats[0])).text; strings.Contains(page, "Missed call, ") {
		t.Error("a call is shown in the conversation of somebody else")
	}
}

func liveStream(t *testing.T, r *rig) {
	b := r.loggedIn()
	chat := r.chats[0]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lines, await := follow(ctx, t, r, b, chat)
	sent, err := r.api.Send(ctx, r.alice.ID, chat, control.Text{Text: "live " + hostile})
	if err != nil {
		t.Fatal(err)
	}
	await(`hx-target="#new" hx-swap="beforeend"`, "live &#34;&gt;&lt;script&gt;", "event: chats")
	await(`hx-target="#m-`+sent.ID+`"`, "delivered")
	if _, err := r.api.React(ctx, r.alice.ID, chat, control.Reaction{Message: sent.GUID, Emoji: "❤️"}); err != nil {
		t.Fatal(err)
	}
	await(`hx-target="#m-`+sent.ID+`"`, "❤️")
	r.bob.Stop()
	await(`hx-target="#head"`, "last seen")
	// A session that is ended takes its streams along.
	if err := r.api.EndPageSession(ctx, ""); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if ctx.Err() != nil {
		t.Error("the stream goes on without its session")
	}
}
