// SPDX-License-Identifier: MPL-2.0

package appbackup_test

import (
	"archive/zip"
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
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
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
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
	writeGroups(t, w, sent)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	return bytes.NewReader(b.Bytes())
}

// writeGroups adds two groups of two mediators. In each have written: the account, Bob, the
// mediator, and Carol, of whom the node knows nothing else.
func writeGroups(t *testing.T, w *appbackup.Writer, sent time.Time) {
	t.Helper()
	for i, g := range groups {
		details := appbackup.GroupDetails{
			Description: "about " + g.Name, Avatar: []byte("\xff\xd8\xffgroup"), Created: sent, Last: int64(40 + i), ReadOnly: i == 1,
			Members: []appbackup.Member{
				{Key: owner.Public(), Name: "Алиса", Permissions: mediator.PermissionUser, Since: sent},
				{Key: bob, Name: "Bob", Info: "about Bob", Permissions: mediator.PermissionOwner | mediator.PermissionUser, Since: sent},
			},
		}
		to, err := w.Group(t.Context(), g, details)
		if err != nil {
			t.Fatal(err)
		}
		guid := int64(1000*i + 1001)
		deleted := mediator.System{Event: mediator.EventMessageDeleted, Actor: bob, GUID: 5}.AppendTo(nil)
		file := peer.Attachment{Name: "Abcdef.jpg", OriginalName: "photo.jpg", Size: 4}.AppendTo(nil)
		for n, m := range []appbackup.GroupMessage{
			{Message: appbackup.Message{Incoming: true, Payload: []byte{byte(mediator.EventUserAdded), 1, 2}}},
			{Author: bob, Message: appbackup.Message{Incoming: true, Payload: []byte("hello all")}},
			{Author: owner.Public(), Message: appbackup.Message{Delivered: true, ReplyTo: guid + 1, Payload: []byte("hello Bob")}},
			{Author: carol, Unreadable: true, Message: appbackup.Message{Incoming: true, Type: 99, Payload: []byte("garbage")}},
			{Message: appbackup.Message{Incoming: true, Payload: deleted}},
			{Author: bob, Message: appbackup.Message{Incoming: true, Type: int32(peer.TypeImage), Payload: file}},
			{Author: owner.Public(), Message: appbackup.Message{Payload: []byte("not delivered yet")}},
		} {
			m.GUID, m.Sent = guid+int64(n), sent.Add(time.Duration(n)*time.Second)
			if err := to.Message(t.Context(), m, content(fmt.Sprint("file of ", m.GUID))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := w.Group(t.Context(), appbackup.Group{Name: "no id"}, appbackup.GroupDetails{}); err == nil {
		t.Error("a group without an id was written")
	}
}

// groups are those of the account.
var groups = []appbackup.Group{
	{Mediator: identity.NodeKey{1}, Chat: 7, Key: [32]byte{2}, Name: "Choir", Muted: true},
	{Mediator: identity.NodeKey{3}, Chat: 1 << 40, Key: [32]byte{4}, Name: "Band"},
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
	if !slices.Equal(b.Groups, groups) {
		t.Errorf("groups %+v", b.Groups)
	}
}

// opened is the database of a backup.
func opened(t *testing.T, archive *zip.Reader) *sql.DB {
	t.Helper()
	file, err := archive.Open("data.db")
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "data.db")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
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
	db := opened(t, archive)
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

// TestWrite_Groups reads the tables of groups as the app does: from the row of the group, and
// in the order of the rows.
func TestWrite_Groups(t *testing.T) {
	file := written(t)
	archive, err := zip.NewReader(file, file.Size())
	if err != nil {
		t.Fatal(err)
	}
	db := opened(t, archive)
	for i, g := range groups {
		var about string
		err := db.QueryRowContext(t.Context(), `SELECT description || ' ' || avatar || ' ' || last_msg_id || ' ' || read_only || ' ' || unread_count || ' ' || last_message_time || ' ' || hex(owner_pubkey)
			FROM group_chats WHERE chat_id = ?`, g.Chat).Scan(&about)
		want := fmt.Sprintf("about %s group%d.jpg %d %d 0 1764000006123 %s", g.Name, g.Chat, 40+i, i, strings.ToUpper(bob.String()))
		if err != nil || about != want {
			t.Errorf("group %d: %q, %v, want %q", g.Chat, about, err, want)
		}
		rows, err := db.QueryContext(t.Context(), fmt.Sprintf(`SELECT m.guid - ?, coalesce(u.pubkey, m.senderId), coalesce(u.permissions, 0), m.incoming, m.timestamp - 1764000000123, m.type, m.system, m.delivered, m.read, m.replyTo, CAST(m.data AS TEXT)
			FROM messages_%[1]d m LEFT JOIN members_%[1]d u ON u.id = m.senderId ORDER BY m.id`, g.Chat), 1000*i+1001)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for rows.Next() {
			var n, permissions, incoming, sent, kind, system, delivered, read, replyTo int64
			var sender, data string
			if err := rows.Scan(&n, &sender, &permissions, &incoming, &sent, &kind, &system, &delivered, &read, &replyTo, &data); err != nil {
				t.Fatal(err)
			}
			if sent != n*1000 || read != 1 {
				t.Errorf("message %d: time %d, read %d", n, sent, read)
			}
			if kind == int64(peer.TypeImage) {
				if a, err := peer.ParseAttachment([]byte(data)); err != nil || !strings.HasSuffix(a.Name, "Abcdef.jpg") {
					t.Errorf("message %d: %+v, %v", n, a, err)
				}
				data = "file"
			}
			got = append(got, fmt.Sprintf("%d %.8s %d in=%d type=%d system=%d delivered=%d reply=%d %q", n, sender, permissions, incoming, kind, system, delivered, replyTo, data))
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
		me := owner.Public().String()[:8]
		wanted := []string{
			`0 -1 0 in=1 type=1000 system=1 delivered=1 reply=0 "\x01\x01\x02"`,
			fmt.Sprintf(`1 %.8s 144 in=1 type=0 system=0 delivered=1 reply=0 "hello all"`, bob),
			fmt.Sprintf(`2 %s 16 in=0 type=0 system=0 delivered=1 reply=%d "hello Bob"`, me, 1000*i+1002),
			fmt.Sprintf(`3 %.8s 16 in=1 type=0 system=0 delivered=1 reply=0 "<Can't decrypt the message>"`, carol),
			fmt.Sprintf(`5 %.8s 144 in=1 type=1 system=0 delivered=1 reply=0 "file"`, bob),
			fmt.Sprintf(`6 %s 16 in=0 type=0 system=0 delivered=0 reply=0 "not delivered yet"`, me),
		}
		if !slices.Equal(got, wanted) {
			t.Errorf("group %d:\n%s\nwant\n%s", g.Chat, strings.Join(got, "\n"), strings.Join(wanted, "\n"))
		}
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
