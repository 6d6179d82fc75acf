// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// peersim plays the peers of a choice, by a clock of its own.
type peersim struct {
	t       *testing.T
	c       *choice
	now     time.Time
	latency map[string]time.Duration
	dead    map[string]bool
	asked   map[string]int // how often
	links   map[string]bool
}

func newPeersim(t *testing.T, want, all int) *peersim {
	s := &peersim{
		t: t, now: time.Unix(1e9, 0), dead: make(map[string]bool), latency: make(map[string]time.Duration),
		asked: make(map[string]int), links: make(map[string]bool),
	}
	var candidates []*candidate
	for i := range all {
		name := fmt.Sprint("p", i)
		s.latency[name] = (200 * time.Millisecond) >> i // the last is the best
		candidates = append(candidates, &candidate{uri: name, name: name})
	}
	s.c = newChoice(want, candidates, s.now)
	return s
}

// run lets time pass; at no moment a working link may be the last to be dropped.
func (s *peersim) run(d time.Duration) {
	s.t.Helper()
	for end := s.now.Add(d); s.now.Before(end); s.now = s.now.Add(time.Second) {
		seen := make(map[string]linkSeen)
		before := len(s.up())
		for name := range s.links {
			seen[name] = linkSeen{up: !s.dead[name], latency: s.latency[name]}
		}
		add, drop := s.c.step(s.now, seen)
		for _, p := range add {
			if s.links[p.name] {
				s.t.Errorf("%s is asked for twice", p.name)
			}
			s.links[p.name] = true
			s.asked[p.name]++
		}
		for _, p := range drop {
			if !s.links[p.name] {
				s.t.Errorf("%s is dropped and was not asked for", p.name)
			}
			delete(s.links, p.name)
		}
		if before > 0 && len(s.up()) == 0 {
			s.t.Errorf("the last of %d links was dropped", before)
		}
	}
}

func (s *peersim) up() (names []string) {
	for name := range s.links {
		if !s.dead[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (s *peersim) want(names ...string) {
	s.t.Helper()
	if up := s.up(); !slices.Equal(up, names) {
		s.t.Errorf("connected to %v, want %v", up, names)
	}
}

func TestChoiceFindsTheQuickestPeers(t *testing.T) {
	s := newPeersim(t, 2, 6)
	s.run(5 * time.Second)
	s.want("p0", "p1", "p2", "p3") // all that are on trial
	s.run(time.Minute)
	s.want("p2", "p3") // the quickest of those
	s.run(3*time.Hour + time.Minute)
	s.want("p4", "p5") // spares were tried, one after the other
	for name, n := range s.asked {
		if n > 12 {
			t.Errorf("%s was tried %d times in three hours", name, n)
		}
	}
}

func TestChoiceReplacesPeersThatFail(t *testing.T) {
	s := newPeersim(t, 2, 6)
	s.run(3*time.Hour + time.Minute)
	s.dead["p5"] = true
	s.run(failAfter + 3*time.Second)
	if up := s.up(); len(up) != 2 || slices.Contains(up, "p5") || !slices.Contains(up, "p4") {
		t.Errorf("connected to %v", up)
	}
	before := s.asked["p5"]
	s.run(time.Hour)
	if n := s.asked["p5"] - before; n > 6 {
		t.Errorf("a dead peer was tried %d times in an hour", n)
	}
	s.dead["p5"] = false
	s.run(3*time.Hour + time.Minute)
	s.want("p4", "p5")
}

func TestChoiceLeavesAPeerThatFlaps(t *testing.T) {
	s := newPeersim(t, 1, 3)
	s.latency["p2"] = time.Millisecond // much the best, when it works
	s.run(time.Hour)
	s.want("p2")
	for range 30 {
		s.dead["p2"] = !s.dead["p2"]
		s.run(15 * time.Second)
	}
	s.dead["p2"] = false
	s.run(time.Minute)
	if slices.Contains(s.up(), "p2") {
		t.Error("connected to what goes down all the time")
	}
	s.run(5*time.Hour + time.Minute)
	s.want("p2") // forgiven
}

func TestChoiceAsksEverybodyWhenCutOff(t *testing.T) {
	s := newPeersim(t, 2, 6)
	s.run(time.Hour)
	for i := range 6 {
		s.dead[fmt.Sprint("p", i)] = true
	}
	s.run(failAfter + 2*time.Second)
	if len(s.links) != 6 {
		t.Errorf("%d peers are asked for while nothing is up", len(s.links))
	}
	s.run(time.Hour) // and stay so: whichever comes first
	if len(s.links) != 6 {
		t.Errorf("%d peers are asked for after an hour", len(s.links))
	}
	s.dead["p0"] = false
	s.run(2 * time.Second)
	s.want("p0")
	s.run(2 * time.Minute)
	if len(s.links) > 3 {
		t.Errorf("%d peers are still asked for", len(s.links))
	}
	for i := range 6 {
		s.dead[fmt.Sprint("p", i)] = false
	}
	s.run(6*time.Hour + time.Minute)
	s.want("p4", "p5")
}

// What failed on one network may work on another.
func TestChoiceForgetsFailuresWhenTheNetworkChanges(t *testing.T) {
	s := newPeersim(t, 2, 4)
	s.dead["p1"], s.dead["p2"], s.dead["p3"] = true, true, true
	s.run(2 * time.Hour)
	s.want("p0")
	for i := range 4 {
		s.dead[fmt.Sprint("p", i)] = false
	}
	s.c.changed()
	s.run(2 * time.Second)
	if len(s.up()) != 2 {
		t.Errorf("connected to %v", s.up())
	}
}

func TestChoiceOfFewerThanWanted(t *testing.T) {
	s := newPeersim(t, 3, 2)
	s.run(time.Hour)
	s.want("p0", "p1")
	s.dead["p1"] = true
	s.run(time.Hour)
	s.want("p0")
	s.dead["p1"] = false
	s.run(time.Hour + 2*time.Second)
	s.want("p0", "p1")
}
