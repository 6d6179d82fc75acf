// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/actors/store"
)

func TestAcceptStoresMessageAndEvent(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	before := r.lastSeq(alice)
	got := must[store.Accepted](r, store.AcceptMessage{
		Account: alice, Conversation: store.ContactConversation(bob), GUID: -7, Type: 3, ReplyTo: 99,
		SendTime: 1_500_000_000_011, EditTime: 12, Received: 1_500_000_000_013, Payload: []byte("hello"),
	})
	id := store.MessageID{Dir: store.In, GUID: -7}
	if want := (store.Accepted{ID: id, Order: 1}); got != want {
		t.Fatalf("accepted %+v, want %+v", got, want)
	}
	want := store.Message{
		Account: alice, Conversation: store.ContactConversation(bob), Order: 1, ID: id, Type: 3, ReplyTo: 99,
		SendTime: 1_500_000_000_011, EditTime: 12, Created: 1_500_000_000_013, Payload: []byte("hello"),
		State: store.StateReceived, StateTime: 1_500_000_000_013,
	}
	msg := get[store.Message](r)(r.store.Message(alice, store.ContactConversation(bob), id))
	if diff := cmp.Diff(want, msg); diff != "" {
		t.Errorf("message: %s", diff)
	}
	events := get[[]store.Event](r)(r.store.Events(alice, before, 0))
	wantEvents := []store.Event{{
		Account: alice, Seq: before + 1, Conversation: store.ContactConversation(bob), Kind: store.MessageReceived,
		Time: store.MillisOf(r.clock.now), Message: id, Order: 1,
	}}
	if diff := cmp.Diff(wantEvents, events); diff != "" {
		t.Errorf("events: %s", diff)
	}
	r.checked()
}

// Bar R19
func TestAcceptKnowsDuplicates(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	first := must[store.Accepted](r, accept(5, "hello"))
	seq := r.lastSeq(alice)
	for i := range 100 {
		if i%40 == 20 {
			r.restart()
		}
		repeat := accept(5, "hello")
		repeat.SendTime += store.Millis(i) // another clock does not make another message
		got := must[store.Accepted](r, repeat)
		if want := (store.Accepted{ID: first.ID, Order: first.Order, Duplicate: true}); got != want {
			t.Fatalf("repeat %d: %+v, want %+v", i, got, want)
		}
	}
	if got := r.lastSeq(alice); got != seq {
		t.Errorf("repeats made %d events", got-seq)
	}
	if diff := cmp.Diff([]string{"hello"}, r.texts(alice, bob)); diff != "" {
		t.Error(diff)
	}
}

// Bar R19
func TestAcceptSeparatesPeersAndAccounts(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	for _, account := range []struct{ op store.AcceptMessage }{
		{store.AcceptMessage{Account: alice, Conversation: store.ContactConversation(bob), GUID: 1, Payload: []byte("x")}},
		{store.AcceptMessage{Account: alice, Conversation: store.ContactConversation(carol), GUID: 1, Payload: []byte("x")}},
		{store.AcceptMessage{Account: anna, Conversation: store.ContactConversation(bob), GUID: 1, Payload: []byte("x")}},
	} {
		if got := must[store.Accepted](r, account.op); got.Duplicate || got.Order != 1 {
			t.Errorf("%+v", got)
		}
	}
}

