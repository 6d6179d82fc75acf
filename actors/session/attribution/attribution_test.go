// SPDX-License-Identifier: MPL-2.0

package attribution

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/proto/identity"
)

// tableWorld drives a Table with a clock of its own, and remembers what really was.
type tableWorld struct {
	table    *Table
	clock    time.Time
	sessions []*Session
	streams  []*watchedStream
}

// watchedStream is a stream and the pairs that it met, by the test's own book.
type watchedStream struct {
	*Incoming
	met  map[store.Conversation]bool
	held bool
}

func newTableWorld() *tableWorld {
	w := &tableWorld{table: New(strangerlog.New(slog.New(slog.DiscardHandler))), clock: time.Unix(1_800_000_000, 0)}
	w.table.now = func() time.Time { return w.clock }
	return w
}

func testPair(account, contact int) store.Conversation {
	return store.ConversationWith(identity.PublicKey{byte(account + 1)}, identity.PublicKey{byte(contact + 1)})
}

func (w *tableWorld) enter(p store.Conversation) (*Session, error) {
	s, err := w.table.Enter(Entry{Conversation: p, Known: true})
	if err == nil {
		w.sessions = append(w.sessions, s)
		for _, d := range w.streams {
			if d.owner == nil {
				d.met[p] = true
			}
		}
	}
	return s, err
}

func (w *tableWorld) open() *watchedStream {
	d := &watchedStream{Incoming: w.table.Opened(identity.NodeKey{}), met: make(map[store.Conversation]bool)}
	for _, s := range w.sessions {
		if !s.ended || w.clock.Before(s.until) {
			d.met[s.pair] = true
		}
	}
	w.streams = append(w.streams, d)
	return d
}

// idleStream is a stream of which nothing is read in these tests.
type idleStream struct{ Stream }

func (idleStream) SetReadDeadline(time.Time) error { return nil }

// Whatever happens in whatever order: a data stream is given only to the one pair that
// it met, and a node that gets one pair at a time has no sessions of two.
func TestTable_GivesToTheOnlyPair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTableWorld()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			exclusive := false
			if n := w.table.nodes[identity.NodeKey{}]; n != nil {
				exclusive = w.clock.Before(n.turns.until)
			}
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0, 1:
				p := testPair(rapid.IntRange(0, 1).Draw(t, "account"), rapid.IntRange(0, 1).Draw(t, "contact"))
				_, err := w.enter(p)
				var wait *TurnError
				if err != nil && !errors.As(err, &wait) {
					t.Fatal(err)
				}
				if err == nil && exclusive {
					for _, s := range w.sessions {
						if !s.ended && s.pair != p {
							t.Fatal("two pairs have sessions with a node that gets one at a time")
						}
					}
				}
			case 2:
				w.open()
			case 3:
				if d := pick(t, w.streams, func(d *watchedStream) bool { return !d.over && !d.held }); d != nil {
					d.held = true
					d.hold(idleStream{})
				}
			case 4:
				if d := pick(t, w.streams, func(d *watchedStream) bool { return !d.over && d.held }); d != nil {
					d.peeked(nil)
				}
			case 5:
				if s := pick(t, w.sessions, func(s *Session) bool { return !s.ended && !s.revoked }); s != nil {
					s.GoLive()
				}
			case 6:
				if s := pick(t, w.sessions, func(s *Session) bool { return !s.ended }); s != nil {
					s.Leave()
				}
			case 7:
				w.clock = w.clock.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second)
			}
			for i, d := range w.streams {
				if d.owner != nil && (len(d.met) != 1 || !d.met[d.owner.pair]) {
					t.Fatalf("stream %d met %d pairs and was given away", i, len(d.met))
				}
			}
		}
		// Nothing is left of it later.
		for _, s := range w.sessions {
			s.Leave()
		}
		for _, d := range w.streams {
			d.Forget()
		}
		w.clock = w.clock.Add(time.Hour)
		w.table.Wait(identity.NodeKey{1}, testPair(0, 0), kernel.Ref{})
		if len(w.table.nodes) != 0 || len(w.table.lingering) != 0 || len(w.table.turnNodes) != 0 || w.table.heldForStrangers != 0 {
			t.Fatalf("%d nodes, %d sessions, %d nodes with turns, %d streams are left",
				len(w.table.nodes), len(w.table.lingering), len(w.table.turnNodes), w.table.heldForStrangers)
		}
	})
}

// A data stream from a node without a session is reset at once, and leaves nothing: a
// stranger has any number of node keys.
func TestTable_StreamsWithoutASession_LeaveNothing(t *testing.T) {
	w := newTableWorld()
	for i := range 100 {
		d := w.table.Opened(identity.NodeKey{1, byte(i)})
		if _, found := d.Owner(t.Context(), abortedStream{}); found {
			t.Fatal("the stream was given to somebody")
		}
	}
	if n := len(w.table.nodes); n != 0 {
		t.Errorf("%d nodes are remembered", n)
	}
}

