// SPDX-License-Identifier: MPL-2.0

package resolver

import (
	"testing"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

func TestForeignNodes_ReportedOnceAndAgainAfterTheyWereGone(t *testing.T) {
	f := &ForeignNodes{seen: make(map[identity.PublicKey][]ForeignNode)}
	account, node := identity.PublicKey{1}, identity.NodeKey{2}
	start := time.Unix(1e9, 0)
	for _, step := range []struct {
		after  time.Duration
		report bool
	}{{0, true}, {time.Minute, false}, {foreignMemory, false}, {3 * foreignMemory, true}} {
		if got := f.observe(account, node, start.Add(step.after)); got != step.report {
			t.Errorf("after %v: reported %v", step.after, got)
		}
	}
	last := start.Add(3 * foreignMemory)
	if got := f.Current(last.Add(foreignMemory)); len(got) != 1 || got[0].Node != node || !got[0].Since.Equal(last) {
		t.Errorf("current: %+v", got)
	}
	if got := f.Current(last.Add(foreignMemory + 1)); len(got) != 0 {
		t.Errorf("current after its time: %+v", got)
	}
	f.suppress(account)
	if got := f.Current(last); len(got) != 0 {
		t.Errorf("current of an account that is not served: %+v", got)
	}
	if f.observe(account, node, last.Add(time.Minute)) {
		t.Error("reported again because the account was away")
	}
}

func TestForeignNodes_EvictsTheLeastRecent(t *testing.T) {
	f := &ForeignNodes{seen: make(map[identity.PublicKey][]ForeignNode)}
	now := time.Unix(1e9, 0)
	for i := range maxForeign + 1 {
		f.observe(identity.PublicKey{1}, identity.NodeKey{byte(i)}, now.Add(time.Duration(i)*time.Second))
	}
	got := f.Current(now.Add(time.Minute))
	if len(got) != maxForeign || got[0].Node != (identity.NodeKey{1}) {
		t.Errorf("%d nodes, the oldest %v, want %d without the first", len(got), got[0].Node, maxForeign)
	}
}
