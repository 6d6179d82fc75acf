// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/control"
)

// commitsBefore is how many commits are timed before the backup.
const commitsBefore = 50

// Bar R21: a backup under load. What was accepted before the call is in it, with
// the keys, whose files are as private as before. How long the longest commit took
// before and meanwhile is printed: figures of a busy machine prove nothing.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.note = "backup: "
	_, err := w.victim.Client.AddContact(w.soon(), "-", nobody)
	w.must(err)
	end := w.load(directions...)
	for _, d := range directions {
		w.progress(d, window)
	}
	before := w.longestCommit(t.Context(), commitsBefore)
	accepted := make(map[string][]string)
	people := []string{nobody}
	for _, c := range w.talks {
		people = append(people, c.key())
	}
	for _, key := range people {
		accepted[key] = w.textsWith(key)
	}

	copied := filepath.Join(w.dir, "backup")
	var meanwhile time.Duration
	var commits sync.WaitGroup
	under, done := context.WithCancel(t.Context())
	commits.Go(func() { meanwhile = w.longestCommit(under, 0) })
	w.mimird("backup", "--plain", "--data", w.victim.Dir, copied)
	done()
	commits.Wait()
	end()
	t.Logf("%slongest commit before %v, meanwhile %v, ratio %.1f", w.note, before, meanwhile, float64(meanwhile)/float64(before))

	restored, exported := filepath.Join(w.dir, "restored"), filepath.Join(w.dir, "exported")
	w.mimird("restore", "--data", restored, copied)
	w.mimird("export", "--data", restored, "--format", "json", exported)
	folders := exportedFolders(t, exported)
	for _, key := range people {
		texts := exportedTexts(t, filepath.Join(exported, folders[key], "messages.jsonl"))
		if n := len(accepted[key]); n == 0 || len(texts) < n || !slices.Equal(texts[:n], accepted[key]) {
			t.Errorf("%sthe backup has %d texts with %.8s, and not first the %d that were accepted before it", w.note, len(texts), key, n)
		}
	}
	keys, err := os.ReadDir(filepath.Join(w.victim.Dir, "keys"))
	w.must(err)
	for _, key := range keys {
		original, one := os.ReadFile(filepath.Join(w.victim.Dir, "keys", key.Name()))
		content, two := os.ReadFile(filepath.Join(restored, "keys", key.Name()))
		info, three := os.Stat(filepath.Join(restored, "keys", key.Name()))
		w.must(errors.Join(one, two, three))
		if !bytes.Equal(content, original) || info.Mode().Perm() != 0o600 {
			t.Errorf("%s%s is another one, or has mode %v", w.note, key.Name(), info.Mode())
		}
	}
	w.kept = len(w.textsWith(nobody))
	w.check(directions...)
}

// longestCommit has the node accept so many texts, or for as long as ctx lives, and
// returns how long the longest took.
func (w *world) longestCommit(ctx context.Context, texts int) (longest time.Duration) {
	for n := 0; ctx.Err() == nil && (texts == 0 || n < texts); n++ {
		begun := time.Now()
		// It is not cut off by the end of ctx.
		if _, err := w.victim.Client.Send(w.soon(), "-", nobody, control.Text{Text: "a commit"}); err != nil {
			w.t.Errorf("%s%v", w.note, err)
			return longest
		}
		longest = max(longest, time.Since(begun))
	}
	return longest
}

// textsWith are the texts of a conversation in both directions, oldest first.
func (w *world) textsWith(contact string) (texts []string) {
	w.t.Helper()
	for before := uint64(0); ; {
		page, err := w.victim.Client.Messages(w.soon(), "-", contact, before, 500)
		w.must(err)
		if len(page) == 0 {
			slices.Reverse(texts)
			return texts
		}
		for _, m := range page {
			texts = append(texts, m.Text)
			before = m.Order
		}
	}
}

// exportedFolders returns the folder of each conversation of an export.
func exportedFolders(t *testing.T, dir string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index []struct{ ID, Folder string }
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	folders := make(map[string]string)
	for _, c := range index {
		folders[c.ID] = c.Folder
	}
	return folders
}

func exportedTexts(t *testing.T, path string) (texts []string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // only read
	for lines := json.NewDecoder(file); ; {
		var m control.Message
		err := lines.Decode(&m)
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, m.Text)
	}
}

// mimird runs a command to its end.
func (w *world) mimird(args ...string) {
	w.t.Helper()
	if out, err := exec.CommandContext(w.soon(), program, args...).CombinedOutput(); err != nil {
		w.t.Fatalf("%smimird %v: %v\n%s", w.note, args, err, out)
	}
}
