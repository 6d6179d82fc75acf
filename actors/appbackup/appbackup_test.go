// SPDX-License-Identifier: MPL-2.0

package appbackup_test

import (
	"archive/zip"
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/appbackup"
	"github.com/mimird/mimird/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	owner = identity.NewPrivateKey([identity.SeedSize]byte{1})
	bob   = identity.NewPrivateKey([identity.SeedSize]byte{2}).Public()
	carol = identity.NewPrivateKey([identity.SeedSize]byte{3}).Public()
)

// database makes the app's database by these statements, with a write-ahead log as
// on the phone.
func database(t testing.TB, statements ...[]any) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data.db")
	db, err := sql.Open("sqlite", path+"?_pragma=journal_mode(wal)")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(statements, []any{"PRAGMA wal_checkpoint(TRUNCATE)"}) {
		if _, err := db.ExecContext(context.Background(), s[0].(string), s[1:]...); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(path)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if raw[18] != 2 {
		t.Fatal("the database has no write-ahead log")
	}
	return raw
}

const (
	accounts    = "CREATE TABLE accounts (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, privkey TEXT, pubkey TEXT, client INTEGER, info TEXT, avatar TEXT, updated INTEGER)"
	contacts    = "CREATE TABLE contacts (id INTEGER PRIMARY KEY AUTOINCREMENT, pubkey BLOB, name TEXT, info TEXT, avatar TEXT, updated INTEGER, renamed BOOL, last_seen INTEGER, muted BOOL DEFAULT 0)"
	groupChats  = "CREATE TABLE group_chats (chat_id INTEGER PRIMARY KEY, name TEXT NOT NULL, description TEXT, avatar TEXT, mediator_pubkey BLOB NOT NULL, owner_pubkey BLOB NOT NULL, shared_key BLOB NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, last_message_time INTEGER DEFAULT 0, last_msg_id INTEGER DEFAULT 0, unread_count INTEGER DEFAULT 0, muted BOOL DEFAULT 0, read_only BOOL DEFAULT 0)"
	oldContacts = "CREATE TABLE contacts (id INTEGER PRIMARY KEY AUTOINCREMENT, pubkey BLOB, name TEXT, info TEXT, avatar TEXT, updated INTEGER, renamed BOOL, last_seen INTEGER)"
	addAccount  = "INSERT INTO accounts (name, privkey, pubkey, info, avatar) VALUES ('Алиса', ?, ?, 'about me', 'Abc.jpg')"
)

