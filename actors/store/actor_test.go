// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/test/virtual"
)

// asked is an operation on its way.
type asked struct {
	result any
	err    error
	done   bool
}

// ask carries out an operation in a goroutine of its own. The fields may be read
// after synctest.Wait.
func (r *rig) ask(op store.Op) *asked {
	a := &asked{}
	go func() {
		a.result, a.err = store.Do[any](context.Background(), r.ref, op)
		a.done = true
	}()
	return a
}

func TestAnswerComesAfterSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newPeopledRig(t, store.Options{FS: g})
		seq := r.lastSeq(alice)
		w := r.store.Watch(alice)
		defer w.Close()
		g.hold()
		first := r.ask(accept(1, "x"))
		synctest.Wait()
		duplicate := r.ask(accept(1, "x"))
		unknown := r.ask(store.MarkDelivered{Account: alice, Conversation: store.ContactConversation(bob), GUID: 5})
		refused := r.ask(accept(0, "x"))
		virtual.Sleep(time.Second) // of virtual time; Ask gives up after a minute
		synctest.Wait()
		if first.done || duplicate.done || unknown.done {
			t.Error("answered before the sync")
		}
		if !refused.done || !errors.Is(refused.err, store.ErrInvalid) {
			t.Errorf("%+v", refused)
		}
		if got := r.lastSeq(alice); got != seq {
			t.Errorf("event %d is visible before the sync", got)
		}
		if got := r.texts(alice, bob); len(got) != 0 {
			t.Errorf("%q is visible before the sync", got)
		}
		if _, err := r.store.Message(alice, store.ContactConversation(bob), store.MessageID{GUID: 1}); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the message is visible before the sync: %v", err)
		}
		quiet(t, w)
		g.release()
		synctest.Wait()
		if a, ok := first.result.(store.Accepted); !ok || a.Duplicate {
			t.Errorf("first: %+v", first)
		}
		if a, ok := duplicate.result.(store.Accepted); !ok || !a.Duplicate {
			t.Errorf("duplicate: %+v", duplicate)
		}
		if unknown.result != false {
			t.Errorf("unknown: %+v", unknown)
		}
		if got := r.lastSeq(alice); got != seq+1 {
			t.Errorf("last event is %d", got)
		}
		woken(t, w)
		r.stop()
	})
}

func TestOperationsDuringCommitShareTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newPeopledRig(t, store.Options{FS: g})
		g.hold()
		first := r.ask(accept(1, "x"))
		synctest.Wait()
		before := g.count()
		var rest []*asked
		for guid := int64(2); guid <= 101; guid++ {
			rest = append(rest, r.ask(accept(guid, "x")))
		}
		synctest.Wait()
		g.release()
		synctest.Wait()
		for i, a := range append(rest, first) {
			if !a.done || a.err != nil {
				t.Fatalf("operation %d: %+v", i, a)
			}
		}
		if got := g.count() - before; got != 2 {
			t.Errorf("101 operations took %d syncs, want 2", got)
		}
		r.checked()
		r.stop()
	})
}

func TestWaitingBytesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		const room = 4 << 20
		r := newPeopledRig(t, store.Options{FS: g, WaitingBytes: room})
		g.hold()
		big := strings.Repeat("x", room/4)
		var taken []*asked
		for guid := int64(1); guid <= 4; guid++ {
			taken = append(taken, r.ask(accept(guid, big)))
			synctest.Wait()
		}
		busy := r.ask(accept(9, "x"))
		synctest.Wait()
		if !busy.done || !errors.Is(busy.err, store.ErrBusy) {
			t.Errorf("busy: %v", busy.err)
		}
		g.release()
		synctest.Wait()
		for i, a := range taken {
			if !a.done || a.err != nil {
				t.Errorf("operation %d: %v", i, a.err)
			}
		}
		if got := must[store.Accepted](r, accept(9, "x")); got.Duplicate {
			t.Error("the refused operation left a trace")
		}
		must[store.Journaled](r, store.AppendJournal{Queue: "q", ID: "i", Body: make([]byte, store.MaxBody)})
		r.stop()
	})
}

// poison makes the actor panic when it is told it.
type poison struct{}

