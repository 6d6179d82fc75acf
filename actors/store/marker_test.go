// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	diff "github.com/google/go-cmp/cmp"
)

// noTables is a file system on which creating tables waits until release, so that
// the logs pile up.
type noTables struct {
	vfs.FS
	once sync.Once
	open chan struct{}
}

func holdTables(mem *vfs.MemFS) *noTables {
	n := &noTables{open: make(chan struct{})}
	n.FS = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, ".sst") {
			<-n.open
		}
		return nil
	}))
	return n
}

func (n *noTables) release() { n.once.Do(func() { close(n.open) }) }

// logged is what a process leaves that was killed with several logs in use.
type logged struct {
	fs    *vfs.MemFS
	opts  Options
	whole *model
	logs  []liveLog // as the marker names them
}

func manyLogs(t *testing.T) logged {
	t.Helper()
	mem := vfs.NewCrashableMem()
	fs := holdTables(mem)
	defer fs.release()
	r := newRun(t, likeDisk{fs})
	for _, op := range populate() {
		r.submit(op)
	}
	random := rand.New(rand.NewPCG(7, 7))
	for guid := int64(1); len(r.store.logs.list()) < 4; guid++ {
		payload := make([]byte, random.IntN(9000))
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		for account := 1; account <= 2; account++ {
			for contact := 1; contact <= 2; contact++ {
				r.submit(AcceptMessage{Account: modelKey(account), Conversation: ContactConversation(modelKey(contact)), GUID: guid, Payload: payload[:len(payload)/contact]})
				r.settle()
			}
		}
	}
	for guid := range int64(5) {
		r.submit(AcceptMessage{Account: modelKey(1), Conversation: ContactConversation(modelKey(1)), GUID: -guid - 1, Payload: []byte("in the newest log")})
		r.settle()
	}
	if err := r.store.writeMarker(); err != nil {
		t.Fatal(err)
	}
	l := logged{mem.CrashClone(vfs.CrashCloneCfg{}), r.opts, r.durable, r.store.logs.list()}
	l.opts.FS = nil
	fs.release()
	r.close()
	return l
}

// reads opens a copy and reports whether it reads like everything that was
// acknowledged.
func (l logged) reads(t *testing.T, fs vfs.FS) (whole bool, err error) {
	t.Helper()
	opts := l.opts
	opts.FS = fs
	s, err := Open(opts)
	if err != nil {
		return false, err
	}
	r := &run{t: t, limit: 1000, opts: opts, store: s, writer: newWriter(s)}
	whole = r.matches(l.whole)
	r.writer.refresh()
	return whole, s.Close()
}

// hashes returns what is in a directory.
func hashes(t *testing.T, fs vfs.FS, dir string) map[string]string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, name := range names {
		if name != "LOCK" { // opening creates it, it is empty
			all[name] = fmt.Sprintf("%x", sha256.Sum256(readFile(t, fs, fs.PathJoin(dir, name))))
		}
	}
	return all
}

// cutPoints returns where a log may end: at its beginning, inside of a record,
// behind the first, middle and last record, where a block ends, and before its last
// byte that was synced.
func cutPoints(content []byte, log liveLog) map[string]int64 {
	var ends []int64
	points := map[string]int64{"nothing left": 0, "one byte short": log.size - 1}
	for at := int64(0); at < log.size; {
		block := (at/logBlock + 1) * logBlock
		c, ok := readChunk(content[at:min(block, int64(len(content)))], uint32(log.number))
		if !ok {
			if block-at > logHeaderSynced {
				break // the end of a log that was closed
			}
			at = block
			continue
		}
		at += int64(c.size)
		if at < log.size && (c.part == partFull || c.part == partLast) {
			ends = append(ends, at)
		}
	}
	if len(ends) > 0 {
		points["behind the first record"] = ends[0]
		points["behind a record"] = ends[len(ends)/2]
		points["inside of a record"] = ends[len(ends)/2] + 5
		points["behind the last record but one"] = ends[len(ends)-1]
	}
	if log.size > logBlock {
		points["behind a block"] = logBlock
	}
	return points
}

