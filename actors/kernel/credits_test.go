// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/kernel"
)

func TestCreditsBoundCountAndBytes(t *testing.T) {
	c := kernel.NewCredits(3, 100)
	for _, bytes := range []int64{40, 40, 20} {
		if !c.TryAcquire(bytes) {
			t.Fatalf("%d bytes refused", bytes)
		}
	}
	if c.TryAcquire(0) {
		t.Error("a fourth item was allowed")
	}
	c.Release(20)
	if c.TryAcquire(21) {
		t.Error("a byte too many was allowed")
	}
	if !c.TryAcquire(20) {
		t.Error("what was released is not there")
	}
	c.Release(20)
	c.Release(40)
	c.Release(40)
	for range 3 {
		if !c.TryAcquire(0) {
			t.Error("empty items count too much")
		}
	}
}

func TestCredits_LargeItem_Alone(t *testing.T) {
	c := kernel.NewCredits(3, 100)
	if !c.TryAcquire(1000) {
		t.Fatal("alone it is refused")
	}
	if c.TryAcquire(0) {
		t.Error("it is not alone")
	}
	c.Release(1000)
	if !c.TryAcquire(0) || c.TryAcquire(1000) {
		t.Error("it was allowed beside another")
	}
}

func TestAcquireWaitsForReleaseAndContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for count, bytes := range map[int]int64{1: 1000, 3: 10} { // short of items, short of bytes
			c := kernel.NewCredits(count, bytes)
			if err := c.Acquire(t.Context(), 10); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				if err := c.Acquire(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				cancel()
				if c.TryAcquire(1) {
					t.Error("there was a credit")
				}
			}
			done := make(chan error)
			go func() { done <- c.Acquire(t.Context(), 1) }()
			synctest.Wait()
			c.Release(10)
			if err := <-done; err != nil {
				t.Error(err)
			}
			c.Release(1)
			for range count {
				if !c.TryAcquire(1) {
					t.Error("a credit was lost when ctx ended")
				}
			}
		}
	})
}

func TestCredits_ReleaseTooMuch_Panics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it does not panic")
		}
	}()
	kernel.NewCredits(0, 0).Release(1)
}

func TestCreditsUnderLoad(t *testing.T) {
	const count, limit = 5, 1000
	c := kernel.NewCredits(count, limit)
	var items, bytes atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 300 {
				n := rand.Int64N(limit * 5 / 4)
				if err := c.Acquire(t.Context(), n); err != nil {
					t.Error(err)
					return
				}
				i, b := items.Add(1), bytes.Add(n)
				if i > count || b > limit && i > 1 {
					t.Errorf("%d items with %d bytes under way", i, b)
				}
				bytes.Add(-n)
				items.Add(-1)
				c.Release(n)
			}
		})
	}
	wg.Wait()
}
