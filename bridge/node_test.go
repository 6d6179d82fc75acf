// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"iter"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// testNode is a node without a network: a real store, and contacts that the test
// speaks for.
type testNode struct {
	*store.Store
	t     *testing.T
	actor kernel.Ref

	mu       sync.Mutex
	sendErr  error // what Send returns instead of doing anything
	journal  error // what AppendJournal and AppendJournalBatch return instead of doing anything
	cursors  error // what MoveCursor returns instead of doing anything
	sends    int
	nextGUID int64
	files    map[store.MessageID]*file
	// banRefused has BanFromGroup say that the account would ban itself.
	banRefused atomic.Bool
}

var _ bridge.Node = (*testNode)(nil)

func newTestNode(t *testing.T, stage *kerneltest.Stage, opts store.Options) *testNode {
	t.Helper()
	opts.Dir = "store"
	opened, err := store.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	n := &testNode{Store: opened, t: t, files: make(map[store.MessageID]*file)}
	n.actor = stage.Spawn(t, kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(opened) }})
	t.Cleanup(func() { stopChild(t, stage, n.actor) }) // before Close
	return n
}

// Message, Messages, Undelivered, OutboxSize and OutboxContacts are the node's, which
// names a contact.
func (n *testNode) Message(account, contact identity.PublicKey, id store.MessageID) (store.Message, error) {
	return n.Store.Message(account, store.ContactConversation(contact), id)
}

func (n *testNode) Messages(account, contact identity.PublicKey, before uint64, limit int) ([]store.Message, error) {
	return n.Store.Messages(account, store.ContactConversation(contact), before, limit)
}

func (n *testNode) Undelivered(account, contact identity.PublicKey) iter.Seq2[store.Message, error] {
	return n.Store.Undelivered(account, store.ContactConversation(contact))
}

func (n *testNode) OutboxSize(account, contact identity.PublicKey) (store.OutboxSize, error) {
	return n.Store.OutboxSize(account, store.ContactConversation(contact))
}

func (n *testNode) OutboxContacts(account identity.PublicKey) (contacts []identity.PublicKey, err error) {
	conversations, err := n.OutboxConversations(account)
	for _, c := range conversations {
		if c.Kind() == store.KindContact {
			contacts = append(contacts, c.Contact())
		}
	}
	return contacts, err
}

// Outbox is the node's, which begins with the oldest.
func (n *testNode) Outbox(account, contact identity.PublicKey, limit int) ([]store.Message, error) {
	return n.Store.Outbox(account, store.ContactConversation(contact), 0, limit)
}

// stopChild stops a child of the stage and waits until it is gone.
func stopChild(t *testing.T, stage *kerneltest.Stage, child kernel.Ref) {
	t.Helper()
	stage.Stop(child)
	for kerneltest.Await[kernel.ChildStopped](t, stage.Probe, patience).Child != child {
	}
}

func key(name string) identity.PublicKey { return sha256.Sum256([]byte(name)) }

// addAccount makes an account whose key is made of its name.
func (n *testNode) addAccount(name string) identity.PublicKey {
	n.t.Helper()
	id := key(name)
	n.must(store.Do[bool](context.Background(), n.actor, store.PutAccount{Account: store.Account{ID: id, Name: name, Created: 1}}))
	return id
}

func (n *testNode) addContact(account identity.PublicKey, name string) identity.PublicKey {
	n.t.Helper()
	id := key(name)
	_, err := n.AddContact(context.Background(), account, identity.Link{Key: id, Name: name})
	if err != nil {
		n.t.Fatal(err)
	}
	return id
}

// receive stores messages as if the contact had sent them.
func (n *testNode) receive(account, contact identity.PublicKey, texts ...string) []store.MessageID {
	n.t.Helper()
	ids := make([]store.MessageID, len(texts))
	for i, text := range texts {
		ids[i] = n.accept(store.AcceptMessage{Account: account, Conversation: store.ContactConversation(contact), Payload: []byte(text)})
	}
	return ids
}

func (n *testNode) accept(m store.AcceptMessage) store.MessageID {
	n.t.Helper()
	if m.GUID == 0 {
		n.mu.Lock()
		n.nextGUID++
		m.GUID = n.nextGUID
		n.mu.Unlock()
	}
	m.SendTime = store.Millis(peer.NormalizeSendTime(int64(m.SendTime)))
	m.Reaction = reactionOf(peer.MessageType(m.Type), m.Payload)
	accepted, err := store.Do[store.Accepted](context.Background(), n.actor, m)
	if err != nil {
		n.t.Fatal(err)
	}
	return accepted.ID
}

// reactionOf reads a payload as the node does.
func reactionOf(t peer.MessageType, payload []byte) *store.ReactionTo {
	if t != peer.TypeReaction {
		return nil
	}
	r, err := peer.ParseReaction(payload)
	if err != nil {
		return nil
	}
	return &store.ReactionTo{Target: int64(r.Target), Emoji: r.Emoji}
}

// acknowledge marks messages as delivered, as the contact's OK does.
func (n *testNode) acknowledge(account, contact identity.PublicKey, ids ...store.MessageID) {
	n.t.Helper()
	for _, id := range ids {
		n.must(store.Do[bool](context.Background(), n.actor, store.MarkDelivered{Account: account, Conversation: store.ContactConversation(contact), GUID: id.GUID}))
	}
}

