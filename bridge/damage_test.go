// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"github.com/mimird/mimird/bridge"
)

// A page in the middle of the tables is overwritten while the bridge does not run.
func TestDatabase_Corrupt_NamedAtStart(t *testing.T) {
	f := newFixture(t)
	f.conversation("Bob")
	f.stop()
	path := filepath.Join(f.dir, "matrix.db")
	checkpoint(t, path)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	if len(content) < 20*page {
		t.Fatalf("%s has %d bytes", path, len(content))
	}
	whole := bytes.Clone(content)
	for at := page; at < len(content); at += 4 * page {
		copy(content[at:], strings.Repeat("damaged ", 64))
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f.start()
	f.awaitState(bridge.StateFailed)
	if status := f.status(); !contains(status.Error, path+" is damaged") {
		t.Errorf("status is %+v", status)
	}
	f.stop()
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	f.start()
	f.awaitState(bridge.StateRunning)
}

// checkpoint brings what is in the log of an SQLite database into its file. It waits for
// statements that were under way when the bridge closed the database: they end later.
func checkpoint(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	var busy, frames, moved int
	err = db.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved)
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if busy != 0 {
		t.Fatalf("%s is in use", path)
	}
}

func TestRegistrations_Corrupt_NamedAtStart(t *testing.T) {
	w := newWorld(t)
	w.config.DoublePuppet.Registration = matrixconfig.DoublePuppetSeparate
	w.config.GenerateSecrets()
	w.withFake()
	w.files = t.TempDir()
	files := w.registrations()
	for _, file := range files {
		if err := os.WriteFile(filepath.Join(w.files, file.Name), file.Content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	w.awaitState(bridge.StateRunning)
	if problems := w.status().Problems; len(problems) > 0 {
		t.Errorf("there are problems: %q", problems)
	}
	w.stop()
	damaged, wrong := filepath.Join(w.files, files[0].Name), filepath.Join(w.files, files[1].Name)
	if err := os.WriteFile(damaged, files[0].Content[:10], 0o600); err != nil {
		t.Fatal(err)
	}
	other := bytes.ReplaceAll(files[1].Content, []byte(w.config.DoublePuppet.ASToken), []byte("another"))
	if err := os.WriteFile(wrong, other, 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.awaitState(bridge.StateRunning)
	problems := w.status().Problems
	if len(problems) != 2 || !contains(problems[0], damaged+" is damaged") || !contains(problems[1], wrong+" does not fit the configuration") {
		t.Errorf("the problems are %q", problems)
	}
	for _, problem := range problems {
		if !w.log.contains(problem) {
			t.Errorf("the log does not say %q", problem)
		}
	}
}