func archive(t testing.TB, entries map[string][]byte) *bytes.Reader {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range entries {
		entry, err := w.Create(name)
		if err == nil {
			_, err = entry.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b.Bytes())
}

func TestRead_AppBackup(t *testing.T) {
	seed, public := owner.Seed(), owner.Public()
	file := archive(t, map[string][]byte{
		"data.db": database(t, []any{accounts}, []any{contacts}, []any{addAccount, seed[:], public[:]},
			[]any{"INSERT INTO contacts (pubkey, name, renamed, muted) VALUES (?, 'Bob', 1, 1), (?, 'Carol', 0, 0), (?, 'nobody', 0, 0)", bob[:], carol[:], []byte("short")}),
		"avatars/Abc.jpg": []byte("\xff\xd8\xffpicture"), "shared_prefs/settings.xml": []byte("<map/>"),
	})
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
	if len(b.Groups) != 0 {
		t.Errorf("groups %+v of a database without any", b.Groups)
	}
	if len(b.Contacts) != 2 || b.Contacts[0] != want[0] || b.Contacts[1] != want[1] {
		t.Errorf("contacts %+v", b.Contacts)
	}
}

func TestRead_Groups(t *testing.T) {
	seed, public := owner.Seed(), owner.Public()
	one, two, key, other := [32]byte{1}, [32]byte{2}, [32]byte{3}, [32]byte{4}
	retired, err := hex.DecodeString("42a0b0da2d8b2fd9d8242c3ab3d316ebd4d3adedeeacf4b77d741d23fc9c6902")
	if err != nil {
		t.Fatal(err)
	}
	const add = "INSERT INTO group_chats (chat_id, name, mediator_pubkey, owner_pubkey, shared_key, created_at, updated_at, muted) VALUES "
	file := archive(t, map[string][]byte{"data.db": database(t,
		[]any{accounts}, []any{contacts}, []any{groupChats}, []any{addAccount, seed[:], public[:]},
		[]any{add + "(7, 'Хор', ?, ?, ?, 0, 0, 1), (9, 'Orchestra', ?, ?, ?, 0, 0, 0)", one[:], bob[:], key[:], two[:], carol[:], other[:]},
		[]any{add + "(11, 'moved', ?, ?, ?, 0, 0, 0)", retired, bob[:], key[:]},
		[]any{add + "(13, 'no key', ?, ?, ?, 0, 0, 0), (-1, 'no id', ?, ?, ?, 0, 0, 0)", one[:], bob[:], []byte("short"), one[:], bob[:], key[:]},
	)})
	b, err := appbackup.Read(file, file.Size())
	if err != nil {
		t.Fatal(err)
	}
	want := []appbackup.Group{
		{Mediator: one, Chat: 7, Key: key, Name: "Хор", Muted: true},
		{Mediator: two, Chat: 9, Key: other, Name: "Orchestra"},
		{Chat: 11, Key: key, Name: "moved"},
	}
	if len(b.Groups) != 3 || b.Groups[2].Mediator.String() != "000096390fde19f30d3ba042d77f5f5ce0e6c23bd62ff0afc2e6c29a6fe96b33" {
		t.Fatalf("groups %+v", b.Groups)
	}
	want[2].Mediator = b.Groups[2].Mediator
	if !slices.Equal(b.Groups, want) {
		t.Errorf("groups %+v", b.Groups)
	}
}

func TestRead_OldBackup(t *testing.T) {
	seed, public := owner.Seed(), owner.Public()
	file := archive(t, map[string][]byte{
		"data.db": database(t, []any{accounts}, []any{oldContacts},
			[]any{addAccount, hex.EncodeToString(seed[:]), hex.EncodeToString(public[:])},
			[]any{"INSERT INTO contacts (pubkey, name) VALUES (?, NULL)", bob[:]}),
	})
	b, err := appbackup.Read(file, file.Size())
	if err != nil {
		t.Fatal(err)
	}
	if !b.Key.Equal(owner) || b.Avatar != nil || len(b.Contacts) != 1 || b.Contacts[0] != (appbackup.Contact{Key: bob}) {
		t.Errorf("%+v", b)
	}
}

// A database is somebody's program: one that computes for ever is refused before it
// begins.
func TestRead_ComputedColumns_Rejected(t *testing.T) {
	const endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
	seed, public := owner.Seed(), owner.Public()
	for name, statements := range map[string][][]any{
		"accounts are a view": {{contacts}, {"CREATE VIEW accounts AS " + endless + " SELECT x AS id, x AS privkey, x AS pubkey, x AS name, x AS info, x AS avatar FROM n ORDER BY x DESC"}},
		"contacts are a view": {
			{accounts},
			{addAccount, seed[:], public[:]},
			{"CREATE VIEW Contacts AS " + endless + " SELECT x AS id, x AS pubkey, x AS name, x AS renamed, x AS muted FROM n"},
		},
		"a column is computed": {
			{accounts},
			{addAccount, seed[:], public[:]},
			{"CREATE TABLE contacts (id INTEGER PRIMARY KEY, pubkey BLOB AS (hex(zeroblob(100000000))), name TEXT, renamed BOOL, muted BOOL)"},
			{"INSERT INTO contacts (name) VALUES ('x')"},
		},
		"a virtual table": {{accounts}, {addAccount, seed[:], public[:]}, {"CREATE VIRTUAL TABLE contacts USING fts5(pubkey, name, renamed, muted, id)"}},
		"no contacts":     {{accounts}, {addAccount, seed[:], public[:]}},
	} {
		t.Run(name, func(t *testing.T) {
			file := archive(t, map[string][]byte{"data.db": database(t, statements...)})
			b, err := appbackup.Read(file, file.Size())
			if !errors.Is(err, appbackup.ErrNotBackup) || !strings.Contains(err.Error(), "table") {
				t.Errorf("%+v, %v", b, err)
			}
		})
	}
}

// What is packed may be larger than it looks.
func TestRead_LargeDatabase_Rejected(t *testing.T) {
	file := archive(t, map[string][]byte{"data.db": make([]byte, 65<<20)})
	if _, err := appbackup.Read(file, file.Size()); !errors.Is(err, appbackup.ErrNotBackup) || !strings.Contains(err.Error(), "more than") {
		t.Error(err)
	}
}

func TestRead_NotABackup_Rejected(t *testing.T) {
	seed, public := owner.Seed(), owner.Public()
	other := bob
	good := database(t, []any{accounts}, []any{contacts}, []any{addAccount, seed[:], public[:]})
	for name, entries := range map[string]map[string][]byte{
		"another archive": {"readme.txt": []byte("hello")},
		"no database":     {"data.db": []byte("hello")},
		"a damaged one":   {"data.db": good[:len(good)/2]},
		"other tables":    {"data.db": database(t, []any{"CREATE TABLE x (y)"})},
		"no account":      {"data.db": database(t, []any{accounts}, []any{contacts})},
		"other key":       {"data.db": database(t, []any{accounts}, []any{contacts}, []any{addAccount, seed[:], other[:]})},
		"short key":       {"data.db": database(t, []any{accounts}, []any{contacts}, []any{addAccount, seed[:7], public[:]})},
	} {
		file := archive(t, entries)
		if b, err := appbackup.Read(file, file.Size()); !errors.Is(err, appbackup.ErrNotBackup) || !b.Key.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
	}
	if file := bytes.NewReader([]byte("PK\x03\x04 and nothing else")); !appbackup.Is(file) {
		t.Error("it begins like one")
	} else if _, err := appbackup.Read(file, file.Size()); !errors.Is(err, appbackup.ErrNotBackup) {
		t.Error(err)
	}
}
