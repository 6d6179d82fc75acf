// SPDX-License-Identifier: MPL-2.0

package keylock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/mimird/mimird/bridge/keylock"
)

func TestLocks_OneKey_NotTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks keylock.Locks[string]
		hold := func(ctx context.Context, key string) func() {
			release, err := locks.Hold(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			return release
		}
		a := hold(t.Context(), "a")
		hold(t.Context(), "b")()
		if _, ok := locks.TryHold("a"); ok {
			t.Error("held twice")
		}
		impatient, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := locks.Share(impatient, "a"); !errors.Is(err, context.Canceled) {
			t.Errorf("shared what another holds: %v", err)
		}
		got := make(chan func(), 1)
		go func() { got <- hold(t.Context(), "a") }()
		synctest.Wait()
		if len(got) != 0 {
			t.Error("held twice")
		}
		a()
		synctest.Wait()
		(<-got)()
		release, ok := locks.TryHold("a")
		if !ok {
			t.Fatal("a lock that was released is still held")
		}
		release()
	})
}

func TestLocks_Shared(t *testing.T) {
	var locks keylock.Locks[int]
	first, err := locks.Share(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	second, err := locks.Share(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	first()
	if _, ok := locks.TryHold(1); ok {
		t.Error("held while it is shared")
	}
	second()
	release, ok := locks.TryHold(1)
	if !ok {
		t.Fatal("not released")
	}
	release()
}