// newFragileRig has an actor that panics on poison.
func newFragileRig(t testing.TB, opts store.Options) *rig {
	r := newPeopledRig(t, opts)
	r.stopActor()
	r.system = kernel.NewSystem(kernel.Options{
		Logger: slog.New(slog.DiscardHandler),
		BeforeReceive: func(_ kernel.Ref, msg any) {
			if _, ok := msg.(poison); ok {
				panic("poison")
			}
		},
	})
	var err error
	r.ref, err = r.system.Spawn(kernel.Spec{
		Name: "store", Kind: "store",
		New:     func() kernel.Actor { return store.NewActor(r.store) },
		Backoff: kernel.Backoff{Min: time.Millisecond, Max: time.Millisecond, Forever: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRestartAnswersOnceAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newFragileRig(t, store.Options{FS: g})
		g.hold()
		inFlight := r.ask(accept(1, "in flight"))
		synctest.Wait()
		waiting := r.ask(accept(2, "waiting"))
		synctest.Wait()
		r.ref.Tell(poison{})
		synctest.Wait()
		if !waiting.done || waiting.err == nil {
			t.Errorf("what waited was not refused: %+v", waiting)
		}
		if inFlight.done {
			t.Errorf("in flight: %+v", inFlight)
		}
		after := r.ask(accept(3, "after")) // queued until the commit has ended
		synctest.Wait()
		if after.done {
			t.Errorf("a new incarnation works beside the commit of the old: %+v", after)
		}
		g.release()
		virtual.Sleep(time.Minute)
		synctest.Wait()
		for name, a := range map[string]*asked{"in flight": inFlight, "after": after} {
			if !a.done || a.err != nil || a.result.(store.Accepted).Duplicate {
				t.Errorf("%s: %+v", name, a)
			}
		}
		if got := must[store.Accepted](r, accept(1, "in flight")); !got.Duplicate {
			t.Errorf("%+v", got)
		}
		if got := must[store.Accepted](r, accept(2, "waiting")); got.Duplicate || got.Order != 3 {
			t.Errorf("%+v", got)
		}
		r.checked()
		r.stop()
	})
}

func TestNewIncarnationWaitsForAnOldCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newFragileRig(t, store.Options{FS: g})
		g.hold()
		inFlight := r.ask(accept(1, "x"))
		synctest.Wait()
		r.ref.Tell(poison{})
		virtual.Sleep(10 * time.Second) // longer than the kernel waits for a goroutine
		after := r.ask(accept(2, "y"))
		virtual.Sleep(10 * time.Second)
		if !errors.Is(inFlight.err, kernel.ErrFailed) {
			t.Errorf("in flight, with the incarnation gone that had the question: %+v", inFlight)
		}
		if after.done {
			t.Errorf("a new incarnation works beside the commit of the old: %+v", after)
		}
		g.release()
		virtual.Sleep(10 * time.Second)
		synctest.Wait()
		if after.err != nil || after.result.(store.Accepted).Order != 2 {
			t.Errorf("after %+v", after)
		}
		// The commit went through: asking again finds its message.
		if got := must[store.Accepted](r, accept(1, "x")); !got.Duplicate {
			t.Errorf("%+v", got)
		}
		r.checked()
		r.stop()
	})
}

func TestCommitErrorIsFinal(t *testing.T) {
	store.LeavesGoroutines(t)
	g := newGate()
	told := make(chan error, 4)
	r := newPeopledRig(t, store.Options{FS: g, OnFatal: func(err error) { told <- err }})
	g.fail(syscall.ENOSPC)
	if _, err := do[store.Accepted](r, accept(1, "x")); !errors.Is(err, store.ErrFailed) {
		t.Errorf("commit: %v", err)
	}
	select {
	case <-r.system.Done():
	case <-time.After(time.Minute):
		t.Fatal("the actor lives on")
	}
	if err := r.system.Err(); !errors.Is(err, store.ErrFailed) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the actor ended with %v", err)
	}
	select {
	case <-r.store.Failed():
	default:
		t.Error("Failed is open")
	}
	// The committer of the store calls OnFatal, maybe after the actor ended.
	select {
	case err := <-told:
		if !errors.Is(err, store.ErrFailed) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("OnFatal got %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("OnFatal was not called")
	}
	if _, err := r.store.Events(alice, 0, 0); !errors.Is(err, store.ErrFailed) {
		t.Errorf("read: %v", err)
	}
	if err := r.store.Err(); !errors.Is(err, store.ErrFailed) {
		t.Errorf("err: %v", err)
	}
	if err := r.store.Close(); !errors.Is(err, store.ErrFailed) {
		t.Errorf("close: %v", err)
	}
	if _, err := store.Open(r.opts); !errors.Is(err, store.ErrInUse) {
		t.Errorf("a failed store let go of its lock: %v", err)
	}
	if len(told) != 0 {
		t.Error("OnFatal was called twice")
	}
	r.system = nil

	// An actor around a failed store ends at once.
	system := kernel.NewSystem(kernel.Options{Logger: slog.New(slog.DiscardHandler)})
	_, err := system.Spawn(kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(r.store) }})
	if err != nil {
		t.Fatal(err)
	}
	<-system.Done()
	if err := system.Err(); !errors.Is(err, store.ErrFailed) {
		t.Errorf("second actor: %v", err)
	}
}

func TestActorIgnoresOtherMessages(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	r.ref.Tell("not a message of the store")
	r.ref.Tell(store.Write{Op: accept(1, "x")}) // nobody waits for the answer
	if _, err := do[any](r, nil); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("no operation: %v", err)
	}
	if got := must[store.Accepted](r, accept(1, "x")); !got.Duplicate {
		t.Errorf("%+v", got)
	}
	if _, err := do[int](r, accept(2, "x")); err == nil {
		t.Error("a result of another type")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Do[any](ctx, r.ref, accept(3, "x")); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	r.stopActor()
	if _, err := store.Do[any](t.Context(), r.ref, accept(4, "x")); !errors.Is(err, kernel.ErrStopped) {
		t.Errorf("stopped: %v", err)
	}
	if err := r.store.Close(); err != nil {
		t.Error(err)
	}
}

func TestActor_Idle_FreesIterator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		r := newPeopledRig(t, store.Options{FS: g})
		g.hold()
		held := r.ask(accept(1, "x"))
		virtual.Sleep(5 * time.Second) // the timer meets a commit under way
		g.release()
		virtual.Sleep(5 * time.Second)
		synctest.Wait()
		if !held.done {
			t.Error("not answered")
		}
		for guid := int64(2); guid < 100; guid++ {
			must[store.Accepted](r, accept(guid, "x"))
			if guid%10 == 0 {
				virtual.Sleep(2 * time.Second)
			}
		}
		if got := must[store.Accepted](r, accept(1, "x")); !got.Duplicate {
			t.Errorf("%+v", got)
		}
		r.checked()
		r.stop()
	})
}
