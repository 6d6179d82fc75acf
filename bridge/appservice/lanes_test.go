// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/test/virtual"
)

// ledger notes what was run, in its order.
type ledger struct {
	mu   sync.Mutex
	runs []string
}

func (l *ledger) note(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs = append(l.runs, what)
}

func (l *ledger) of(prefix string) (runs []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, run := range l.runs {
		if len(run) >= len(prefix) && run[:len(prefix)] == prefix {
			runs = append(runs, run)
		}
	}
	return runs
}

func (l *ledger) expect(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.runs, want) {
		t.Errorf("ran %q, want %q", l.runs, want)
	}
}

var errLane = errors.New("not yet")

// Bar R07: more lanes than there are goroutines wait for something, and the next
// one works.
func TestLanes_WaitingLanesHoldUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran ledger
		release := make(chan struct{})
		l := newLanes(func(task string, failures int) laneResult {
			switch {
			case task == "aside" && failures == 0:
				return laneResult{background: func() laneResult { <-release; return laneResult{} }}
			case task == "failing" && failures == 0:
				return laneResult{err: errLane, after: time.Hour}
			}
			ran.note(task)
			return laneResult{}
		})
		for i := range 2 * MaxLanes {
			l.add(fmt.Sprint("aside", i), "aside")
			l.add(fmt.Sprint("aside", i), "behind")
			l.add(fmt.Sprint("failing", i), "failing")
			l.add(fmt.Sprint("failing", i), "behind")
		}
		l.add("good", "good")
		synctest.Wait()
		ran.expect(t, "good")
		close(release)
		synctest.Wait()
		if n := len(ran.of("behind")); n != 2*MaxLanes {
			t.Errorf("%d tasks behind the slow ones were run, want %d", n, 2*MaxLanes)
		}
		virtual.Sleep(2 * time.Hour)
		l.close(nil)
		if n := len(ran.of("")); n != 1+6*MaxLanes {
			t.Errorf("%d tasks were run", n)
		}
		if stuck, tasks := l.stuck(0); len(stuck) != 0 || tasks != 0 {
			t.Errorf("%d lanes with %d tasks are left", len(stuck), tasks)
		}
	})
}

func TestLanes_OrderInALane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran ledger
		attempts := make(map[int]int)
		l := newLanes(func(task, failures int) laneResult {
			if attempts[task] != failures { // also a data race when two run at once
				t.Errorf("task %d has %d failures, want %d", task, failures, attempts[task])
			}
			attempts[task]++
			switch {
			case task%3 == 0 && failures < 2:
				return laneResult{err: errLane, after: time.Second}
			case task%3 == 1 && failures == 0:
				return laneResult{background: func() laneResult { virtual.Sleep(time.Minute); ran.note(fmt.Sprint(task)); return laneResult{} }}
			}
			ran.note(fmt.Sprint(task))
			return laneResult{}
		})
		var want []string
		for i := range 3 * laneTurn {
			l.add("one", i)
			want = append(want, fmt.Sprint(i))
		}
		virtual.Sleep(24 * time.Hour)
		l.close(nil)
		ran.expect(t, want...)
	})
}

func TestLanes_GoroutinesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		l := newLanes(func(int, int) laneResult {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			virtual.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return laneResult{}
		})
		for i := range 10 * MaxLanes {
			l.add(fmt.Sprint(i), i)
		}
		virtual.Sleep(10 * time.Second)
		synctest.Wait()
		if stuck, _ := l.stuck(0); most != MaxLanes || len(stuck) != 0 {
			t.Errorf("%d at once, want %d; %d are left", most, MaxLanes, len(stuck))
		}
		l.close(nil)
	})
}

func TestLanes_CloseEndsAllAndKeepsWhatIsNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran ledger
		closing := make(chan struct{})
		l := newLanes(func(task string, _ int) laneResult {
			ran.note(task)
			switch task {
			case "slow":
				<-closing
				return laneResult{cut: true}
			case "failing":
				return laneResult{err: errLane, after: time.Minute}
			}
			return laneResult{}
		})
		l.add("a", "slow")
		l.add("a", "never")
		l.add("b", "failing")
		l.add("b", "never")
		l.addAfter("c", "never", time.Hour)
		synctest.Wait()
		go func() { virtual.Sleep(time.Second); close(closing) }()
		l.close(nil)
		l.add("d", "never")
		virtual.Sleep(2 * time.Hour)
		if never := ran.of("never"); len(never) != 0 {
			t.Error("a task was run after the end")
		}
	})
}

