// SPDX-License-Identifier: MPL-2.0

package identity_test

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"testing"

	"github.com/mimird/mimird/proto/identity"
)

func TestGuardSetPermitsWhatNoneRefuses(t *testing.T) {
	set := identity.GuardSet{identity.KeyGuard(identity.NodeKey{1}), identity.GuardFunc(permit)}
	if set.Refuses([32]byte{2}) || !set.Refuses([32]byte{1}) {
		t.Error("the set is wrong")
	}
}

func TestCurvePointsRefuseHalfOfAllValues(t *testing.T) {
	refused := 0
	for range 1000 {
		var value [32]byte
		if _, err := rand.Read(value[:]); err != nil {
			t.Fatal(err)
		}
		if (identity.CurvePoints{}).Refuses(value) {
			refused++
		}
	}
	// 1000 fair coins leave 350 to 650 with a chance below 10^-20.
	if refused < 350 || refused > 650 {
		t.Errorf("%d of 1000", refused)
	}
}

func numbered(n int) identity.Challenge {
	var c identity.Challenge
	binary.BigEndian.PutUint64(c[:], uint64(n))
	return c
}

// Bar S07
func TestIssuedRemembersForAnIntervalAndForgetsAfterTwo(t *testing.T) {
	i := identity.NewIssued(100)
	i.Add(numbered(1))
	i.Rotate()
	i.Add(numbered(2))
	if !i.Refuses(numbered(1)) || !i.Refuses(numbered(2)) || i.Refuses(numbered(3)) {
		t.Error("forgotten within an interval, or invented")
	}
	i.Rotate()
	if i.Refuses(numbered(1)) || !i.Refuses(numbered(2)) {
		t.Error("not forgotten after two, or forgotten within one")
	}
}

func TestIssuedIsBounded(t *testing.T) {
	const limit = 10
	i := identity.NewIssued(limit)
	for n := range 1000 {
		i.Add(numbered(n))
		if !i.Refuses(numbered(n)) {
			t.Fatalf("%d forgotten at once", n)
		}
		known := 0
		for m := range n + 1 {
			if i.Refuses(numbered(m)) {
				known++
			}
		}
		if known > 2*limit || known < min(n+1, limit) {
			t.Fatalf("%d known after %d", known, n+1)
		}
	}
	if zero := identity.NewIssued(0); zero.Refuses(numbered(1)) {
		t.Error("an empty memory knows something")
	}
}

func TestIssuedIsSafeForConcurrentUse(t *testing.T) {
	i := identity.NewIssued(8)
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			for n := range 500 {
				i.Add(numbered(g*1000 + n))
				i.Refuses(numbered(n))
				if n%100 == 0 {
					i.Rotate()
				}
			}
		})
	}
	group.Wait()
}
