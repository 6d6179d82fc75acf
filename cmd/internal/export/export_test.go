// SPDX-License-Identifier: MPL-2.0

package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/html"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/cmd/internal/export"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeNode has conversations, and the content of files by the ids of their messages.
type fakeNode struct {
	conversations []control.Conversation
	messages      map[string][]control.Message
	files         map[string]string
}

func (n *fakeNode) Conversations(context.Context, string) ([]control.Conversation, error) {
	return n.conversations, nil
}

func (n *fakeNode) ChatMessages(_ context.Context, _, chat string, which control.Range) (page []control.Message, err error) {
	for _, m := range n.messages[chat] {
		if m.Order > which.After && len(page) < which.Limit {
			page = append(page, m)
		}
	}
	slices.Reverse(page) // the newest first, as the API does
	return page, nil
}

func (n *fakeNode) OpenFile(_ context.Context, _, _, message, _ string) (*http.Response, error) {
	content, ok := n.files[message]
	if !ok {
		return nil, errors.New("not here")
	}
	return &http.Response{Body: io.NopCloser(strings.NewReader(content))}, nil
}

// add appends a message to a conversation.
func (n *fakeNode) add(chat string, m control.Message) {
	m.Order = uint64(len(n.messages[chat]) + 1)
	if m.ID == "" {
		m.ID = fmt.Sprintf("i%016x", m.Order)
	}
	if m.TypeName == "" {
		m.TypeName = "text"
	}
	if m.Direction == "" {
		m.Direction = "in"
	}
	m.Sent = time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC).Add(time.Duration(m.Order) * time.Minute)
	n.messages[chat] = append(n.messages[chat], m)
}

func newFake(names ...string) *fakeNode {
	n := &fakeNode{messages: make(map[string][]control.Message), files: make(map[string]string)}
	for i, name := range names {
		n.conversations = append(n.conversations, control.Conversation{ID: fmt.Sprintf("id%d", i), Name: name})
	}
	return n
}

func run(t *testing.T, n *fakeNode, format export.Format) (dir string, done []export.Conversation) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "out")
	done, err := export.Write(t.Context(), n, export.Options{Dir: dir, Format: format, Zone: time.FixedZone("TEST", 2*60*60)})
	if err != nil {
		t.Fatal(err)
	}
	return dir, done
}

