// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"testing"
)

func TestCopyDatabase_InUse(t *testing.T) {
	f := newFixture(t)
	_, room := f.conversation("Bob")
	target := t.TempDir()
	if err := f.config.CopyDatabase(t.Context(), f.dir, target); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(target, "matrix.db")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the copy has mode %v, %v", info.Mode(), err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var rooms int
	if err := db.QueryRow("SELECT COUNT(*) FROM portal WHERE mxid=?", room).Scan(&rooms); err != nil || rooms != 1 {
		t.Errorf("the copy has the room %d times, %v", rooms, err)
	}
}
