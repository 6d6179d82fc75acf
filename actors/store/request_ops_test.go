// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

var dave = key(0xd1)

func request(from identity.PublicKey, text string) store.ReceiveRequest {
	return store.ReceiveRequest{Contact: store.Contact{
		Account: alice, ID: from, State: store.ContactRequested, Nickname: "nick", Request: text,
	}}
}

func TestRequestIsDecided(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	contact := func() store.Contact { return get[store.Contact](r)(r.store.Contact(alice, dave)) }
	if got := must[store.Requested](r, request(dave, "one")); got != (store.Requested{State: store.ContactRequested}) {
		t.Errorf("%+v", got)
	}
	if got := must[store.Requested](r, request(dave, "again")); got != (store.Requested{State: store.ContactRequested}) {
		t.Errorf("again: %+v", got)
	}
	if c := contact(); c.Request != "one" || c.Requested == 0 {
		t.Errorf("%+v", c)
	}
	if !must[bool](r, store.DecideRequest{Account: alice, Contact: dave}) || must[bool](r, store.DecideRequest{Account: alice, Contact: dave}) {
		t.Error("declining twice")
	}
	if c := contact(); c.State != store.ContactStranger || c.Owed != store.AnswerNo || c.Declined == 0 {
		t.Errorf("%+v", c)
	}
	if must[store.Settled](r, store.SettleAnswer{Account: alice, Contact: dave, Answer: store.AnswerYes}) ||
		!must[store.Settled](r, store.SettleAnswer{Account: alice, Contact: dave, Answer: store.AnswerNo}) {
		t.Error("an answer that is not owed, or one that is")
	}
	if got := must[store.Requested](r, request(dave, "two")); got.Answer != store.AnswerNo {
		t.Errorf("soon after a no: %+v", got)
	}
	r.clock.now = r.clock.now.Add(25 * time.Hour)
	if got := must[store.Requested](r, request(dave, "three")); got != (store.Requested{State: store.ContactRequested}) {
		t.Errorf("a day after a no: %+v", got)
	}
	if !must[bool](r, store.DecideRequest{Account: alice, Contact: dave, Accept: true}) {
		t.Error("not accepted")
	}
	if c := contact(); c.State != store.ContactAccepted || c.Owed != store.AnswerYes || c.Declined != 0 {
		t.Errorf("%+v", c)
	}
	if got := must[store.Requested](r, request(dave, "four")); got.Answer != store.AnswerYes {
		t.Errorf("of a contact: %+v", got)
	}
	if _, err := do[bool](r, store.DecideRequest{Account: alice, Contact: dave}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("declining a contact: %v", err)
	}
	want := []store.EventKind{store.ContactAdded, store.RequestReceived, store.ContactChanged, store.ContactChanged, store.RequestReceived, store.ContactChanged}
	events := get[[]store.Event](r)(r.store.ConversationEvents(alice, store.ContactConversation(dave), 0, 100))
	var kinds []store.EventKind
	for _, e := range events {
		kinds = append(kinds, e.Kind)
	}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
	r.checked()
}

func TestUnblock_RestoresState(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	state := func(id identity.PublicKey) store.Contact { return get[store.Contact](r)(r.store.Contact(alice, id)) }
	must[store.Requested](r, request(dave, ""))
	for id, want := range map[identity.PublicKey]store.ContactState{bob: store.ContactAccepted, dave: store.ContactRequested} {
		must[bool](r, store.SetContactState{Account: alice, Contact: id, State: store.ContactBlocked})
		if got := must[store.Requested](r, request(id, "please")); got != (store.Requested{State: store.ContactBlocked}) {
			t.Errorf("%+v", got)
		}
		if !must[bool](r, store.UnblockContact{Account: alice, Contact: id}) || must[bool](r, store.UnblockContact{Account: alice, Contact: id}) {
			t.Error("unblocking twice")
		}
		if c := state(id); c.State != want || c.Owed != store.AnswerNone || c.Unblocked != 0 {
			t.Errorf("%+v", c)
		}
	}
}

// Bar S10: a thousand requests wait, and no more; each that is decided frees its place.
func TestRequestsAreBounded(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	person := func(i int) (k identity.PublicKey) {
		k[0], k[1], k[2] = 0xee, byte(i>>8), byte(i)
		return k
	}
	for i := range store.MaxRequests {
		must[store.Requested](r, request(person(i), ""))
	}
	for range 2 {
		if _, err := do[store.Requested](r, request(dave, "")); !errors.Is(err, store.ErrRequestsFull) {
			t.Errorf("one more: %v", err)
		}
		r.restart() // counted anew
	}
	must[bool](r, store.DecideRequest{Account: alice, Contact: person(0)})
	must[bool](r, store.RemoveContact{Account: alice, Contact: person(1)})
	must[store.Requested](r, request(dave, ""))
	must[store.Requested](r, request(person(1), ""))
	if _, err := do[store.Requested](r, request(person(5000), "")); !errors.Is(err, store.ErrRequestsFull) {
		t.Errorf("one more: %v", err)
	}
	if _, err := do[store.Requested](r, store.ReceiveRequest{Contact: store.Contact{Account: anna, ID: dave, State: store.ContactRequested}}); err != nil {
		t.Errorf("another account: %v", err)
	}
}

