// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/mimird/mimird/actors/kernel"
)

// Names of the goroutines that the store actor owns.
const (
	taskCommit = "commit"
	taskWatch  = "watch for failure"
)

var (
	errStopping    = errors.New("store actor stops: not accepted, try again")
	errUnderWay    = errors.New("a commit of the previous incarnation is under way")
	errNotAnAnswer = errors.New("store answered with another type")
)

// storeActor is the one writer: a thin shell around [writer] that gives it turns
// and runs its commits in goroutines of its own.
type storeActor struct {
	store  *Store
	writer *writer
}

// NewActor returns the store actor, for a [kernel.Spec]'s New. It takes [Write]
// and answers [Written]. There must be one at a time, and it must have stopped
// before [Store.Close].
//
// It may be restarted around the same Store: what was being committed is
// answered by its commit, what waited behind it is answered with an error, and
// the new incarnation reads its counters from the database. It fails with a fatal
// error when the store has failed.
func NewActor(s *Store) kernel.Actor { return &storeActor{store: s, writer: newWriter(s)} }

// Started implements [kernel.Starter].
func (a *storeActor) Started(c *kernel.Context) error {
	if err := a.store.Err(); err != nil {
		return kernel.Fatal(err)
	}
	if a.store.committing() {
		// The kernel waits for our goroutines, but not for ever.
		return errUnderWay
	}
	c.Go(taskWatch, func(ctx context.Context) error {
		select {
		case <-a.store.Failed():
			return a.store.Err()
		case <-ctx.Done():
			return nil
		}
	})
	return nil
}

// Receive implements [kernel.Actor].
func (a *storeActor) Receive(c *kernel.Context, msg any) {
	switch m := msg.(type) {
	case Write:
		a.onWrite(c, m)
	case kernel.TaskDone:
		a.onTaskDone(c, m)
	default:
		c.Log().Warn("Unexpected message", "type", fmt.Sprintf("%T", msg))
	}
}

// Stopping implements [kernel.Stopper].
func (a *storeActor) Stopping(*kernel.Context) { a.writer.abandon(errStopping) }

func (a *storeActor) onWrite(c *kernel.Context, m Write) {
	a.writer.submit(sender(c.Sender()), m)
	a.commit(c)
}

func (a *storeActor) onTaskDone(c *kernel.Context, m kernel.TaskDone) {
	if m.Err != nil {
		c.Fail(kernel.Fatal(m.Err))
	}
	if m.Name == taskCommit {
		a.writer.ended()
		a.commit(c)
	}
}

// commit starts the next commit when none is under way.
func (a *storeActor) commit(c *kernel.Context) {
	if b := a.writer.next(); b != nil {
		c.Go(taskCommit, func(context.Context) error { return b.commit(a.store) })
	}
}

// sender answers by message.
type sender kernel.Ref

func (s sender) answer(w Written) { kernel.Ref(s).Tell(w) }

// Do has the store actor carry out an operation and waits for its result, which
// must be of type R (see the operation's comment). It is for goroutines outside
// actors. When ctx ends first, the operation may or may not happen.
func Do[R any](ctx context.Context, store kernel.Ref, op Op) (R, error) {
	var none R
	written, err := kernel.Ask[Written](ctx, store, Write{Op: op})
	if err != nil {
		return none, fmt.Errorf("%T: %w", op, err)
	}
	if written.Err != nil {
		return none, written.Err
	}
	result, ok := written.Result.(R)
	if !ok && written.Result != nil {
		return none, fmt.Errorf("%T: %w: %T, not %T", op, errNotAnAnswer, written.Result, none)
	}
	return result, nil
}
