// SPDX-License-Identifier: MPL-2.0

package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/bridge/homeserver"

	"github.com/cockroachdb/pebble/v2/vfs"
	"maunium.net/go/mautrix/bridgev2"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/virtual"
)

// logNode is an event log in memory: each conversation has so many events, the
// numbers of which are their sequence numbers.
type logNode struct {
	Node
	store *store.Store // for its watch

	mu      sync.Mutex
	last    map[store.Conversation]uint64
	cursors map[store.Conversation]uint64
	move    func(seq uint64) error // whether a cursor can be moved, when set
}

func (n *logNode) setMove(move func(seq uint64) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.move = move
}

func newLogNode(t *testing.T) *logNode {
	t.Helper()
	opened, err := store.Open(store.Options{Dir: "store", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return &logNode{store: opened, last: make(map[store.Conversation]uint64), cursors: make(map[store.Conversation]uint64)}
}

func (n *logNode) WatchEvents() *store.Watch { return n.store.Watch(identity.PublicKey{}) }

func (n *logNode) Pending(_ string, account identity.PublicKey) ([]store.PendingConversation, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var pending []store.PendingConversation
	for conversation, last := range n.last {
		if cursor := n.cursors[conversation]; conversation.Account == account && cursor < last {
			pending = append(pending, store.PendingConversation{Conversation: conversation.ID, Last: last, Cursor: cursor})
		}
	}
	return pending, nil
}

func (n *logNode) Cursor(_ string, account identity.PublicKey, id store.ConversationID) (uint64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cursors[store.Conversation{Account: account, ID: id}], nil
}

func (n *logNode) ConversationEvents(account identity.PublicKey, id store.ConversationID, after uint64, limit int) ([]store.Event, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var events []store.Event
	for seq := after + 1; seq <= n.last[store.Conversation{Account: account, ID: id}] && len(events) < limit; seq++ {
		events = append(events, store.Event{Account: account, Conversation: id, Seq: seq})
	}
	return events, nil
}

func (n *logNode) CountConversationEvents(account identity.PublicKey, id store.ConversationID, after uint64) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return int(n.last[store.Conversation{Account: account, ID: id}] - after), nil
}

func (n *logNode) MoveCursor(_ context.Context, _ string, account identity.PublicKey, id store.ConversationID, seq uint64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.move != nil {
		if err := n.move(seq); err != nil {
			return err
		}
	}
	n.cursors[store.Conversation{Account: account, ID: id}] = seq
	return nil
}

// add appends events and returns the changes a watch would report.
func (n *logNode) add(conversation store.Conversation, events uint64) store.Changes {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last[conversation] += events
	return store.Changes{Conversations: map[store.Conversation]store.Touched{conversation: 0}}
}

// shower records what is shown, and fails where it is told to.
type shower struct {
	mu     sync.Mutex
	fail   func(at *Position, ev store.Event) error
	tries  int
	shown  map[store.Conversation][]uint64
	doubts []uint64 // events that were in doubt
	most   int      // shown at once
	now    int
}

func (s *shower) show(ctx context.Context, at *Position, ev store.Event) error {
	s.mu.Lock()
	s.tries++
	s.now++
	s.most = max(s.most, s.now)
	fail := s.fail
	if at.InDoubt {
		s.doubts = append(s.doubts, ev.Seq)
	}
	s.mu.Unlock()
	var err error
	if fail != nil {
		err = fail(at, ev)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	if err == nil {
		s.shown[at.Conversation] = append(s.shown[at.Conversation], ev.Seq)
	}
	return errors.Join(err, ctx.Err())
}

func (s *shower) of(c store.Conversation) []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.shown[c])
}

func (s *shower) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries
}

func (s *shower) inDoubt() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.doubts)
}

func (s *shower) atOnce() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

