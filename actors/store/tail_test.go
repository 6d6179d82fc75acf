// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	diff "github.com/google/go-cmp/cmp"
)

// newestLog returns the name and content of the newest log in a directory.
func newestLog(t *testing.T, fs vfs.FS) (name string, content []byte) {
	t.Helper()
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !isLog(name) })
	name = slices.Max(names)
	return name, readFile(t, fs, "store/"+name)
}

// Bar R12
//
// After a kill, one flipped bit anywhere in the newest log is noticed when commits
// follow that were synced, whatever the marker says, and nothing is changed. Only
// the record of the very last commit looks like one that was torn.
func TestTail_FlippedBitInTheNewestLog(t *testing.T) {
	LeavesGoroutines(t)
	mem := vfs.NewCrashableMem()
	r := newRun(t, likeDisk{mem})
	r.close()
	r.opts.MemTableBytes = 4 << 20 // one log
	r.open()
	for _, op := range populate() {
		r.submit(op)
	}
	r.settle()
	random := rand.New(rand.NewPCG(3, 3))
	var ends []int64 // of the newest log, behind each commit in it
	var newest uint64
	var before *model
	for guid := range int64(36) {
		payload := make([]byte, []int{10, 100, 1000, 12_000, 40_000}[random.IntN(5)])
		for i := range payload {
			payload[i] = byte(random.Uint32())
		}
		before = r.durable
		r.submit(AcceptMessage{Account: modelKey(1), Conversation: ContactConversation(modelKey(1)), GUID: guid + 1, Payload: payload})
		r.submit(AcceptMessage{Account: modelKey(2), Conversation: ContactConversation(modelKey(2)), GUID: guid + 1, Payload: payload[:len(payload)/3]})
		r.settle()
		logs := r.store.logs.list()
		log := logs[len(logs)-1]
		if log.number != newest {
			newest, ends = log.number, nil
		}
		ends = append(ends, log.size)
	}
	l := logged{mem.CrashClone(vfs.CrashCloneCfg{}), r.opts, r.durable, nil}
	last := r.durable
	r.close()
	name, content := newestLog(t, l.fs)
	refused := 0
	for i, end := range ends {
		begin := int64(0)
		if i > 0 {
			begin = ends[i-1]
		}
		for _, at := range []int64{begin + 5, begin + (end-begin)/2, end - 1} {
			flipped := slices.Clone(content)
			flipped[at] ^= 1 << (at % 8)
			fs := copyFS(t, l.fs)
			writeFile(t, fs, "store/"+name, flipped)
			hashed := hashes(t, fs, "store")
			l.whole = last
			whole, err := l.reads(t, fs)
			switch {
			case err != nil:
				refused++
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), name) {
					t.Errorf("bit of commit %d: %v", i, err)
				}
				if changed := diff.Diff(hashed, hashes(t, fs, "store")); changed != "" {
					t.Errorf("bit of commit %d: the refusal has changed files: %s", i, changed)
				}
			case whole: // between two records
			case i < len(ends)-1:
				t.Errorf("commit %d of %d, bit at %d: the store opens without it and what follows", i, len(ends), at)
			default:
				l.whole = before
				if whole, err := l.reads(t, fs); !whole || err != nil {
					t.Errorf("last commit torn: %v", err)
				}
			}
		}
	}
	if len(ends) < 10 || refused < len(ends)*2 {
		t.Errorf("%d refused of %d commits", refused, len(ends))
	}
}

// forged returns a chunk that says to be commit n in a log.
func forged(t *testing.T, log uint32, n uint64) []byte {
	t.Helper()
	raw, err := encode(n)
	if err != nil {
		t.Fatal(err)
	}
	var b pebble.Batch
	if err := b.Set(countKey(), raw, nil); err != nil {
		t.Fatal(err)
	}
	c := append(make([]byte, logHeader), b.Repr()...)
	binary.LittleEndian.PutUint16(c[4:], uint16(len(b.Repr()))) //nolint:gosec // a few bytes
	c[6] = chunkFull
	binary.LittleEndian.PutUint32(c[7:], log)
	sum := crc32.Checksum(c[6:], castagnoli)
	binary.LittleEndian.PutUint32(c, (sum>>15|sum<<17)+0xa282ead8)
	return c
}

// Bar R12
//
// What a contact wrote cannot make the store look damaged: versions before this one
// reused the files of logs, so that messages full of what looks like commits can be
// behind the end of the newest log.
func TestTail_ForgedCommits(t *testing.T) {
	LeavesGoroutines(t)
	mem := vfs.NewMem()
	r := newRun(t, likeDisk{mem})
	for _, op := range populate() {
		r.submit(op)
	}
	r.settle()
	// A commit larger than a table takes another way through Pebble.
	r.submit(AcceptMessage{Account: modelKey(1), Conversation: ContactConversation(modelKey(1)), GUID: -1, Payload: make([]byte, 2*r.opts.MemTableBytes)})
	r.settle()
	r.close()
	name, content := newestLog(t, mem)
	number, _ := logNumberOf(name)
	end := len(bytes.TrimRight(content, "\x00"))
	old := bytes.Repeat([]byte("old"), 40)
	for range 100 {
		old = append(old, forged(t, uint32(number), 1<<40)...) //nolint:gosec // a handful
	}
	writeFile(t, mem, "store/"+name, append(content[:end:end], old...))
	r.open() // it would be refused
	r.compare()
	r.close()
}

// Pebble's own marks do not find such damage: this is the fault that
// docs/pebble-sync-marks.md reports. When this test fails, Pebble has been mended,
// and tail.go is no longer the only proof.
func TestTail_PebbleDropsSyncedRecords(t *testing.T) {
	mem := vfs.NewCrashableMem()
	open := func(fs vfs.FS) (*pebble.DB, error) {
		return pebble.Open("store", &pebble.Options{FS: fs, FormatMajorVersion: formatVersion, Logger: pebbleLogger{&Store{log: Options{}.withDefaults().Logger}}})
	}
	db, err := open(mem)
	if err != nil {
		t.Fatal(err)
	}
	// The first log of a new database is older than its format, and has no marks.
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = open(mem); err != nil {
		t.Fatal(err)
	}
	// Each fills two blocks of the log and begins a third, and all fit into one log.
	const records = 3
	for n := range records {
		if err := db.Set(fmt.Appendf(nil, "%02d", n), bytes.Repeat([]byte{byte(n)}, 65_600), pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	killed := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	name, content := newestLog(t, killed)
	content[bytes.Index(content, bytes.Repeat([]byte{1}, 100))] ^= 1
	writeFile(t, killed, "store/"+name, content)
	if db, err = open(killed); err != nil {
		t.Fatalf("Pebble notices the damage now: %v", err)
	}
	left := 0
	for row, err := range scan(db, nil, nil) {
		if err != nil {
			t.Fatal(err, row)
		}
		left++
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if left >= records-1 {
		t.Errorf("%d records of %d", left, records)
	}
	t.Logf("Pebble opens without an error and has %d synced records of %d", left, records)
}
