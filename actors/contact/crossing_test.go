// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/mimird/mimird/proto/identity"
)

// world is two sides with the rules of crossing, and the streams between them.
// What the sides tell each other arrives in any order between streams, and in
// order within one, as on the network.
type world struct {
	sides   [2]*side
	streams []*line
}

type side struct {
	crossing
	name             int
	dial, held, from *line // our dial, the stream that is held, the one being accepted
	live             *line
}

// line is one stream, dialled by side from.
type line struct {
	from    int
	pending []message // to be delivered, in order for each direction
	reset   [2]bool   // this side has dropped it
}

type message struct {
	to   int
	what string
}

func newWorld() *world {
	a, b := identity.PublicKey{1}, identity.PublicKey{2}
	return &world{sides: [2]*side{
		{crossing: newCrossing(a, b), name: 0},
		{crossing: newCrossing(b, a), name: 1},
	}}
}

func (w *world) send(s *line, to int, what string) {
	s.pending = append(s.pending, message{to, what})
}

func (w *world) dial(n int) {
	x := w.sides[n]
	if !x.mayDial() {
		return
	}
	x.dialStarted()
	x.dial = &line{from: n}
	w.streams = append(w.streams, x.dial)
	w.send(x.dial, 1-n, "hello") // up to the initiator's proof
}

// drop forgets a stream on one side; the other side sees it end.
func (w *world) drop(s *line, n int) {
	if s != nil && !s.reset[n] {
		s.reset[n] = true
		w.send(s, 1-n, "reset")
	}
}

func (w *world) act(x *side, v verdict, arriving *line) {
	switch v {
	case dropIncoming:
		if arriving != nil && arriving != x.held {
			return // left unanswered: it expires, or its dialler gives it up
		}
		x.held = nil
	case stopDial:
		w.drop(x.dial, x.name)
		x.dial = nil
	case stopDialAndAccept:
		w.drop(x.dial, x.name)
		x.dial = nil
		w.accept(x)
	case abortLiveAndAccept:
		w.drop(x.live, x.name)
		x.live = nil
		w.accept(x)
	case acceptIncoming:
		w.accept(x)
	case completeDial:
		w.send(x.dial, 1-x.name, "ok")
		x.live, x.dial = x.dial, nil
		w.act(x, x.dialCompleted(), nil)
	case holdAndProbe:
		// The live session is asked; its answer comes as "probed".
		w.send(x.live, 1-x.name, "ping")
	}
}

func (w *world) accept(x *side) {
	x.from, x.held = x.held, nil
	w.send(x.from, 1-x.name, "answer2")
}

// deliver hands the first message for a side on a stream to it.
func (w *world) deliver(s *line, n int) {
	var m message
	for i, p := range s.pending {
		if p.to == n {
			m = p
			s.pending = append(s.pending[:i:i], s.pending[i+1:]...)
			break
		}
	}
	x := w.sides[n]
	if s.reset[n] {
		return // nobody reads it any more
	}
	switch m.what {
	case "hello":
		v := x.arrived()
		if v != dropIncoming {
			x.held = s
		}
		w.act(x, v, s)
	case "answer2":
		if s == x.dial {
			w.act(x, x.dialReady(), nil)
		}
	case "ok":
		if s == x.from {
			x.from, x.live = nil, s
			x.incomingCompleted()
		}
	case "ping":
		w.send(s, 1-n, "pong")
	case "pong":
		if s == x.live {
			w.act(x, x.liveAnswered(), nil)
		}
	case "reset":
		s.reset[n] = true
		switch s {
		case x.dial:
			x.dial = nil
			w.act(x, x.dialEnded(), nil)
		case x.held:
			x.held = nil
			x.incomingEnded()
		case x.from:
			x.from = nil
			x.incomingEnded()
		case x.live:
			x.live = nil
			w.act(x, x.liveEnded(), nil)
		}
	}
}

func (w *world) ready() (moves []func()) {
	for _, s := range w.streams {
		for n := range 2 {
			for _, m := range s.pending {
				if m.to == n {
					moves = append(moves, func() { w.deliver(s, n) })
					break
				}
			}
		}
	}
	return moves
}

// settle lets everything arrive, then what timers would do: dials that nobody
// answers fail, held streams are decided.
func (w *world) settle(choose func(n int) int) {
	for range 1000 {
		if moves := w.ready(); len(moves) > 0 {
			moves[choose(len(moves))]()
			continue
		}
		moved := false
		for n, x := range w.sides {
			if x.held != nil {
				w.act(x, x.holdExpired(), nil)
				moved = true
			} else if x.dial != nil {
				w.drop(x.dial, n)
				x.dial = nil
				w.act(x, x.dialEnded(), nil)
				moved = true
			} else if x.from != nil {
				w.drop(x.from, n)
				x.from = nil
				x.incomingEnded()
				moved = true
			}
		}
		if !moved {
			return
		}
	}
	panic("does not settle")
}

