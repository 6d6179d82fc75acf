// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/mimird/mimird/proto/identity"
)

// stepsPerSequence is how many operations one sequence of the model tests has.
const stepsPerSequence = 100

// modelConversation returns one of the conversations of the model: 0 is the account
// itself, 4 a group chat, the others are contacts.
func modelConversation(n int) ConversationID {
	if n == 4 {
		return GroupConversation(identity.NodeKey{1}, 1)
	}
	return ContactConversation(modelKey(n))
}

func modelKey(n int) identity.PublicKey { return identity.PublicKey{byte(n)} }

// dice draws numbers below n. Rapid prefers small numbers, so each sequence gives
// the numbers another order: in one there are many removals, in another many
// repeats.
type dice struct{ order []int }

func newDice(t *rapid.T, n int) dice {
	seed := rapid.Uint64().Draw(t, "seed")
	return dice{rand.New(rand.NewPCG(seed, 0)).Perm(n)}
}

func (d dice) draw(t *rapid.T, label string) int {
	return d.order[rapid.IntRange(0, len(d.order)-1).Draw(t, label)]
}

// populate lists the operations that every sequence begins with.
func populate() (ops []Op) {
	for account := 1; account <= 2; account++ {
		ops = append(ops, PutAccount{Account: Account{ID: modelKey(account)}})
		for contact := 1; contact <= 2; contact++ {
			ops = append(ops, AddContact{Contact: Contact{Account: modelKey(account), ID: modelKey(contact)}})
		}
		ops = append(ops, AddGroup{Account: modelKey(account), Mediator: identity.NodeKey{1}, Chat: 1})
	}
	return ops
}

// drawOp draws an operation. There are few accounts, contacts, guids and texts,
// so that operations meet.
func drawOp(t *rapid.T, kinds dice) Op {
	if rapid.IntRange(0, 3).Draw(t, "of a group") == 0 {
		return drawGroupOp(t)
	}
	account, contact := modelKey(rapid.IntRange(1, 2).Draw(t, "account")), modelKey(rapid.IntRange(1, 3).Draw(t, "contact"))
	conversation := modelConversation(rapid.IntRange(1, 4).Draw(t, "conversation"))
	guid := rapid.SampledFrom([]int64{-1, 1, 2, 3, 4, 5}).Draw(t, "guid")
	text := func() string { return rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "text") }
	at := func() Millis { return Millis(rapid.IntRange(0, 3).Draw(t, "time")) }
	sent := func() Millis {
		return rapid.SampledFrom([]Millis{0, 2, -5, earliest2015 - 1, earliest2015, 1 << 62}).Draw(t, "sent")
	}
	switch n := kinds.draw(t, "op"); {
	case n < 6:
		return PutAccount{Account: Account{ID: account, Name: text(), Created: at()}}
	case n < 7:
		return RemoveAccount{Account: account}
	case n < 8:
		return AddGroup{Account: account, Mediator: identity.NodeKey{1}, Chat: 1}
	case n < 17:
		return AddContact{Contact: Contact{Account: account, ID: contact, Nickname: text(), State: ContactState(at()), Added: at()}}
	case n < 20:
		fields := rapid.SampledFrom([]ContactFields{FieldNickname, FieldLastSeen, FieldNickname | FieldLastSeen}).Draw(t, "fields")
		return UpdateContact{Account: account, Contact: contact, Fields: fields, Nickname: text(), LastSeen: at()}
	case n < 22:
		return SetContactState{Account: account, Contact: contact, State: ContactState(at())}
	case n < 24:
		return RemoveContact{Account: account, Contact: contact}
	case n < 27:
		return RecordNodeKey{Account: account, Contact: contact, Key: identity.NodeKey{byte(guid + 2)}, Time: at() + 1, Unconfirmed: guid%2 == 0}
	case n < 52:
		return AcceptMessage{
			Account: account, Conversation: ContactConversation(contact), GUID: guid, Type: int32(guid), SendTime: sent(), EditTime: max(0, at()-1), Received: at(),
			Payload: []byte(text()),
		}
	case n < 70:
		source := rapid.SampledFrom([]string{"", "$1", "$2", "$3", "$4"}).Draw(t, "source")
		return EnqueueMessage{
			Account: account, Conversation: conversation, GUID: guid, Type: 1, ReplyTo: 7, SendTime: sent(), Created: at(), Payload: []byte(text()), Source: source,
		}
	case n < 78:
		return MarkDelivered{Account: account, Conversation: conversation, GUID: guid, Time: at()}
	case n < 81:
		return FailMessage{Account: account, Conversation: conversation, GUID: guid, Time: at(), Reason: text()}
	case n < 87:
		consumer := rapid.SampledFrom([]string{"m", "mm"}).Draw(t, "consumer")
		conversation := modelConversation(rapid.IntRange(0, 4).Draw(t, "log"))
		return MoveCursor{Consumer: consumer, Account: account, Conversation: conversation, Seq: uint64(rapid.IntRange(0, 12).Draw(t, "seq"))}
	case n < 93:
		id := fmt.Sprint(rapid.IntRange(1, 12).Draw(t, "id"))
		return AppendJournal{Queue: rapid.SampledFrom([]string{"q", "qq"}).Draw(t, "queue"), ID: id, Time: at(), Body: []byte(text())}
	case n < 97:
		return FinishJournal{Queue: rapid.SampledFrom([]string{"q", "qq"}).Draw(t, "queue"), Seq: uint64(rapid.IntRange(1, 12).Draw(t, "seq"))}
	default:
		addresses := make([]Address, rapid.IntRange(0, 2).Draw(t, "addresses"))
		return PutAddresses{Identity: contact, Addresses: addresses}
	}
}

