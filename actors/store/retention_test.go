// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

var (
	withBob   = store.ContactConversation(bob)
	withCarol = store.ContactConversation(carol)
)

// later is after everything that a test has stored.
func (r *rig) later() store.Millis { return store.MillisOf(r.clock.now.Add(time.Hour)) }

// expire expires what may, of a conversation, and returns how many that were.
func (r *rig) expire(account identity.PublicKey, conversation store.ConversationID, c store.Consumers) (count int, found store.Expirable) {
	r.t.Helper()
	found = get[store.Expirable](r)(r.store.Expirable(account, conversation, r.later(), 0, c))
	result := must[store.Expired](r, store.ExpireMessages{Account: account, Conversation: conversation, Orders: found.Orders, Seq: found.Seq})
	if result.Busy {
		r.t.Fatal("busy")
	}
	r.checked()
	return result.Count, found
}

func (r *rig) deliver(guid int64) {
	r.t.Helper()
	if !must[bool](r, store.MarkDelivered{Account: alice, Conversation: withBob, GUID: guid}) {
		r.t.Fatalf("%d was not undelivered", guid)
	}
}

// Everything by which a repeat is recognised outlives the message: the guid with its
// content, also that from before an edit, the source, and the guid of our own.
func TestExpire_RepeatsAreStillKnown(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %t", restarts), func(t *testing.T) {
			r := newPeopledRig(t, store.Options{})
			first := must[store.Accepted](r, accept(5, "hello"))
			second := must[store.Accepted](r, accept(5, "other content"))
			must[store.Accepted](r, accept(6, "before the edit"))
			edit := accept(6, "after the edit")
			edit.EditTime = 100
			must[store.Accepted](r, edit)
			sent := must[store.Enqueued](r, enqueue(7, "from a room", "$event"))
			r.deliver(7)
			if n, _ := r.expire(alice, withBob, store.Consumers{}); n != 4 {
				t.Fatalf("%d expired", n)
			}
			if restarts {
				r.restart()
			}
			if got := r.texts(alice, bob); len(got) != 0 {
				t.Errorf("there are still %q", got)
			}
			if _, err := r.store.Message(alice, withBob, first.ID); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("the message: %v", err)
			}
			before := r.lastSeq(alice)
			again := edit
			again.EditTime = 200
			for name, op := range map[string]store.AcceptMessage{
				"content": accept(5, "hello"), "second content": accept(5, "other content"), "after the edit": edit,
				"before the edit": accept(6, "before the edit"), "another edit": again,
			} {
				if got := must[store.Accepted](r, op); !got.Duplicate {
					t.Errorf("%s: %+v", name, got)
				}
			}
			if got := must[store.Accepted](r, accept(5, "other content")); got.ID != second.ID || got.Order != second.Order {
				t.Errorf("%+v, want %+v", got, second)
			}
			got := must[store.Enqueued](r, enqueue(8, "from a room", "$event"))
			if !got.Duplicate || got.Message.ID != sent.Message.ID || got.Message.State != store.StateDelivered {
				t.Errorf("the source: %+v", got)
			}
			if _, err := do[store.Enqueued](r, enqueue(7, "another", "$other")); !errors.Is(err, store.ErrGUIDTaken) {
				t.Errorf("our guid: %v", err)
			}
			if after := r.lastSeq(alice); after != before {
				t.Errorf("%v happened", r.kinds(alice, before))
			}
			if got := must[store.Accepted](r, accept(5, "third content")); got.Duplicate || got.Order != 5 {
				t.Errorf("a new message: %+v", got)
			}
			r.checked()
		})
	}
}

