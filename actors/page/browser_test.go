// SPDX-License-Identifier: MPL-2.0

//go:build browser

package page_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/mimird/mimird/actors/control"
)

// These tests need a Chromium and axe; make page-test fetches and runs them.
var (
	chromium = flag.String("chromium", os.Getenv("CHROMIUM"), "the browser; empty looks for it")
	axe      = flag.String("axe", os.Getenv("AXE"), "axe.min.js of axe-core")
	pictures = flag.String("pictures", "", "a directory for the pictures of the documents")
	every    = flag.String("every", "", "a directory for pictures of all pages")
	long     = flag.Int("long", 3000, "messages in the long conversation")
)

// view is how somebody looks at a page.
type view struct {
	name          string
	width, height int64
	dark          bool
}

var views = []view{
	{"phone-light", 390, 844, false},
	{"phone-dark", 390, 844, true},
	{"desktop-light", 1280, 800, false},
	{"desktop-dark", 1280, 800, true},
}

// open starts a browser that has the cookie of a session.
func open(t *testing.T, b *browser) context.Context {
	t.Helper()
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.UserDataDir(t.TempDir()), chromedp.Flag("lang", "en-GB"))
	if os.Getuid() == 0 {
		flags = append(flags, chromedp.NoSandbox) // as root it does not start otherwise
	}
	if *chromium != "" {
		flags = append(flags, chromedp.ExecPath(*chromium))
	}
	ctx, stop := chromedp.NewExecAllocator(t.Context(), flags...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	chromedp.ListenTarget(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *log.EventEntryAdded:
			if ev.Entry.Level == log.LevelError && !strings.Contains(ev.Entry.Text, "net::ERR_INCOMPLETE_CHUNKED") {
				t.Errorf("the browser says: %s %s", ev.Entry.Text, ev.Entry.URL)
			}
		case *runtime.EventExceptionThrown:
			t.Errorf("a script has failed: %s", ev.ExceptionDetails.Error())
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(ev.Request.URL, b.base) && !strings.HasPrefix(ev.Request.URL, "data:") {
				t.Errorf("something is loaded from elsewhere: %s", ev.Request.URL)
			}
		}
	})
	err := chromedp.Run(ctx, network.Enable(), log.Enable(), chromedp.ActionFunc(func(ctx context.Context) error {
		return network.SetCookie(b.cookie.Name, b.cookie.Value).WithURL(b.base).WithHTTPOnly(true).WithSameSite(network.CookieSameSiteStrict).Do(ctx)
	}))
	if err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

func (v view) set() chromedp.Action {
	scheme := "light"
	if v.dark {
		scheme = "dark"
	}
	return chromedp.Tasks{
		chromedp.EmulateViewport(v.width, v.height),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
	}
}

func whenTrue(expression string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		var is bool
		if err := chromedp.Poll("!!("+expression+")", &is, chromedp.WithPollingTimeout(time.Minute)).Do(ctx); err != nil {
			var state string
			_ = chromedp.Evaluate(`document.readyState + " " + typeof htmx + " " + document.visibilityState + " " + (document.getElementById("live") || {}).outerHTML`, &state).Do(ctx) // for the message alone
			return fmt.Errorf("wait in the page for %s: %w; %s", expression, err, state)
		}
		return nil
	})
}

// loaded waits until the pictures in view are there.
func loaded() chromedp.Action {
	return whenTrue(`[...document.images].every(i => i.complete || i.getBoundingClientRect().top > innerHeight || i.offsetParent === null)`)
}

