// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// A list of public peers is longer than what a node should be connected to: each
// link costs both sides, and makes this node a relay. choice keeps a few of them,
// the quick and reliable ones, and replaces those that fail. It has no clock and
// does nothing itself: keeper tells it what it sees and does what it says.

const (
	// failAfter is how long a peer that we want may be down before it counts as
	// failed. Yggdrasil tries again after 2, 4 and 8 seconds.
	failAfter = 10 * time.Second
	// cutOffAfter is how long no link may be up before all peers are dialled.
	cutOffAfter = 5 * time.Second
	// trialTime is how long a new link is watched before it is compared with others.
	trialTime = 20 * time.Second
	// A failed peer is left alone for restFirst, then twice that, up to restMost.
	restFirst = time.Minute
	restMost  = time.Hour
	// trialEvery is how often a spare is tried, to see whether it is better.
	trialEvery = 10 * time.Minute
	// A peer counts as slower by failureCost for each failure; half of that is
	// forgotten after failureHalf.
	failureCost = 200 * time.Millisecond
	failureHalf = 10 * time.Minute
	// unmeasured is the latency assumed for a peer that was never connected.
	unmeasured = 300 * time.Millisecond
	// incumbent is the part of its score that counts for a peer in use, so that two
	// equal ones do not take turns.
	incumbent = 0.7
)

// choice ranks the peers of the configuration. It is for one goroutine.
type choice struct {
	want       int // how many are to be connected
	candidates []*candidate
	// settled is set after the first choice among several links.
	settled bool
	// lastUp is when a link was seen last, or the beginning; lastTrial when a spare
	// was tried last.
	lastUp, lastTrial time.Time
}

// candidate is a peer of the configuration.
type candidate struct {
	uri  string // with its options
	name string // without, as Yggdrasil tells links apart
	// asked is when it was asked for; zero while it is a spare.
	asked time.Time
	// up is since when the link works, down since when it does not any more; zero.
	up, down time.Time
	failed   bool // has been down for failAfter
	kept     bool // was chosen, after a trial
	latency  time.Duration
	failures int // in a row
	rest     time.Time
	// penalty is the number of failures as of penaltyAt; it decays.
	penalty   float64
	penaltyAt time.Time
	triedLast time.Time
}

// linkSeen is what is seen of a link that was asked for.
type linkSeen struct {
	up      bool
	latency time.Duration // zero while unknown
}

// newChoice returns a choice of want among the candidates, best guess first.
func newChoice(want int, candidates []*candidate, now time.Time) *choice {
	return &choice{want: want, candidates: candidates, lastUp: now, lastTrial: now}
}

// step returns which peers to dial and which to drop, from what is seen of links.
func (c *choice) step(now time.Time, seen map[string]linkSeen) (add, drop []*candidate) {
	up := c.observe(now, seen)
	if len(up) == 0 {
		if now.Sub(c.lastUp) < cutOffAfter && c.active() > 0 {
			return nil, nil
		}
		// Cut off: it does not matter which one comes up first.
		most := len(c.candidates)
		if c.active() == 0 {
			most = 2 * c.want
		}
		return c.ask(now, most-c.active(), func(*candidate) bool { return true }), nil
	}
	c.lastUp = now
	for _, p := range c.candidates {
		if p.failed && !p.asked.IsZero() {
			drop = append(drop, p)
		}
	}
	drop = append(drop, c.worst(now, up)...)
	for _, p := range drop {
		p.asked, p.up, p.down, p.failed, p.kept = time.Time{}, time.Time{}, time.Time{}, false, false
	}
	rested := func(p *candidate) bool { return !now.Before(p.rest) && !slices.Contains(drop, p) }
	switch {
	case c.active() < c.want:
		add = c.ask(now, c.want-c.active(), rested)
	case c.settled && c.active() == c.want && now.Sub(c.lastTrial) >= trialEvery:
		c.lastTrial = now
		if p := c.longestUntried(rested); p != nil {
			add = c.ask(now, 1, func(q *candidate) bool { return p == q })
		}
	}
	return add, drop
}