// A repeat of what expired in a group is known by either guid, and a deletion of it does
// nothing.
func TestExpire_Group_RepeatsAreStillKnown(t *testing.T) {
	r := newGroupRig(t)
	one, two := said(1, 11, bob, "one"), said(2, 12, alice, "two")
	two.ServerGUID = 99
	must[store.GroupAccepted](r, read(0, one, two))
	reaction := said(3, 13, carol, "")
	reaction.Type, reaction.ReplyTo, reaction.Reaction = int32(peer.TypeReaction), 11, &store.ReactionTo{Target: 11, Emoji: "x"}
	must[store.GroupAccepted](r, read(2, reaction))
	if n, _ := r.expire(alice, choir, store.Consumers{}); n != 3 {
		t.Fatalf("%d expired", n)
	}
	must[bool](r, store.ResetGroupPosition{Account: alice, Group: choir})
	before := r.lastSeq(alice)
	if got := must[store.GroupAccepted](r, read(0, one, two, reaction)); got.Duplicates != 3 || got.Stored != 0 {
		t.Errorf("read again: %+v", got)
	}
	deleted := said(4, 41, identity.PublicKey(nodeKey(0xd1)), "")
	deleted.System, deleted.Deletes, deleted.DeletedGUID = true, true, 99
	must[store.GroupAccepted](r, read(3, deleted))
	if got := r.kinds(alice, before); slices.Contains(got, store.MessageDeleted) {
		t.Errorf("%v happened", got)
	}
	if got := get[[]store.Reaction](r)(r.store.Reactions(alice, choir, 11)); len(got) != 0 {
		t.Errorf("reactions %+v", got)
	}
	r.checked()
}

// What a consumer has not dealt with stays, in its conversation; who has no cursor in the
// account follows it not.
func TestExpire_WaitsForConsumers(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[store.Accepted](r, accept(1, "seen"))
	seen := r.lastSeq(alice)
	must[store.Accepted](r, accept(2, "not seen"))
	toCarol := accept(3, "of carol")
	toCarol.Conversation = withCarol
	must[store.Accepted](r, toCarol)
	must[bool](r, store.MoveCursor{Consumer: "matrix", Account: alice, Conversation: withBob, Seq: seen})
	must[bool](r, store.MoveCursor{Consumer: "hand_over", Account: alice, Seq: r.lastSeq(alice)})
	whole := store.Consumers{WholeLog: []string{"hand_over"}}

	// A message that was dealt with and has another event since is needed again.
	must[store.Accepted](r, accept(4, "delivered"))
	if n, found := r.expire(alice, withBob, whole); n != 1 || found.Awaited != 2 || found.By == "" {
		t.Errorf("%d expired, %+v", n, found)
	}
	if got := r.texts(alice, bob); !slices.Equal(got, []string{"not seen", "delivered"}) {
		t.Errorf("there are %q", got)
	}
	if n, found := r.expire(alice, withCarol, whole); n != 0 || found.By != "matrix" {
		t.Errorf("of carol %d expired, %+v", n, found)
	}
	if n, _ := r.expire(alice, withCarol, store.Consumers{WholeLog: whole.WholeLog, Ignore: []string{"matrix"}}); n != 1 {
		t.Errorf("of carol %d expired without matrix", n)
	}
	// The account anna has no consumers.
	ofAnna := accept(1, "anna's")
	ofAnna.Account = anna
	must[store.Accepted](r, ofAnna)
	if n, _ := r.expire(anna, withBob, whole); n != 1 {
		t.Errorf("of anna %d expired", n)
	}
	for consumer, conversation := range map[string]store.ConversationID{"matrix": withBob, "hand_over": {}} {
		must[bool](r, store.MoveCursor{Consumer: consumer, Account: alice, Conversation: conversation, Seq: r.lastSeq(alice)})
	}
	if n, found := r.expire(alice, withBob, whole); n != 2 || found.Awaited != 0 {
		t.Errorf("%d expired, %+v", n, found)
	}
}