// examine has axe look at the page.
func examine(t *testing.T, ctx context.Context, name, source string) {
	t.Helper()
	var result string
	do(t, ctx,
		chromedp.Evaluate(source, nil),
		chromedp.Evaluate(`axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations.map(v => ({id: v.id, help: v.help, nodes: v.nodes.map(n => n.html + " " + n.failureSummary)}))))`,
			&result, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	var violations []struct {
		ID, Help string
		Nodes    []string
	}
	if err := json.Unmarshal([]byte(result), &violations); err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Errorf("%s: %s (%s):\n  %s", name, v.ID, v.Help, strings.Join(v.Nodes, "\n  "))
	}
}

// documented are the pictures of the documents, by page and view.
var documented = map[string]string{
	"conversation-desktop-light": "page-conversation.png",
	"conversation-phone-dark":    "page-phone.png",
	"node-desktop-light":         "page-node.png",
}

func shoot(t *testing.T, ctx context.Context, file string) {
	t.Helper()
	var shot []byte
	do(t, ctx, chromedp.CaptureScreenshot(&shot))
	if err := os.WriteFile(file, shot, 0o644); err != nil { //nolint:gosec // for everybody to read
		t.Fatal(err)
	}
}

func TestBrowser_EveryPage(t *testing.T) {
	source, err := os.ReadFile(*axe)
	if err != nil {
		t.Fatalf("axe is not here, see make page-test: %v", err)
	}
	r := newRig(t)
	r.decorate()
	b := r.loggedIn()
	ctx := open(t, b)
	pages := map[string]string{
		"login": "/login", "chats": r.at(), "conversation": r.at("c", r.chats[0]), "group": r.at("c", r.chats[2]), "contacts": r.at("contacts"),
		"about": r.at("c", r.chats[0], "about"), "members": r.at("c", r.chats[2], "about"), "node": "/node", "settings": r.at("settings"),
		"request": r.at("c", r.mallory.Account.ID.String()), "groups": r.at("groups"), "message": r.at("c", r.chats[0], "m", r.file.ID),
		"hostile": r.at("c", r.chats[1]), "search": r.at("search") + "?words=doors", "welcome": r.newcomer(),
	}
	for _, v := range views {
		for name, path := range pages {
			name = name + "-" + v.name
			do(t, ctx, v.set(), chromedp.Navigate(b.base+path), chromedp.WaitReady("body"), loaded())
			if path == pages["conversation"] {
				do(t, ctx, whenTrue(`document.getElementById("log").scrollTop + document.getElementById("log").clientHeight > document.getElementById("log").scrollHeight - 90`))
			}
			var wide bool
			do(t, ctx, chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &wide))
			if wide {
				t.Errorf("%s is wider than the window", name)
			}
			examine(t, ctx, name, string(source))
			if *every != "" {
				shoot(t, ctx, filepath.Join(*every, name+".png"))
			}
			if file := documented[name]; file != "" && *pictures != "" {
				shoot(t, ctx, filepath.Join(*pictures, file))
			}
		}
	}
	var alerts int
	do(t, ctx, chromedp.Evaluate(`document.querySelectorAll("script:not([src^='/assets/'])").length`, &alerts))
	if alerts > 0 {
		t.Error("a script of a message is in the page")
	}
}

