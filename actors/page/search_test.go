// SPDX-License-Identifier: MPL-2.0

package page_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/node"
)

// links returns the addresses that a page leads to, with what they say.
func (a *answer) links() map[string]string {
	found := make(map[string]string)
	a.each(func(n *html.Node) {
		if n.Data == "a" {
			found[attribute(n, "href")] = textOf(n)
		}
	})
	return found
}

// hasID reports whether a page has an element with that id.
func (a *answer) hasID(id string) (there bool) {
	a.each(func(n *html.Node) { there = there || attribute(n, "id") == id })
	return there
}

// linkOf returns the address of the one link whose text contains all words.
func (a *answer) linkOf(words ...string) (address string) {
	a.t.Helper()
	for href, text := range a.links() {
		all := true
		for _, word := range words {
			all = all && strings.Contains(text, word)
		}
		if all && address != "" {
			a.t.Errorf("%s has two links with %q", a.path, words)
		}
		if all {
			address = href
		}
	}
	if address == "" {
		a.t.Fatalf("%s has no link with %q: %.3000s", a.path, words, a.text)
	}
	return address
}

// searches finds messages by conversation, and follows the links to them.
func searches(t *testing.T, r *rig) {
	ctx := t.Context()
	b := r.loggedIn()
	// More than a page of messages follows on the one that is looked for.
	for _, from := range []struct {
		node int
		text string
	}{{0, "needle of Bob"}, {1, "needle of Carol"}} {
		sender := r.bob
		if from.node == 1 {
			sender = r.carol
		}
		send := func(text string) {
			if _, err := sender.Send(ctx, node.Outgoing{Account: sender.Account.ID, Contact: key(t, r.alice.ID), Payload: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
		send(from.text)
		for i := range 60 {
			send(fmt.Sprintf("hay %d", i))
		}
	}
	found := func(words string, want int) func() bool {
		return func() bool {
			f, err := r.api.Search(ctx, r.alice.ID, control.Search{Words: words})
			return err == nil && len(f.Messages) == want && f.Unread == 0
		}
	}
	r.eventually("the index has the needles", found("needle", 2))
	r.eventually("the index has the hay", found(`"hay 59"`, 2))

	b.get(r.at()).has(http.StatusOK, "Search all conversations")
	if form := b.get(r.at()).form(r.at("search")); !form.Has("words") {
		t.Errorf("the form has %v", form)
	}
	b.get(r.at("search")).has(http.StatusOK, "all of these words")
	page := b.get(r.at("search") + "?words=needle")
	page.has(http.StatusOK, "needle of Bob", "needle of Carol", "Bob")
	page.harmless()

	// The link leads to the message among its neighbours, not to the last page.
	for i, words := range []string{"needle of Bob", "needle of Carol"} {
		address, fragment, _ := strings.Cut(page.linkOf(words), "#")
		if !strings.HasPrefix(address, r.at("c", r.chats[i])+"?") {
			t.Errorf("%s is at %s", words, address)
		}
		chat := b.get(address)
		chat.has(http.StatusOK, words, "hay 3", "Newer messages")
		if !chat.hasID(fragment) || chat.hasID("new") {
			t.Errorf("%s does not show the page of %s", address, fragment)
		}
	}
	// A message of the last page is shown on it, which is live.
	last := b.get(r.at("search") + "?" + url.Values{"words": {`"hay 59"`}, "with": {r.chats[0]}}.Encode())
	last.has(http.StatusOK, "only with Bob")
	address, _, _ := strings.Cut(last.linkOf("hay 59"), "#")
	chat := b.get(address)
	chat.has(http.StatusOK, "hay 59")
	if !chat.hasID("new") || strings.Contains(textOf(chat.root), "Newer messages") {
		t.Error("the last page is not live")
	}
	// One conversation alone, page by page.
	hay := b.get(r.at("search") + "?words=hay&with=" + r.chats[0])
	older := b.get(hay.linkOf("Older messages"))
	older.has(http.StatusOK, "only with Bob")
	if first, rest := strings.Count(hay.text, "around="), strings.Count(older.text, "around="); first != 50 || rest != 10 {
		t.Errorf("%d and %d messages are found, want 50 and 10", first, rest)
	}
	only := r.at("search") + "?" + url.Values{"words": {"hay"}, "with": {r.chats[1]}}.Encode()
	if b.get(r.at("search") + "?words=hay").links()[only] != "Only in this conversation" {
		t.Errorf("no link to %s", only)
	}

	// Files, names of conversations, and what does not exist.
	b.get(r.at("search")+"?words=stage&files=1").has(http.StatusOK, "The stage")
	b.get(r.at("search")+"?words=Choir").has(http.StatusOK, "Contacts and groups", "Choir", "hello Choir")
	b.get(r.at("search")+"?words=unheard").has(http.StatusOK, "Nothing was found.")
	b.get(r.at("search") + "?words=a&with=nobody").has(http.StatusNotFound)
	b.get(r.at("search")+"?words="+strings.Repeat("x", 600)).has(http.StatusUnprocessableEntity, "too many words")
	b.get(r.at("search") + "?words=hay&before=%2e%2e").has(http.StatusUnprocessableEntity)
	hostileSearch := b.get(r.at("search") + "?" + url.Values{"words": {`"><script>alert(1)</script>`}}.Encode())
	hostileSearch.has(http.StatusOK)
	hostileSearch.harmless()

	// Another account finds nothing of this one.
	b.get("/a/"+r.second.ID+"/search?words=needle").has(http.StatusOK, "Nothing was found.")
	r.browser().get(r.at("search") + "?words=needle").has(http.StatusSeeOther)
}
