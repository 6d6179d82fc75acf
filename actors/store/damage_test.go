// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// worn makes a store with tables, two generations of logs and a history: what it
// read like after each commit. The process that wrote it was killed.
func worn(t *testing.T) (fs *vfs.MemFS, opts Options, history []*model) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	r := newRun(t, likeDisk{mem})
	random := rand.New(rand.NewPCG(1, 1))
	for _, op := range populate() {
		r.submit(op)
	}
	for cycle := range 3 {
		for n := range int64(40) {
			id := int64(cycle)*1000 + n + 1
			payload := make([]byte, random.IntN(3000))
			for i := range payload {
				payload[i] = byte(random.Uint32())
			}
			r.submit(AcceptMessage{Account: modelKey(1), Conversation: ContactConversation(modelKey(1)), GUID: id, Payload: payload})
			r.submit(EnqueueMessage{Account: modelKey(1), Conversation: ContactConversation(modelKey(2)), GUID: id, Payload: payload})
			r.submit(MarkDelivered{Account: modelKey(1), Conversation: ContactConversation(modelKey(2)), GUID: id})
			if n%4 == 0 {
				r.settle()
				history = append(history, r.durable)
			}
		}
		if cycle < 2 {
			r.close()
			r.open()
		}
	}
	r.settle()
	history = append(history, r.durable)
	if err := r.store.db.Flush(); err != nil {
		t.Fatal(err)
	}
	commits := r.store.count
	deadline := time.Now().Add(time.Minute)
	for { // the marker follows the tables
		marked, _, err := r.store.readMarker()
		if err == nil && marked.commits >= commits && slices.Equal(logNumbers(marked.logs), logNumbers(r.store.logs.list())) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("marker says %+v after %d commits, %v", marked, commits, err)
		}
		runtime.Gosched()
	}
	for guid := range int64(3) { // only in the log
		r.submit(AcceptMessage{Account: modelKey(1), Conversation: ContactConversation(modelKey(1)), GUID: -guid - 1, Payload: []byte("late")})
		r.settle()
		history = append(history, r.durable)
	}
	fs = mem.CrashClone(vfs.CrashCloneCfg{})
	r.close()
	return fs, r.opts, history
}

func logNumbers(logs []liveLog) (numbers []uint64) {
	for _, log := range logs {
		numbers = append(numbers, log.number)
	}
	return numbers
}

// damage is one way to harm a file.
type damage struct {
	name  string
	apply func(content []byte, at int) []byte // nil: the file is deleted
}

func damages() []damage {
	return []damage{
		{"bit flipped", func(content []byte, at int) []byte {
			content = slices.Clone(content)
			content[at] ^= 1 << (at % 8)
			return content
		}},
		{"cut short", func(content []byte, at int) []byte { return content[:at] }},
		{"zeroed from there", func(content []byte, at int) []byte {
			content = slices.Clone(content)
			clear(content[at:])
			return content
		}},
		{"deleted", func([]byte, int) []byte { return nil }},
	}
}

func copyFS(t *testing.T, from *vfs.MemFS) *vfs.MemFS {
	t.Helper()
	to := vfs.NewMem()
	if ok, err := vfs.Clone(from, to, "store", "store"); err != nil || !ok {
		t.Fatalf("copy: %v", err)
	}
	return to
}

func readFile(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return content
}