// failer is what run needs of a test.
type failer interface {
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// run is a store under test beside its model.
type run struct {
	t      failer
	limit  int // of a page
	opts   Options
	store  *Store
	writer *writer

	model   *model // after every operation so far
	flying  *model // when the batch in flight was taken
	durable *model // after the last commit
	want    map[uint64]Written
	token   uint64

	// bounds, when set, is told what a power cut from now on must and may leave.
	bounds func(must, may *model)
}

func newRun(t failer, fs vfs.FS) *run {
	now := time.UnixMilli(1_700_000_000_000)
	opts := Options{
		Dir: "store", FS: fs, OutboxRows: 5, JournalRows: 4, Now: func() time.Time { return now },
		MemTableBytes: 64 << 10, // so that tables are written
	}
	r := &run{t: t, limit: 3, opts: opts, want: make(map[uint64]Written)}
	r.model = newModel(MillisOf(now), opts)
	r.durable = r.model.clone()
	r.open()
	return r
}

func (r *run) open() {
	s, err := Open(r.opts)
	if err != nil {
		r.t.Fatalf("%v", err)
	}
	r.store, r.writer = s, newWriter(s)
}

func (r *run) close() {
	r.settle()
	r.writer.refresh()
	if err := r.store.Close(); err != nil {
		r.t.Fatalf("%v", err)
	}
}

// answer compares what the store answers with what the model did.
func (r *run) answer(got Written) {
	want, asked := r.want[got.Token]
	if !asked {
		r.t.Fatalf("operation %d is answered twice", got.Token)
	}
	delete(r.want, got.Token)
	if !errors.Is(got.Err, want.Err) || want.Err == nil && got.Err != nil {
		r.t.Fatalf("operation %d: error %v, want %v", got.Token, got.Err, want.Err)
	}
	r.equal(fmt.Sprintf("operation %d", got.Token), want.Result, got.Result, nil)
}

func (r *run) submit(op Op) {
	r.token++
	result, err := r.model.apply(op)
	r.want[r.token] = Written{Token: r.token, Result: result, Err: err}
	r.writer.submit(r, Write{Token: r.token, Op: op})
}

// begin commits the oldest waiting batch. Until end it counts as in flight.
func (r *run) begin() {
	b := r.writer.next()
	if b == nil {
		return
	}
	r.flying = r.model.clone()
	if r.bounds != nil {
		r.bounds(r.durable, r.flying)
	}
	if err := commitNow(r.store, b); err != nil {
		r.t.Fatalf("%v", err)
	}
	r.durable = r.flying
	if r.bounds != nil {
		r.bounds(r.durable, r.durable)
	}
}

func (r *run) end() {
	if r.writer.inFlight != nil {
		r.writer.ended()
	}
}

func (r *run) settle() {
	for r.writer.busy() {
		r.begin()
		r.end()
	}
	if len(r.want) > 0 {
		r.t.Fatalf("%d operations are not answered", len(r.want))
	}
}

// equal fails the test when the store reads differently from the model.
func (r *run) equal(what string, want, got any, err error) {
	if err != nil {
		r.t.Fatalf("%s: %v", what, err)
	}
	if reflect.DeepEqual(want, got) { // much faster than Diff
		return
	}
	if r.t == (trial{}) && !cmp.Equal(want, got, cmpopts.EquateEmpty()) {
		r.t.Fatalf("%s", what)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		r.t.Fatalf("%s: %s", what, diff)
	}
}

// compare reads everything that is on the disk.
func (r *run) compare() {
	m, s := r.durable, r.store
	var accounts []Account
	for n := 1; n <= 2; n++ {
		id := modelKey(n)
		a := m.accounts[id]
		if a == nil {
			a = &modelAccount{account: Account{ID: id}}
		} else {
			accounts = append(accounts, a.account)
		}
		r.compareAccount(a)
	}
	got, err := s.Accounts()
	r.equal("accounts", accounts, got, err)
	for _, name := range []string{"q", "qq"} {
		got, err := pages(r.limit, func(e JournalEntry) uint64 { return e.Seq }, func(after uint64) ([]JournalEntry, error) {
			return s.Journal(name, after, r.limit)
		})
		r.equal("journal", slices.Clone(m.queue(name).open), got, err)
	}
	for n := 1; n <= 3; n++ {
		got, err := s.Addresses(modelKey(n))
		r.equal("addresses", m.addresses[modelKey(n)], got, err)
	}
}

// pages reads page after page from the one after 0 on.
func pages[T any](limit int, number func(T) uint64, read func(after uint64) ([]T, error)) (all []T, err error) {
	for after := uint64(0); ; {
		page, err := read(after)
		if err != nil || len(page) == 0 {
			return all, err
		}
		if len(page) > limit {
			return all, fmt.Errorf("a page of %d has %d rows", limit, len(page))
		}
		all = append(all, page...)
		after = number(page[len(page)-1])
	}
}

func (r *run) compareAccount(a *modelAccount) {
	s, id := r.store, a.account.ID
	events, err := pages(r.limit, func(e Event) uint64 { return e.Seq }, func(after uint64) ([]Event, error) {
		return s.Events(id, after, r.limit)
	})
	r.equal("events", a.events, events, err)
	var contacts []Contact
	var outbox []ConversationID
	pending := make(map[string][]PendingConversation)
	for n := 0; n <= 4; n++ {
		conversation := modelConversation(n)
		var events []Event
		for _, ev := range a.events {
			if ev.Conversation == conversation {
				events = append(events, ev)
			}
		}
		got, err := pages(r.limit, func(e Event) uint64 { return e.Seq }, func(after uint64) ([]Event, error) {
			return s.ConversationEvents(id, conversation, after, r.limit)
		})
		r.equal("conversation events", events, got, err)
		for _, consumer := range []string{"m", "mm"} {
			want := a.cursors[consumer][conversation]
			got, err := s.Cursor(consumer, id, conversation)
			r.equal("cursor", want, got, err)
			if len(events) > 0 && events[len(events)-1].Seq > want {
				p := PendingConversation{Conversation: conversation, Last: events[len(events)-1].Seq, Cursor: want}
				pending[consumer] = append(pending[consumer], p)
			}
		}
		c := a.contacts[conversation]
		_, err = s.Contact(id, conversation.Contact())
		if conversation.Kind() == KindGroup {
			_, err = s.Group(id, conversation)
		}
		if (err == nil) != (c != nil) || err != nil && !errors.Is(err, ErrNotFound) {
			r.t.Fatalf("conversation %d: %v", n, err)
		}
		switch {
		case c == nil:
			c = &modelContact{}
		case conversation.Kind() == KindContact:
			contacts = append(contacts, c.contact)
		}
		r.compareMessages(id, conversation, c)
		if conversation.Kind() == KindGroup {
			r.compareGroup(id, a.contacts[conversation])
		}
		if len(c.undelivered()) > 0 {
			outbox = append(outbox, conversation)
		}
	}
	gotContacts, err := s.Contacts(id)
	r.equal("contacts", contacts, gotContacts, err)
	gotOutbox, err := s.OutboxConversations(id)
	r.equal("outbox conversations", outbox, gotOutbox, err)
	for _, consumer := range []string{"m", "mm"} {
		got, err := s.Pending(consumer, id)
		r.equal("pending", pending[consumer], got, err)
	}
}

func (r *run) compareMessages(account identity.PublicKey, conversation ConversationID, c *modelContact) {
	var messages []Message
	for before := uint64(0); ; {
		page, err := r.store.Messages(account, conversation, before, r.limit)
		if err != nil {
			r.t.Fatalf("%v", err)
		}
		if len(page) == 0 {
			break
		}
		messages = append(messages, page...)
		before = page[len(page)-1].Order
	}
	slices.Reverse(messages)
	r.equal("messages", c.messages, messages, nil)
	for _, want := range c.messages {
		got, err := r.store.Message(account, conversation, want.ID)
		r.equal("message", want, got, err)
	}
	outbox, err := r.store.Outbox(account, conversation, 0, 0)
	r.equal("outbox", c.undelivered(), outbox, err)
}

// Bar R05
func TestModelStore(t *testing.T) {
	sequences(t, 1000)
	rapid.Check(t, func(t *rapid.T) {
		r := newRun(t, vfs.NewMem())
		defer func() {
			if r.store.Err() == nil {
				r.writer.abandon(errStopping)
				_ = r.store.Close()
			}
		}()
		for _, op := range populate() {
			r.submit(op)
		}
		kinds, steps := newDice(t, 100), newDice(t, 200)
		for range stepsPerSequence {
			switch n := steps.draw(t, "step"); {
			case n < 30:
				r.begin()
			case n < 60:
				r.end()
			case n < 62:
				r.limit = rapid.IntRange(1, 4).Draw(t, "page")
				r.compare()
			case n < 63:
				r.settle()
				r.writer.abandon(errStopping)
				r.writer = newWriter(r.store) // the actor is restarted
			case n < 64:
				r.close()
				r.open()
			case n < 65:
				if err := r.store.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false); err != nil {
					t.Fatal(err)
				}
			default:
				r.submit(drawOp(t, kinds))
			}
		}
		r.settle()
		r.compare()
		if problems, err := r.store.Check(); err != nil || len(problems) > 0 {
			t.Fatalf("check: %v %v", problems, err)
		}
		r.close()
	})
}