func (s *shower) setFail(fail func(at *Position, ev store.Event) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// inBubble runs a deliverer in virtual time.
func inBubble(t *testing.T, test func(t *testing.T, d *Deliverer, n *logNode, s *shower)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newLogNode(t)
		s := &shower{shown: make(map[store.Conversation][]uint64)}
		d := New(Deps{Node: n, Log: slog.New(slog.DiscardHandler), Retry: kernel.Backoff{Min: time.Second, Max: 5 * time.Minute}, Backlog: new(homeserver.Backlog), Show: s.show})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx, ctx) }()
		test(t, d, n, s)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func conversation(account, contact byte) store.Conversation {
	return store.ConversationWith(identity.PublicKey{account}, identity.PublicKey{contact})
}

func count(n uint64) []uint64 {
	seqs := make([]uint64, n)
	for i := range seqs {
		seqs[i] = uint64(i) + 1
	}
	return seqs
}

func attach(t *testing.T, d *Deliverer, account byte) {
	t.Helper()
	if err := d.Attach(identity.PublicKey{account}, &bridgev2.UserLogin{}); err != nil {
		t.Fatal(err)
	}
}

func TestDeliveryIsTriedAgainWithoutHammering(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		bob := conversation(1, 2)
		n.add(bob, 3)
		s.setFail(func(*Position, store.Event) error { return errTestFailure })
		attach(t, d, 1)
		virtual.Sleep(6 * time.Hour)
		synctest.Wait()
		if s.count() < 60 || s.count() > 200 { // 5 min at most, half of it jitter
			t.Errorf("tried %d times in 6 hours", s.count())
		}
		// A homeserver that answers everything but what we send.
		before := s.count()
		for range 6 * 3600 / 2 {
			d.Kick()
			virtual.Sleep(2 * time.Second)
		}
		synctest.Wait()
		if tries := s.count() - before; tries > 400 {
			t.Errorf("tried %d times in 6 hours of being kicked", tries)
		}
		s.setFail(nil)
		virtual.Sleep(5 * time.Minute)
		synctest.Wait()
		if !slices.Equal(s.of(bob), count(3)) {
			t.Errorf("shown %v", s.of(bob))
		}
	})
}

var errTestFailure = errors.New("the test says no")

func TestReturnOfTheHomeserverEndsTheWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		bob, limited := conversation(1, 2), conversation(1, 3)
		n.add(bob, 3)
		n.add(limited, 1)
		s.setFail(func(at *Position, _ store.Event) error {
			if at.Conversation == limited {
				return &homeserver.RetryAfter{Delay: 10 * time.Minute, Err: errTestFailure}
			}
			return errTestFailure
		})
		attach(t, d, 1)
		virtual.Sleep(9 * time.Minute)
		synctest.Wait()
		s.setFail(nil)
		d.Kick()
		synctest.Wait()
		if !slices.Equal(s.of(bob), count(3)) {
			t.Errorf("shown %v at once", s.of(bob))
		}
		if len(s.of(limited)) != 0 {
			t.Error("the homeserver's wish was not heeded")
		}
		virtual.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(s.of(limited)) != 1 {
			t.Error("nothing after the time that the homeserver wanted")
		}
	})
}

func TestDeliveryIsBoundedAndInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		const contacts, events = 200, 150
		var calls atomic.Int64
		s.setFail(func(*Position, store.Event) error {
			virtual.Sleep(time.Millisecond)
			if calls.Add(1)%97 == 0 {
				return errTestFailure
			}
			return nil
		})
		attach(t, d, 1)
		for i := range byte(contacts) {
			if err := d.changes(n.add(conversation(1, i), events)); err != nil {
				t.Fatal(err)
			}
		}
		virtual.Sleep(time.Hour)
		synctest.Wait()
		for i := range byte(contacts) {
			if !slices.Equal(s.of(conversation(1, i)), count(events)) {
				t.Fatalf("conversation %d: shown %v", i, s.of(conversation(1, i)))
			}
		}
		if s.atOnce() > MaxDeliveries {
			t.Errorf("%d deliveries at once", s.atOnce())
		}
	})
}

func TestFirstEventsAndWhatFailedAreInDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		bob := conversation(1, 2)
		n.add(bob, 5)
		failed := false
		s.setFail(func(_ *Position, ev store.Event) error {
			if ev.Seq == 3 && !failed {
				failed = true
				return errTestFailure
			}
			return nil
		})
		attach(t, d, 1)
		virtual.Sleep(time.Minute)
		synctest.Wait()
		if err := d.changes(n.add(bob, 1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !slices.Equal(s.of(bob), count(6)) || !slices.Equal(s.inDoubt(), []uint64{1, 2, 3}) {
			t.Errorf("shown %v, in doubt %v", s.of(bob), s.inDoubt())
		}
	})
}

// The next event is shown while the cursor moves. When it cannot be moved, what was
// shown meanwhile is shown again, in doubt.
func TestCursorThatCannotBeMovedBringsDoubt(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		bob := conversation(1, 2)
		n.add(bob, 5)
		failed := false
		n.setMove(func(seq uint64) error {
			if seq == 3 && !failed {
				failed = true
				return errTestFailure
			}
			return nil
		})
		attach(t, d, 1)
		virtual.Sleep(time.Minute)
		synctest.Wait()
		if !slices.Equal(s.of(bob), []uint64{1, 2, 3, 4, 3, 4, 5}) || !slices.Equal(s.inDoubt(), []uint64{1, 2, 3, 4}) {
			t.Errorf("shown %v, in doubt %v", s.of(bob), s.inDoubt())
		}
		if cursor, err := n.Cursor(Consumer, bob.Account, bob.ID); err != nil || cursor != 5 {
			t.Errorf("the cursor is at %d: %v", cursor, err)
		}
	})
}

func TestLoginsComeAndGo(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		bob, other := conversation(1, 2), conversation(9, 2)
		n.add(bob, 1)
		n.add(other, 1)
		busy := make(chan struct{})
		s.setFail(func(*Position, store.Event) error { <-busy; return nil })
		attach(t, d, 1)
		attach(t, d, 9) // the same contact: waits for the other one
		synctest.Wait()
		if s.atOnce() != 1 {
			t.Errorf("%d deliveries for one contact at once", s.atOnce())
		}
		// Logged out while something is under way, and in again as somebody else.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		d.Detach(ctx, bob.Account)
		n.add(bob, 2)
		attach(t, d, 1)
		close(busy)
		virtual.Sleep(time.Minute)
		synctest.Wait()
		for _, c := range []store.Conversation{bob, other} {
			if shown := s.of(c); !slices.Equal(shown[len(shown)-int(n.last[c]):], count(n.last[c])) && !slices.Equal(shown, count(n.last[c])) {
				t.Errorf("shown %v of %d", shown, n.last[c])
			}
		}
		d.Detach(t.Context(), bob.Account)
		if err := d.changes(n.add(bob, 1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(s.of(bob)) > 4 {
			t.Errorf("shown %v after the logout", s.of(bob))
		}
		if logins, conversations, _ := d.Waiting(); logins != 1 || conversations != 0 {
			t.Errorf("%d logins with %d conversations", logins, conversations)
		}
	})
}

// Bar R07: slow rooms give their places to others.
func TestManySlowRoomsHoldUpNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		slow := make(chan struct{})
		s.setFail(func(at *Position, _ store.Event) error {
			if at.Contact()[0] < 100 {
				<-slow
			}
			return nil
		})
		attach(t, d, 1)
		for i := range byte(100) {
			if err := d.changes(n.add(conversation(1, i+1), 3)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range byte(100) {
			if err := d.changes(n.add(conversation(1, i+101), 3)); err != nil {
				t.Fatal(err)
			}
		}
		virtual.Sleep(2 * time.Second)
		synctest.Wait()
		for i := range byte(100) {
			if c := conversation(1, i+101); !slices.Equal(s.of(c), count(3)) {
				t.Fatalf("conversation %d: shown %v after 2 s", i, s.of(c))
			}
		}
		if s.atOnce() > MaxDeliveries {
			t.Errorf("%d deliveries at once", s.atOnce())
		}
		close(slow)
		virtual.Sleep(time.Second)
		synctest.Wait()
		for i := range byte(100) {
			if c := conversation(1, i+1); !slices.Equal(s.of(c), count(3)) {
				t.Errorf("slow conversation %d: shown %v", i, s.of(c))
			}
		}
		if d.places.quick != 0 || d.places.all != 0 || len(d.places.running) != 0 {
			t.Errorf("places are left: %+v", d.places)
		}
	})
}

