// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

// model is what the store should do, written with maps and without any care for
// speed or crashes. It shares the records with the store, and nothing else.
type model struct {
	now       Millis
	rows      uint64 // bound of an outbox
	entries   int    // bound of a journal
	accounts  map[identity.PublicKey]*modelAccount
	queues    map[string]*modelQueue
	addresses map[identity.PublicKey][]Address
}

type modelAccount struct {
	account  Account
	contacts map[ConversationID]*modelContact
	events   []Event
	cursors  map[string]map[ConversationID]uint64
}

type modelContact struct {
	contact   Contact
	messages  []Message
	originals map[MessageID]AcceptMessage // content before the first edit
	group     *modelGroup                 // nil for a contact
	names     map[int64]MessageID         // guids of the mediator that are not the messages' own
}

type modelQueue struct {
	seq  uint64
	open []JournalEntry
	ids  map[string]uint64
}

func newModel(now Millis, opts Options) *model {
	return &model{
		now: now, rows: opts.OutboxRows, entries: int(opts.JournalRows),
		accounts:  make(map[identity.PublicKey]*modelAccount),
		queues:    make(map[string]*modelQueue),
		addresses: make(map[identity.PublicKey][]Address),
	}
}

// clone copies everything that operations change.
func (m *model) clone() *model {
	c := *m
	c.addresses = maps.Clone(m.addresses)
	c.accounts = make(map[identity.PublicKey]*modelAccount)
	for id, a := range m.accounts {
		copied := *a
		copied.events = slices.Clone(a.events)
		copied.contacts = make(map[ConversationID]*modelContact)
		for id, contact := range a.contacts {
			contactCopy := *contact
			contactCopy.contact.NodeKeys = slices.Clone(contact.contact.NodeKeys)
			contactCopy.messages = slices.Clone(contact.messages)
			contactCopy.originals = maps.Clone(contact.originals)
			contactCopy.group = contact.group.clone()
			copied.contacts[id] = &contactCopy
		}
		copied.cursors = make(map[string]map[ConversationID]uint64)
		for name, cursors := range a.cursors {
			copied.cursors[name] = maps.Clone(cursors)
		}
		c.accounts[id] = &copied
	}
	c.queues = make(map[string]*modelQueue)
	for name, q := range m.queues {
		copied := modelQueue{seq: q.seq, open: slices.Clone(q.open), ids: maps.Clone(q.ids)}
		c.queues[name] = &copied
	}
	return &c
}

func (m *model) contact(account, contact identity.PublicKey) (*modelAccount, *modelContact) {
	return m.conversation(account, ContactConversation(contact))
}

func (m *model) conversation(account identity.PublicKey, id ConversationID) (*modelAccount, *modelContact) {
	a := m.accounts[account]
	if a == nil {
		return nil, nil
	}
	return a, a.contacts[id]
}

// compareConversations orders conversations as the store does.
func compareConversations(x, y ConversationID) int {
	return bytes.Compare(x[:], y[:])
}

func (m *model) event(a *modelAccount, ev Event) {
	ev.Account, ev.Seq, ev.Time = a.account.ID, uint64(len(a.events)+1), m.now
	a.events = append(a.events, ev)
}

// apply carries out an operation: its result, or the error that it wraps.
func (m *model) apply(op Op) (any, error) {
	if result, err, isGroup := m.applyGroup(op); isGroup {
		return result, err
	}
	switch op := op.(type) {
	case PutAccount:
		return m.putAccount(op), nil
	case RemoveAccount:
		_, existed := m.accounts[op.Account]
		delete(m.accounts, op.Account)
		return existed, nil
	case AddContact:
		return m.addContact(op)
	case UpdateContact:
		return m.updateContact(op)
	case SetContactState:
		return m.setContactState(op)
	case RemoveContact:
		a, c := m.contact(op.Account, op.Contact)
		if c == nil {
			return false, nil
		}
		delete(a.contacts, ContactConversation(op.Contact))
		m.event(a, Event{Conversation: ContactConversation(op.Contact), Kind: ContactRemoved})
		return true, nil
	case RecordNodeKey:
		return m.recordNodeKey(op)
	case AcceptMessage:
		return m.accept(op)
	case EnqueueMessage:
		return m.enqueue(op)
	case MarkDelivered:
		return m.settle(op.Account, op.Conversation, op.GUID, StateDelivered, op.Time, ""), nil
	case FailMessage:
		return m.settle(op.Account, op.Conversation, op.GUID, StateFailed, op.Time, op.Reason), nil
	case MoveCursor:
		return m.moveCursor(op)
	case AppendJournal:
		return m.appendJournal(op)
	case FinishJournal:
		q := m.queue(op.Queue)
		before := len(q.open)
		q.open = slices.DeleteFunc(slices.Clone(q.open), func(e JournalEntry) bool { return e.Seq == op.Seq })
		return len(q.open) < before, nil
	case PutAddresses:
		delete(m.addresses, op.Identity)
		if len(op.Addresses) > 0 {
			m.addresses[op.Identity] = op.Addresses
		}
		return nil, nil
	default:
		return nil, ErrInvalid
	}
}

