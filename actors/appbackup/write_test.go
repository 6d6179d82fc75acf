// SPDX-License-Identifier: MPL-2.0

package appbackup_test

import (
	"archive/zip"
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/appbackup"
	"github.com/mimird/mimird/proto/peer"
)

func content(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

func noFile() (io.ReadCloser, error) { return nil, nil }

// written is a backup of an account with two contacts, and hostile files.
func written(t *testing.T) *bytes.Reader {
	t.Helper()
	var b bytes.Buffer
	w, err := appbackup.NewWriter(t.Context(), &b, appbackup.Backup{Key: owner, Name: "Алиса", Info: "about me", Avatar: []byte("\xff\xd8\xffpicture")})
	if err != nil {
		t.Fatal(err)
	}
	sent := time.UnixMilli(1_764_000_000_123)
	for i, c := range []appbackup.Contact{{Key: bob, Name: "Bob", Renamed: true, Muted: true}, {Key: carol, Name: "Carol"}} {
		number, err := w.Contact(t.Context(), c, "info", []byte("\x89PNG\r\n\x1a\n"))
		if err != nil {
			t.Fatal(err)
		}
		guid := int64(100*i + 1)
		messages := []appbackup.Message{
			{GUID: guid, Incoming: true, Payload: []byte("hello from " + c.Name), Edited: sent.Add(time.Second)},
			{GUID: guid + 1, ReplyTo: guid, Delivered: true, Payload: []byte("hello")},
			{GUID: guid + 2, Payload: []byte("not delivered yet")},
			{GUID: guid + 3, ReplyTo: guid, Incoming: true, Type: int32(peer.TypeReaction), Payload: peer.Reaction{Emoji: "👍", Target: peer.GUID(guid)}.AppendTo(nil)},
		}
		for n, name := range []string{"Abcdef.jpg", "Abcdef.jpg", "../../databases/data.db", "data.db", "", ".hidden", "a/b", strings.Repeat("x", 300), "абв.PNG"} {
			payload := peer.Attachment{Name: name, OriginalName: "photo.jpg", Size: 4, Text: "look"}.AppendTo(nil)
			messages = append(messages, appbackup.Message{GUID: guid + 10 + int64(n), Incoming: true, Type: int32(peer.TypeImage), Payload: payload})
		}
		for _, m := range messages {
			m.Sent = sent
			if err := w.Message(t.Context(), number, m, content(fmt.Sprint("file of ", m.GUID))); err != nil {
				t.Fatal(err)
			}
		}
		gone := appbackup.Message{GUID: guid + 50, Incoming: true, Sent: sent, Type: int32(peer.TypeFile), Payload: peer.Attachment{Name: "gone.bin"}.AppendTo(nil)}
		if err := w.Message(t.Context(), number, gone, noFile); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	return bytes.NewReader(b.Bytes())
}

// TestWrite_ReadBack reads with our own import.
func TestWrite_ReadBack(t *testing.T) {
	file := written(t)
	if !appbackup.Is(file) {
		t.Error("it does not look like a backup")
	}
	b, err := appbackup.Read(file, file.Size())
	if err != nil {
		t.Fatal(err)
	}
	if !b.Key.Equal(owner) || b.Name != "Алиса" || b.Info != "about me" || string(b.Avatar) != "\xff\xd8\xffpicture" {
		t.Errorf("%+v", b)
	}
	want := []appbackup.Contact{{Key: bob, Name: "Bob", Renamed: true, Muted: true}, {Key: carol, Name: "Carol"}}
	if !slices.Equal(b.Contacts, want) {
		t.Errorf("contacts %+v", b.Contacts)
	}
}

// TestWrite_Layout holds the archive to what the app's import accepts and its queries read.
func TestWrite_Layout(t *testing.T) {
	file := written(t)
	archive, err := zip.NewReader(file, file.Size())
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	valid := regexp.MustCompile(`^(data\.db|avatars/[A-Za-z0-9]+\.(jpg|png)|files/[A-Za-z0-9_-][A-Za-z0-9._-]*)$`)
	for _, entry := range archive.File {
		if _, twice := files[entry.Name]; twice || !valid.MatchString(entry.Name) {
			t.Errorf("entry %q", entry.Name)
		}
		r, err := entry.Open()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(io.LimitReader(r, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name] = string(raw)
	}
	path := filepath.Join(t.TempDir(), "data.db")
	if err := os.WriteFile(path, []byte(files["data.db"]), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var version, people, unsent, reactions, unread int
	for query, into := range map[string]*int{
		"PRAGMA user_version": &version,
		"SELECT count(*) FROM accounts WHERE id = 1 AND updated > 0 AND length(privkey) = 32 AND length(pubkey) = 32": &people,
		"SELECT count(*) FROM messages WHERE incoming = 0 AND delivered = 0 AND contact = 2":                          &unsent,
		"SELECT count(*) FROM messages WHERE contact = 1 AND replyTo = 1 AND type = 10":                               &reactions,
		"SELECT count(*) FROM messages WHERE read = 0 OR time <> 1764000000123":                                       &unread,
	} {
		if err := db.QueryRowContext(t.Context(), query).Scan(into); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
	if version != 21 || people != 1 || unsent != 1 || reactions != 1 || unread != 0 {
		t.Errorf("version %d, %d accounts, %d unsent, %d reactions, %d unread", version, people, unsent, reactions, unread)
	}
	rows, err := db.QueryContext(t.Context(), "SELECT guid, message FROM messages WHERE type IN (1, 3)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	n := 0
	for rows.Next() {
		var guid int64
		var raw []byte
		var described struct{ Name, OriginalName, Text string }
		if err := rows.Scan(&guid, &raw); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &described); err != nil {
			t.Fatal(err)
		}
		n++
		want, has := fmt.Sprint("file of ", guid), guid%100 != 51
		if got, there := files["files/"+described.Name]; there != has || has && got != want {
			t.Errorf("message %d has the file %q with %q", guid, described.Name, got)
		}
	}
	if err := rows.Err(); err != nil || n != 20 {
		t.Errorf("%d files, %v", n, err)
	}
}

// TestWrite_LeavesNothingBehind looks at the directory for temporary files.
func TestWrite_LeavesNothingBehind(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	written(t)
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}
