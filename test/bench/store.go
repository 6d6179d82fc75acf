// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// storeRounds is how often baseline and store are measured in turn; the medians
	// count, so that one hiccup of the disk does not.
	storeRounds = 7
	storeSlice  = 700 * time.Millisecond
	// storePayload makes a row of about 350 bytes, a chat message of some length.
	storePayload = 250
	storeRecord  = 350
)

// storeFigures measure what a durable message costs. The disk's own rate is the
// limit for one writer; with many, one sync is shared.
func storeFigures() []figure {
	return []figure{
		{"store-accept-1-writer", func(ctx context.Context) (result, error) { return measureStore(ctx, 1) }},
		{"store-accept-100-writers", func(ctx context.Context) (result, error) { return measureStore(ctx, 100) }},
	}
}

func measureStore(ctx context.Context, writers int) (_ result, err error) {
	dir, err := storeDir()
	if err != nil {
		return result{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	rig, err := newStoreRig(filepath.Join(dir, "store"), writers)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, rig.close()) }()

	var ours, disk []float64
	for round := range storeRounds {
		raw, err := appendRate(ctx, filepath.Join(dir, fmt.Sprintf("append-%d", round)), storeSlice)
		if err != nil {
			return result{}, err
		}
		rate, err := rig.acceptRate(ctx, storeSlice)
		if err != nil {
			return result{}, err
		}
		disk, ours = append(disk, raw), append(ours, rate)
	}
	base, got := median(disk), median(ours)
	return result{
		ratio:    got / base,
		baseline: "the disk's own append+fdatasync",
		detail:   fmt.Sprintf("%.0f durable messages/s by %d writers, %.0f synced appends/s", got, writers, base),
	}, nil
}

// storeDir makes a directory on a real disk: the system's temporary directory is
// often memory.
func storeDir() (string, error) {
	parent := os.Getenv("TMPDIR")
	if parent == "" {
		parent = ".cache"
		if err := os.MkdirAll(parent, 0o750); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(parent, "bench-store-")
}

// appendRate measures how many records per second the disk takes one by one.
func appendRate(ctx context.Context, path string, length time.Duration) (float64, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	record := make([]byte, storeRecord)
	begun := time.Now()
	n := 0
	for ; time.Since(begun) < length && ctx.Err() == nil; n++ {
		if _, err := f.Write(record); err != nil {
			return 0, err
		}
		if err := syncData(f); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(begun).Seconds(), ctx.Err()
}

// storeRig is a store with its actor, an account and a contact per writer.
type storeRig struct {
	store    *store.Store
	system   *kernel.System
	ref      kernel.Ref
	account  identity.PublicKey
	contacts []identity.PublicKey
	guid     atomic.Int64
}

func newStoreRig(dir string, writers int) (_ *storeRig, err error) {
	log := slog.New(slog.DiscardHandler)
	rig := &storeRig{system: kernel.NewSystem(kernel.Options{Logger: log}), account: identity.PublicKey{1}}
	if rig.store, err = store.Open(store.Options{Dir: dir}); err != nil {
		return nil, err
	}
	rig.ref, err = rig.system.Spawn(kernel.Spec{
		Name: "store", Kind: "store", Resident: true, New: func() kernel.Actor { return store.NewActor(rig.store) },
	})
	if err != nil {
		return nil, errors.Join(err, rig.store.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := store.Do[bool](ctx, rig.ref, store.PutAccount{Account: store.Account{ID: rig.account}}); err != nil {
		return nil, errors.Join(err, rig.close())
	}
	for i := range writers {
		id := identity.PublicKey{2, byte(i), byte(i >> 8)}
		contact := store.Contact{Account: rig.account, ID: id, State: store.ContactAccepted}
		if _, err := store.Do[store.Added](ctx, rig.ref, store.AddContact{Contact: contact}); err != nil {
			return nil, errors.Join(err, rig.close())
		}
		rig.contacts = append(rig.contacts, id)
	}
	return rig, nil
}

func (r *storeRig) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(r.system.Stop(ctx), r.store.Close())
}

// acceptRate measures how many messages per second are on the disk and answered,
// each writer waiting for its answer before it sends the next.
func (r *storeRig) acceptRate(ctx context.Context, length time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, length+time.Minute)
	defer cancel()
	begun := time.Now()
	accepted, err := r.acceptWhile(ctx, func(int) bool { return time.Since(begun) < length })
	return float64(accepted) / time.Since(begun).Seconds(), err
}

// accept stores messages, n of each writer.
func (r *storeRig) accept(ctx context.Context, n int) error {
	_, err := r.acceptWhile(ctx, func(done int) bool { return done < n })
	return err
}

// acceptWhile has every writer store messages while more, which is told how many it has
// stored.
func (r *storeRig) acceptWhile(ctx context.Context, more func(done int) bool) (int64, error) {
	var group sync.WaitGroup
	var accepted atomic.Int64
	errs := make([]error, len(r.contacts))
	for i, contact := range r.contacts {
		group.Go(func() {
			for done := 0; more(done) && errs[i] == nil; done++ {
				op := store.AcceptMessage{
					Account: r.account, Conversation: store.ContactConversation(contact), GUID: r.guid.Add(1), Type: 1,
					SendTime: store.MillisOf(time.Now()), Payload: make([]byte, storePayload),
				}
				_, errs[i] = store.Do[store.Accepted](ctx, r.ref, op)
				accepted.Add(1)
			}
		})
	}
	group.Wait()
	return accepted.Load(), errors.Join(errs...)
}
