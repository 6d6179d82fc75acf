// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/backup"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	storeDir = "store"
	// writers is how many messages are sent at once while a rig is filled.
	writers = 256
	// firstSent is when the first message was sent, in Unix milliseconds; the others follow
	// by half a minute.
	firstSent = 1_700_000_000_000
	// payload is a chat message of some length, in bytes.
	payload = 250
	// consumer has dealt with all that a rig has, the last caughtUp messages one by one.
	consumer = "growth"
	caughtUp = 300
)

// storeFigures measure what reads all of a store, or all conversations.
func storeFigures() []figure {
	return []figure{
		{"growth-check", "message", 15 * time.Microsecond, nil, measureCheck},
		{"growth-restore", "message", 20 * time.Microsecond, nil, measureRestore},
		{"growth-pending", "conversation", 500 * time.Nanosecond, nil, measurePending},
		{"growth-contact-by-name", "conversation", 100 * time.Nanosecond, nil, measureNamed},
		{"growth-pending-first", "call", 5 * time.Millisecond, nil, measureFirstPending},
	}
}

// rig is a closed store of a size.
type rig struct {
	size
	dir     string
	account identity.PublicKey
}

func (r *rig) contact(i int) identity.PublicKey {
	return identity.PublicKey{2, byte(i * 151), byte(i >> 8), byte(i)}
}

func newRig(ctx context.Context, dir string, s size) (_ *rig, err error) {
	r := &rig{size: s, dir: dir, account: identity.PublicKey{1}}
	err = r.write(func(ref kernel.Ref, s *store.Store) error {
		if err := r.fill(ctx, ref); err != nil {
			return err
		}
		return r.catchUp(ctx, ref, s)
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// write calls f with the store and its actor.
func (r *rig) write(f func(kernel.Ref, *store.Store) error) error {
	return actorstest.WriteStore(filepath.Join(r.dir, storeDir), f)
}

// fill writes messages, one of four from us and delivered, and moves the consumer's
// cursors behind them.
func (r *rig) fill(ctx context.Context, ref kernel.Ref) error {
	if _, err := store.Do[bool](ctx, ref, store.PutAccount{Account: store.Account{ID: r.account}}); err != nil {
		return err
	}
	err := r.inParallel(r.conversations, func(i int) error {
		contact := store.Contact{Account: r.account, ID: r.contact(i), State: store.ContactAccepted, Nickname: fmt.Sprintf("contact %d", i)}
		_, err := store.Do[store.Added](ctx, ref, store.AddContact{Contact: contact})
		return err
	})
	if err != nil {
		return err
	}
	return r.inParallel(r.messages, func(i int) error { return r.accept(ctx, ref, i) })
}

// accept writes a message.
func (r *rig) accept(ctx context.Context, ref kernel.Ref, i int) error {
	conversation := store.ContactConversation(r.contact(i % r.conversations))
	random := rand.New(rand.NewPCG(1, uint64(i)))
	guid, text := int64(random.Uint64()|1), textOf(random, payload)
	sent := store.Millis(firstSent + 30_000*int64(i))
	if i%4 != 0 {
		op := store.AcceptMessage{Account: r.account, Conversation: conversation, GUID: guid, SendTime: sent, Payload: text}
		_, err := store.Do[store.Accepted](ctx, ref, op)
		return err
	}
	op := store.EnqueueMessage{
		Account: r.account, Conversation: conversation, GUID: guid, SendTime: sent, Payload: text,
		Source: fmt.Sprintf("$matrix-event-id-of-the-length-they-have-%d", i),
	}
	if _, err := store.Do[store.Enqueued](ctx, ref, op); err != nil {
		return err
	}
	_, err := store.Do[bool](ctx, ref, store.MarkDelivered{Account: r.account, Conversation: conversation, GUID: guid})
	return err
}

// catchUp moves the consumer's cursors behind all events, and deals with some more
// messages, one by one as a consumer does.
func (r *rig) catchUp(ctx context.Context, ref kernel.Ref, s *store.Store) error {
	dealWith := func() error {
		pending, err := s.Pending(consumer, r.account)
		if err != nil {
			return err
		}
		return r.inParallel(len(pending), func(i int) error {
			op := store.MoveCursor{Consumer: consumer, Account: r.account, Conversation: pending[i].Conversation, Seq: pending[i].Last}
			_, err := store.Do[bool](ctx, ref, op)
			return err
		})
	}
	if err := dealWith(); err != nil {
		return err
	}
	for range caughtUp {
		if err := r.accept(ctx, ref, r.messages); err != nil {
			return err
		}
		r.messages++
		if err := dealWith(); err != nil {
			return err
		}
	}
	return nil
}

// inParallel calls f for the numbers below n, until a call fails.
func (r *rig) inParallel(n int, f func(i int) error) error {
	var next atomic.Int64
	var group errgroup.Group
	for range writers {
		group.Go(func() error {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// read calls f with the store, opened for reading, so that nothing else works meanwhile.
func (r *rig) read(f func(*store.Store) error) error {
	s, err := store.OpenReadOnly(store.Options{Dir: filepath.Join(r.dir, storeDir)})
	if err != nil {
		return err
	}
	return errors.Join(f(s), s.Close())
}

func check(s *store.Store) error {
	problems, err := s.Check()
	if err == nil && len(problems) > 0 {
		err = fmt.Errorf("problems: %q", problems)
	}
	return err
}

func measureCheck(_ context.Context, r *rig) (took time.Duration, err error) {
	err = r.read(func(s *store.Store) (err error) {
		took, err = cost(func() error { return check(s) })
		return err
	})
	return took, err
}

// measureRestore measures what mimird restore does with a backup that is not encrypted.
func measureRestore(_ context.Context, r *rig) (time.Duration, error) {
	path := r.dir + ".backup"
	if err := writeBackup(path, r.dir); err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(path) }()
	return cost(func() error { return restore(path, r.dir+".restored") })
}

func writeBackup(path, dir string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = backup.Write(f, dir, backup.About{})
	return errors.Join(err, f.Close())
}

func restore(path, dir string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	defer func() { _ = os.RemoveAll(dir) }()
	if _, err := backup.Read(f, dir); err != nil {
		return err
	}
	return (&rig{dir: dir}).read(check)
}

// measurePending measures the question what a consumer that has dealt with everything
// has still to do.
func measurePending(_ context.Context, r *rig) (took time.Duration, err error) {
	err = r.read(func(s *store.Store) (err error) {
		took, err = cost(func() error { return r.nonePending(s) })
		return err
	})
	return took, err
}

// measureFirstPending measures the same for the first time after a start.
func measureFirstPending(_ context.Context, r *rig) (least time.Duration, err error) {
	for range repeats {
		err := r.read(func(s *store.Store) error {
			took, err := once(func() error { return r.nonePending(s) })
			if least == 0 || took < least {
				least = took
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return least, nil
}

func (r *rig) nonePending(s *store.Store) error {
	pending, err := s.Pending(consumer, r.account)
	if err == nil && len(pending) > 0 {
		err = fmt.Errorf("%d conversations are pending", len(pending))
	}
	return err
}

// measureNamed measures the look-up of a contact by name.
func measureNamed(_ context.Context, r *rig) (took time.Duration, err error) {
	err = r.read(func(s *store.Store) (err error) {
		took, err = cost(func() error {
			found, err := s.ContactsNamed(r.account, fmt.Sprintf("contact %d", r.conversations/2), store.Folding{})
			if err == nil && len(found) != 1 {
				err = fmt.Errorf("%d contacts have the name", len(found))
			}
			return err
		})
		return err
	})
	return took, err
}
