// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// powerCut takes a copy of a file system as a power cut would leave it, with
// nothing that was not synced, before the write number after.
type powerCut struct {
	mem   *vfs.MemFS
	after int

	mu    sync.Mutex
	seen  int
	clone *vfs.MemFS
}

func (p *powerCut) fs() vfs.FS {
	return errorfs.Wrap(p.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.seen == p.after {
			p.clone = p.mem.CrashClone(vfs.CrashCloneCfg{})
		}
		p.seen++
		return nil
	}))
}

// TestCrashFirstStart cuts the power at every write of the first start.
func TestCrashFirstStart(t *testing.T) {
	for at := 0; ; at++ {
		cut := &powerCut{mem: vfs.NewCrashableMem(), after: at}
		if _, err := version(t, cut.fs()); err != nil {
			t.Fatal(err)
		}
		if cut.clone == nil {
			if at < 20 {
				t.Errorf("only %d writes", at)
			}
			return
		}
		for range 2 {
			if got, err := version(t, cut.clone); got != 1 || err != nil {
				t.Fatalf("cut at write %d: version %d, %v", at, got, err)
			}
		}
	}
}

// fault makes one file operation of a kind fail: the one number at, counted from
// 0, and the next few.
type fault struct {
	kind  errorfs.OpKind
	at    int
	burst int

	mu    sync.Mutex
	armed bool
	seen  int
	hits  []string
}

func (f *fault) MaybeError(op errorfs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op.Kind != f.kind || !f.armed {
		return nil
	}
	n := f.seen
	f.seen++
	if n < f.at || n >= f.at+f.burst {
		return nil
	}
	f.hits = append(f.hits, op.Path)
	return &os.PathError{Op: "injected", Path: op.Path, Err: syscall.ENOSPC}
}

// counting counts the operations of each kind while it is armed, and lets none fail.
type counting struct {
	fault
	seen [errorfs.OpFileFlush + 1]int
}

func (c *counting) MaybeError(op errorfs.Op) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.armed && int(op.Kind) < len(c.seen) {
		c.seen[op.Kind]++
	}
	return nil
}

// hit reports whether an operation has failed. The store may go on to meet more.
func (f *fault) hit() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.hits) > 0
}

func (f *fault) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("operation %d, number %d, %d times, on %v", f.kind, f.at, f.burst, f.hits)
}

func (f *fault) arm(armed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = armed
}

// faultRun writes until it is through or the store has failed, and returns what
// must and may be found afterwards. Every commit is waited for, but not longer
// than the store lives: a goroutine of Pebble may be parked.
func faultRun(t *testing.T, fs vfs.FS, f *fault) (must, may *model) {
	t.Helper()
	now := time.UnixMilli(1_700_000_000_000)
	opts := Options{
		Dir: "store", FS: fs, OutboxRows: 1000, JournalRows: 1000, MemTableBytes: 64 << 10, Now: func() time.Time { return now },
	}
	m := newModel(MillisOf(now), opts)
	must, may = m.clone(), m.clone()
	random := rand.New(rand.NewPCG(1, 1))
	for cycle := range 2 {
		f.arm(cycle > 0) // the first start is TestCrashFirstStart's
		s, err := Open(opts)
		if err != nil {
			if !f.hit() {
				t.Fatalf("open: %v", err)
			}
			return must, may
		}
		w := newWriter(s)
		ops := populate()
		for guid := range int64(30) {
			payload := make([]byte, random.IntN(4000))
			for i := range payload {
				payload[i] = byte(random.Uint32())
			}
			id := int64(cycle)*1000 + guid + 1
			ops = append(ops, AcceptMessage{Account: modelKey(1), Conversation: ContactConversation(modelKey(1)), GUID: id, Payload: payload},
				EnqueueMessage{Account: modelKey(1), Conversation: ContactConversation(modelKey(2)), GUID: id, Payload: payload},
				AppendJournal{Queue: "q", ID: fmt.Sprint(id), Body: payload})
			if guid%2 == 1 {
				ops = append(ops, MarkDelivered{Account: modelKey(1), Conversation: ContactConversation(modelKey(2)), GUID: id})
			}
		}
		for len(ops) > 0 {
			n := min(len(ops), 1+random.IntN(8))
			for _, op := range ops[:n] {
				var got answers
				w.submit(&got, Write{Op: op})
				if len(got) == 0 || got[0].Err == nil {
					_, _ = m.apply(op) // the results are TestModelStore's
				} else if !f.hit() {
					t.Errorf("%T: %v", op, got[0].Err)
				}
			}
			ops = ops[n:]
			may = m.clone()
			if b := w.next(); b != nil {
				if err := commitNow(s, b); err != nil {
					failedAsItShould(t, s, f, err)
					return must, may
				}
				w.ended()
			}
			must = may
		}
		w.abandon(errStopping)
		if err := s.Close(); err != nil {
			if !f.hit() {
				t.Fatalf("close: %v", err)
			}
			return must, may
		}
	}
	return must, may
}

// failedAsItShould checks what a store says that failed because of a fault.
func failedAsItShould(t *testing.T, s *Store, f *fault, err error) {
	t.Helper()
	if !f.hit() || !errors.Is(err, ErrFailed) {
		t.Errorf("%s: commit: %v", f, err)
	}
	if _, err := s.Accounts(); !errors.Is(err, ErrFailed) {
		t.Errorf("%s: read after the failure: %v", f, err)
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("%s: close after the failure: %v", f, err)
	}
}

// Bar R11
func TestFaultInEveryFileOperation(t *testing.T) {
	LeavesGoroutines(t)
	pointsPerKind, failed := lessWithRace(6, 1), 0
	var counts counting
	must, _ := faultRun(t, errorfs.Wrap(vfs.NewCrashableMem(), &counts), &counts.fault)
	if len(must.accounts) == 0 {
		t.Fatal("the run without faults writes nothing")
	}
	for kind := errorfs.OpCreate; kind <= errorfs.OpFileFlush; kind++ {
		seen := counts.seen[kind]
		for point := range min(seen, pointsPerKind) {
			points := min(seen, pointsPerKind)
			f := &fault{kind: kind, at: (2*point + 1) * seen / (2 * points), burst: 1 + point%3*5}
			mem := vfs.NewCrashableMem()
			must, may := faultRun(t, errorfs.Wrap(mem, f), f)
			if must != may {
				failed++
			}
			// The process has ended, or the power is cut.
			ends := []int{100, 0}
			for _, percent := range ends[:lessWithRace(2, 1)] {
				cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 1))}
				after := crash{fs: mem.CrashClone(cfg), lower: must, upper: may, percent: percent}
				after.check(t, Options{
					Dir: "store", OutboxRows: 1000, JournalRows: 1000,
					Now: func() time.Time { return time.UnixMilli(1_700_000_000_000) },
				})
			}
			if t.Failed() {
				t.Fatalf("fault: %s", f)
			}
		}
	}
	if failed < lessWithRace(10, 1) {
		t.Errorf("only %d faults made the store fail", failed)
	}
}