func (m *model) putAccount(op PutAccount) bool {
	a := m.accounts[op.Account.ID]
	if a == nil {
		op.Account.Created = orNow(op.Account.Created, m.now)
		a = &modelAccount{
			account: op.Account, contacts: make(map[ConversationID]*modelContact),
			cursors: make(map[string]map[ConversationID]uint64),
		}
		m.accounts[op.Account.ID] = a
		m.event(a, Event{Kind: AccountAdded})
		return true
	}
	op.Account.Created = a.account.Created
	if op.Account.Name == a.account.Name {
		return false
	}
	a.account = op.Account
	m.event(a, Event{Kind: AccountChanged})
	return true
}

func (m *model) addContact(op AddContact) (any, error) {
	a, c := m.contact(op.Contact.Account, op.Contact.ID)
	if a == nil {
		return nil, ErrNotFound
	}
	if c != nil {
		return Added{Contact: c.contact, Existed: true}, nil
	}
	op.Contact.Added = orNow(op.Contact.Added, m.now)
	a.contacts[ContactConversation(op.Contact.ID)] = &modelContact{contact: op.Contact, originals: make(map[MessageID]AcceptMessage)}
	m.event(a, Event{Conversation: ContactConversation(op.Contact.ID), Kind: ContactAdded, State: op.Contact.State})
	return Added{Contact: op.Contact}, nil
}

func (m *model) updateContact(op UpdateContact) (any, error) {
	a, c := m.contact(op.Account, op.Contact)
	if c == nil {
		return nil, ErrNotFound
	}
	changed := false
	if op.Fields&FieldLastSeen != 0 && c.contact.LastSeen != op.LastSeen {
		c.contact.LastSeen, changed = op.LastSeen, true
	}
	if op.Fields&FieldNickname != 0 && c.contact.Nickname != op.Nickname {
		if c.contact.State == ContactAccepted && c.contact.Nickname != "" {
			since := c.contact.NicknameSince
			if since == 0 {
				since = c.contact.Added
			}
			c.contact.FormerNames = append(slices.Clone(c.contact.FormerNames), FormerName{c.contact.Nickname, since})
		}
		c.contact.NicknameSince = 0
		if c.contact.State == ContactAccepted {
			c.contact.NicknameSince = m.now
		}
		var former []FormerName
		for _, f := range c.contact.FormerNames {
			if f.Name == op.Nickname && c.contact.State == ContactAccepted {
				c.contact.NicknameSince = f.Since
			} else {
				former = append(former, f)
			}
		}
		if len(former) > MaxFormerNames {
			former = former[len(former)-MaxFormerNames:]
		}
		c.contact.FormerNames = former
		c.contact.Nickname, changed = op.Nickname, true
		m.event(a, Event{Conversation: ContactConversation(op.Contact), Kind: ContactChanged, State: c.contact.State, Reason: "nickname"})
	}
	return changed, nil
}

func (m *model) setContactState(op SetContactState) (any, error) {
	a, c := m.contact(op.Account, op.Contact)
	if c == nil {
		return nil, ErrNotFound
	}
	if c.contact.State == op.State {
		return false, nil
	}
	from := c.contact.State
	c.contact.State = op.State
	if op.State == ContactAccepted && (from != ContactBlocked || c.contact.Unblocked != ContactAccepted) {
		c.contact.Owed = AnswerYes
	}
	if op.State == ContactAccepted {
		c.contact.Declined, c.contact.NicknameSince = 0, m.now
	}
	c.contact.Unblocked = ContactStranger
	if op.State == ContactBlocked {
		c.contact.Unblocked, c.contact.Owed = from, AnswerNone
	}
	m.event(a, Event{Conversation: ContactConversation(op.Contact), Kind: ContactChanged, State: op.State, Reason: stateChange(from, op.State)})
	return true, nil
}