// TestModelMakesCollisions keeps the sequences of the model test worth running.
func TestModelMakesCollisions(t *testing.T) {
	sequences(t, lessWithRace(1000, 6000)) // a tenth of it with the race detector
	seen := make(map[string]int)
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(1, Options{OutboxRows: 5, JournalRows: 4})
		kinds := newDice(t, 100)
		ops := populate()
		for range stepsPerSequence {
			ops = append(ops, drawOp(t, kinds))
		}
		for _, op := range ops {
			result, err := m.apply(op)
			what := fmt.Sprintf("%T", op)
			switch r := result.(type) {
			case Accepted:
				what += fmt.Sprintf(" duplicate=%v edited=%v variant=%v", r.Duplicate, r.Edited, r.ID.Variant > 0)
			case Enqueued:
				what += fmt.Sprintf(" duplicate=%v", r.Duplicate)
			case Journaled:
				what += fmt.Sprintf(" duplicate=%v", r.Duplicate)
			case GroupAccepted:
				what += fmt.Sprintf(" duplicates=%v", r.Duplicates > 0)
			case NodeKeyRecorded:
				what += fmt.Sprintf(" changed=%v", r.Changed)
			case bool:
				what += fmt.Sprintf(" %v", r)
			}
			if err != nil {
				what += " " + err.Error()
			}
			seen[what]++
		}
	})
	for _, what := range []string{
		"store.AcceptMessage duplicate=true edited=false variant=false", "store.AcceptMessage duplicate=false edited=true variant=false",
		"store.AcceptMessage duplicate=false edited=false variant=true", "store.EnqueueMessage duplicate=true",
		"store.EnqueueMessage " + ErrGUIDTaken.Error(), "store.EnqueueMessage " + ErrOutboxFull.Error(),
		"store.AppendJournal duplicate=true", "store.AppendJournal " + ErrJournalFull.Error(), "store.RecordNodeKey changed=true",
		"store.MarkDelivered true", "store.FailMessage true", "store.MoveCursor true", "store.MoveCursor " + ErrInvalid.Error(),
		"store.RemoveContact true", "store.RemoveAccount true", "store.AddGroup true",
		"store.AcceptGroupMessages duplicates=true", "store.AcceptGroupMessages duplicates=false", "store.AcceptGroupMessages " + ErrPosition.Error(),
		"store.MarkGroupDelivered true", "store.MarkGroupDelivered false", "store.FinishGroupTask true", "store.RemoveGroup true",
		"store.DecideInvite true", "store.ResetGroupPosition true",
	} {
		if seen[what] < lessWithRace(5, 1) { // the rarest comes about 33 times in 1000
			t.Errorf("%s happens %d times; there are %v", what, seen[what], slices.Sorted(maps.Keys(seen)))
		}
	}
}
