// SPDX-License-Identifier: MPL-2.0

package deliver

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/bridge/homeserver"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/virtual"
)

// A turn that is given on while the conversation that waits for it has not yet ended
// its attempt is not lost.
func TestRoomTurns_GivenDuringTheAttempt(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		first, second, third := conversation(1, 2), conversation(2, 3), conversation(1, 4)
		ends := map[store.Conversation]chan struct{}{first: make(chan struct{}), second: make(chan struct{})}
		s.setFail(func(at *Position, _ store.Event) error {
			if !d.turns.take(at.Conversation) {
				close(ends[first])
				virtual.Sleep(time.Millisecond) // it ends meanwhile
				return ErrAwaitTurn
			}
			if end := ends[at.Conversation]; end != nil {
				<-end
			}
			return nil
		})
		n.add(first, 1)
		n.add(second, 1)
		attach(t, d, 1)
		attach(t, d, 2)
		synctest.Wait()
		if err := d.changes(n.add(third, 1)); err != nil {
			t.Fatal(err)
		}
		virtual.Sleep(time.Second)
		synctest.Wait()
		if !slices.Equal(s.of(third), count(1)) {
			t.Errorf("shown %v of a conversation whose turn came", s.of(third))
		}
		close(ends[second])
	})
}

// A conversation whose account has logged out, or that waits for its next attempt,
// keeps no turn.
func TestRoomTurns_NotKeptByWhoIsNotDelivered(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		first, second, gone, parked := conversation(1, 2), conversation(1, 3), conversation(2, 4), conversation(1, 5)
		end := make(chan struct{})
		s.setFail(func(at *Position, _ store.Event) error {
			switch turn := d.turns.take(at.Conversation); {
			case turn && (at.Conversation == first || at.Conversation == second):
				<-end
			case turn:
			case at.Conversation == gone:
				go d.Detach(t.Context(), identity.PublicKey{2})
				virtual.Sleep(time.Millisecond)
				return ErrAwaitTurn
			default:
				return &homeserver.RetryAfter{Delay: homeserver.MaxRetryAfter, Err: errTestFailure}
			}
			return nil
		})
		n.add(first, 1)
		n.add(second, 1)
		attach(t, d, 1)
		synctest.Wait()
		n.add(gone, 1)
		attach(t, d, 2)
		virtual.Sleep(time.Second)
		if err := d.changes(n.add(parked, 1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		close(end)
		synctest.Wait()
		d.turns.mu.Lock()
		defer d.turns.mu.Unlock()
		if len(d.turns.taken)+len(d.turns.waiting) > 0 {
			t.Errorf("turns are taken by %v and waited for by %v", d.turns.taken, d.turns.waiting)
		}
	})
}