func (m *model) recordNodeKey(op RecordNodeKey) (any, error) {
	a, c := m.contact(op.Account, op.Contact)
	if c == nil {
		return nil, ErrNotFound
	}
	node := KnownNode{Key: op.Key, FirstAuth: op.Time, LastAuth: op.Time}
	var others []KnownNode
	known := false
	for _, n := range c.contact.NodeKeys {
		if n.Key == op.Key {
			known, node.FirstAuth, node.LastAuth = true, n.FirstAuth, max(n.LastAuth, op.Time)
		} else {
			others = append(others, n)
		}
	}
	changed := !known && len(others) > 0
	c.contact.NodeKeys = append([]KnownNode{node}, others...)
	slices.SortStableFunc(c.contact.NodeKeys, func(a, b KnownNode) int { return cmp.Compare(b.LastAuth, a.LastAuth) })
	if changed {
		reason := ""
		if op.Unconfirmed {
			reason = Unconfirmed
		}
		m.event(a, Event{Conversation: ContactConversation(op.Contact), Kind: NodeKeyChanged, NodeKey: op.Key, Reason: reason})
	}
	return NodeKeyRecorded{New: !known, Changed: changed}, nil
}

func (m *model) accept(op AcceptMessage) (any, error) {
	a, c := m.conversation(op.Account, op.Conversation)
	if c == nil {
		return nil, ErrNotFound
	}
	var variants []*Message
	for i := range c.messages {
		if id := c.messages[i].ID; id.Dir == In && id.GUID == op.GUID {
			variants = append(variants, &c.messages[i])
		}
	}
	duplicate := func(msg *Message) (any, error) { return Accepted{ID: msg.ID, Order: msg.Order, Duplicate: true}, nil }
	for _, msg := range variants {
		if bytes.Equal(msg.Payload, op.Payload) && msg.Type == op.Type {
			return duplicate(msg)
		}
	}
	if len(variants) > 0 && op.EditTime != 0 {
		msg := variants[0]
		if op.EditTime <= msg.EditTime {
			return duplicate(msg)
		}
		if _, edited := c.originals[msg.ID]; !edited {
			c.originals[msg.ID] = AcceptMessage{Type: msg.Type, Payload: msg.Payload}
		}
		msg.Type, msg.Payload, msg.ReplyTo, msg.EditTime = op.Type, op.Payload, op.ReplyTo, op.EditTime
		m.event(a, Event{Conversation: op.Conversation, Kind: MessageEdited, Message: msg.ID, Order: msg.Order})
		return Accepted{ID: msg.ID, Order: msg.Order, Edited: true}, nil
	}
	for _, msg := range variants {
		if original, edited := c.originals[msg.ID]; edited && bytes.Equal(original.Payload, op.Payload) && original.Type == op.Type {
			return duplicate(msg)
		}
	}
	if len(variants) == MaxVariants {
		return Accepted{Crowded: true}, nil
	}
	msg := Message{
		Account: op.Account, Conversation: op.Conversation, Order: uint64(len(c.messages) + 1),
		ID: MessageID{Dir: In, GUID: op.GUID, Variant: uint16(len(variants))}, Type: op.Type, ReplyTo: op.ReplyTo,
		SendTime: modelTime(op.SendTime, orNow(op.Received, m.now)), EditTime: op.EditTime, Created: orNow(op.Received, m.now), Payload: op.Payload,
		StateTime: orNow(op.Received, m.now),
	}
	c.messages = append(c.messages, msg)
	m.event(a, Event{Conversation: op.Conversation, Kind: MessageReceived, Message: msg.ID, Order: msg.Order})
	return Accepted{ID: msg.ID, Order: msg.Order}, nil
}