// observe notes what is seen and returns the links that are up.
func (c *choice) observe(now time.Time, seen map[string]linkSeen) (up []*candidate) {
	for _, p := range c.candidates {
		if p.asked.IsZero() {
			continue
		}
		s := seen[p.name]
		if s.up {
			if p.up.IsZero() {
				p.up, p.down, p.failed, p.failures = now, time.Time{}, false, 0
			}
			switch {
			case s.latency <= 0:
			case p.latency == 0:
				p.latency = s.latency
			default:
				p.latency = (3*p.latency + s.latency) / 4
			}
			up = append(up, p)
			continue
		}
		if !p.up.IsZero() {
			p.up, p.down = time.Time{}, now
			p.blame(now)
		}
		since := p.asked
		if p.down.After(since) {
			since = p.down
		}
		if !p.failed && now.Sub(since) >= failAfter {
			p.failed = true
			p.blame(now)
			p.rest = now.Add(min(restFirst<<min(p.failures, 10), restMost))
			p.failures++
		}
	}
	return up
}

// worst returns the links that are too many. While one is on trial nothing is
// compared.
func (c *choice) worst(now time.Time, up []*candidate) []*candidate {
	if len(up) <= c.want {
		return nil
	}
	for _, p := range c.candidates {
		if trying := !p.asked.IsZero() && !p.failed; trying && (p.up.IsZero() || now.Sub(p.up) < trialTime) {
			return nil
		}
	}
	score := func(p *candidate) float64 {
		if p.kept {
			return incumbent * p.score(now)
		}
		return p.score(now)
	}
	slices.SortStableFunc(up, func(a, b *candidate) int { return cmp.Compare(score(a), score(b)) })
	for _, p := range up[:c.want] {
		p.kept = true
	}
	c.settled = true
	return up[c.want:]
}

// ask asks for the n best spares that fit.
func (c *choice) ask(now time.Time, n int, fits func(*candidate) bool) []*candidate {
	var spares []*candidate
	for _, p := range c.candidates {
		if p.asked.IsZero() && fits(p) {
			spares = append(spares, p)
		}
	}
	slices.SortStableFunc(spares, func(a, b *candidate) int { return cmp.Compare(a.score(now), b.score(now)) })
	spares = spares[:max(0, min(n, len(spares)))]
	for _, p := range spares {
		p.asked, p.triedLast = now, now
	}
	return spares
}

func (c *choice) longestUntried(fits func(*candidate) bool) (oldest *candidate) {
	for _, p := range c.candidates {
		if p.asked.IsZero() && fits(p) && (oldest == nil || p.triedLast.Before(oldest.triedLast)) {
			oldest = p
		}
	}
	return oldest
}

// active counts the peers that are asked for.
func (c *choice) active() (n int) {
	for _, p := range c.candidates {
		if !p.asked.IsZero() {
			n++
		}
	}
	return n
}

// changed notes that the machine is on another network, or was asleep: what failed
// there may work here.
func (c *choice) changed() {
	for _, p := range c.candidates {
		p.rest, p.failures, p.penalty = time.Time{}, 0, 0
	}
}

// refused notes that a peer could not be asked for after all.
func (p *candidate) refused() { p.asked = time.Time{} }

func (p *candidate) blame(now time.Time) {
	p.penalty, p.penaltyAt = p.blamed(now)+1, now
}

func (p *candidate) blamed(now time.Time) float64 {
	return p.penalty * math.Exp2(-float64(now.Sub(p.penaltyAt))/float64(failureHalf))
}

// score ranks peers, lower is better. Its unit is a nanosecond of latency.
func (p *candidate) score(now time.Time) float64 {
	return float64(cmp.Or(p.latency, unmeasured)) + p.blamed(now)*float64(failureCost)
}
