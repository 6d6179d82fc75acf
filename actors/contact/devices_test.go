// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"testing"
	"time"

	"github.com/mimird/mimird/actors/session"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Each line is a story, one step every 20 s: what trackers say (a: they answer and
// do not name the node, n: they name it, s: silence) and whether a known node
// answers (k) or not (x), - for no attempt.
func TestDeviceHold_Decides(t *testing.T) {
	repeat := func(step string, n int) (all []string) {
		for range n {
			all = append(all, step)
		}
		return all
	}
	join := func(parts ...[]string) (all []string) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	for name, test := range map[string]struct {
		steps []string
		want  holdVerdict
		// within is the number of steps after which it is decided; before it nothing is.
		within int
	}{
		"named at once":                         {[]string{"n-"}, holdAccept, 1},
		"named while the known node answers":    {[]string{"ak", "nk"}, holdAccept, 2},
		"all silent":                            {repeat("sx", 10), holdAcceptUnconfirmed, 4},
		"one failure is not enough":             {join([]string{"sx"}, repeat("--", 40)), holdOn, 0},
		"trackers silent, known node there":     {repeat("sk", 100), holdOn, 0},
		"trackers answer, known node there":     {repeat("ak", 40), holdRefuse, 31},
		"trackers answer, known node gone":      {repeat("ax", 40), holdAcceptUnconfirmed, 31},
		"trackers answer, nobody tried":         {repeat("a-", 40), holdAcceptUnconfirmed, 31},
		"known node answered once, is gone":     {join([]string{"ak"}, repeat("ax", 40)), holdAcceptUnconfirmed, 31},
		"trackers come back late":               {join(repeat("sk", 20), repeat("ak", 40)), holdRefuse, 51},
		"trackers answer with gaps":             {join(repeat("ak", 20), repeat("sk", 3), repeat("ak", 29)), holdOn, 0},
		"one lost answer is not a gap":          {join(repeat("ak", 20), repeat("sk", 1), repeat("ak", 20)), holdRefuse, 31},
		"named in the last minute":              {join(repeat("ak", 29), []string{"nk"}), holdAccept, 30},
		"silence, then the known node answers":  {join([]string{"sx"}, repeat("sk", 60)), holdOn, 0},
		"trackers answer, then all fall silent": {join(repeat("ax", 10), repeat("sx", 10)), holdAcceptUnconfirmed, 12},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1_700_000_000, 0)
			node := identity.NodeKey{1}
			h := &deviceHold{node: node, since: now}
			for i, step := range test.steps {
				switch step[0] {
				case 'a':
					h.lookedUp([]store.Address{{Node: identity.NodeKey{2}}}, true, now)
				case 'n':
					h.lookedUp([]store.Address{{Node: identity.NodeKey{2}}, {Node: node}}, true, now)
				case 's':
					h.lookedUp(nil, false, now)
				}
				switch step[1] {
				case 'k':
					h.met()
				case 'x':
					h.missed()
				}
				got := h.decide(now)
				if decided := i+1 == test.within; got != holdOn != decided || decided && got != test.want {
					t.Fatalf("step %d (%s): verdict %d, want %d after %d", i+1, step, got, test.want, test.within)
				}
				if got != holdOn {
					return
				}
				now = now.Add(holdLook)
			}
		})
	}
}

// A node that was refused is taken when a tracker names it after all.
func TestDeviceHold_RefusedAndNamedLater_Taken(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	h := &deviceHold{node: identity.NodeKey{1}, since: now, refused: now}
	h.lookedUp(nil, true, now.Add(time.Hour))
	if v := h.decide(now.Add(time.Hour)); v != holdOn {
		t.Errorf("verdict %d before it is named", v)
	}
	h.lookedUp([]store.Address{{Node: identity.NodeKey{1}}}, true, now.Add(time.Hour))
	if v := h.decide(now.Add(time.Hour)); v != holdAccept {
		t.Errorf("verdict %d after it is named", v)
	}
}

// A dial and the hold ask at the same time and hear the same: it is one lookup that no
// tracker has answered, and one is not enough.
func TestDeviceHold_OneSilenceHeardTwice_CountsOnce(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	h := &deviceHold{node: identity.NodeKey{1}, since: now}
	h.missed()
	h.missed()
	now = now.Add(holdLeast)
	for range 2 {
		h.lookedUp(nil, false, now)
	}
	if v := h.decide(now); v != holdOn {
		t.Errorf("verdict %d after one lookup", v)
	}
	now = now.Add(holdLook)
	h.lookedUp(nil, false, now)
	if v := h.decide(now); v != holdAcceptUnconfirmed {
		t.Errorf("verdict %d after two lookups", v)
	}
}

func TestChangesNodes(t *testing.T) {
	const now = store.Millis(1_700_000_000_000)
	const day = store.Millis(24 * time.Hour / time.Millisecond)
	knownAt := func(ago store.Millis, generations ...uint8) (all []store.KnownNode) {
		for i, g := range generations {
			all = append(all, store.KnownNode{Key: identity.NodeKey{byte(i + 1)}, Generation: g, LastAuth: now - ago*store.Millis(i)})
		}
		return all
	}
	known := func(generations ...uint8) []store.KnownNode { return knownAt(day, generations...) }
	for name, test := range map[string]struct {
		known []store.KnownNode // the latest first
		comes session.Generation
		want  bool
	}{
		"gen2 again":                        {known(2), session.Gen2, true},
		"gen1 again":                        {known(3, 1), session.Gen1, true},
		"gen1, long ago":                    {knownAt(31*day, 3, 1), session.Gen1, false},
		"gen2, a month ago":                 {knownAt(30*day, 3, 2), session.Gen2, true},
		"gen3 as ever":                      {known(3, 3), session.Gen3, false},
		"before generations were noted":     {known(0), session.Gen3, false},
		"an old app that is a new one":      {known(2, 3), session.Gen3, true},
		"a new app beside an old one":       {known(3, 2), session.Gen3, false},
		"an old generation is a way around": {known(3), session.Gen2, false},
		"another old generation":            {known(2), session.Gen1, false},
	} {
		if got := changesNodes(test.known, test.comes, now); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A known node that is not dialled, because it is another conversation's turn there, is
// not one that could not be reached.
func TestAnyWaits(t *testing.T) {
	node := func(b byte) identity.NodeKey { return identity.NodeKey{b} }
	known := []store.KnownNode{{Key: node(1)}, {Key: node(2)}}
	for name, test := range map[string]struct {
		candidates, dialled []identity.NodeKey
		want                bool
	}{
		"all are dialled":         {[]identity.NodeKey{node(1), node(2), node(3)}, []identity.NodeKey{node(1), node(2), node(3)}, false},
		"another waits":           {[]identity.NodeKey{node(1), node(2), node(3)}, []identity.NodeKey{node(1), node(2)}, false},
		"a known one waits":       {[]identity.NodeKey{node(1), node(2), node(3)}, []identity.NodeKey{node(1), node(3)}, true},
		"one is not a candidate":  {[]identity.NodeKey{node(2)}, []identity.NodeKey{node(2)}, false},
		"only others are dialled": {[]identity.NodeKey{node(1), node(3)}, []identity.NodeKey{node(3)}, true},
	} {
		if got := anyWaits(known, test.candidates, test.dialled); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