func (m *model) enqueue(op EnqueueMessage) (any, error) {
	a, c := m.conversation(op.Account, op.Conversation)
	if a != nil && op.Source != "" {
		for _, other := range a.contacts {
			for _, msg := range other.messages {
				if msg.ID.Dir == Out && msg.Source == op.Source {
					return Enqueued{Message: msg, Duplicate: true}, nil
				}
			}
		}
	}
	if c == nil {
		return nil, ErrNotFound
	}
	for _, msg := range c.messages {
		if msg.ID.Dir == Out && msg.ID.GUID == op.GUID {
			return nil, ErrGUIDTaken
		}
	}
	if uint64(len(a.undelivered())) >= m.rows {
		return nil, ErrOutboxFull
	}
	msg := Message{
		Account: op.Account, Conversation: op.Conversation, Order: uint64(len(c.messages) + 1),
		ID: MessageID{Dir: Out, GUID: op.GUID}, Type: op.Type, ReplyTo: op.ReplyTo, SendTime: modelTime(op.SendTime, orNow(op.Created, m.now)),
		Created: orNow(op.Created, m.now), Payload: op.Payload, State: StatePending, StateTime: orNow(op.Created, m.now), Source: op.Source,
	}
	c.messages = append(c.messages, msg)
	m.event(a, Event{Conversation: op.Conversation, Kind: MessageQueued, Message: msg.ID, Order: msg.Order})
	return Enqueued{Message: msg}, nil
}

// undelivered returns the outboxes of an account's conversations, one after the other.
func (a *modelAccount) undelivered() (msgs []Message) {
	for _, id := range slices.SortedFunc(maps.Keys(a.contacts), compareConversations) {
		msgs = append(msgs, a.contacts[id].undelivered()...)
	}
	return msgs
}

func (c *modelContact) undelivered() (msgs []Message) {
	for _, msg := range c.messages {
		if msg.State == StatePending {
			msgs = append(msgs, msg)
		}
	}
	return msgs
}

func (m *model) settle(account identity.PublicKey, id ConversationID, guid int64, state MessageState, at Millis, reason string) bool {
	a, c := m.conversation(account, id)
	if c == nil {
		return false
	}
	for i := range c.messages {
		msg := &c.messages[i]
		if msg.ID.Dir != Out || msg.ID.GUID != guid {
			continue
		}
		kind := MessageDelivered
		if state == StateFailed {
			kind = MessageFailed
		}
		if msg.State != StatePending && (msg.State != StateFailed || state != StateDelivered) {
			return false
		}
		msg.State, msg.StateTime, msg.Reason = state, orNow(at, m.now), reason
		m.event(a, Event{Conversation: id, Kind: kind, Message: msg.ID, Order: msg.Order, Reason: reason})
		return true
	}
	return false
}

func (m *model) moveCursor(op MoveCursor) (any, error) {
	a := m.accounts[op.Account]
	switch {
	case a == nil:
		return nil, ErrNotFound
	case op.Seq > uint64(len(a.events)):
		return nil, ErrInvalid
	case op.Seq <= a.cursors[op.Consumer][op.Conversation]:
		return false, nil
	}
	if a.cursors[op.Consumer] == nil {
		a.cursors[op.Consumer] = make(map[ConversationID]uint64)
	}
	a.cursors[op.Consumer][op.Conversation] = op.Seq
	return true, nil
}

func (m *model) queue(name string) *modelQueue {
	if m.queues[name] == nil {
		m.queues[name] = &modelQueue{ids: make(map[string]uint64)}
	}
	return m.queues[name]
}

func (m *model) appendJournal(op AppendJournal) (any, error) {
	q := m.queue(op.Queue)
	if seq, known := q.ids[op.ID]; known {
		return Journaled{Seq: seq, Duplicate: true}, nil
	}
	if len(q.open) >= m.entries {
		return nil, ErrJournalFull
	}
	q.seq++
	q.ids[op.ID] = q.seq
	q.open = append(q.open, JournalEntry{Queue: op.Queue, Seq: q.seq, ID: op.ID, Time: orNow(op.Time, m.now), Body: op.Body})
	return Journaled{Seq: q.seq}, nil
}

// earliest2015 is the first time that a sender may claim.
var earliest2015 = MillisOf(time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC))

// modelTime is what becomes of the time that a sender claims. The model receives
// everything in 1970 or 2023.
func modelTime(claimed, received Millis) Millis {
	ahead := claimed.Time().Sub(received.Time()) // saturates
	if claimed.Time().Before(earliest2015.Time()) || ahead > 24*time.Hour {
		return received
	}
	return claimed
}