func read(t *testing.T, parts ...string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

const attack = `"><script>alert(1)</script><img src=x onerror=alert(1)>javascript:alert(1)`

func hostile() *fakeNode {
	n := newFake("Bob", "bob", "../../etc", "CON", "index.html", "", "a/b\\c:d\x00e\u202e", attack, strings.Repeat("ы", 300), ". .")
	for _, c := range n.conversations {
		n.add(c.ID, control.Message{Text: attack})
		n.add(c.ID, control.Message{Text: "reply", RefersTo: &control.Quoted{ID: `x" onclick="alert(1)`, Text: attack}, Reactions: []control.MessageReaction{{Emoji: attack, AuthorName: attack}}})
		for i, name := range []string{"../../../evil.sh", "page.HTML", "a.svg", "x", "x", attack, "", "nul.txt", strings.Repeat("й", 200) + ".jpg", "%2e%2e%2f.png"} {
			id := fmt.Sprintf("i%s%d", c.ID, i)
			kind := []string{"image/png", "text/html; charset=utf-8", "audio/aac"}[i%3]
			n.add(c.ID, control.Message{ID: id, TypeName: "file", File: &control.File{Name: name, Type: kind, Caption: attack}})
			n.files[id] = "content"
		}
		n.add(c.ID, control.Message{TypeName: "image", File: &control.File{Name: "gone.png", Type: "image/png"}})
	}
	return n
}

// TestWrite_Hostile_NothingOutsideNothingActive looks at every file and every tag.
func TestWrite_Hostile_NothingOutsideNothingActive(t *testing.T) {
	n := hostile()
	dir, done := run(t, n, export.HTML)
	folders := make(map[string]bool)
	for _, c := range done {
		folders[strings.ToLower(c.Folder)] = true
		if c.Messages != 13 || c.Files != 10 || c.Missing != 1 {
			t.Errorf("%+v", c)
		}
	}
	if len(folders) != len(n.conversations) {
		t.Errorf("%d folders of %d conversations", len(folders), len(n.conversations))
	}
	outside, err := os.ReadDir(filepath.Dir(dir))
	if err != nil || len(outside) != 1 {
		t.Errorf("beside the export: %v, %v", outside, err)
	}
	active := regexp.MustCompile(`(?i)\.(html?|svg|js|xml)$`)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name := entry.Name()
		switch {
		case filepath.Base(filepath.Dir(path)) != "files":
			checkPage(t, path)
		case active.MatchString(name):
			t.Errorf("%s may be run", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// checkPage reads a page with a parser: no scripts, no handlers, and links to files that
// exist.
func checkPage(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only read
	root, err := html.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	for node := range root.Descendants() {
		if node.Type != html.ElementNode {
			continue
		}
		if slices.Contains([]string{"script", "iframe", "object", "embed", "form", "link", "base"}, node.Data) {
			t.Errorf("%s has a %s", path, node.Data)
		}
		for _, a := range node.Attr {
			if strings.HasPrefix(a.Key, "on") {
				t.Errorf("%s has %s", path, a.Key)
			}
			if (a.Key != "href" && a.Key != "src") || strings.HasPrefix(a.Val, "#") {
				continue
			}
			target, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.Val, http.NoBody)
			if err != nil || target.URL.Scheme != "" || target.URL.Host != "" {
				t.Errorf("%s leads to %q", path, a.Val)
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), target.URL.Path)); err != nil {
				t.Errorf("%s leads nowhere: %v", path, err)
			}
		}
	}
}

func TestWrite_PagesForPeople(t *testing.T) {
	n := newFake("Bob Builder", "Choir")
	n.add("id0", control.Message{ID: "i1", Text: "Ёлка <b>"})
	n.add("id0", control.Message{Direction: "out", State: "failed", Reason: "cancelled", Text: "yes", RefersTo: &control.Quoted{ID: "i1", Text: "Ёлка <b>"}, Reactions: []control.MessageReaction{{Emoji: "👍🏽", Direction: "in"}}})
	n.add("id0", control.Message{TypeName: "reaction", Reaction: &control.ReactionTo{Emoji: "👍🏽"}})
	n.add("id0", control.Message{ID: "i9", TypeName: "image", File: &control.File{Name: "beach.jpg", Type: "image/jpeg", Size: 5, Caption: "the beach"}})
	n.files["i9"] = "photo"
	n.add("id0", control.Message{ID: "ia", TypeName: "file", File: &control.File{Name: "voice.m4a", Type: "audio/mp4", Voice: true}})
	n.files["ia"] = "voice"
	n.add("id1", control.Message{Group: "id1", Author: "key", AuthorName: "Carol", Text: "in the choir"})
	n.add("id1", control.Message{Group: "id1", Deleted: true})
	dir, _ := run(t, n, export.HTML)
	index := read(t, dir, "index.html")
	for _, want := range []string{`href="./Bob%20Builder/index.html">Bob Builder<`, "TEST (now UTC&#43;02:00)", "5 messages, 2 files, 1 December 2026 to 1 December 2026"} {
		if !strings.Contains(index, want) {
			t.Errorf("the index lacks %q:\n%s", want, index)
		}
	}
	bob := read(t, dir, "Bob Builder", "index.html")
	for _, want := range []string{
		"<p>Ёлка &lt;b&gt;</p>", `<blockquote><a href="#i1">Ёлка &lt;b&gt;</a></blockquote>`, "👍🏽", "failed: cancelled", "1 December 2026", ">01:01<",
		`<img src="./files/2026-11-30%20beach.jpg" alt="beach.jpg"`, "<p>the beach</p>", `<audio controls preload="none" src="./files/2026-11-30%20voice.m4a">`,
	} {
		if !strings.Contains(bob, want) {
			t.Errorf("the page lacks %q:\n%s", want, bob)
		}
	}
	if got := read(t, dir, "Bob Builder", "files", "2026-11-30 beach.jpg"); got != "photo" {
		t.Errorf("the picture is %q", got)
	}
	choir := read(t, dir, "Choir", "index.html")
	if !strings.Contains(choir, "<small>Carol</small>") || !strings.Contains(choir, "This message was deleted.") {
		t.Error(choir)
	}
}

func TestWrite_LongConversation_SeveralPages(t *testing.T) {
	n := newFake("Bob", "Carol")
	for i := range 4500 {
		n.add("id0", control.Message{Text: fmt.Sprint("text ", i)})
	}
	dir, _ := run(t, n, export.HTML)
	for name, want := range map[string][]string{
		"index.html":  {"text 0<", "text 1999<", `href="page-2.html"`},
		"page-2.html": {"text 2000<", "text 3999<", `href="index.html"`, `href="page-3.html"`},
		"page-3.html": {"text 4000<", "text 4499<", `href="page-2.html"`},
	} {
		page := read(t, dir, "Bob", name)
		for _, text := range want {
			if !strings.Contains(page, text) {
				t.Errorf("%s lacks %q", name, text)
			}
		}
		checkPage(t, filepath.Join(dir, "Bob", name))
	}
}

func TestWrite_JSON_FilesBeside(t *testing.T) {
	n := hostile()
	dir, done := run(t, n, export.JSON)
	var index []export.Conversation
	if err := json.Unmarshal([]byte(read(t, dir, "index.json")), &index); err != nil || len(index) != len(done) {
		t.Fatalf("%v, %v", index, err)
	}
	for _, c := range index {
		lines := bytes.Split(bytes.TrimSpace([]byte(read(t, dir, c.Folder, "messages.jsonl"))), []byte("\n"))
		if len(lines) != c.Messages {
			t.Errorf("%d lines of %d messages", len(lines), c.Messages)
		}
		files := 0
		for _, line := range lines {
			var m export.Message
			if err := json.Unmarshal(line, &m); err != nil {
				t.Fatal(err)
			}
			if m.ExportedFile == "" {
				continue
			}
			files++
			if got := read(t, dir, c.Folder, filepath.FromSlash(m.ExportedFile)); got != "content" {
				t.Errorf("%s is %q", m.ExportedFile, got)
			}
		}
		if files != c.Files {
			t.Errorf("%d files of %d", files, c.Files)
		}
	}
}

func TestWrite_DirectoryThere_Refused(t *testing.T) {
	dir := t.TempDir()
	if _, err := export.Write(t.Context(), newFake("Bob"), export.Options{Dir: dir, Format: export.HTML}); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
}