func writeFile(t *testing.T, fs vfs.FS, path string, content []byte) {
	t.Helper()
	if content == nil {
		if err := fs.Remove(path); err != nil {
			t.Fatal(err)
		}
		return
	}
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(slices.Clone(content)) // the file system may change what it is given
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// Bar R12
//
// A damaged store never panics and never reads differently from what was written:
// either an error says so, names the file, and nothing has been changed, or nothing
// is missing. The exception is the newest log after a crash. The record of its last
// commit may look as if it had not been finished; and where the log is cut or zeroed
// nothing follows that proves anything, so that it may be as it was when the marker
// was written, which is at most markerInterval ago.
func TestDamageIsNeverServed(t *testing.T) {
	LeavesGoroutines(t)
	original, opts, history := worn(t)
	names, err := original.List("store")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	outcomes := make(map[string]int)
	variants := 0
	for i, name := range names {
		path := "store/" + name
		content := readFile(t, original, path)
		for k, d := range damages() {
			if k%lessWithRace(1, 2) != i%lessWithRace(1, 2) {
				continue // half of the kinds on each file
			}
			points := damagePoints(name, content)
			if d.name == "deleted" {
				points = []int{0}
			}
			for _, at := range points {
				fs := copyFS(t, original)
				writeFile(t, fs, path, d.apply(content, at))
				variants++
				outcome := openDamaged(t, fs, opts, history, name, content, fmt.Sprintf("%s, %s at %d", name, d.name, at))
				outcomes[kindOf(name)+": "+outcome]++
			}
		}
	}
	t.Logf("%d variants: %v", variants, outcomes)
	if least := lessWithRace(100, 20); variants < least {
		t.Errorf("%d variants prove little", variants)
	}
}

// damagePoints spreads points over a file. Most of a log is room, or was left by
// an older one: what is in use is at its beginning.
func damagePoints(name string, content []byte) (points []int) {
	spread := func(size int) {
		for n := 1; n < 8 && size > 0; n += 8 / lessWithRace(4, 1) {
			points = append(points, size*n/8)
		}
	}
	spread(len(content))
	if strings.HasSuffix(name, ".log") {
		spread(min(len(content), 600))
	}
	return points
}

func kindOf(name string) string {
	for _, kind := range []string{".log", ".sst", "MANIFEST", "OPTIONS", "marker", "LOCK", markerName} {
		if strings.Contains(name, kind) && !strings.HasPrefix(name, "marker.") {
			return kind
		}
	}
	return "marker"
}

// openDamaged opens a damaged store and says what came of it.
func openDamaged(t *testing.T, fs *vfs.MemFS, opts Options, history []*model, file string, original []byte, what string) string {
	t.Helper()
	opts.FS = fs
	before := hashes(t, fs, "store")
	s, err := Open(opts)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: not recognized as damage: %v", what, err)
		}
		// An operator has to know which file it is. Pebble names tables by number.
		name := strings.TrimSuffix(file, ".sst")
		isData := strings.HasSuffix(file, ".log") || strings.HasSuffix(file, ".sst") || strings.HasPrefix(file, "MANIFEST")
		if text := err.Error(); isData && !strings.Contains(text, name) {
			t.Errorf("%s: the error does not name the file: %v", what, err)
		}
		// A table is read when a row of it is needed, which may be a moment after the
		// store was found complete.
		inside := strings.HasSuffix(file, ".sst") && (strings.Contains(what, "bit") || strings.Contains(what, "zeroed"))
		if changed := cmp.Diff(before, hashes(t, fs, "store")); changed != "" && !inside {
			t.Errorf("%s: the refusal has changed files: %s", what, changed)
		}
		repaired := copyFS(t, fs)
		writeFile(t, repaired, "store/"+file, original)
		l := logged{opts: opts, whole: history[len(history)-1]}
		if whole, err := l.reads(t, repaired); !whole || err != nil {
			t.Errorf("%s, refused, and put back: whole %v, %v", what, whole, err)
		}
		return "refused"
	}
	r := &run{t: t, limit: 1000, opts: opts, store: s, writer: newWriter(s)}
	defer func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrFailed) {
			t.Errorf("%s: close: %v", what, err)
		}
	}()
	newest := history[len(history)-1]
	if r.matches(newest) {
		return "unharmed"
	}
	if s.Err() != nil {
		return "failed while it was read"
	}
	if strings.HasSuffix(file, ".log") && r.matches(history[len(history)-2]) {
		return "without the last commit"
	}
	for _, m := range slices.Backward(history) {
		if strings.HasSuffix(file, ".log") && !strings.Contains(what, "bit") && r.matches(m) {
			return "as it was earlier"
		}
	}
	t.Logf("%s: the store reads differently:", what)
	r.durable = newest
	r.compare()
	return "wrong"
}