// Bar R19
func TestAcceptAppliesEditOnce(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	first := must[store.Accepted](r, accept(5, "hello"))
	seq := r.lastSeq(alice)
	edit := accept(5, "hello, world")
	edit.EditTime = 1000
	edited := store.Accepted{ID: first.ID, Order: first.Order, Edited: true}
	duplicate := store.Accepted{ID: first.ID, Order: first.Order, Duplicate: true}
	stale := accept(5, "older edit")
	stale.EditTime = 999
	again := edit
	again.EditTime = 1001
	for _, step := range []struct {
		name string
		op   store.AcceptMessage
		want store.Accepted
	}{
		{"the edit", edit, edited},
		{"the edit again", edit, duplicate},
		{"the edit with a newer time and nothing new", again, duplicate},
		{"the original, late", accept(5, "hello"), duplicate},
		{"an edit that was overtaken", stale, duplicate},
	} {
		if got := must[store.Accepted](r, step.op); got != step.want {
			t.Errorf("%s: %+v, want %+v", step.name, got, step.want)
		}
	}
	back := accept(5, "hello")
	back.EditTime = 2000
	if got := must[store.Accepted](r, back); got != edited {
		t.Errorf("an edit back to the original: %+v, want %+v", got, edited)
	}
	if got := must[store.Accepted](r, accept(5, "hello")); got != duplicate {
		t.Errorf("the original once more: %+v, want %+v", got, duplicate)
	}
	if diff := cmp.Diff([]store.EventKind{store.MessageEdited, store.MessageEdited}, r.kinds(alice, seq)); diff != "" {
		t.Error(diff)
	}
	msg := get[store.Message](r)(r.store.Message(alice, store.ContactConversation(bob), first.ID))
	if string(msg.Payload) != "hello" || msg.EditTime != 2000 {
		t.Errorf("message after edits: %+v", msg)
	}
	r.checked()
}

// Bar R19
func TestAcceptKeepsConflictsApart(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	var want []string
	for i := range store.MaxVariants {
		text := fmt.Sprintf("content %d", i)
		want = append(want, text)
		got := must[store.Accepted](r, accept(5, text))
		id := store.MessageID{Dir: store.In, GUID: 5, Variant: uint16(i)}
		if (got != store.Accepted{ID: id, Order: uint64(i + 1)}) {
			t.Fatalf("variant %d: %+v", i, got)
		}
	}
	if got := must[store.Accepted](r, accept(5, "one too many")); got != (store.Accepted{Crowded: true}) {
		t.Errorf("beyond the limit: %+v", got)
	}
	if got := must[store.Accepted](r, accept(5, "content 3")); !got.Duplicate || got.ID.Variant != 3 {
		t.Errorf("repeat of a variant: %+v", got)
	}
	if diff := cmp.Diff(want, r.texts(alice, bob)); diff != "" {
		t.Error(diff)
	}
	r.checked()
}

