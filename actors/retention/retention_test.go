// SPDX-License-Identifier: MPL-2.0

package retention_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/actors/retention"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/poll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cast are two accounts with the same two contacts and a group each.
var (
	accounts = []identity.PublicKey{{1}, {2}}
	contacts = []identity.PublicKey{{3}, {4}}
	mediator = identity.NodeKey{5}
	choir    = store.GroupConversation(mediator, 7)
)

type rig struct {
	t     *testing.T
	store *store.Store
	stage *kerneltest.Stage
	ref   kernel.Ref
	now   time.Time
}

func newRig(t *testing.T) *rig {
	s, err := store.Open(store.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t: t, store: s, stage: kerneltest.NewStage(t, kernel.Options{}), now: time.Now()}
	r.ref = r.stage.Spawn(t, kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(s) }})
	for _, a := range accounts {
		must[bool](r, store.PutAccount{Account: store.Account{ID: a, Name: "a"}})
		for _, c := range contacts {
			must[store.Added](r, store.AddContact{Contact: store.Contact{Account: a, ID: c, State: store.ContactAccepted}})
		}
		must[bool](r, store.AddGroup{Account: a, Mediator: mediator, Chat: 7, Key: store.GroupKey{1}, Name: "choir"})
	}
	return r
}

func must[R any](r *rig, op store.Op) R {
	r.t.Helper()
	result, err := store.Do[R](r.t.Context(), r.ref, op)
	if err != nil {
		r.t.Fatalf("%T: %v", op, err)
	}
	return result
}

// say stores messages that came so long ago, the first of them first.
func (r *rig) say(account identity.PublicKey, conversation store.ConversationID, ages ...time.Duration) {
	r.t.Helper()
	for i, age := range ages {
		must[store.Accepted](r, store.AcceptMessage{
			Account: account, Conversation: conversation, GUID: int64(i + 1), Received: store.MillisOf(r.now.Add(-age)), Payload: []byte(age.String()),
		})
	}
}