// abortedStream is a stream that is reset unread.
type abortedStream struct{ idleStream }

func (abortedStream) SetDeadline(time.Time) error { return nil }
func (abortedStream) Abort() error                { return nil }

// pick draws one of those that match, the zero value when there is none.
func pick[T any](t *rapid.T, all []T, match func(T) bool) (none T) {
	all = slices.DeleteFunc(slices.Clone(all), func(one T) bool { return !match(one) })
	if len(all) == 0 {
		return none
	}
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
}

// While our data stream opens, no other pair's session begins: the other side would
// take the stream for that one's. It begins when a frame was acknowledged, or in time.
func TestTable_ReservesTheNodeForItsDataStream(t *testing.T) {
	for name, over := range map[string]func(w *tableWorld, s *Session){
		"acknowledged": func(_ *tableWorld, s *Session) { s.DataRead() },
		"ended": func(w *tableWorld, s *Session) {
			s.Leave() // what it wrote is still on its way
			if _, err := w.enter(testPair(1, 0)); err == nil {
				t.Error("another pair's session begins before the data stream of one that has ended is read")
			}
			w.clock = w.clock.Add(reserveTime)
		},
		"opened":       func(w *tableWorld, s *Session) { s.DataOpened(); w.clock = w.clock.Add(attributeTime) },
		"never opened": func(w *tableWorld, _ *Session) { w.clock = w.clock.Add(reserveTime) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newTableWorld()
			s, err := w.enter(testPair(0, 0))
			if err != nil || !s.Reserve(true) {
				t.Fatal(err)
			}
			var wait *TurnError
			if _, err := w.enter(testPair(1, 0)); !errors.As(err, &wait) || wait.Wait <= 0 || wait.Wait > reserveTime {
				t.Fatal(err)
			}
			if _, err := w.enter(testPair(0, 0)); err != nil {
				t.Errorf("another session of the pair: %v", err)
			}
			over(w, s)
			if _, err := w.enter(testPair(1, 0)); err != nil {
				t.Error(err)
			}
			if s.Reserve(false) {
				t.Error("the data stream is used though the node is shared")
			}
		})
	}
}

// What was reserved for a session that has ended is over in time, and nothing is left.
func TestTable_ReservedAndEnded_LeavesNothing(t *testing.T) {
	w := newTableWorld()
	s, err := w.enter(testPair(0, 0))
	if err != nil || !s.Reserve(true) {
		t.Fatal(err)
	}
	w.clock = w.clock.Add(time.Second)
	s.Leave()
	w.clock = w.clock.Add(reserveTime)
	w.table.Wait(identity.NodeKey{1}, testPair(0, 0), kernel.Ref{})
	if len(w.table.nodes) != 0 || len(w.table.lingering) != 0 {
		t.Errorf("%d nodes and %d sessions are left", len(w.table.nodes), len(w.table.lingering))
	}
}

// A file that only a data stream can carry claims the node for its pair: it is the first
// in line, also before pairs that asked earlier.
func TestTable_ClaimIsFirstInLine(t *testing.T) {
	w := newTableWorld()
	a, b, other := testPair(0, 0), testPair(1, 0), testPair(1, 1)
	sa, _ := w.enter(a)
	sb, _ := w.enter(b)
	if sa.Reserve(true) || sb.Reserve(true) {
		t.Fatal("a data stream may be opened though the node is shared")
	}
	sb.Claim(kernel.Ref{})
	sa.Claim(kernel.Ref{})
	if w.table.Wait(identity.NodeKey{}, other, kernel.Ref{}) == 0 {
		t.Fatal("a third pair need not wait")
	}
	sa.Leave()
	sb.Leave()
	w.clock = w.clock.Add(stragglerTime)
	if _, err := w.enter(b); err == nil {
		t.Error("the second in line comes first")
	}
	sa, err := w.enter(a)
	if err != nil || !sa.Reserve(true) {
		t.Error("the first in line does not get the node", err)
	}
}

// Strangers cannot make the table grow: what they left counts for seconds, in all no
// more than a bound.
func TestTable_IsBounded(t *testing.T) {
	w := newTableWorld()
	for i := range 2 * maxLingering {
		node := identity.NodeKey{byte(i), byte(i >> 8), byte(i >> 16), 1}
		s, err := w.table.Enter(Entry{Node: node, Conversation: testPair(0, 0)})
		if err != nil {
			t.Fatal(err)
		}
		s.Leave()
	}
	if n := len(w.table.nodes); n > maxLingering+1 {
		t.Errorf("%d nodes, at most %d", n, maxLingering+1)
	}
}
