// SPDX-License-Identifier: MPL-2.0

// Package keylock has locks by name: who uses one thing waits for its other users alone.
// It exists because a lock that is held during a request to a homeserver must not hold up
// what has nothing to do with it.
package keylock

import (
	"context"
	"math"
	"sync"

	"golang.org/x/sync/semaphore"
)

// Locks has a lock for each key that is in use at the moment. The zero value is ready.
// All methods may be called from any goroutine.
type Locks[K comparable] struct {
	mu    sync.Mutex
	locks map[K]*lock
}

type lock struct {
	users  int // who hold it or wait for it
	shares *semaphore.Weighted
}

// allShares is the weight of a holder alone; to share takes 1.
const allShares = math.MaxInt32

// Hold takes the lock of a key for its caller alone, and returns what releases it. It
// fails only when ctx ends.
func (l *Locks[K]) Hold(ctx context.Context, key K) (release func(), err error) {
	return l.acquire(ctx, key, allShares)
}

// Share takes the lock of a key together with others that share it, and returns what
// releases it. It fails only when ctx ends.
func (l *Locks[K]) Share(ctx context.Context, key K) (release func(), err error) {
	return l.acquire(ctx, key, 1)
}

// TryHold is Hold if nobody has the lock.
func (l *Locks[K]) TryHold(key K) (release func(), ok bool) {
	k := l.enter(key)
	if !k.shares.TryAcquire(allShares) {
		l.leave(key, k)
		return nil, false
	}
	return func() { k.shares.Release(allShares); l.leave(key, k) }, true
}

func (l *Locks[K]) acquire(ctx context.Context, key K, weight int64) (release func(), err error) {
	k := l.enter(key)
	if err := k.shares.Acquire(ctx, weight); err != nil {
		l.leave(key, k)
		return nil, err
	}
	return func() { k.shares.Release(weight); l.leave(key, k) }, nil
}

func (l *Locks[K]) enter(key K) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.locks == nil {
		l.locks = make(map[K]*lock)
	}
	k := l.locks[key]
	if k == nil {
		k = &lock{shares: semaphore.NewWeighted(allShares)}
		l.locks[key] = k
	}
	k.users++
	return k
}

func (l *Locks[K]) leave(key K, k *lock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.users--; k.users == 0 {
		delete(l.locks, key)
	}
}