// A conversation is used with the keyboard alone; what happens is seen without loading it
// again.
func TestBrowser_Keyboard(t *testing.T) {
	r := newRig(t)
	b := r.loggedIn()
	ctx := open(t, b)
	do(t, ctx, views[2].set(), chromedp.Navigate(b.base+r.at("c", r.chats[0])), chromedp.WaitVisible("#text"),
		whenTrue(`document.querySelector("#live[data-htmx-powered]") !== null`),
		chromedp.Focus("#text"), chromedp.SendKeys("#text", "typed by hand\r"),
		whenTrue(`[...document.querySelectorAll(".msg.out .text")].some(e => e.textContent === "typed by hand")`),
		whenTrue(`document.getElementById("text").value === "" && document.activeElement.id === "text"`),
		whenTrue(`document.querySelectorAll(".msg.out .mark.delivered").length > 0`),
		// A reaction over the menu of the last message.
		chromedp.Evaluate(`[...document.querySelectorAll(".msg.in .meta")].at(-1).focus()`, nil),
		chromedp.KeyEvent("\r"),
		whenTrue(`document.getElementById("menu").open`),
		chromedp.Evaluate(`document.querySelector("#menu .emojis button").focus()`, nil),
		chromedp.KeyEvent("\r"),
		whenTrue(`!document.getElementById("menu").open && document.querySelectorAll(".reactions li").length === 1`),
	)
	// What was read is told.
	r.eventually("the conversation is read", func() bool {
		c, err := r.api.Conversation(t.Context(), r.alice.ID, r.chats[0])
		return err == nil && c.Unread == 0
	})
	// An answer with a file.
	file := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(file, []byte("notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	do(t, ctx,
		chromedp.Evaluate(`[...document.querySelectorAll(".msg.in .meta")].at(-1).click()`, nil),
		whenTrue(`document.getElementById("menu").open`),
		chromedp.Evaluate(`document.querySelector("#menu .buttons a").click()`, nil),
		whenTrue(`!document.getElementById("menu").open && document.querySelector("#composer [name=reply]")`),
		chromedp.SetUploadFiles("#file", []string{file}),
		whenTrue(`document.getElementById("chosen").textContent === "notes.txt"`),
		chromedp.SendKeys("#text", "here they are\r"),
		whenTrue(`[...document.querySelectorAll(".msg.out")].some(e => e.textContent.includes("notes.txt") && e.querySelector(".quote"))`),
		whenTrue(`document.getElementById("text").value === "" && !document.querySelector("#composer [name=reply]")`), // the next form
	)
	// Drag and drop.
	do(t, ctx,
		chromedp.Evaluate(`{ const d = new DataTransfer(); d.items.add(new File(["x"], "dropped.txt"));
			document.getElementById("log").dispatchEvent(new DragEvent("drop", {dataTransfer: d, bubbles: true, cancelable: true})); }`, nil),
		whenTrue(`document.getElementById("chosen").textContent === "dropped.txt"`),
	)
	// Another browser of the same session, and the mark of the list.
	if _, err := r.bob.Send(t.Context(), r.outgoing(r.bob, "news from Bob")); err != nil {
		t.Fatal(err)
	}
	do(t, ctx, whenTrue(`[...document.querySelectorAll(".msg.in .text")].some(e => e.textContent === "news from Bob")`),
		whenTrue(`document.querySelector("#side").textContent.includes("news from Bob")`))
	// The stream comes back with what was missed.
	do(t, ctx, chromedp.Evaluate(`window.same = true`, nil))
	if a := b.get(r.at()); a.status != http.StatusOK {
		t.Fatal(a.status)
	}
}

// A long conversation scrolls from its end to its beginning and back, with a bounded
// number of messages in the page.
func TestBrowser_LongConversation(t *testing.T) {
	r := newRig(t)
	for i := range *long {
		if _, err := r.api.Send(t.Context(), r.alice.ID, r.chats[2], control.Text{Text: fmt.Sprintf("line %d of a long conversation", i)}); err != nil {
			t.Fatal(err)
		}
	}
	b := r.loggedIn()
	ctx := open(t, b)
	begin := time.Now()
	do(t, ctx, views[0].set(), chromedp.Navigate(b.base+r.at("c", r.chats[2])), chromedp.WaitVisible("#text"))
	var paint float64
	do(t, ctx, whenTrue(`performance.getEntriesByName("first-contentful-paint").length`),
		chromedp.Evaluate(`performance.getEntriesByName("first-contentful-paint")[0].startTime`, &paint))
	t.Logf("first paint after %.0f ms, loaded in %s", paint, time.Since(begin))
	scroll := func(to, done string, most int) (seen int) {
		for range 100000 {
			var state struct {
				Rows int
				Done bool
			}
			do(t, ctx, chromedp.Evaluate(to, nil), chromedp.Sleep(30*time.Millisecond),
				chromedp.Evaluate(`({Rows: document.querySelectorAll(".msg").length, Done: !!(`+done+`)})`, &state))
			seen = max(seen, state.Rows)
			if state.Done {
				return seen
			}
		}
		t.Fatal("it does not end")
		return 0
	}
	most := scroll(`document.getElementById("log").scrollTop = 0`, `document.body.textContent.includes("hello Choir") && !document.querySelector(".more.older")`, 0)
	most = max(most, scroll(`document.getElementById("log").scrollTop = 1e9`, `document.body.textContent.includes("line `+fmt.Sprint(*long-1)+` of") && document.getElementById("new")`, 0))
	if most > 520 {
		t.Errorf("%d messages were in the page at a time", most)
	}
	t.Logf("at most %d messages in the page", most)
}