func TestOurRequest(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	asked := func() store.AskState { return get[store.Contact](r)(r.store.Contact(alice, bob)).Asked }
	answer := func(yes bool) bool {
		return bool(must[store.AnswerMarked](r, store.MarkAnswered{Account: alice, Contact: bob, Accepted: yes}))
	}
	ask := func(text string) bool {
		return must[bool](r, store.AskContact{Account: alice, Contact: bob, Text: text})
	}
	if answer(true) || bool(must[store.AskMarked](r, store.MarkAsked{Account: alice, Contact: bob})) {
		t.Error("an answer without a request")
	}
	if !ask("one") || ask("one") || !ask("two") || asked() != store.AskWaiting {
		t.Error("before it was sent")
	}
	if !bool(must[store.AskMarked](r, store.MarkAsked{Account: alice, Contact: bob})) || ask("three") || asked() != store.AskSent {
		t.Error("after it was sent")
	}
	if !answer(false) || answer(false) || asked() != store.AskDeclined {
		t.Error("a no")
	}
	if !ask("four") || !answer(true) || asked() != store.AskAccepted {
		t.Error("a yes")
	}
	if answer(false) || answer(true) {
		t.Error("an answer changes for ever")
	}
	var answers []bool
	for _, e := range get[[]store.Event](r)(r.store.ConversationEvents(alice, store.ContactConversation(bob), 0, 100)) {
		if e.Kind == store.ContactAnswered {
			answers = append(answers, e.Accepted)
		}
	}
	if diff := cmp.Diff([]bool{false, true}, answers); diff != "" {
		t.Error(diff)
	}
}

func TestAccountChanges(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	account := func() store.Account { return get[store.Account](r)(r.store.Account(alice)) }
	before := account()
	change := store.UpdateAccount{Account: alice, Fields: store.AccountName | store.AccountStrangers, Name: "new", Info: "not selected", Strangers: store.StrangersRefuse}
	if !must[bool](r, change) || must[bool](r, change) {
		t.Error("changed twice")
	}
	after := account()
	if after.Name != "new" || after.Info != before.Info || after.Strangers != store.StrangersRefuse || after.ProfileTime <= before.ProfileTime {
		t.Errorf("%+v", after)
	}
	must[bool](r, store.UpdateAccount{Account: alice, Fields: store.AccountInfo, Info: "now"})
	if got := account().ProfileTime; got < after.ProfileTime+1000 { // by a second: that is what contacts ask in
		t.Errorf("profile time %d after %d", got, after.ProfileTime)
	}
	must[bool](r, store.UpdateAccount{Account: alice, Fields: store.AccountRole, Role: store.RoleMirror, Priority: 7})
	if a := account(); a.Role != store.RoleMirror || a.Priority != 7 || a.ProfileTime != after.ProfileTime+1000 {
		t.Errorf("%+v", a)
	}
	if _, err := do[bool](r, store.UpdateAccount{Account: dave}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// The reaction with the latest time of its own side counts, whatever came last.
func TestReactionsOfBothSides(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	reaction := func(guid int64, emoji string, at store.Millis) store.AcceptMessage {
		op := accept(guid, "")
		op.ReplyTo, op.SendTime, op.Payload = 1, at, fmt.Append(nil, emoji, guid)
		op.Reaction = &store.ReactionTo{Target: 1, Emoji: emoji}
		return op
	}
	emojis := func() (found []string) {
		for _, x := range get[[]store.Reaction](r)(r.store.Reactions(alice, store.ContactConversation(bob), 1)) {
			found = append(found, x.Dir.String()+x.Emoji)
		}
		return found
	}
	must[store.Accepted](r, reaction(2, "a", 1_700_000_001_500)) // before its message
	if got := emojis(); got != nil {
		t.Errorf("to a message that is not there: %v", got)
	}
	must[store.Accepted](r, accept(1, "look"))
	must[store.Accepted](r, reaction(3, "b", 1_700_000_000_000)) // older
	must[store.Accepted](r, reaction(4, "a", 1_700_000_001_000)) // a repetition, without the milliseconds
	must[store.Enqueued](r, store.EnqueueMessage{
		Account: alice, Conversation: store.ContactConversation(bob), GUID: 5, ReplyTo: 1, SendTime: 5,
		Reaction: &store.ReactionTo{Target: 1, Emoji: "o"},
	})
	must[store.Accepted](r, accept(6, "none"))
	if diff := cmp.Diff([]string{"ina", "outo"}, emojis()); diff != "" {
		t.Error(diff)
	}
	must[store.Accepted](r, reaction(7, "", 1_700_000_002_000))
	if diff := cmp.Diff([]string{"outo"}, emojis()); diff != "" {
		t.Error(diff)
	}
	r.checked()
	must[bool](r, store.RemoveContact{Account: alice, Contact: bob})
	r.checked()
}
