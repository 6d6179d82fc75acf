// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

// full is a node on which there is something of everything.
func full(f *fake) {
	yesterday := func(m *control.Message) { m.Sent = noon.AddDate(0, 0, -1) }
	change := func(chat string, m control.Message, how func(*control.Message)) {
		f.change(alice, chat, m.ID, store.MessageDelivered, how)
	}
	change(bob, f.add(alice, bob, "in", "Did you find the recipe of my grandmother? I should like to bake on Sunday."), yesterday)
	change(bob, f.add(alice, bob, "out", "Here it is."), func(m *control.Message) {
		yesterday(m)
		m.State = "delivered"
		m.Reactions = []control.MessageReaction{{Emoji: "🎉", Direction: "in"}, {Emoji: "👍", Direction: "out"}}
	})
	change(bob, f.add(alice, bob, "in", ""), func(m *control.Message) {
		m.TypeName, m.File = "image", &control.File{Name: "cake.jpg", Picture: true, Caption: "It has risen!", State: "stored"}
	})
	change(bob, f.add(alice, bob, "in", ""), func(m *control.Message) {
		m.TypeName, m.File = "file", &control.File{Voice: true, State: "downloading", Done: 30, Size: 100}
	})
	change(bob, f.add(alice, bob, "out", "Wonderful 日本語 👩‍👩‍👧‍👦 and a very-long-word-without-any-space-in-it-that-has-to-be-broken-somewhere-all-the-same"), func(m *control.Message) {
		m.State, m.ReplyTo, m.RefersTo = "delivered", "3", &control.Quoted{ID: "i3", Direction: "in", TypeName: "image", Text: "It has risen!"}
	})
	f.add(alice, bob, "in", "first line\nsecond line\n\tthird")
	change(bob, f.add(alice, bob, "out", ""), func(m *control.Message) {
		m.TypeName, m.State, m.File = "file", "pending", &control.File{Name: "notes.pdf", State: "uploading", Done: 1, Size: 2}
	})
	change(bob, f.add(alice, bob, "out", "too late"), func(m *control.Message) { m.State, m.Reason = "failed", "cancelled" })
	f.chat(alice, bob).read = 5
	f.chat(alice, bob).Contact.LastSeen = noon.Add(-time.Minute)
	f.add(alice, carol, "in", hostile)
	f.chat(alice, carol).Name = hostile
	f.chat(alice, carol).Contact.State = "requested"
	f.chat(alice, carol).Contact.Request = hostile
	change(choir, f.add(alice, choir, "in", "Dora has joined"), func(m *control.Message) { m.TypeName = "system" })
	change(choir, f.add(alice, choir, "in", "Tonight at eight"), func(m *control.Message) {
		m.Reactions = []control.MessageReaction{{Emoji: "🎻", Direction: "in", Author: "key-of-eve", AuthorName: "Eve"}}
	})
	change(choir, f.add(alice, choir, "in", ""), func(m *control.Message) { m.Deleted = true })
}

