// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	// panicsEnv is read by testdata/panics.go.
	panicsEnv = "MIMIRD_TEST_PANICS"
	// passing is the line of the program that everything is built from, panicking what
	// is put behind it.
	passing   = "	opts := node.Options{\n"
	panicking = "		BeforeReceive: panicAtRandom,\n"
	// panicsTime is for a panic every few seconds: those who are chosen may have to
	// come back first.
	panicsTime = 10 * time.Minute
)

// Bar R16: parts of the program panic under load, up to one a second: sessions, contacts,
// the account, the resolver, the listener, the bridge. The process lives, and
// nobody loses a message.
func TestPanicsAtRandom(t *testing.T) {
	t.Parallel()
	seed, panics := drawSeed(), 6
	if long() {
		panics = 60
	}
	w := newWorldOf(t, buildChanged(t, map[string]string{"panics.go": readTestdata(t, "panics.go"), "up.go": withPanics(t)}))
	w.note = fmt.Sprintf("panics, seed %d: ", seed)
	w.must(w.victim.Stop())
	note := filepath.Join(w.dir, "panics")
	w.must(w.victim.Launch(fmt.Sprintf("%s=%d %d %s", panicsEnv, panics, seed, note)))
	w.must(w.victim.Ready(w.soon()))
	end := w.load(directions...)
	var paths []byte
	w.within(panicsTime, "there are panics", func() bool {
		select {
		case <-w.victim.Process().Ended():
			t.Fatalf("%sthe process has ended: %v", w.note, w.victim.Process().Err())
		default:
		}
		paths, _ = os.ReadFile(note) // which is not there before the first
		return bytes.Count(paths, []byte("\n")) >= panics
	})
	end()
	w.check(directions...)
	t.Logf("%s%d panics, in:\n%s", w.note, panics, paths)
	status, err := w.victim.Client.Status(w.soon())
	w.must(err)
	for _, warning := range status.Warnings {
		t.Logf("%s%s: %s", w.note, warning.Code, warning.Text)
	}
}

// withPanics is the file of mimird up with every actor passing through
// panicAtRandom.
func withPanics(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(commandDir, "up.go"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(raw), passing); n != 1 {
		t.Fatalf("up.go makes the options in %d places; name the line anew", n)
	}
	return strings.Replace(string(raw), passing, passing+panicking, 1)
}
