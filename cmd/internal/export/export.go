// SPDX-License-Identifier: MPL-2.0

// Package export writes the conversations of an account into a directory: pages for people
// or lines of JSON for programs, with the files of messages beside them. It asks a node
// through its API, so it sees what every client sees, and keeps one page of messages in
// memory. The command mimird export calls it.
//
// Everything that others have written is hostile: names of folders and files are made of a
// few harmless characters, pages are written by html/template, have no scripts and load
// nothing from elsewhere, and a file that a browser would run is saved as text.
package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/control"
)

// Format is what an export is written as.
type Format string

// The formats.
const (
	HTML Format = "html"
	JSON Format = "json"
)

const (
	// pageMessages is how many messages are asked for at once.
	pageMessages = 500
	// filesDir is the folder of files inside of that of their conversation.
	filesDir = "files"
)

// Node is what is asked for conversations; *client.Client is one.
type Node interface {
	Conversations(ctx context.Context, account string) ([]control.Conversation, error)
	ChatMessages(ctx context.Context, account, chat string, which control.Range) ([]control.Message, error)
	OpenFile(ctx context.Context, account, chat, message, part string) (*http.Response, error)
}

// Options say what to export, and where to.
type Options struct {
	Account string
	// Dir is created; it must not exist.
	Dir    string
	Format Format
	// Zone is the time zone of pages; nil for that of this machine.
	Zone *time.Location
}

// Conversation is what was exported of a conversation.
type Conversation struct {
	ID       string    `json:"id" doc:"Identity key of the contact, or id of the group"`
	Name     string    `json:"name"`
	Folder   string    `json:"folder" doc:"Below the directory"`
	Messages int       `json:"messages"`
	Files    int       `json:"files" doc:"Files that were written"`
	Missing  int       `json:"missing_files,omitempty" doc:"Files that this node does not have"`
	First    time.Time `json:"first,omitzero" doc:"When the first message was sent"`
	Last     time.Time `json:"last,omitzero"`
}

// Message is a message in the files of [JSON].
type Message struct {
	control.Message
	// ExportedFile is the file, as a path from the folder of the conversation.
	ExportedFile string `json:"exported_file,omitempty"`
}

// writer writes one conversation.
type writer interface {
	message(m Message) error
	close() error
}

// Write exports. The files are not synced. What was written before an error stays.
func Write(ctx context.Context, node Node, o Options) ([]Conversation, error) {
	if o.Zone == nil {
		o.Zone = time.Local
	}
	conversations, err := node.Conversations(ctx, o.Account)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a directory for the export: %w", err)
	}
	used := make(names)
	used.take("index.html", "")
	done := make([]Conversation, 0, len(conversations))
	for _, c := range conversations {
		one := Conversation{ID: c.ID, Name: c.Name, Folder: used.take(folderName(c.Name), "")}
		e := exporter{Options: o, node: node, conversation: c, out: &one, dir: filepath.Join(o.Dir, one.Folder), files: make(names)}
		if err := e.write(ctx); err != nil {
			return nil, fmt.Errorf("export the conversation with %.64q: %w", c.Name, err)
		}
		done = append(done, one)
	}
	slices.SortStableFunc(done, func(a, b Conversation) int { return b.Last.Compare(a.Last) })
	if err := o.writeIndex(done); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return done, nil
}

// exporter exports one conversation.
type exporter struct {
	Options
	node         Node
	conversation control.Conversation
	out          *Conversation
	dir          string
	files        names
}

func (e *exporter) write(ctx context.Context) (err error) {
	if err := os.Mkdir(e.dir, 0o700); err != nil {
		return err
	}
	var w writer
	if e.Format == JSON {
		w, err = newLines(e.dir)
	} else {
		w, err = newPages(e.dir, e.conversation, e.Zone)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	for after := uint64(0); ; {
		page, err := e.node.ChatMessages(ctx, e.Account, e.conversation.ID, control.Range{After: after, Limit: pageMessages})
		if err != nil {
			return err
		}
		slices.SortFunc(page, func(a, b control.Message) int { return int(int64(a.Order - b.Order)) }) //nolint:gosec // a difference
		for _, m := range page {
			if m.Order <= after {
				continue
			}
			if err := e.message(ctx, w, m); err != nil {
				return err
			}
			after = m.Order
		}
		if len(page) == 0 {
			return nil
		}
	}
}

func (e *exporter) message(ctx context.Context, w writer, m control.Message) (err error) {
	out := Message{Message: m}
	if m.File != nil {
		if out.ExportedFile, err = e.file(ctx, m); err != nil {
			return err
		}
		if out.ExportedFile == "" {
			e.out.Missing++
		} else {
			e.out.Files++
		}
	}
	if e.out.Messages == 0 {
		e.out.First = m.Sent
	}
	e.out.Messages++
	if m.Sent.After(e.out.Last) {
		e.out.Last = m.Sent
	}
	return w.message(out)
}

// file saves the file of a message and returns its path from the folder of the
// conversation, "" when the node does not have it.
func (e *exporter) file(ctx context.Context, m control.Message) (name string, err error) {
	resp, err := e.node.OpenFile(ctx, e.Account, e.conversation.ID, m.ID, "")
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", nil // evicted, damaged, or not fetched: the message says that it is missing
	}
	defer resp.Body.Close()
	dir := filepath.Join(e.dir, filesDir)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	name = e.files.take(fileName(*m.File), m.Sent.UTC().Format("2006-01-02 "))
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, resp.Body)
	return path.Join(filesDir, name), errors.Join(err, f.Close())
}
