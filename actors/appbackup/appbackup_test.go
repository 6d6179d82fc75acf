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
func database(t *testing.T, statements ...[]any) []byte {
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
	oldContacts = "CREATE TABLE contacts (id INTEGER PRIMARY KEY AUTOINCREMENT, pubkey BLOB, name TEXT, info TEXT, avatar TEXT, updated INTEGER, renamed BOOL, last_seen INTEGER)"
	addAccount  = "INSERT INTO accounts (name, privkey, pubkey, info, avatar) VALUES ('Алиса', ?, ?, 'about me', 'Abc.jpg')"
)

func archive(t *testing.T, entries map[string][]byte) *bytes.Reader {
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
	if len(b.Contacts) != 2 || b.Contacts[0] != want[0] || b.Contacts[1] != want[1] {
		t.Errorf("contacts %+v", b.Contacts)
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
