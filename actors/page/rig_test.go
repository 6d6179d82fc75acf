// SPDX-License-Identifier: MPL-2.0

package page_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"image"
	"image/color"
	"image/png"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/html"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/page"
	"github.com/mimird/mimird/actors/search"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/fakemediator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hostile is what strangers call themselves and write: markup, scripts, quotes, and
// characters that turn the direction of writing.
const hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>` + "\u202e" + `' onmouseover='x`

// rig is a node with two accounts, each with contacts bob and carol of nodes of their own,
// both in two groups. Alice's page is served.
type rig struct {
	w          *actorstest.World
	t          testing.TB
	home       *actorstest.Node
	bob, carol *actorstest.Node
	mallory    *actorstest.Node // has asked to be a contact
	api        *client.Client
	access     *page.Access
	alice      control.Account
	second     control.Account
	chats      []string // of alice: bob, carol and two groups
	file, bad  control.Message
	backups    atomic.Int32 // that the page has begun
}

// newRig makes the world. It has real sockets on loopback, so it runs in real time.
func newRig(t testing.TB) *rig {
	t.Helper()
	w := actorstest.New(t, memnet.Options{})
	ctx := t.Context()
	depot := w.Node("depot", func(o *node.Options) { o.Files = &fileserver.Options{OpenNetwork: w.Open} })
	server, _ := depot.FilesKey()
	withFiles := func(o *node.Options) { o.Media = transfer.Options{Server: server, AutoDownload: 1 << 20} }
	mediator := fakemediator.New(t, w.Net.Node(overlay.Limits{}))
	r := &rig{w: w, t: t, access: page.NewAccess(filepath.Join(t.TempDir(), "page.json"))}
	socket, index := filepath.Join(t.TempDir(), "s"), search.New(t.TempDir())
	r.home = w.Node("alice", withFiles, func(o *node.Options) {
		o.Mediators = []identity.NodeKey{mediator.Key()}
		o.CallRing, o.Answering.Ring = time.Minute-time.Second, 100*time.Millisecond
		o.Parts = []node.Part{
			{Name: "search", New: func(n *node.Node) kernel.Actor { return index.NewActor(n) }},
			{Name: "control", New: control.New(control.Options{Socket: socket, Version: "test", Page: r.access, Search: index})},
			{Name: page.Name, New: page.New(page.Options{
				Listen: "127.0.0.1:0", Access: r.access, Client: func() *client.Client { return client.New(socket) },
				Backup: func(context.Context) (bool, error) { return r.backups.Add(1) == 1, nil },
			})},
		}
	})
	r.api = client.New(socket)
	t.Cleanup(r.api.Close)
	r.eventually("the control API answers", func() bool {
		_, err := r.api.Accounts(ctx)
		return err == nil && r.access.Address() != ""
	})
	if _, err := r.api.CreateAccount(ctx, "second"); err != nil {
		t.Fatal(err)
	}
	accounts, err := r.api.Accounts(ctx)
	if err != nil || len(accounts) != 2 {
		t.Fatalf("accounts %+v, %v", accounts, err)
	}
	for _, a := range accounts {
		if a.Name == "second" {
			r.second = a
		} else {
			r.alice = a
		}
	}
	r.bob, r.carol = w.Node("Bob", withFiles), w.Node(hostile, withFiles)
	for _, other := range []*actorstest.Node{r.bob, r.carol} {
		for _, account := range []control.Account{r.alice, r.second} {
			if _, err := r.api.AddContact(ctx, account.ID, other.Link(other.Account).String()); err != nil {
				t.Fatal(err)
			}
			link, err := identity.ParseLink(account.Link)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := other.AddContact(ctx, other.Account.ID, link); err != nil {
				t.Fatal(err)
			}
		}
		r.chats = append(r.chats, other.Account.ID.String())
	}
	link, err := identity.ParseLink(r.alice.Link)
	if err != nil {
		t.Fatal(err)
	}
	r.mallory = w.Node("mallory")
	if _, err := r.mallory.RequestContact(ctx, r.mallory.Account.ID, link, hostile); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"Choir", "Orchestra"} {
		secret := fakemediator.Secret{byte(i + 1)}
		aliceKey, secondKey := key(t, r.alice.ID), key(t, r.second.ID)
		chat := mediator.AddChat(name, aliceKey, secondKey, r.bob.Account.ID)
		for _, account := range []control.Account{r.alice, r.second} {
			g, err := r.api.JoinGroup(ctx, account.ID, control.JoinedGroup{
				Mediator: mediator.Key().String(), Chat: strconv.FormatInt(chat.ID, 10), Key: hex.EncodeToString(secret[:]), Name: name,
			})
			if err != nil {
				t.Fatal(err)
			}
			if account.ID == r.alice.ID {
				r.chats = append(r.chats, g.ID)
			}
			r.eventually(account.Name+" is live in "+name, func() bool {
				g, err := r.api.Group(ctx, account.ID, g.ID)
				return err == nil && g.Stage == "live"
			})
		}
		mediator.Profile(chat, r.bob.Account.ID, secret.Profile("Bob & Söhne", "", nil), time.Now().UnixMilli())
		mediator.Say(chat, r.bob.Account.ID, 77, secret.Text(77, "hello "+name))
	}
	r.talk()
	return r
}

func key(t testing.TB, text string) identity.PublicKey {
	t.Helper()
	k, err := identity.ParsePublicKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (r *rig) eventually(what string, done func() bool) {
	r.t.Helper()
	r.home.EventuallyWithin(time.Minute, what, done)
}

// picture is a small picture.
func picture(t testing.TB) []byte {
	t.Helper()
	img := image.NewRGBA(image.Rect(0, 0, 320, 200))
	for y := range 200 {
		for x := range 320 {
			img.Set(x, y, color.RGBA{uint8(60 + x/3), uint8(140 - y/3), 130, 255})
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// talk has bob and carol write to alice.
func (r *rig) talk() {
	r.t.Helper()
	ctx := r.t.Context()
	to := key(r.t, r.alice.ID)
	say := func(from *actorstest.Node, text string, replyTo peer.GUID) store.Message {
		m, err := from.Send(ctx, node.Outgoing{Account: from.Account.ID, Contact: to, Payload: []byte(text), ReplyTo: replyTo})
		if err != nil {
			r.t.Fatal(err)
		}
		return m
	}
	say(r.bob, "Are you coming tonight? The doors open at eight.", 0)
	say(r.bob, "See https://example.org/a?b=1&c=2 and <b>this</b>.", 0)
	say(r.carol, hostile, 0)
	for _, f := range []node.OutgoingFile{
		{Account: r.bob.Account.ID, Body: bytes.NewReader(picture(r.t)), Name: "stage.png", Caption: "The stage"},
		{Account: r.carol.Account.ID, Body: strings.NewReader("<html><script>alert(3)</script></html>"), Name: hostile + ".html", MIMEType: "text/html"},
	} {
		from := r.bob
		if f.Account == r.carol.Account.ID {
			from = r.carol
		}
		f.Contact = to
		if _, err := from.SendFile(ctx, f); err != nil {
			r.t.Fatal(err)
		}
	}
	stored := func(chat, name string, found *control.Message) func() bool {
		return func() bool {
			all, err := r.api.ChatMessages(ctx, r.alice.ID, chat, control.Range{Limit: 50})
			if err != nil {
				return false
			}
			for _, m := range all {
				if m.File != nil && strings.HasSuffix(m.File.Name, name) && m.File.State == "stored" {
					*found = m
					return true
				}
			}
			return false
		}
	}
	r.eventually("bob's picture is here", stored(r.chats[0], ".png", &r.file))
	r.eventually("carol's file is here", stored(r.chats[1], ".html", &r.bad))
	r.eventually("mallory has asked", func() bool {
		c, err := r.api.Conversation(ctx, r.alice.ID, r.mallory.Account.ID.String())
		return err == nil && c.Contact.State == "requested"
	})
	r.eventually("the groups have bob's texts", func() bool {
		for _, chat := range r.chats[2:] {
			if c, err := r.api.Conversation(ctx, r.alice.ID, chat); err != nil || c.Unread == 0 {
				return false
			}
		}
		return true
	})
}

// browser is what a person has: cookies, and the pages that the node sends.
type browser struct {
	t    testing.TB
	http *http.Client
	base string
	// cookie is that of the session, "" for none.
	cookie *http.Cookie
}

func (r *rig) browser() *browser {
	b := &browser{t: r.t, base: r.access.Address(), http: &http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	r.t.Cleanup(b.http.CloseIdleConnections)
	return b
}

// loggedIn returns a browser that came in by a link.
func (r *rig) loggedIn() *browser {
	r.t.Helper()
	b := r.browser()
	link, err := r.api.PageLink(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	at, err := url.Parse(link.URL)
	if err != nil {
		r.t.Fatal(err)
	}
	p := b.get(at.RequestURI())
	form := p.form("/enter")
	if answer := b.post("/enter", form); answer.status != http.StatusSeeOther || b.cookie == nil {
		r.t.Fatalf("the link lets nobody in: %d %s", answer.status, answer.text)
	}
	return b
}

// answer is an answer of the page.
type answer struct {
	t      testing.TB
	path   string
	status int
	header http.Header
	text   string
	root   *html.Node
}

func (b *browser) get(path string, header ...string) *answer {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, header...)
}

func (b *browser) post(path string, form url.Values, header ...string) *answer {
	b.t.Helper()
	return b.do(http.MethodPost, path, strings.NewReader(form.Encode()), append(header, "Content-Type", "application/x-www-form-urlencoded")...)
}

// upload sends a form with files.
func (b *browser) upload(path string, form url.Values, files map[string][]byte, header ...string) *answer {
	b.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	for name, values := range form {
		_ = w.WriteField(name, values[0]) // in memory
	}
	for name, content := range files {
		part, err := w.CreateFormFile("file", name)
		if err != nil {
			b.t.Fatal(err)
		}
		_, _ = part.Write(content)
	}
	_ = w.Close()
	return b.do(http.MethodPost, path, &body, append(header, "Content-Type", w.FormDataContentType())...)
}

func (b *browser) do(method, path string, body io.Reader, header ...string) *answer {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, b.base+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			request.Host = header[i+1]
			continue
		}
		request.Header.Set(header[i], header[i+1])
	}
	if b.cookie != nil {
		request.AddCookie(b.cookie)
	}
	response, err := b.http.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, c := range response.Cookies() {
		b.cookie = c
	}
	a := &answer{t: b.t, path: path, status: response.StatusCode, header: response.Header, text: string(raw)}
	if strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
		if a.root, err = html.Parse(bytes.NewReader(raw)); err != nil {
			b.t.Fatal(err)
		}
	}
	return a
}

// each calls visit for every element.
func (a *answer) each(visit func(n *html.Node)) {
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.ElementNode {
			visit(n)
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	if a.root != nil {
		walk(a.root)
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// text is what an element says.
func textOf(n *html.Node) string {
	if n.Type == html.TextNode {
		return n.Data
	}
	var b strings.Builder
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		b.WriteString(textOf(c))
	}
	return b.String()
}

// form returns the fields of the form with an action, as the page has filled them in.
func (a *answer) form(action string) url.Values {
	a.t.Helper()
	var found url.Values
	a.each(func(n *html.Node) {
		if n.Data != "form" || attribute(n, "action") != action {
			return
		}
		found = make(url.Values)
		inner := &answer{t: a.t, root: n}
		inner.each(func(n *html.Node) {
			name := attribute(n, "name")
			switch {
			case name == "" || n.Data == "button":
			case attribute(n, "type") == "checkbox", attribute(n, "type") == "file":
			case n.Data == "textarea":
				found.Set(name, textOf(n))
			case n.Data == "select":
				(&answer{t: a.t, root: n}).each(func(o *html.Node) {
					for _, at := range o.Attr {
						if o.Data == "option" && at.Key == "selected" {
							found.Set(name, attribute(o, "value"))
						}
					}
				})
			default:
				found.Set(name, attribute(n, "value"))
			}
		})
	})
	if found == nil {
		a.t.Fatalf("%s has no form for %s, status %d:\n%.2000s", a.path, action, a.status, a.text)
	}
	return found
}

// has fails the test unless the page is there and says all of something.
func (a *answer) has(status int, texts ...string) {
	a.t.Helper()
	if a.status != status {
		a.t.Errorf("%s: status %d, want %d: %.200s", a.path, a.status, status, a.text)
	}
	said := a.text
	if a.root != nil {
		said = textOf(a.root)
	}
	for _, text := range texts {
		if !strings.Contains(said, text) {
			a.t.Errorf("%s does not say %q: %.1000s", a.path, text, said)
		}
	}
}

// harmless fails the test when something in a page could run, or loads from elsewhere.
func (a *answer) harmless() {
	a.t.Helper()
	ids := make(map[string]bool)
	a.each(func(n *html.Node) {
		if n.Data == "script" && (n.FirstChild != nil || !strings.HasPrefix(attribute(n, "src"), "/assets/")) {
			a.t.Errorf("%s has a script: %q", a.path, attribute(n, "src")+textOf(n))
		}
		for _, name := range []string{"iframe", "object", "embed", "base", "style"} {
			if n.Data == name {
				a.t.Errorf("%s has <%s>", a.path, name)
			}
		}
		for _, at := range n.Attr {
			if strings.HasPrefix(at.Key, "on") || strings.HasPrefix(at.Key, "hx-on") || at.Key == "style" {
				a.t.Errorf("%s has an attribute %s=%q", a.path, at.Key, at.Val)
			}
			loads := at.Key == "src" || at.Key == "action" || at.Key == "formaction" || at.Key == "href" && n.Data != "a" || strings.HasPrefix(at.Key, "hx-get") ||
				strings.HasPrefix(at.Key, "hx-post") || strings.HasPrefix(at.Key, "hx-sse")
			if loads && (!strings.HasPrefix(at.Val, "/") || strings.HasPrefix(at.Val, "//")) {
				a.t.Errorf("%s loads or sends to %s=%q", a.path, at.Key, at.Val)
			}
			if at.Key == "href" && n.Data == "a" && strings.HasPrefix(at.Val, "javascript:") {
				a.t.Errorf("%s has a link %q", a.path, at.Val)
			}
			if at.Key == "id" {
				if ids[at.Val] {
					a.t.Errorf("%s has the id %q twice", a.path, at.Val)
				}
				ids[at.Val] = true
			}
		}
	})
	if a.root != nil && a.header.Get("Content-Security-Policy") == "" {
		a.t.Errorf("%s has no content policy", a.path)
	}
}

// at is the address of a page of alice.
func (r *rig) at(rest ...string) string {
	return "/a/" + r.alice.ID + strings.Join(append([]string{""}, rest...), "/")
}