// A task that does not end does not keep the process from ending.
func TestLanes_CloseHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, limit := make(chan struct{}), make(chan struct{})
		l := newLanes(func(int, int) laneResult { <-release; return laneResult{} })
		l.add("a", 1)
		synctest.Wait()
		close(limit)
		l.close(limit)
		close(release)
	})
}

func TestLanes_OffersAreDroppedWhenALaneIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran ledger
		release := make(chan struct{})
		l := newLanes(func(task string, _ int) laneResult {
			if task == "slow" {
				<-release
			}
			ran.note(task)
			return laneResult{}
		})
		l.add("a", "slow")
		for i := range 5 {
			l.offer("a", fmt.Sprint("offered ", i), 3)
		}
		l.offer("b", "elsewhere", 1)
		synctest.Wait()
		close(release)
		synctest.Wait()
		ran.expect(t, "elsewhere", "slow", "offered 0", "offered 1")
		l.close(nil)
	})
}

func TestLanes_StuckNamesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLanes(func(int, int) laneResult { return laneResult{err: errLane, after: time.Hour} })
		l.add("old", 1)
		l.add("old", 2)
		virtual.Sleep(time.Minute)
		l.add("new", 3)
		synctest.Wait()
		stuck, tasks := l.stuck(time.Minute)
		if len(stuck) != 1 || tasks != 3 || stuck[0].name != "old" || stuck[0].tasks != 2 || !errors.Is(stuck[0].err, errLane) {
			t.Errorf("stuck are %+v of %d tasks", stuck, tasks)
		}
		l.close(nil)
	})
}

// Bar R07: the events of one transaction go into the lanes of their rooms, and an
// entry is removed when its last event has been handled.
func TestInbound_LanesPerRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran ledger
		release := make(chan struct{})
		d := NewDispatcher(t.Context(), t.Context(), DispatcherDeps{Log: slog.New(slog.DiscardHandler)})
		d.lanes = newLanes(func(task *task, _ int) laneResult {
			e, _ := readEnvelope(task.raw)
			if e.Room == "!stuck" {
				<-release
			}
			ran.note(string(e.ID))
			d.done(task)
			return laneResult{}
		})
		d.enqueue(store.JournalEntry{Queue: JournalQueue, Seq: 1, Body: []byte(`{"events":[
			{"event_id":"$s1","room_id":"!stuck"},{"event_id":"$s2","room_id":"!stuck"},{"event_id":"$a1","room_id":"!a"}]}`)})
		d.enqueue(store.JournalEntry{Queue: JournalQueue, Seq: 2, Body: []byte(`{"events":[{"event_id":"$a2","room_id":"!a"}]}`)})
		synctest.Wait()
		ran.expect(t, "$a1", "$a2")
		if _, seqs, _ := d.finished.take(); !slices.Equal(seqs, []uint64{2}) {
			t.Errorf("finished are %d, want 2", seqs)
		}
		close(release)
		synctest.Wait()
		ran.expect(t, "$a1", "$a2", "$s1", "$s2")
		if _, seqs, _ := d.finished.take(); !slices.Equal(seqs, []uint64{1}) {
			t.Errorf("finished are %d, want 1", seqs)
		}
		d.lanes.close(nil)
	})
}

// Events beyond a bound are not held in memory, but read again when it is their turn.
func TestInbound_MemoryIsBounded(t *testing.T) {
	d := &Dispatcher{deps: DispatcherDeps{Log: slog.New(slog.DiscardHandler)}}
	at := &journaled{queue: JournalQueue, seq: 1}
	large := make([]byte, maxHeld/4)
	held := 0
	for i := range 10 {
		if task := d.newTask(at, i, large); task.raw != nil {
			held += len(task.raw)
		}
	}
	if held != maxHeld || d.held.Load() != maxHeld {
		t.Errorf("%d bytes are held, noted are %d, want %d", held, d.held.Load(), maxHeld)
	}
}