// Bar R10: whatever the order, when both sides want to talk there is one session,
// and it is the same one on both sides. There are ten times a hundred conversations,
// each in an order of its own.
func TestModelCrossingDialsEndWithOneSession(t *testing.T) {
	for range 10 {
		rapid.Check(t, crossingEndsWithOneSession)
	}
}

func crossingEndsWithOneSession(t *rapid.T) {
	w := newWorld()
	choose := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "move") }
	steps := rapid.IntRange(1, 40).Draw(t, "steps")
	for range steps {
		moves := w.ready()
		moves = append(moves, func() { w.dial(0) }, func() { w.dial(1) })
		moves[choose(len(moves))]()
	}
	w.settle(choose)
	// A side that wants a session and has none dials again.
	for range 4 {
		w.dial(0)
		w.dial(1)
		w.settle(choose)
	}
	a, b := w.sides[0], w.sides[1]
	if a.live == nil || a.live != b.live {
		t.Fatalf("live: %p and %p", a.live, b.live)
	}
	if !a.crossing.live || !b.crossing.live || a.crossing.dial != dialNone || b.incoming != incomingNone {
		t.Fatalf("states %+v and %+v", a.crossing, b.crossing)
	}
}

// The same, with sides that lose a session without telling the other, as after a
// restart.
func TestModelCrossingSurvivesLostSessions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		choose := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "move") }
		w.dial(0)
		w.settle(choose)
		// Side n forgets everything: what was sent to it over the old stream gets a
		// reset as the answer.
		n := rapid.IntRange(0, 1).Draw(t, "forgets")
		lost := w.sides[n].live
		w.sides[n].live = nil
		w.sides[n].crossing = crossing{dialWins: n == 0}
		lost.reset[n] = true
		lost.pending = nil
		w.dial(n)
		for range 50 {
			for _, m := range lost.pending {
				if m.to == n { // a packet for a connection it does not know
					lost.pending = nil
					w.send(lost, 1-n, "reset")
					break
				}
			}
			if moves := w.ready(); len(moves) > 0 {
				moves[choose(len(moves))]()
			}
		}
		w.settle(choose)
		for range 4 {
			w.dial(0)
			w.dial(1)
			w.settle(choose)
		}
		a, b := w.sides[0], w.sides[1]
		if a.live == nil || a.live != b.live || a.live == lost {
			t.Fatalf("live: %p and %p, lost %p", a.live, b.live, lost)
		}
	})
}

func TestCrossingPrefersTheDialOfTheSmallerKey(t *testing.T) {
	small, large := newCrossing(identity.PublicKey{1}, identity.PublicKey{2}), newCrossing(identity.PublicKey{2}, identity.PublicKey{1})
	small.dialStarted()
	large.dialStarted()
	if v := small.arrived(); v != holdIncoming {
		t.Errorf("the smaller key: %d, want it to hold the other's dial back", v)
	}
	if v := large.arrived(); v != stopDialAndAccept {
		t.Errorf("the larger key: %d, want it to give its own dial up", v)
	}
}

func TestCrossingLeavesFurtherStreamsUnanswered(t *testing.T) {
	x := newCrossing(identity.PublicKey{1}, identity.PublicKey{2})
	if v := x.arrived(); v != acceptIncoming {
		t.Fatalf("the first stream: %d", v)
	}
	if v := x.arrived(); v != dropIncoming {
		t.Errorf("the second stream while the first is accepted: %d", v)
	}
	x.incomingCompleted()
	if v := x.arrived(); v != holdAndProbe {
		t.Errorf("a stream beside a live session: %d", v)
	}
	if v := x.liveAnswered(); v != dropIncoming {
		t.Errorf("the live session answers: %d", v)
	}
}

func TestCrossingReplacesASilentSession(t *testing.T) {
	x := newCrossing(identity.PublicKey{2}, identity.PublicKey{1})
	x.arrived()
	x.incomingCompleted()
	if v := x.arrived(); v != holdAndProbe {
		t.Fatalf("a stream beside a live session: %d", v)
	}
	if v := x.holdExpired(); v != abortLiveAndAccept {
		t.Errorf("the live session is silent: %d", v)
	}
}