// Bar R12
//
// A log that is missing or cut is noticed whichever it is and wherever it ends, the
// file is named, and the refusal changes nothing: put back, everything is there.
func TestMarker_EveryLogIsMissed(t *testing.T) {
	LeavesGoroutines(t)
	l := manyLogs(t)
	if whole, err := l.reads(t, copyFS(t, l.fs)); !whole || err != nil {
		t.Fatalf("undamaged: whole %v, %v", whole, err)
	}
	variants := 0
	for i, log := range l.logs {
		name := fmt.Sprintf("%06d.log", log.number)
		content := readFile(t, l.fs, "store/"+name)
		cuts := cutPoints(content, log)
		if i > 0 && len(cuts) < 6 {
			t.Errorf("%s: %v prove little", name, cuts)
		}
		damaged := map[string][]byte{"deleted": nil}
		for what, at := range cuts {
			damaged[fmt.Sprintf("%s, %d of %d", what, at, log.size)] = append([]byte{}, content[:at]...)
		}
		for what, left := range damaged {
			variants++
			fs := copyFS(t, l.fs)
			writeFile(t, fs, "store/"+name, left)
			before := hashes(t, fs, "store")
			whole, err := l.reads(t, fs)
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s, %s: whole %v, %v", name, what, whole, err)
				continue
			}
			if changed := diff.Diff(before, hashes(t, fs, "store")); changed != "" {
				t.Errorf("%s, %s: the refusal has changed files: %s", name, what, changed)
			}
			writeFile(t, fs, "store/"+name, content)
			if whole, err := l.reads(t, fs); !whole || err != nil {
				t.Errorf("%s, %s and put back: whole %v, %v", name, what, whole, err)
			}
		}
	}
	t.Logf("%d variants of %d logs", variants, len(l.logs))
}

// The marker names what is on the disk also while logs are given up and used again.
func TestMarker_FollowsTheLogs(t *testing.T) {
	mem := vfs.NewMem()
	r := newRun(t, mem)
	defer r.close()
	for _, op := range populate() {
		r.submit(op)
	}
	seen := make(map[uint64]bool)
	for guid := int64(1); len(seen) < 12; guid++ {
		r.submit(AcceptMessage{Account: modelKey(1), Conversation: ContactConversation(modelKey(1)), GUID: guid, Payload: bytes.Repeat([]byte{1}, 8000)})
		r.settle()
		p, exists, err := r.store.readMarker()
		if !exists || err != nil {
			t.Fatal(exists, err)
		}
		newest := slices.MaxFunc(r.store.logs.list(), func(a, b liveLog) int { return cmp.Compare(a.number, b.number) })
		if len(p.logs) == 0 || p.logs[len(p.logs)-1].number != newest.number {
			t.Fatalf("marker %+v, logs %+v", p, r.store.logs.list())
		}
		for _, log := range p.logs {
			seen[log.number] = true
		}
	}
}

// A copy of the store has logs and a manifest of the same names. What is synced of
// them says nothing about ours: a log has room behind its end, which is copied too.
func TestMarker_KnowsOwnFilesOnly(t *testing.T) {
	r := newRun(t, likeDisk{vfs.NewMem()})
	defer r.close()
	for _, op := range populate() {
		r.submit(op)
	}
	r.settle()
	logs, manifest := r.store.logs.list(), *r.store.manifest.Load()
	r.store.manifest.Store(&manifestMark{name: "MANIFEST-of-this-store"}) // newer than that of the copy
	if err := r.store.Checkpoint("copy"); err != nil {
		t.Fatal(err)
	}
	// Making a copy writes a record of some bytes.
	if got := r.store.logs.list(); len(got) != len(logs) || got[0].size > logs[0].size+1000 {
		t.Errorf("logs %+v, before %+v", got, logs)
	}
	if got := r.store.manifest.Load().name; got != "MANIFEST-of-this-store" {
		t.Errorf("manifest %s", got)
	}
	r.store.manifest.Store(&manifest)
}

func TestMarker_Format(t *testing.T) {
	mark := manifestMark{"MANIFEST-000001", 5, bytes.Repeat([]byte{0xab}, 32)}
	for name, p := range map[string]marker{
		"new":         {commits: 0, manifest: noManifest()},
		"with logs":   {commits: 7, manifest: mark, logs: []liveLog{{3, 0}, {1 << 40, 1 << 41}}},
		"with secret": {commits: 7, manifest: mark, secret: bytes.Repeat([]byte{0xcd}, 16), logs: []liveLog{{3, 0}, {1 << 40, 1 << 41}}},
		"version 1":   {commits: 7, manifest: mark, v1Log: 9},
	} {
		got, err := parseMarker(p.text())
		if err != nil || got.text() != p.text() || got.commits != p.commits {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		text := p.text()
		for at := range len(text) {
			if _, err := parseMarker(text[:at]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %q: %v", name, text[:at], err)
			}
		}
		if p.v1Log != 0 {
			continue // it has no sum
		}
		for at := range len(text) {
			flipped := []byte(text)
			flipped[at] ^= 1
			if _, err := parseMarker(string(flipped)); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewerSchema) {
				t.Errorf("%s: %q: %v", name, flipped, err)
			}
		}
	}
	if _, err := parseMarker("version 3\nof another program\n"); !errors.Is(err, ErrNewerSchema) {
		t.Errorf("a newer marker: %v", err)
	}
	if p, err := parseMarker("commits 4\nlog 0\nmanifest unknown 0 e3b0\n"); err != nil || p.commits != 4 {
		t.Errorf("of a backup: %+v, %v", p, err)
	}
}