func TestView_Golden(t *testing.T) {
	scenes := []struct {
		name string
		do   func(*rig)
	}{
		{"list", func(*rig) {}},
		{"contact", func(r *rig) {
			r.opens(bob)
			r.press("ctrl+g", `"a draft`, "alt+enter", `"with two lines`)
		}},
		{"group", func(r *rig) {
			r.opens(choir)
			r.press("up", "up")
		}},
		{"request", func(r *rig) { r.opens(carol) }},
		{"reply", func(r *rig) {
			r.opens(bob)
			r.press("up", "up", "r", `"indeed`)
		}},
		{"react", func(r *rig) {
			r.opens(bob)
			r.press("up", "e")
		}},
		{"away", func(r *rig) {
			r.opens(bob)
			r.leaves()
			r.press(`"waits`, "enter", `"draft`)
		}},
		{"help", func(r *rig) { r.press("f1") }},
		{"search", func(r *rig) { r.press(`"/`, `"o`, "enter", "down") }},
		{"members", func(r *rig) {
			r.opens(choir)
			r.press(`"/members`, "enter")
		}},
	}
	for _, size := range []Resized{{80, 24}, {40, 12}, {200, 50}, {19, 5}} {
		var b strings.Builder
		for _, scene := range scenes {
			r := started(t, full)
			r.tell(size)
			scene.do(r)
			v := r.View()
			checkCanvas(t, v)
			fmt.Fprintf(&b, "== %s\n%s", scene.name, v)
		}
		path := filepath.Join("testdata", fmt.Sprintf("%dx%d.txt", size.Width, size.Height))
		if *update {
			if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil { //nolint:gosec // as the others
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if b.String() != string(want) {
			t.Errorf("%s differs from what is drawn, see with: git diff after go test -update\n%s", path, b.String())
		}
	}
}

// Every state is drawn at every size.
func TestView_EverySize(t *testing.T) {
	r := started(t, full)
	r.opens(bob)
	for width := 0; width < 130; width += 1 + width/40 { // all of the narrow ones
		for _, height := range []int{0, 1, 5, 6, 7, 13, 24, 60} {
			r.tell(Resized{width, height})
			r.settle()
			for _, keys := range [][]string{nil, {"tab"}, {"f1"}, {"esc"}} {
				r.press(keys...)
				checkCanvas(t, r.View())
			}
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                            "plain",
		"a\x1b[31mb":                       "a [31mb",
		"a\u202eb\u2066c":                  "abc",
		"tab\tline\nend\r\n":               "tab line end ",
		"\u200b\u200d\ufeff":               "",
		"\u0301x":                          " \u0301x",
		"\xff\xfe":                         "\ufffd\ufffd",
		"日本":                               "日本",
		"👩‍👩‍👧‍👦":                          "👩‍👩‍👧‍👦",
		"\ue000":                           "\ufffd",
		"a\u2028b\u2029c\x85":              "a b c\ufffd",
		"e" + strings.Repeat("\u0301", 50): "e" + strings.Repeat("\u0301", maxCluster-1),
	} {
		if have := clean(in); have != want {
			t.Errorf("%q is %q, want %q", in, have, want)
		}
	}
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{{"hello", 5, "hello"}, {"hello", 4, "hel…"}, {"日本語", 4, "日…"}, {"日本語", 5, "日本…"}, {"日", 1, "…"}, {"x", 0, ""}, {"", 0, ""}} {
		if have := cut(c.in, c.width); have != c.want {
			t.Errorf("%q in %d columns is %q, want %q", c.in, c.width, have, c.want)
		}
	}
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{
		{"one two three", 7, "one two|three"},
		{"one two three", 8, "one two|three"},
		{"abcdefgh", 3, "abc|def|gh"},
		{"a\n\nb", 3, "a||b"},
		{"日本語", 4, "日本|語"},
		{"日本語", 1, "?|?|?"},
		{"", 5, ""},
		{"a b", 1, "a|b"},
		{"x\r\ny\rz", 9, "x|y|z"},
	} {
		if have := strings.Join(wrap(c.in, c.width), "|"); have != c.want {
			t.Errorf("%q in %d columns is %q, want %q", c.in, c.width, have, c.want)
		}
	}
}

// FuzzText shows any text in all the ways in which text is shown.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"plain", hostile, "日本語 text", "👩‍👩‍👧‍👦", "\u0301", "a\u200db", "\xf0\x9f", "🇩🇪🇩", "ุุุุ", "각"} {
		f.Add(seed, uint8(10))
	}
	f.Add(strings.Repeat("\u0301", maxCluster), uint8(10))
	f.Add("0000000000  0本", uint8(0)) // what remains of a line, and the next character
	f.Fuzz(func(t *testing.T, text string, columns uint8) {
		width := int(columns)%60 + 2
		if again := clean(clean(text)); again != clean(text) {
			t.Errorf("cleaned again %q is %q", clean(text), again)
		}
		if n := widthOf(cut(text, width)); n > width {
			t.Errorf("%d columns, want at most %d", n, width)
		}
		c := newCanvas(width, 4)
		lines := wrap(text, width)
		for i, l := range lines {
			if n := widthOf(l); n > width {
				t.Errorf("a line of %d columns, want at most %d: %q", n, width, l)
			}
			c.put(0, min(i, 3), width, l, 0)
		}
		c.fill(1, 0, width, text, Bold)
		checkCanvas(t, c)
		squeeze := func(s string) string { return strings.NewReplacer(" ", "", "\ufffd", "").Replace(clean(s)) }
		if have, want := squeeze(strings.Join(lines, "")), squeeze(strings.Join(paragraphs(text), " ")); have != want && !strings.Contains(have, "?") {
			t.Errorf("wrapped %q, want %q", have, want)
		}
		field := composer{}
		field.insert(text)
		for _, key := range []string{"left", "left", "alt+b", "delete", "right", "alt+f", "home", "end", "backspace", "ctrl+w"} {
			field.edit(key)
			if field.at < 0 || field.at > len(field.text) {
				t.Fatalf("the cursor is at %d of %d", field.at, len(field.text))
			}
			if texts, x, y := field.lines(width); y >= len(texts) || x > width {
				t.Errorf("the cursor is at %d, %d of %q", x, y, texts)
			}
		}
	})
}