func TestAcceptRefuses(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	for _, test := range []struct {
		name string
		op   store.AcceptMessage
		want error
	}{
		{"guid 0", accept(0, "x"), store.ErrInvalid},
		{"no account", store.AcceptMessage{Conversation: store.ContactConversation(bob), GUID: 1}, store.ErrInvalid},
		{"no contact", store.AcceptMessage{Account: alice, GUID: 1}, store.ErrInvalid},
		{"stranger", store.AcceptMessage{Account: alice, Conversation: store.ContactConversation(key(9)), GUID: 1}, store.ErrNotFound},
		{"unknown account", store.AcceptMessage{Account: key(9), Conversation: store.ContactConversation(bob), GUID: 1}, store.ErrNotFound},
		{"huge payload", accept(1, string(make([]byte, store.MaxPayload+1))), store.ErrInvalid},
	} {
		if _, err := do[store.Accepted](r, test.op); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	must[store.Accepted](r, accept(1, string(make([]byte, store.MaxPayload))))
	r.checked()
}

func TestEnqueueIsIdempotentBySource(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	first := must[store.Enqueued](r, enqueue(8, "hi", "$event"))
	if first.Duplicate || first.Message.Order != 1 || first.Message.State != store.StatePending {
		t.Fatalf("%+v", first)
	}
	seq := r.lastSeq(alice)
	for _, again := range []store.EnqueueMessage{enqueue(8, "hi", "$event"), enqueue(9, "other", "$event")} {
		got := must[store.Enqueued](r, again)
		if diff := cmp.Diff(store.Enqueued{Message: first.Message, Duplicate: true}, got); diff != "" {
			t.Error(diff)
		}
		r.restart()
	}
	foreign := enqueue(8, "hi", "$event")
	foreign.Account = anna
	if got := must[store.Enqueued](r, foreign); got.Duplicate {
		t.Error("the source of another account counted")
	}
	if got := r.lastSeq(alice); got != seq {
		t.Errorf("repeats made %d events", got-seq)
	}
	r.checked()
}

func TestEnqueueRefuses(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[store.Enqueued](r, enqueue(8, "hi", ""))
	stranger := enqueue(1, "x", "")
	stranger.Conversation = store.ContactConversation(key(9))
	for _, test := range []struct {
		name string
		op   store.EnqueueMessage
		want error
	}{
		{"guid 0", enqueue(0, "x", ""), store.ErrInvalid},
		{"a guid that is taken", enqueue(8, "hi", "$other"), store.ErrGUIDTaken},
		{"the same without a source", enqueue(8, "hi", ""), store.ErrGUIDTaken},
		{"stranger", stranger, store.ErrNotFound},
		{"long source", enqueue(1, "x", string(make([]byte, store.MaxSource+1))), store.ErrInvalid},
		{"huge payload", enqueue(1, string(make([]byte, store.MaxPayload+1)), ""), store.ErrInvalid},
	} {
		if _, err := do[store.Enqueued](r, test.op); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	if got := r.texts(alice, bob); len(got) != 1 {
		t.Errorf("refused messages left a trace: %q", got)
	}
	r.checked()
}

// Bar R18
func TestOutboxKeepsOrder(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	const n = 1500 // more than a page
	for i := range int64(n) {
		must[store.Enqueued](r, enqueue(n-i, guidText(i), ""))
	}
	outbox := get[[]store.Message](r)(r.store.Outbox(alice, store.ContactConversation(bob), 0, 0))
	if len(outbox) != 1024 {
		t.Fatalf("a page has %d messages", len(outbox))
	}
	delivered := 0
	for delivered < n {
		page := get[[]store.Message](r)(r.store.Outbox(alice, store.ContactConversation(bob), uint64(delivered), 100))
		for _, msg := range page {
			if want := guidText(int64(delivered)); string(msg.Payload) != want || msg.Order != uint64(delivered+1) {
				t.Fatalf("message %d is %q at %d", delivered, msg.Payload, msg.Order)
			}
			if !must[bool](r, store.MarkDelivered{Account: alice, Conversation: store.ContactConversation(bob), GUID: msg.ID.GUID}) {
				t.Fatalf("message %d was not delivered", delivered)
			}
			delivered++
		}
	}
	if rest := get[[]store.Message](r)(r.store.Outbox(alice, store.ContactConversation(bob), 0, 0)); len(rest) != 0 {
		t.Errorf("%d messages are left", len(rest))
	}
	r.checked()
}

func TestMarkDeliveredOnce(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[store.Enqueued](r, enqueue(8, "hi", ""))
	must[store.Accepted](r, accept(9, "incoming"))
	seq := r.lastSeq(alice)
	mark := store.MarkDelivered{Account: alice, Conversation: store.ContactConversation(bob), GUID: 8, Time: 77}
	for i, want := range []bool{true, false, false} {
		if got := must[bool](r, mark); got != want {
			t.Errorf("mark %d: %v", i, got)
		}
		r.restart()
	}
	for name, op := range map[string]store.Op{
		"unknown guid":      store.MarkDelivered{Account: alice, Conversation: store.ContactConversation(bob), GUID: 1},
		"an incoming guid":  store.MarkDelivered{Account: alice, Conversation: store.ContactConversation(bob), GUID: 9},
		"unknown contact":   store.MarkDelivered{Account: alice, Conversation: store.ContactConversation(key(9)), GUID: 8},
		"failing delivered": store.FailMessage{Account: alice, Conversation: store.ContactConversation(bob), GUID: 8},
		"failing unknown":   store.FailMessage{Account: alice, Conversation: store.ContactConversation(bob), GUID: 1},
	} {
		if must[bool](r, op) {
			t.Errorf("%s: true", name)
		}
	}
	if diff := cmp.Diff([]store.EventKind{store.MessageDelivered}, r.kinds(alice, seq)); diff != "" {
		t.Error(diff)
	}
	msg := get[store.Message](r)(r.store.Message(alice, store.ContactConversation(bob), store.MessageID{Dir: store.Out, GUID: 8}))
	if msg.State != store.StateDelivered || msg.StateTime != 77 {
		t.Errorf("%+v", msg)
	}
	r.checked()
}

func TestFailMessageLeavesOutbox(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[store.Enqueued](r, enqueue(8, "hi", ""))
	seq := r.lastSeq(alice)
	fail := store.FailMessage{Account: alice, Conversation: store.ContactConversation(bob), GUID: 8, Time: 77, Reason: "gave up"}
	if !must[bool](r, fail) || must[bool](r, fail) {
		t.Error("a message fails once")
	}
	if rest := get[[]store.Message](r)(r.store.Outbox(alice, store.ContactConversation(bob), 0, 0)); len(rest) != 0 {
		t.Errorf("%d messages are left", len(rest))
	}
	events := get[[]store.Event](r)(r.store.Events(alice, seq, 0))
	if len(events) != 1 || events[0].Kind != store.MessageFailed || events[0].Reason != "gave up" {
		t.Errorf("%+v", events)
	}
	// The peer's OK came late, but it came.
	if !must[bool](r, store.MarkDelivered{Account: alice, Conversation: store.ContactConversation(bob), GUID: 8}) {
		t.Error("a failed message that arrived is not delivered")
	}
	msg := get[store.Message](r)(r.store.Message(alice, store.ContactConversation(bob), store.MessageID{Dir: store.Out, GUID: 8}))
	if msg.State != store.StateDelivered || msg.Reason != "" {
		t.Errorf("%+v", msg)
	}
	if _, err := do[bool](r, store.FailMessage{Reason: string(make([]byte, store.MaxText+1))}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("long reason: %v", err)
	}
	r.checked()
}

// Bar R27
func TestOutboxIsBounded(t *testing.T) {
	r := newPeopledRig(t, store.Options{OutboxRows: 3, OutboxBytes: 10})
	fill := func() {
		t.Helper()
		for guid := int64(1); guid <= 3; guid++ {
			must[store.Enqueued](r, enqueue(guid, "x", ""))
		}
	}
	full := func(guid int64, text string) {
		t.Helper()
		if _, err := do[store.Enqueued](r, enqueue(guid, text, "")); !errors.Is(err, store.ErrOutboxFull) {
			t.Errorf("guid %d: %v, want %v", guid, err, store.ErrOutboxFull)
		}
	}
	fill()
	full(4, "x")
	other := enqueue(4, "x", "")
	other.Conversation = store.ContactConversation(carol)
	if _, err := do[store.Enqueued](r, other); !errors.Is(err, store.ErrOutboxFull) {
		t.Errorf("the bound is per account: %v", err)
	}
	other.Account = anna
	must[store.Enqueued](r, other)
	r.restart()
	full(5, "x")
	must[bool](r, store.MarkDelivered{Account: alice, Conversation: store.ContactConversation(bob), GUID: 1})
	must[bool](r, store.FailMessage{Account: alice, Conversation: store.ContactConversation(bob), GUID: 2})
	full(5, "012345678 too many bytes")
	must[store.Enqueued](r, enqueue(5, "012345678", ""))
	full(6, "x")
	if !must[bool](r, store.RemoveContact{Account: alice, Contact: bob}) {
		t.Error("not removed")
	}
	must[store.Added](r, store.AddContact{Contact: store.Contact{Account: alice, ID: bob}})
	fill()
	full(7, "x")
	r.checked()
}

func TestOutboxContacts(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	if got := get[[]store.Message](r)(r.store.Outbox(alice, store.ContactConversation(bob), 0, 0)); len(got) != 0 {
		t.Errorf("%v", got)
	}
	for guid := range int64(5) {
		op := enqueue(guid+1, "x", "")
		must[store.Enqueued](r, op)
		op.Conversation = store.ContactConversation(carol)
		must[store.Enqueued](r, op)
	}
	found, err := r.store.OutboxConversations(alice)
	if err != nil || len(found) != 2 || found[0] != store.ContactConversation(bob) || found[1] != store.ContactConversation(carol) {
		t.Errorf("%v %v", found, err)
	}
	if contacts, err := r.store.OutboxConversations(anna); err != nil || len(contacts) != 0 {
		t.Errorf("%v %v", contacts, err)
	}
}

func TestMessagesPages(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	for guid := int64(1); guid <= 10; guid++ {
		must[store.Accepted](r, accept(guid, guidText(guid)))
	}
	orders := func(before uint64, limit int) (orders []uint64) {
		for _, msg := range get[[]store.Message](r)(r.store.Messages(alice, store.ContactConversation(bob), before, limit)) {
			orders = append(orders, msg.Order)
		}
		return orders
	}
	for _, test := range []struct {
		before uint64
		limit  int
		want   []uint64
	}{
		{0, 3, []uint64{10, 9, 8}},
		{8, 3, []uint64{7, 6, 5}},
		{3, 100, []uint64{2, 1}},
		{1, 0, nil},
		{1 << 63, 1, []uint64{10}},
		{0, -1, []uint64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}},
	} {
		if diff := cmp.Diff(test.want, orders(test.before, test.limit)); diff != "" {
			t.Errorf("before %d, limit %d: %s", test.before, test.limit, diff)
		}
	}
}

func TestMessagesAfter_Pages(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	for guid := int64(1); guid <= 10; guid++ {
		must[store.Accepted](r, accept(guid, guidText(guid)))
	}
	for _, test := range []struct {
		after uint64
		limit int
		want  []uint64
	}{
		{0, 3, []uint64{1, 2, 3}},
		{8, 3, []uint64{9, 10}},
		{3, 2, []uint64{4, 5}},
		{10, 0, nil},
		{math.MaxUint64, 1, nil},
	} {
		var orders []uint64
		for _, msg := range get[[]store.Message](r)(r.store.MessagesAfter(alice, store.ContactConversation(bob), test.after, test.limit)) {
			orders = append(orders, msg.Order)
		}
		if diff := cmp.Diff(test.want, orders); diff != "" {
			t.Errorf("after %d, limit %d: %s", test.after, test.limit, diff)
		}
	}
}

func TestMarkRead_OnlyForward(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	for guid := int64(1); guid <= 3; guid++ {
		must[store.Accepted](r, accept(guid, guidText(guid)))
	}
	var received []store.Event
	for _, e := range get[[]store.Event](r)(r.store.Events(alice, 0, 0)) {
		if e.Kind == store.MessageReceived {
			received = append(received, e)
		}
	}
	mark := func(e store.Event) bool {
		return must[bool](r, store.MarkRead{Account: alice, Conversation: store.ContactConversation(bob), Seq: e.Seq, Order: e.Order})
	}
	if !mark(received[1]) || mark(received[1]) || mark(received[0]) {
		t.Error("a read mark that has moved back, or not at all")
	}
	cursor, err := r.store.Cursor(store.ReadConsumer, alice, store.ContactConversation(bob))
	if err != nil || cursor != received[1].Seq {
		t.Errorf("the mark is at %d, want %d, error %v", cursor, received[1].Seq, err)
	}
	if other, err := r.store.Cursor(store.ReadConsumer, alice, store.ContactConversation(carol)); err != nil || other != 0 {
		t.Errorf("the mark of another conversation is at %d, error %v", other, err)
	}
	var told []uint64
	for _, e := range get[[]store.Event](r)(r.store.Events(alice, 0, 0)) {
		if e.Kind == store.ConversationRead {
			told = append(told, e.Order)
		}
	}
	if diff := cmp.Diff([]uint64{received[1].Order}, told); diff != "" {
		t.Error(diff)
	}
	for _, op := range []store.MarkRead{
		{Account: alice, Conversation: store.ContactConversation(bob), Seq: 1 << 40, Order: 1},
		{Account: alice, Seq: 1, Order: 1},
		{Account: alice, Conversation: store.ContactConversation(bob), Seq: received[2].Seq},
	} {
		if _, err := do[bool](r, op); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%+v: error %v", op, err)
		}
	}
}

func TestPagesAreBoundedInBytes(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	big := bytes.Repeat([]byte("x"), store.MaxPayload/4)
	for guid := int64(1); guid <= 5; guid++ {
		op := enqueue(guid, string(big), "")
		must[store.Enqueued](r, op)
	}
	for name, read := range map[string]func() ([]store.Message, error){
		"messages": func() ([]store.Message, error) { return r.store.Messages(alice, store.ContactConversation(bob), 0, 0) },
		"outbox":   func() ([]store.Message, error) { return r.store.Outbox(alice, store.ContactConversation(bob), 0, 0) },
	} {
		if page := get[[]store.Message](r)(read()); len(page) != 2 {
			t.Errorf("%s: %d large messages in a page", name, len(page))
		}
	}
}

func TestMessageNotFound(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	if _, err := r.store.Message(alice, store.ContactConversation(bob), store.MessageID{GUID: 1}); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}