func (r *rig) texts(account identity.PublicKey, conversation store.ConversationID) []string {
	r.t.Helper()
	messages, err := r.store.Messages(account, conversation, 0, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, m := range messages {
		out = append(out, string(m.Payload))
	}
	return out
}

func (r *rig) service(p retention.Policy) *retention.Service {
	return retention.New(retention.Deps{
		Store: r.store, Writer: func() kernel.Ref { return r.ref }, Now: func() time.Time { return r.now }, Policy: p, WholeLog: []string{"hand_over"},
	})
}

const day = 24 * time.Hour

func TestService_Pass_EachConversationHasItsPeriod(t *testing.T) {
	r := newRig(t)
	ages := []time.Duration{40 * day, 20 * day, 5 * day}
	for _, a := range accounts {
		for _, c := range []store.ConversationID{store.ContactConversation(contacts[0]), store.ContactConversation(contacts[1])} {
			r.say(a, c, ages...)
		}
	}
	p := retention.Policy{Contacts: 30 * day, Conversations: map[store.ConversationID]time.Duration{store.ContactConversation(contacts[1]): 0}}
	s := r.service(p)
	if err := s.PassForTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, a := range accounts {
		if got := r.texts(a, store.ContactConversation(contacts[0])); !slices.Equal(got, []string{"120h0m0s", "480h0m0s"}) {
			t.Errorf("of the first: %q", got)
		}
		if got := r.texts(a, store.ContactConversation(contacts[1])); len(got) != 3 {
			t.Errorf("of the second, who is an exception: %q", got)
		}
	}
	r.now = r.now.Add(15 * day)
	if err := s.PassForTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.Report(); got.Messages != 4 || got.Events != 0 || len(got.Holders) != 0 || got.Last != r.now {
		t.Errorf("%+v", got)
	}
	if (retention.Policy{}).IsZero() != true || p.IsZero() {
		t.Error("what is zero?")
	}
}

// A consumer that is behind keeps its messages and its part of the log; the pass goes on
// with the others, says who it waits for, and comes back.
func TestService_Pass_ConsumerBehind(t *testing.T) {
	r := newRig(t)
	first, second := store.ContactConversation(contacts[0]), store.ContactConversation(contacts[1])
	for _, a := range accounts {
		r.say(a, first, 40*day, 39*day)
		r.say(a, second, 40*day)
	}
	a := accounts[0]
	must[bool](r, store.MoveCursor{Consumer: "matrix", Account: a, Conversation: second, Seq: last(r, a)})
	s := r.service(retention.Policy{Contacts: 30 * day, Events: time.Nanosecond})
	r.now = r.now.Add(time.Hour)
	if err := s.PassForTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := [...]int{len(r.texts(a, first)), len(r.texts(a, second)), len(r.texts(accounts[1], first))}; got != [...]int{2, 0, 0} {
		t.Errorf("%v messages stay", got)
	}
	if got := s.Report(); !slices.Equal(got.Holders, []string{"matrix"}) {
		t.Errorf("%+v", got)
	}
	for _, c := range []store.ConversationID{first, second, choir, {}} {
		must[bool](r, store.MoveCursor{Consumer: "matrix", Account: a, Conversation: c, Seq: last(r, a)})
	}
	r.now = r.now.Add(time.Hour)
	if err := s.PassForTest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.texts(a, first); len(got) != 0 {
		t.Errorf("%q stay", got)
	}
	problems, err := r.store.Check()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

func last(r *rig, account identity.PublicKey) uint64 {
	r.t.Helper()
	seq, err := r.store.LastEvent(account)
	if err != nil {
		r.t.Fatal(err)
	}
	return seq
}

func TestService_Clear_SaysWhatStays(t *testing.T) {
	r := newRig(t)
	c := store.ContactConversation(contacts[0])
	ages := make([]time.Duration, 600)
	for i := range ages {
		ages[i] = time.Duration(600-i) * time.Minute
	}
	r.say(accounts[0], c, ages...)
	r.say(accounts[1], c, ages[:3]...)
	must[store.Enqueued](r, store.EnqueueMessage{Account: accounts[0], Conversation: c, GUID: 9999, Payload: []byte("undelivered")})
	s := r.service(retention.Policy{})
	done, err := s.Clear(t.Context(), accounts[0], c, store.MillisOf(r.now.Add(time.Hour)))
	if err != nil || done.Messages != 600 || done.Undelivered != 1 || done.String() != "600 messages removed; 1 stay because they are undelivered" {
		t.Errorf("%+v, %q, %v", done, done, err)
	}
	if got := r.texts(accounts[0], c); !slices.Equal(got, []string{"undelivered"}) {
		t.Errorf("%q stay", got)
	}
	if got := r.texts(accounts[1], c); len(got) != 3 {
		t.Errorf("%q stay of the other account", got)
	}
	again, err := s.Clear(t.Context(), accounts[0], c, store.MillisOf(r.now.Add(time.Hour)))
	if err != nil || again.Messages != 0 {
		t.Errorf("%+v, %v", again, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Clear(ended, accounts[1], c, store.MillisOf(r.now)); err == nil {
		t.Error("went on after its context")
	}
}

// Somebody who writes all the time keeps nothing from being cleared in the end.
func TestService_Clear_WhileTheAccountIsBusy(t *testing.T) {
	r := newRig(t)
	c := store.ContactConversation(contacts[0])
	r.say(accounts[0], c, day, day, day)
	stop := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		for i := int64(0); ; i++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			_, err := store.Do[store.Accepted](t.Context(), r.ref, store.AcceptMessage{
				Account: accounts[0], Conversation: store.ContactConversation(contacts[1]), GUID: i + 1, Payload: fmt.Append(nil, i),
			})
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	s := r.service(retention.Policy{})
	cleared := func() bool {
		_, err := s.Clear(t.Context(), accounts[0], c, store.MillisOf(r.now))
		if err != nil {
			t.Error(err)
			return true
		}
		return len(r.texts(accounts[0], c)) == 0
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := poll.Until(ctx, cleared)
	close(stop)
	if err := <-ended; err != nil || !done {
		t.Errorf("cleared: %t, %v", done, err)
	}
}
