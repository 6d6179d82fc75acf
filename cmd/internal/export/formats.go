// SPDX-License-Identifier: MPL-2.0

package export

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/mimird/mimird/actors/control"
)

// maxPage is how many messages a page of HTML has.
const maxPage = 2000

//go:embed export.html.tmpl
var pageText string

// file is one that is written through a buffer.
type file struct {
	f *os.File
	*bufio.Writer
}

func create(dir, name string) (*file, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &file{f, bufio.NewWriter(f)}, nil
}

func (f *file) close() error { return errors.Join(f.Flush(), f.f.Close()) }

// lines writes messages.jsonl, an object for each message.
type lines struct {
	file    *file
	encoder *json.Encoder
}

func newLines(dir string) (*lines, error) {
	f, err := create(dir, "messages.jsonl")
	if err != nil {
		return nil, err
	}
	l := &lines{f, json.NewEncoder(f)}
	l.encoder.SetEscapeHTML(false)
	return l, nil
}

func (l *lines) message(m Message) error { return l.encoder.Encode(m) }
func (l *lines) close() error            { return l.file.close() }

// pages writes a conversation as pages of HTML.
type pages struct {
	dir          string
	conversation control.Conversation
	template     *template.Template
	zone         *time.Location
	file         *file
	number, here int
	// there are the ids on this page, to which replies link.
	there map[string]bool
	day   string
}

func newTemplate(zone *time.Location) (*template.Template, error) {
	return template.New("export").Funcs(template.FuncMap{
		"moment": func(t time.Time) string { return t.In(zone).Format("15:04") },
		"full":   func(t time.Time) string { return t.In(zone).Format(time.RFC1123Z) },
		"exact":  func(t time.Time) string { return t.In(zone).Format(time.RFC3339) },
		"date":   func(t time.Time) string { return t.In(zone).Format("2 January 2006") },
		"size":   func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }, //nolint:gosec // not negative
		"kind":   kindOf,
		"path":   relative,
	}).Parse(pageText)
}

// relative makes the URL of a file below the page of the names on the way there.
func relative(parts ...string) string {
	var escaped []string
	for _, part := range parts {
		for one := range strings.SplitSeq(part, "/") {
			escaped = append(escaped, url.PathEscape(one))
		}
	}
	return "./" + strings.Join(escaped, "/") // without the dot a colon would end a scheme
}

// zoneText names the time zone of a page.
func zoneText(zone *time.Location) string {
	name, offset := time.Now().In(zone).Zone()
	text := fmt.Sprintf("UTC%+03d:%02d", offset/3600, max(offset, -offset)%3600/60)
	if zone.String() != "Local" {
		name = zone.String()
	}
	if name == "" || name == "UTC" {
		return text
	}
	return fmt.Sprintf("%s (now %s)", name, text)
}

func newPages(dir string, c control.Conversation, zone *time.Location) (*pages, error) {
	t, err := newTemplate(zone)
	if err != nil {
		return nil, err
	}
	p := &pages{dir: dir, conversation: c, template: t, zone: zone}
	return p, p.next()
}

// pageName returns the name of a page of a conversation.
func pageName(n int) string {
	if n == 1 {
		return "index.html"
	}
	return fmt.Sprintf("page-%d.html", n)
}

// next begins another page.
func (p *pages) next() (err error) {
	if p.file != nil {
		if err := p.finish(pageName(p.number + 1)); err != nil {
			return err
		}
	}
	p.number++
	p.here, p.there, p.day = 0, make(map[string]bool), ""
	if p.file, err = create(p.dir, pageName(p.number)); err != nil {
		return err
	}
	previous := ""
	if p.number > 1 {
		previous = pageName(p.number - 1)
	}
	return p.template.ExecuteTemplate(p.file, "head", map[string]any{
		"Conversation": p.conversation, "Zone": zoneText(p.zone), "Number": p.number, "Previous": previous,
	})
}

// finish ends the page; next is the name of the one after it, "" for none.
func (p *pages) finish(next string) error {
	if p.file == nil {
		return nil
	}
	err := p.template.ExecuteTemplate(p.file, "foot", map[string]any{"Next": next})
	err = errors.Join(err, p.file.close())
	p.file = nil
	return err
}

func (p *pages) message(m Message) error {
	if m.TypeName == "reaction" {
		return nil // it is shown beside the message
	}
	if p.here == maxPage {
		if err := p.next(); err != nil {
			return err
		}
	}
	p.here++
	p.there[m.ID] = true
	day := m.Sent.In(p.zone).Format(time.DateOnly)
	who := p.conversation.Name
	switch {
	case m.Direction == "out":
		who = ""
	case m.Group != "":
		who = m.AuthorName
	}
	err := p.template.ExecuteTemplate(p.file, "message", map[string]any{
		"M": m, "Who": who, "NewDay": day != p.day, "Link": m.RefersTo != nil && p.there[m.RefersTo.ID], "Group": m.Group != "",
	})
	p.day = day
	return err
}

func (p *pages) close() error { return p.finish("") }

// writeIndex writes the list of conversations.
func (o Options) writeIndex(done []Conversation) error {
	if o.Format == JSON {
		f, err := create(o.Dir, "index.json")
		if err != nil {
			return err
		}
		encoder := json.NewEncoder(f)
		encoder.SetIndent("", "  ")
		return errors.Join(encoder.Encode(done), f.close())
	}
	t, err := newTemplate(o.Zone)
	if err != nil {
		return err
	}
	f, err := create(o.Dir, "index.html")
	if err != nil {
		return err
	}
	err = t.ExecuteTemplate(f, "index", map[string]any{"Conversations": done, "Zone": zoneText(o.Zone), "Now": time.Now()})
	return errors.Join(err, f.close())
}
