// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The cast of the tests.
var (
	alice = key(0xa1)
	anna  = key(0xa2)
	bob   = key(0xb1)
	carol = key(0xc1)
)

func key(b byte) identity.PublicKey {
	var k identity.PublicKey
	for i := range k {
		k[i] = b
	}
	return k
}

func nodeKey(b byte) identity.NodeKey { return identity.NodeKey(key(b)) }

// clock is the time that a rig's store sees.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

// rig is a store with its actor.
type rig struct {
	t      testing.TB
	opts   store.Options
	clock  *clock
	store  *store.Store
	system *kernel.System
	ref    kernel.Ref
}

// newRig opens a store in memory, unless opts say otherwise.
func newRig(t testing.TB, opts store.Options) *rig {
	t.Helper()
	r := &rig{t: t, opts: opts, clock: &clock{time.UnixMilli(1_700_000_000_000)}}
	if r.opts.Dir == "" {
		r.opts.Dir = "store"
		if r.opts.FS == nil {
			r.opts.FS = vfs.NewMem()
		}
	}
	if r.opts.Now == nil {
		r.opts.Now = r.clock.Now
	}
	r.start()
	t.Cleanup(func() {
		if r.system != nil {
			r.stop()
		}
	})
	return r
}

// newPeopledRig has the accounts alice and anna, with the contacts bob and carol
// each.
func newPeopledRig(t testing.TB, opts store.Options) *rig {
	t.Helper()
	r := newRig(t, opts)
	r.people()
	return r
}

func (r *rig) people() {
	r.t.Helper()
	for _, account := range []identity.PublicKey{alice, anna} {
		must[bool](r, store.PutAccount{Account: store.Account{ID: account, Name: "name of " + account.Short()}})
		for _, contact := range []identity.PublicKey{bob, carol} {
			c := store.Contact{Account: account, ID: contact, State: store.ContactAccepted}
			must[store.Added](r, store.AddContact{Contact: c})
		}
	}
}

func (r *rig) start() {
	r.t.Helper()
	s, err := store.Open(r.opts)
	if err != nil {
		r.t.Fatalf("open: %v", err)
	}
	r.store = s
	r.system = kernel.NewSystem(kernel.Options{Logger: slog.New(slog.DiscardHandler)})
	r.ref, err = r.system.Spawn(kernel.Spec{
		Name: "store", Kind: "store",
		New:     func() kernel.Actor { return store.NewActor(s) },
		Backoff: kernel.Backoff{Min: time.Millisecond, Max: time.Millisecond},
	})
	if err != nil {
		r.t.Fatalf("spawn: %v", err)
	}
}

func (r *rig) stop() {
	r.t.Helper()
	r.stopActor()
	if err := r.store.Close(); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

func (r *rig) stopActor() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.system.Stop(ctx); err != nil {
		r.t.Errorf("stop: %v", err)
	}
	r.system = nil
}

// restart closes the store and opens it again.
func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	r.start()
}

// do carries out an operation.
func do[R any](r *rig, op store.Op) (R, error) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return store.Do[R](ctx, r.ref, op)
}

// must carries out an operation that has to succeed.
func must[R any](r *rig, op store.Op) R {
	r.t.Helper()
	result, err := do[R](r, op)
	if err != nil {
		r.t.Fatalf("%T: %v", op, err)
	}
	return result
}

// get unwraps a read that has to succeed.
func get[R any](r *rig) func(R, error) R {
	return func(value R, err error) R {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
		return value
	}
}

// accept is a message from bob to alice.
func accept(guid int64, text string) store.AcceptMessage {
	return store.AcceptMessage{
		Account: alice, Conversation: store.ContactConversation(bob), GUID: guid, Type: 1,
		SendTime: 1_699_999_000_000, Payload: []byte(text),
	}
}

// enqueue is a message from alice to bob.
func enqueue(guid int64, text, source string) store.EnqueueMessage {
	return store.EnqueueMessage{
		Account: alice, Conversation: store.ContactConversation(bob), GUID: guid, Type: 1,
		SendTime: 1_699_999_000_000, Payload: []byte(text), Source: source,
	}
}

// kinds lists the kinds of an account's events, from the one after the given one
// on.
func (r *rig) kinds(account identity.PublicKey, after uint64) []store.EventKind {
	r.t.Helper()
	var kinds []store.EventKind
	for _, ev := range get[[]store.Event](r)(r.store.Events(account, after, 0)) {
		kinds = append(kinds, ev.Kind)
	}
	return kinds
}

// lastSeq returns the number of an account's last event.
func (r *rig) lastSeq(account identity.PublicKey) uint64 {
	r.t.Helper()
	var last uint64
	for {
		page := get[[]store.Event](r)(r.store.Events(account, last, 0))
		if len(page) == 0 {
			return last
		}
		last = page[len(page)-1].Seq
	}
}

// texts lists the payloads of a conversation, oldest first.
func (r *rig) texts(account, contact identity.PublicKey) []string {
	r.t.Helper()
	var texts []string
	for before := uint64(0); ; {
		page := get[[]store.Message](r)(r.store.Messages(account, store.ContactConversation(contact), before, 0))
		if len(page) == 0 {
			return texts
		}
		for _, msg := range page {
			texts = append([]string{string(msg.Payload)}, texts...)
			before = msg.Order
		}
	}
}

// checked fails the test when the rows of the store contradict each other.
func (r *rig) checked() {
	r.t.Helper()
	for _, problem := range get[[]string](r)(r.store.Check()) {
		r.t.Errorf("check: %s", problem)
	}
}

func guidText(guid int64) string { return fmt.Sprintf("text %d", guid) }