func (n *testNode) must(_ bool, err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// outgoing returns what is in the outbox of a conversation, oldest first.
func (n *testNode) outgoing(account, contact identity.PublicKey) []store.Message {
	n.t.Helper()
	var all []store.Message
	for before := uint64(0); ; {
		page, err := n.Messages(account, contact, before, 0)
		if err != nil {
			n.t.Fatal(err)
		}
		for _, m := range page {
			before = m.Order
			if m.ID.Dir == store.Out {
				all = append([]store.Message{m}, all...)
			}
		}
		if len(page) == 0 || before == 1 {
			return all
		}
	}
}

func (n *testNode) setErrors(send, journal error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sendErr, n.journal = send, journal
}

func (n *testNode) CreateAccount(ctx context.Context, name string) (store.Account, error) {
	account := store.Account{ID: key("created " + name), Name: name}
	_, err := store.Do[bool](ctx, n.actor, store.PutAccount{Account: account})
	return account, err
}

func (n *testNode) AddContact(ctx context.Context, account identity.PublicKey, link identity.Link) (store.Contact, error) {
	added, err := store.Do[store.Added](ctx, n.actor, store.AddContact{Contact: store.Contact{
		Account: account, ID: link.Key, Nickname: link.Name, State: store.ContactAccepted,
	}})
	return added.Contact, err
}

func (n *testNode) Send(ctx context.Context, m node.Outgoing) (store.Message, error) {
	n.mu.Lock()
	err := n.sendErr
	n.sends++
	n.mu.Unlock()
	if err != nil {
		return store.Message{}, err
	}
	conversation := store.ContactConversation(m.Contact)
	if !m.Group.IsZero() {
		conversation = m.Group
		if g, err := n.Group(m.Account, m.Group); err != nil || !g.State.IsActive() {
			return store.Message{}, errors.Join(err, node.ErrNotInGroup)
		}
	}
	sum := sha256.Sum256([]byte(m.Account.String() + m.Contact.String() + m.Group.String() + m.Source))
	queued, err := store.Do[store.Enqueued](ctx, n.actor, store.EnqueueMessage{
		Account: m.Account, Conversation: conversation, GUID: int64(binary.BigEndian.Uint64(sum[:]) | 1), Type: int32(m.Type), ReplyTo: int64(m.ReplyTo),
		SendTime: store.MillisOf(m.SendTime), Payload: m.Payload, Source: m.Source, Reaction: reactionOf(m.Type, m.Payload),
	})
	return queued.Message, err
}

func (n *testNode) CancelMessage(ctx context.Context, account, contact identity.PublicKey, id store.MessageID, reason string) (bool, error) {
	return store.Do[bool](ctx, n.actor, store.FailMessage{Account: account, Conversation: store.ContactConversation(contact), GUID: id.GUID, Reason: reason})
}

func (n *testNode) setCursorError(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cursors = err
}

func (n *testNode) MoveCursor(ctx context.Context, consumer string, account identity.PublicKey, conversation store.ConversationID, seq uint64) error {
	n.mu.Lock()
	err := n.cursors
	n.mu.Unlock()
	if err != nil {
		return err
	}
	_, err = store.Do[bool](ctx, n.actor, store.MoveCursor{Consumer: consumer, Account: account, Conversation: conversation, Seq: seq})
	return err
}

// MarkRead is the node's.
func (n *testNode) MarkRead(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, order uint64) error {
	events, err := n.ConversationEvents(account, conversation, 0, store.MaxPage)
	if err != nil {
		return err
	}
	var last store.Event
	for _, ev := range events {
		if ev.Kind == store.MessageReceived && ev.Order <= order {
			last = ev
		}
	}
	if last.Seq == 0 {
		return nil
	}
	_, err = store.Do[bool](ctx, n.actor, store.MarkRead{Account: account, Conversation: conversation, Seq: last.Seq, Order: last.Order})
	return err
}

func (n *testNode) WatchEvents() *store.Watch { return n.Watch(identity.PublicKey{}) }

func (n *testNode) AppendJournal(ctx context.Context, queue string, entry store.NewEntry) (bool, error) {
	n.mu.Lock()
	err := n.journal
	n.mu.Unlock()
	if err != nil {
		return false, err
	}
	journaled, err := store.Do[store.Journaled](ctx, n.actor, store.AppendJournal{Queue: queue, ID: entry.ID, Body: entry.Body, Budget: entry.Budget})
	return journaled.Duplicate, err
}

func (n *testNode) AppendJournalBatch(ctx context.Context, queue string, entries []store.NewEntry) (int, error) {
	n.mu.Lock()
	err := n.journal
	n.mu.Unlock()
	if err != nil {
		return 0, err
	}
	sum, err := store.Do[store.Appended](ctx, n.actor, store.AppendJournalBatch{Queue: queue, Entries: entries})
	return sum.LeftOut, err
}

func (n *testNode) FinishJournalBatch(ctx context.Context, queue string, seqs []uint64) error {
	_, err := store.Do[int](ctx, n.actor, store.FinishJournalBatch{Queue: queue, Seqs: seqs})
	return err
}

func (n *testNode) MaxFile() int64 { return testMaxFile }

// testMaxFile is the largest file that a testNode sends.
const testMaxFile = 1 << 20

var errTest = errors.New("the test says no")

// forgetLast makes the bridge forget the last event that it has shown.
func (w *world) forgetLast() {
	w.t.Helper()
	// A connection of the stopped bridge may close only now, and locks the file for that.
	db, err := sql.Open("sqlite", filepath.Join(w.dir, "matrix.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	result, err := db.Exec(`DELETE FROM message WHERE rowid=(SELECT MAX(rowid) FROM message)`)
	if err != nil {
		w.t.Fatal(err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		w.t.Fatalf("%d rows deleted, %v", n, err)
	}
}