// Conversations of two accounts with the same contact wait for each other only as long
// as the contact's name is not settled.
func TestAccountsWithOneContactDoNotWait(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		slow := make(chan struct{})
		s.setFail(func(at *Position, ev store.Event) error {
			at.GhostStable = true
			if at.Account[0] == 1 && ev.Seq == 2 {
				<-slow
			}
			return nil
		})
		first, second := conversation(1, 7), conversation(2, 7)
		attach(t, d, 1)
		attach(t, d, 2)
		if err := errors.Join(d.changes(n.add(first, 1)), d.changes(n.add(second, 1))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := errors.Join(d.changes(n.add(first, 2)), d.changes(n.add(second, 2))); err != nil {
			t.Fatal(err)
		}
		virtual.Sleep(time.Second)
		synctest.Wait()
		if !slices.Equal(s.of(second), count(3)) {
			t.Errorf("the second account has waited: %v", s.of(second))
		}
		close(slow)
		synctest.Wait()
		if !slices.Equal(s.of(first), count(3)) {
			t.Errorf("the first account: %v", s.of(first))
		}
	})
}

func TestHeldConversationWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		attach(t, d, 1)
		bob := conversation(1, 2)
		d.Hold(bob, 5*time.Second)
		if err := d.changes(n.add(bob, 1)); err != nil {
			t.Fatal(err)
		}
		virtual.Sleep(4 * time.Second)
		synctest.Wait()
		if len(s.of(bob)) != 0 {
			t.Error("it did not wait")
		}
		virtual.Sleep(2 * time.Second)
		synctest.Wait()
		if len(s.of(bob)) != 1 {
			t.Error("it waits for ever")
		}
		d.Hold(conversation(7, 7), time.Second) // nobody's
	})
}

func TestWaitingIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		s.setFail(func(*Position, store.Event) error { return fmt.Errorf("line one\nline two: %w", errTestFailure) })
		for i := range byte(250) {
			n.add(conversation(1, i), 2000)
		}
		attach(t, d, 1)
		synctest.Wait()
		_, conversations, list := d.Waiting()
		if conversations != 250 || len(list) != maxWaiting {
			t.Fatalf("%d conversations, %d listed", conversations, len(list))
		}
		for _, w := range list {
			if w.Events != 2000 || w.Error != "line one line two: the test says no" || w.Since.IsZero() {
				t.Errorf("waiting: %+v", w)
			}
		}
	})
}

// Each event of a conversation is refused a few times and goes through then, as a notice.
// The pauses do not grow from one event to the next, and a conversation that gets on is
// not one whose user has to be told.
func TestDeliver_EventsRefusedOneByOne_PausesBeginAnew(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		const events = 50
		bob, carol := conversation(1, 2), conversation(1, 3)
		tries := make(map[store.Conversation]map[uint64]int)
		s.fail = func(at *Position, ev store.Event) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			if tries[at.Conversation] == nil {
				tries[at.Conversation] = make(map[uint64]int)
			}
			if tries[at.Conversation][ev.Seq]++; tries[at.Conversation][ev.Seq] < 3 {
				return errTestFailure
			}
			return nil
		}
		attach(t, d, 1)
		for _, c := range []store.Conversation{bob, carol} {
			if err := d.changes(n.add(c, events)); err != nil {
				t.Fatal(err)
			}
		}
		for range events {
			virtual.Sleep(5 * time.Second)
			if bad, _ := d.Troubles(time.Now()); len(bad) != 0 {
				t.Errorf("%d conversations are in trouble", len(bad))
			}
		}
		for _, c := range []store.Conversation{bob, carol} {
			if shown := s.of(c); !slices.Equal(shown, count(events)) {
				t.Errorf("after %v the room has %d of %d events", events*5*time.Second, len(shown), events)
			}
		}
	})
}
