// SPDX-License-Identifier: MPL-2.0

//go:build browser

package page_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
)

// These tests need a Chromium and axe; make page-test fetches and runs them.
var (
	chromium = flag.String("chromium", os.Getenv("CHROMIUM"), "the browser; empty looks for it")
	axe      = flag.String("axe", os.Getenv("AXE"), "axe.min.js of axe-core")
	pictures = flag.String("pictures", "", "a directory for the pictures of the documents")
	every    = flag.String("every", "", "a directory for pictures of all pages")
	long     = flag.Int("long", 10_000, "messages in the long conversation")
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

const (
	// paintTime and firstBytes bound what the first page of a browser without a cache may
	// take on loopback: until something is seen, and over the wire, everything together.
	paintTime  = 500.0 // milliseconds
	firstBytes = 150 << 10
)

// What a browser that was never here sees is there soon, and small: the median of some visits
// counts, as the machine may be busy.
func TestBrowser_FirstPaint(t *testing.T) {
	r := newRig(t)
	r.decorate()
	r.fill(200)
	b := r.loggedIn()
	ctx := open(t, b)
	var bytes atomic.Int64
	chromedp.ListenTarget(ctx, func(ev any) {
		switch ev := ev.(type) {
		case *network.EventDataReceived: // also of what does not end, such as the stream of events
			bytes.Add(max(ev.EncodedDataLength, 0))
		case *network.EventResponseReceived:
			bytes.Add(int64(ev.Response.EncodedDataLength)) // of its head
		}
	})
	do(t, ctx, network.SetCacheDisabled(true))
	for _, v := range []view{views[0], views[3]} {
		for name, path := range map[string]string{
			"conversations": r.at(), "conversation": r.at("c", r.chats[0]), "contacts": r.at("contacts"), "node": "/node",
		} {
			var paints []float64
			var largest int64
			for range 5 {
				bytes.Store(0)
				var paint float64
				do(t, ctx, v.set(), chromedp.Navigate(b.base+path), loaded(),
					whenTrue(`performance.getEntriesByName("first-contentful-paint").length`),
					chromedp.Evaluate(`performance.getEntriesByName("first-contentful-paint")[0].startTime`, &paint))
				paints, largest = append(paints, paint), max(largest, bytes.Load())
			}
			slices.Sort(paints)
			t.Logf("%s, %s: %.0f ms until the first paint (%.0f to %.0f), %.1f KiB",
				name, v.name, paints[len(paints)/2], paints[0], paints[len(paints)-1], float64(largest)/1024)
			if paints[len(paints)/2] > paintTime || largest > firstBytes {
				t.Errorf("%s, %s: over %.0f ms or %d bytes", name, v.name, paintTime, firstBytes)
			}
			if largest < 10_000 {
				t.Errorf("%s, %s: only %d bytes were counted", name, v.name, largest)
			}
		}
	}
}

// With the Tab key alone somebody comes to everything on a page that can be used, sees where
// they are, and comes out of it again.
func TestBrowser_TabReachesEverything(t *testing.T) {
	r := newRig(t)
	r.decorate()
	b := r.loggedIn()
	ctx := open(t, b)
	for _, v := range []view{views[0], views[2]} {
		for name, path := range map[string]string{
			"conversations": r.at(), "conversation": r.at("c", r.chats[0]), "contacts": r.at("contacts"), "groups": r.at("groups"),
			"about": r.at("c", r.chats[0], "about"), "members": r.at("c", r.chats[2], "about"), "node": "/node", "settings": r.at("settings"),
			"request": r.at("c", r.mallory.Account.ID.String()), "message": r.at("c", r.chats[0], "m", r.file.ID),
			"search": r.at("search") + "?words=doors", "welcome": r.newcomer(),
		} {
			var usable int
			do(t, ctx, v.set(), chromedp.Navigate(b.base+path), chromedp.WaitReady("body"), loaded(), chromedp.Evaluate(`(() => {
				window.wanted = new Set([...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, audio[controls], [tabindex='0']")]
					.filter(e => !e.disabled && e.checkVisibility({visibilityProperty: true}) && !(e.type === "radio" && !e.checked)));
				window.unseen = [];
				if (document.activeElement) document.activeElement.blur();
				return wanted.size;
			})()`, &usable))
			var left []string
			for range 3*usable + 20 {
				do(t, ctx, chromedp.KeyEvent("\t"), chromedp.Evaluate(`(() => {
					const e = document.activeElement;
					if (wanted.delete(e) && e.type !== "file") {
						const s = getComputedStyle(e), b = e.getBoundingClientRect();
						if (s.outlineStyle === "none" || s.outlineWidth === "0px" || b.bottom < 1 || b.top > innerHeight - 1) unseen.push(e.outerHTML.slice(0, 200));
					}
					return [...wanted].filter(e => e.isConnected).map(e => e.outerHTML.slice(0, 200));
				})()`, &left))
				if len(left) == 0 {
					break
				}
			}
			for _, e := range left {
				t.Errorf("%s, %s: the Tab key does not come to %s", name, v.name, e)
			}
			var unseen []string
			do(t, ctx, chromedp.Evaluate(`unseen`, &unseen))
			for _, e := range unseen {
				t.Errorf("%s, %s: it is not seen that the focus is on %s", name, v.name, e)
			}
			t.Logf("%s, %s: %d elements", name, v.name, usable)
		}
	}
}

// Somebody who is elsewhere than the node sees the times of their own zone, all in one way:
// in the list, beside messages, and in what was found.
func TestBrowser_TimesInTheZoneOfTheBrowser(t *testing.T) {
	r := newRig(t)
	b := r.loggedIn()
	ctx := open(t, b)
	c, err := r.api.Conversation(t.Context(), r.alice.ID, r.chats[0])
	if err != nil || c.Last == nil {
		t.Fatalf("conversation %+v, %v", c, err)
	}
	for _, name := range []string{"Asia/Tokyo", "America/Los_Angeles"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		var list, beside, found string
		do(t, ctx, views[2].set(), emulation.SetTimezoneOverride(name),
			chromedp.Navigate(b.base+r.at("c", r.chats[0])), chromedp.WaitVisible("#text"),
			chromedp.Text(".chats a[aria-current] .time", &list), chromedp.Evaluate(`[...document.querySelectorAll(".msg .meta time")].at(-1).textContent`, &beside),
			chromedp.Navigate(b.base+r.at("search")+"?words=doors"), chromedp.WaitReady("main li time"), chromedp.Text("main li time", &found))
		want := c.Last.Stored.In(zone).Format("15:04")
		hour := want[:3] // what was found was written a moment before
		if list != want || !strings.HasPrefix(beside, hour) || len(beside) != len(want) || !strings.Contains(found, " "+hour) {
			t.Errorf("in %s: %q in the list, %q beside the message, %q of what was found; want %q", name, list, beside, found, want)
		}
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

// fill stores a conversation of Bob with alice, which the node finds at its next start.
func (r *rig) fill(messages int) {
	r.t.Helper()
	r.home.Stop()
	inner := r.home.Opts.OpenStore
	r.home.Opts.OpenStore = func(o store.Options) (*store.Store, error) {
		s, err := inner(o)
		if err != nil {
			return nil, err
		}
		system := kernel.NewSystem(kernel.Options{Logger: slog.New(slog.DiscardHandler)})
		writer, err := system.Spawn(kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(s) }})
		if err != nil {
			return nil, err
		}
		began := time.Now().Add(-time.Duration(messages) * time.Minute)
		for i := range messages {
			at := store.MillisOf(began.Add(time.Duration(i) * time.Minute))
			if _, err := store.Do[store.Accepted](r.t.Context(), writer, store.AcceptMessage{
				Account: key(r.t, r.alice.ID), Conversation: store.ContactConversation(r.bob.Account.ID), GUID: int64(i + 1_000_000),
				SendTime: at, Received: at, Payload: fmt.Appendf(nil, "line %d of a long conversation", i),
			}); err != nil {
				return nil, err
			}
		}
		if err := errors.Join(system.Stop(r.t.Context()), s.Close()); err != nil {
			return nil, err
		}
		return inner(o)
	}
	r.home.Start()
	r.home.Opts.OpenStore = inner
	r.eventually("the page is served again", func() bool {
		_, err := r.api.Accounts(r.t.Context())
		return err == nil && r.access.Address() != ""
	})
}

// memory is what a conversation takes of the browser and of the node, which is this process,
// after their garbage was collected.
type memory struct{ page, node, elements int64 }

func (m memory) String() string {
	return fmt.Sprintf("%.1f MiB in the page, %.1f MiB in the node, %d elements", float64(m.page)/(1<<20), float64(m.node)/(1<<20), m.elements)
}

func measure(t *testing.T, ctx context.Context) (m memory) {
	t.Helper()
	do(t, ctx, heapprofiler.CollectGarbage(), chromedp.ActionFunc(func(ctx context.Context) error {
		used, _, _, _, err := runtime.GetHeapUsage().Do(ctx)
		m.page = int64(used)
		return err
	}), chromedp.Evaluate(`document.getElementsByTagName("*").length`, &m.elements))
	goruntime.GC()
	var stats goruntime.MemStats
	goruntime.ReadMemStats(&stats)
	m.node = int64(stats.HeapAlloc)
	return m
}

// A long conversation scrolls from its end to its beginning and some of the way back, with a
// bounded number of messages in the page, and bounded memory of browser and node.
func TestBrowser_LongConversation(t *testing.T) {
	r := newRig(t)
	r.fill(*long)
	b := r.loggedIn()
	ctx := open(t, b)
	do(t, ctx, views[0].set(), chromedp.Navigate(b.base+r.at("c", r.chats[0])), chromedp.WaitVisible("#text"),
		whenTrue(fmt.Sprintf(`document.body.textContent.includes("line %d of")`, *long-1)))
	// scroll scrolls until an expression is true, and returns how many messages were in the
	// page at most. The page itself waits for the answers of the node.
	scroll := func(to, done string) (most int) {
		var seen struct {
			Most int
			Done bool
		}
		for !seen.Done {
			do(t, ctx, chromedp.Evaluate(fmt.Sprintf(`(async () => {
				const log = document.getElementById("log");
				let most = 0;
				for (const end = performance.now() + 10000; performance.now() < end;) {
					log.scrollTop = %s;
					most = Math.max(most, log.querySelectorAll(".msg").length);
					if (%s) return {Most: most, Done: true};
					await new Promise(requestAnimationFrame);
				}
				return {Most: most, Done: false};
			})()`, to, done), &seen, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
			most = max(most, seen.Most)
		}
		return most
	}
	shows := func(line int) string {
		return fmt.Sprintf(`[...log.querySelectorAll(".msg .text")].some(e => e.textContent === "line %d of a long conversation")`, line)
	}
	most := scroll("0", shows(max(0, *long-1000)))
	first := measure(t, ctx)
	t.Logf("after 1,000 messages: %s", first)
	most = max(most, scroll("0", shows(0)+` && !log.querySelector(".more.older")`))
	last := measure(t, ctx)
	t.Logf("after %d messages: %s", *long, last)
	most = max(most, scroll("1e9", shows(min(2000, *long)-1)))
	if most > 520 {
		t.Errorf("%d messages were in the page at a time", most)
	}
	t.Logf("at most %d messages in the page", most)
	if last.page > first.page+8<<20 || last.elements > 2*first.elements || last.node > first.node+48<<20 {
		t.Errorf("memory has grown from %s to %s", first, last)
	}
}