// What happens between the choice of messages and the operation stops it: it may be about
// them.
func TestExpire_LogHasGrown_NothingDone(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[store.Accepted](r, accept(1, "one"))
	found := get[store.Expirable](r)(r.store.Expirable(alice, withBob, r.later(), 0, store.Consumers{}))
	edit := accept(1, "edited")
	edit.EditTime = 5
	must[store.Accepted](r, edit)
	if got := must[store.Expired](r, store.ExpireMessages{Account: alice, Conversation: withBob, Orders: found.Orders, Seq: found.Seq}); !got.Busy || got.Count != 0 {
		t.Errorf("%+v", got)
	}
	if got := r.texts(alice, bob); !slices.Equal(got, []string{"edited"}) {
		t.Errorf("there are %q", got)
	}
}

// Undelivered messages, files on their way and what is newer stay; files that are here go.
func TestExpire_WhatIsUnderWayStays(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[store.Enqueued](r, enqueue(1, "undelivered", ""))
	fetching := accept(2, "{}")
	fetching.Media = &store.Media{State: store.MediaDownloading, Due: 5, Size: 3}
	must[store.Accepted](r, fetching)
	here := accept(3, "{}")
	here.Media = &store.Media{State: store.MediaStored, Hash: media.Hash(key(9)), Size: 3}
	must[store.Accepted](r, here)
	must[store.Enqueued](r, enqueue(4, "given up", "$four"))
	must[bool](r, store.FailMessage{Account: alice, Conversation: withBob, GUID: 4, Reason: "why"})
	r.clock.now = r.clock.now.Add(2 * time.Hour)
	must[store.Accepted](r, accept(5, "newer"))
	before := store.MillisOf(r.clock.now)

	found := get[store.Expirable](r)(r.store.Expirable(alice, withBob, before, 0, store.Consumers{}))
	if !slices.Equal(found.Orders, []uint64{3, 4}) || found.Undelivered != 1 || found.InTransfer != 1 || found.Through != 0 || found.Next != 0 {
		t.Fatalf("%+v", found)
	}
	must[store.Expired](r, store.ExpireMessages{Account: alice, Conversation: withBob, Orders: append(found.Orders, 1, 77), Seq: found.Seq})
	if got := r.texts(alice, bob); !slices.Equal(got, []string{"undelivered", "{}", "newer"}) {
		t.Errorf("there are %q", got)
	}
	if _, err := r.store.Media(alice, withBob, store.MessageID{GUID: 3}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the file: %v", err)
	}
	if rows := get[[]store.Media](r)(r.store.MediaOfFile(media.Hash(key(9)))); len(rows) != 0 {
		t.Errorf("the file is named by %+v", rows)
	}
	if got := r.kinds(alice, found.Seq); !slices.Equal(got, []store.EventKind{store.MessagesExpired}) {
		t.Errorf("%v happened", got)
	}
	// It is delivered late, and goes with the next.
	r.deliver(1)
	r.checked()
}

func TestExpire_InBatches(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	for guid := range int64(store.MaxExpire + 10) {
		must[store.Accepted](r, accept(guid+1, "text"))
	}
	first := get[store.Expirable](r)(r.store.Expirable(alice, withBob, r.later(), 0, store.Consumers{}))
	if len(first.Orders) != store.MaxExpire || first.Next != store.MaxExpire || first.Through != store.MaxExpire {
		t.Fatalf("%d of them, next %d, through %d", len(first.Orders), first.Next, first.Through)
	}
	second := get[store.Expirable](r)(r.store.Expirable(alice, withBob, r.later(), first.Next, store.Consumers{}))
	if len(second.Orders) != 10 || second.Next != 0 {
		t.Fatalf("%d of them, next %d", len(second.Orders), second.Next)
	}
	if _, err := do[store.Expired](r, store.ExpireMessages{Account: alice, Conversation: withBob, Orders: append(first.Orders, 1), Seq: first.Seq}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("too many: %v", err)
	}
}

