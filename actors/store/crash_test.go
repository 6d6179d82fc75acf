// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"
)

// crashes takes copies of a file system as power cuts would leave it, at random
// writes, with none, some or all of what was not synced.
type crashes struct {
	mem *vfs.MemFS

	mu     sync.Mutex
	random *rand.Rand
	lower  *model // what was acknowledged
	upper  *model // what may be on the disk
	taken  []crash
}

type crash struct {
	fs           *vfs.MemFS
	lower, upper *model
	percent      int
}

const (
	crashesPerSequence = 8
	crashOdds          = 5 // one write in so many
)

// likeDisk makes Pebble take room for its logs, as it does on a disk, so that they
// are longer than what is in them.
type likeDisk struct{ vfs.FS }

type likeDiskFile struct{ vfs.File }

func (d likeDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	return likeDiskFile{f}, err
}

func (likeDiskFile) Fd() uintptr { return vfs.InvalidFd - 1 }

func newCrashes(seed uint64) *crashes {
	return &crashes{mem: vfs.NewCrashableMem(), random: rand.New(rand.NewPCG(seed, 1))}
}

func (c *crashes) fs() vfs.FS {
	return errorfs.Wrap(c.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			c.maybe()
		}
		return nil
	}))
}

func (c *crashes) maybe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lower != nil && len(c.taken) < crashesPerSequence && c.random.IntN(crashOdds) == 0 {
		c.take()
	}
}

// take cuts the power. It is called with mu held.
func (c *crashes) take() {
	percent := []int{0, 25, 50, 100}[c.random.IntN(4)]
	cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.random}
	c.taken = append(c.taken, crash{c.mem.CrashClone(cfg), c.lower, c.upper, percent})
}

// bounds says what a cut from now on may leave.
func (c *crashes) bounds(lower, upper *model) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lower, c.upper = lower, upper
}

// trial is a comparison that may fail.
type trial struct{}

type mismatch struct{}

func (trial) Fatalf(string, ...any) { panic(mismatch{}) }
func (trial) Logf(string, ...any)   {}

// matches compares the store with a model.
func (r *run) matches(m *model) (same bool) {
	t := r.t
	defer func() {
		r.t = t
		if reason := recover(); reason != nil && reason != (mismatch{}) {
			panic(reason)
		}
	}()
	r.t, r.durable = trial{}, m
	r.compare()
	return true
}

// check opens what a power cut left: everything acknowledged is there, nothing
// was invented, and no batch is there in part.
func (c crash) check(t failer, opts Options) {
	opts.FS = c.fs
	r := &run{t: t, limit: 100, opts: opts, model: c.lower.clone(), want: make(map[uint64]Written)}
	r.open()
	defer func() {
		r.writer.refresh()
		if err := r.store.Close(); err != nil {
			t.Fatalf("close after a power cut: %v", err)
		}
	}()
	if !r.matches(c.lower) {
		if !r.matches(c.upper) {
			t.Logf("A power cut left %d %% of what was not synced. The difference to what was acknowledged is:", c.percent)
			r.durable = c.lower
			r.compare()
		}
		r.model = c.upper.clone()
	}
	if problems, err := r.store.Check(); err != nil || len(problems) > 0 {
		t.Fatalf("check after a power cut: %v %v", problems, err)
	}
	// It goes on where it was.
	for _, op := range []Op{
		PutAccount{Account: Account{ID: modelKey(1)}},
		AddContact{Contact: Contact{Account: modelKey(1), ID: modelKey(1)}},
		AcceptMessage{Account: modelKey(1), Conversation: ContactConversation(modelKey(1)), GUID: 99},
		EnqueueMessage{Account: modelKey(1), Conversation: ContactConversation(modelKey(1)), GUID: 99, Source: "$99"},
		AppendJournal{Queue: "q", ID: "99"},
	} {
		r.submit(op)
	}
	r.settle()
	r.compare()
}

// synced reports whether an operation may be lost: then its row says nothing
// about the others.
func synced(op Op) bool {
	switch op := op.(type) {
	case PutAddresses, RecordNodeKey:
		return false
	case UpdateContact:
		return op.Fields&FieldLastSeen == 0
	default:
		return true
	}
}

// Bar R04
func TestCrashLosesNothingAcknowledged(t *testing.T) {
	sequences(t, lessWithRace(300, 150))
	clones := 0
	cut := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		c := newCrashes(rapid.Uint64().Draw(t, "crashes"))
		fs := c.fs()
		if rapid.Bool().Draw(t, "like a disk") {
			fs = likeDisk{fs}
		}
		r := newRun(t, fs)
		defer func() {
			if r.store.Err() == nil {
				r.writer.abandon(errStopping)
				_ = r.store.Close()
			}
		}()
		for _, op := range populate() {
			r.submit(op)
		}
		r.settle()
		r.bounds = c.bounds
		c.bounds(r.durable, r.durable)
		kinds, steps := newDice(t, 100), newDice(t, 100)
		for range stepsPerSequence {
			switch n := steps.draw(t, "step"); {
			case n < 30:
				r.begin()
			case n < 50:
				r.end()
			case n < 52:
				if err := r.store.db.Flush(); err != nil {
					t.Fatal(err)
				}
			default:
				if op := drawOp(t, kinds); synced(op) {
					r.submit(op)
				}
			}
		}
		r.settle()
		c.mu.Lock()
		c.take() // one at least
		taken := c.taken
		c.mu.Unlock()
		r.close()
		for _, crash := range taken {
			crash.check(t, r.opts)
			clones++
			cut[fmt.Sprintf("%d %%, in flight %v", crash.percent, crash.lower != crash.upper)]++
		}
	})
	t.Logf("%d power cuts: %v", clones, cut)
	if clones < lessWithRace(100, 40) || len(cut) < lessWithRace(8, 4) {
		t.Errorf("%d power cuts of %d kinds prove little", clones, len(cut))
	}
}