// The log loses its beginning and goes on with the next number, also after a restart.
func TestTrim_OldestEventsGo_ConsumersFirst(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	for guid := range int64(3) {
		must[store.Accepted](r, accept(guid+1, "text"))
	}
	last := r.lastSeq(alice)
	must[bool](r, store.MoveCursor{Consumer: "matrix", Account: alice, Conversation: withBob, Seq: last - 1})
	must[bool](r, store.MoveCursor{Consumer: "matrix", Account: alice, Seq: last})
	events, by, err := r.store.Trimmable(alice, r.later(), store.Consumers{})
	if err != nil || len(events) != 2 || by != "matrix" { // those of the account and of bob; next is one of carol
		t.Fatalf("%+v, %q, %v", events, by, err)
	}
	ignoring := store.Consumers{Ignore: []string{"matrix"}}
	events, by, err = r.store.Trimmable(alice, r.later(), ignoring)
	if err != nil || by != "" || uint64(len(events)) != last-1 {
		t.Fatalf("%d of %d, %q, %v", len(events), last, by, err)
	}
	if _, err := do[store.Expired](r, store.TrimEvents{Account: alice, Events: []store.Event{{Seq: last}}}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("the last event: %v", err)
	}
	if got := must[store.Expired](r, store.TrimEvents{Account: alice, Events: events}); got.Count != len(events) {
		t.Errorf("%+v", got)
	}
	r.checked()
	r.restart()
	r.checked()
	if got := get[[]store.Event](r)(r.store.Events(alice, 0, 0)); len(got) != 1 || got[0].Seq != last {
		t.Errorf("there are %+v", got)
	}
	must[store.Accepted](r, accept(9, "next"))
	if got := r.lastSeq(alice); got != last+1 {
		t.Errorf("the log goes on with %d after %d", got, last)
	}
	if got := get[[]store.Event](r)(r.store.ConversationEvents(alice, withBob, 0, 0)); len(got) != 2 {
		t.Errorf("of bob there are %+v", got)
	}
	if got := get[[]store.Event](r)(r.store.Events(anna, 0, 0)); len(got) == 0 || got[0].Seq != 1 {
		t.Errorf("of anna there are %+v", got)
	}
	r.checked()
}

// A consumer that follows some conversations alone is waited for in these, and in no other,
// also when it has a cursor there from before. What was queued for a source is known after
// the message has expired.
func TestExpire_ConsumerOfSomeConversations(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	for _, conversation := range []store.ConversationID{withBob, withCarol} {
		received, queued := accept(1, "of both"), enqueue(2, "delivered", "source "+conversation.Short())
		received.Conversation, queued.Conversation = conversation, conversation
		must[store.Accepted](r, received)
		must[bool](r, store.MoveCursor{Consumer: "answers", Account: alice, Conversation: conversation, Seq: r.lastSeq(alice)})
		must[store.Enqueued](r, queued)
		must[bool](r, store.MarkDelivered{Account: alice, Conversation: conversation, GUID: 2})
	}
	some := store.Consumers{Only: map[string][]store.ConversationID{"answers": {withBob}}}
	if n, found := r.expire(alice, withBob, some); n != 1 || found.Awaited != 1 || found.By != "answers" {
		t.Errorf("of bob %d expired, %+v", n, found)
	}
	if n, found := r.expire(alice, withCarol, some); n != 2 || found.Awaited != 0 {
		t.Errorf("of carol %d expired, %+v", n, found)
	}
	id := store.MessageID{Dir: store.Out, GUID: 2}
	if source, err := r.store.MessageSource(alice, withCarol, id); err != nil || source != "source "+withCarol.Short() {
		t.Errorf("source %q, %v", source, err)
	}
	if _, err := r.store.Message(alice, withCarol, id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the message is there: %v", err)
	}
	id.GUID = 3
	if _, err := r.store.MessageSource(alice, withCarol, id); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("source of no message: %v", err)
	}
	events, by, err := r.store.Trimmable(alice, r.later(), some)
	if err != nil || by != "answers" || len(events) == 0 || slices.ContainsFunc(events, func(e store.Event) bool { return e.Kind == store.MessageQueued && e.Conversation == withBob }) {
		t.Errorf("%d events, %q, %v", len(events), by, err)
	}
}
