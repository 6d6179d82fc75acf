// SPDX-License-Identifier: MPL-2.0

// Package readmarks joins the read receipts of Matrix with the read marks of the node, which
// the page, the commands and the API share.
//
// A receipt of our user moves the mark of its conversation. A mark that was moved elsewhere is
// sent as a receipt of the user's double puppet; without a double puppet nothing is sent. How
// far the user has read in Matrix itself is in the bridge's tables before the mark moves, so
// that no receipt is answered with a receipt. Marks and receipts only move forward.
//
// The deliverer only notes that a mark has moved: receipts are sent beside the deliveries, and
// of many marks the last one. Every attempt compares the mark with the tables, so it can be
// repeated, and after a restart or an outage every conversation is compared again.
//
// The connector builds a [Marks], calls it and runs it.
package readmarks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// maxTries is how often a receipt may be refused until the mark moves again.
	maxTries = 8
	// sendTime bounds the requests for one receipt.
	sendTime = 20 * time.Second
	// idlePause is how often Run looks when nothing wakes it.
	idlePause = time.Hour
	// maxUnshown is how many messages before a mark may have no event in the room, such as
	// reactions. When there are more, no receipt is sent.
	maxUnshown = 512
	// messagePage is how many messages are read at once.
	messagePage = 64
)

// Node is what a [Marks] uses of the node.
type Node interface {
	// Cursor returns how far a consumer has read the log of a conversation.
	Cursor(consumer string, account identity.PublicKey, conversation store.ConversationID) (uint64, error)
	// ConversationEvents returns a page of the log of a conversation, oldest first.
	ConversationEvents(account identity.PublicKey, conversation store.ConversationID, after uint64, limit int) ([]store.Event, error)
	// MarkRead notes that our user has read a conversation up to the message with that
	// position. A mark never goes back.
	MarkRead(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, order uint64) error
}

// Deps is what a [Marks] uses.
type Deps struct {
	Node   Node
	Bridge *bridgev2.Bridge
	Log    *slog.Logger
	Retry  kernel.Backoff
	// Message and Messages read a conversation, as those of the node do: one message, or
	// store.ErrNotFound, and a page before a position, newest first.
	Message  func(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (store.Message, error)
	Messages func(account identity.PublicKey, conversation store.ConversationID, before uint64, limit int) ([]store.Message, error)
	// Attached returns the accounts that have a login, Conversations the contacts and groups
	// of one.
	Attached      func() []identity.PublicKey
	Conversations func(account identity.PublicKey) ([]store.ConversationID, error)
	// Joined reports whether a user is in a room.
	Joined func(ctx context.Context, room id.RoomID, user id.UserID) bool
}

// errAbsent says that the user is not in the room, as far as the bridge knows.
var errAbsent = errors.New("the user is not in the room")

// Marks joins receipts and read marks. It is safe for use by many goroutines.
type Marks struct {
	deps Deps
	wake chan struct{} // capacity 1

	mu     sync.Mutex
	wanted map[store.Conversation]attempt
	all    bool // every conversation is wanted

	tables sync.Mutex // held while a state is read and written
}

// attempt is the next attempt at a receipt.
type attempt struct {
	due      time.Time
	waits    int  // failures
	failures int  // those that may have their cause in the receipt itself
	away     bool // the last one met no homeserver
}

// New returns a Marks that sends nothing before Run.
func New(deps Deps) *Marks {
	return &Marks{deps: deps, wake: make(chan struct{}, 1), wanted: make(map[store.Conversation]attempt)}
}

// Want says that the read mark of a conversation may have moved, or that its room has changed.
func (m *Marks) Want(conversation store.Conversation) {
	m.mu.Lock()
	m.wanted[conversation] = attempt{}
	m.mu.Unlock()
	m.wakeUp()
}

// WantAll compares the marks of all conversations with what Matrix has. It is for a login
// that begins.
func (m *Marks) WantAll() {
	m.mu.Lock()
	m.all = true
	m.mu.Unlock()
	m.wakeUp()
}

// HomeserverUp ends the back-off of receipts that have met no homeserver.
func (m *Marks) HomeserverUp() {
	m.mu.Lock()
	for conversation, a := range m.wanted {
		if a.away {
			a.due = time.Time{}
			m.wanted[conversation] = a
		}
	}
	m.mu.Unlock()
	m.wakeUp()
}

func (m *Marks) wakeUp() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Run sends receipts until stop ends. What has begun then ends with work.
func (m *Marks) Run(stop, work context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-stop.Done():
			return
		case <-m.wake:
		case <-pause.C:
		}
		for conversation, a := range m.take() {
			if stop.Err() != nil {
				return
			}
			err := fault.Guard(m.deps.Log, "send a read receipt", func() error { return m.send(work, conversation) })
			if err != nil && stop.Err() == nil {
				m.retry(conversation, a, err)
			}
		}
		pause.Reset(m.pause())
	}
}

// take returns the conversations whose receipt is due.
func (m *Marks) take() map[store.Conversation]attempt {
	m.mu.Lock()
	all := m.all
	m.all = false
	now, due := time.Now(), make(map[store.Conversation]attempt)
	for conversation, a := range m.wanted {
		if !a.due.After(now) {
			due[conversation] = a
			delete(m.wanted, conversation)
		}
	}
	m.mu.Unlock()
	if !all {
		return due
	}
	for _, account := range m.deps.Attached() {
		conversations, err := m.deps.Conversations(account)
		if err != nil {
			m.deps.Log.Warn("read marks of an account not compared", "account", account.Short(), "err", err)
		}
		for _, id := range conversations {
			conversation := store.Conversation{Account: account, ID: id}
			m.mu.Lock()
			_, later := m.wanted[conversation]
			m.mu.Unlock()
			if _, now := due[conversation]; !now && !later {
				due[conversation] = attempt{}
			}
		}
	}
	return due
}

// retry notes a failed attempt. A receipt that was refused too often is given up until the
// mark moves again; the others are retried until the homeserver works, or the user is in the
// room.
func (m *Marks) retry(conversation store.Conversation, a attempt, err error) {
	wait := (*homeserver.RetryAfter)(nil)
	answer := homeserver.AnswerOf(err)
	switch a.away = false; {
	case errors.As(err, &wait), errors.Is(err, errAbsent):
	case errors.Is(err, fault.ErrPanic):
		a.failures++
	case answer == homeserver.AnswerAway, answer == homeserver.AnswerNone:
		a.away = true
	case !homeserver.IsServerFault(err):
		a.failures++
	}
	if a.failures >= maxTries {
		m.deps.Log.Warn("read mark not sent to its room", "contact", conversation.ID.Short(), "err", fault.OneLine(err))
		return
	}
	delay := m.deps.Retry.Delay(a.waits)
	if wait != nil {
		delay = max(delay, min(wait.Delay, homeserver.MaxRetryAfter))
	}
	a.waits++
	a.due = time.Now().Add(delay)
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, again := m.wanted[conversation]; !again {
		m.wanted[conversation] = a
	}
}

// pause returns after how long the next receipt is due.
func (m *Marks) pause() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := idlePause
	for _, a := range m.wanted {
		next = min(next, max(time.Until(a.due), 0))
	}
	return next
}

// send sends the receipt of a conversation, unless Matrix has it.
func (m *Marks) send(work context.Context, conversation store.Conversation) error {
	ctx, cancel := context.WithTimeout(m.deps.Bridge.BackgroundCtx, sendTime)
	defer cancel()
	defer context.AfterFunc(work, cancel)()
	ctx = mautrix.WithMaxRetries(ctx, 0)
	login := m.deps.Bridge.GetCachedUserLoginByID(mimirid.Login(conversation.Account))
	if login == nil {
		return nil
	}
	mark, err := m.mark(conversation)
	if err != nil || mark == 0 {
		return err
	}
	portal, err := m.deps.Bridge.GetExistingPortalByKey(ctx, mimirid.Portal(conversation.Account, conversation.ID))
	if err != nil || portal == nil || portal.MXID == "" {
		return err
	}
	room := portal.MXID
	known := m.known(ctx, conversation, room)
	if known >= mark {
		return nil
	}
	order, target, err := m.lastShown(ctx, conversation, portal, known, mark)
	if err != nil || target == "" {
		return err
	}
	if !m.deps.Joined(ctx, room, login.UserMXID) {
		return errAbsent
	}
	puppet := login.User.DoublePuppet(ctx)
	if puppet == nil {
		return nil
	}
	if err := puppet.MarkRead(ctx, room, target, time.Now()); err != nil {
		return homeserver.WithRetryAfter(err)
	}
	m.note(ctx, conversation, room, order)
	return nil
}

// mark returns the position of the last message that our user has read, 0 for none.
func (m *Marks) mark(at store.Conversation) (order uint64, err error) {
	seq, err := m.deps.Node.Cursor(store.ReadConsumer, at.Account, at.ID)
	if err != nil || seq == 0 {
		return 0, err
	}
	events, err := m.deps.Node.ConversationEvents(at.Account, at.ID, seq-1, 1)
	if err != nil || len(events) == 0 || events[0].Seq != seq {
		return 0, err // or retention has removed it, with what was before
	}
	return events[0].Order, nil
}

// lastShown returns the newest message after the position known, and up to mark, that has an
// event in the room.
func (m *Marks) lastShown(ctx context.Context, at store.Conversation, portal *bridgev2.Portal, known, mark uint64) (order uint64, evt id.EventID, err error) {
	for looked := 0; looked < maxUnshown; {
		page, err := m.deps.Messages(at.Account, at.ID, mark+1, messagePage)
		if err != nil || len(page) == 0 {
			return 0, "", err
		}
		for _, message := range page {
			if message.Order <= known {
				return 0, "", nil
			}
			row, err := m.deps.Bridge.DB.Message.GetLastPartByID(ctx, portal.Receiver, mimirid.Message(at.ID, message.ID, 0))
			if err != nil {
				return 0, "", fmt.Errorf("look for what was shown: %w", err)
			}
			if row != nil && !row.HasFakeMXID() {
				return message.Order, row.MXID, nil
			}
			mark = message.Order - 1
			looked++
		}
	}
	m.deps.Log.Debug("no message before a read mark is in its room", "contact", at.ID.Short(), "room_id", portal.MXID)
	return 0, "", nil
}

// Receipt moves the read mark of a conversation to what our user has read in its room.
func (m *Marks) Receipt(ctx context.Context, at store.Conversation, receipt *bridgev2.MatrixReadReceipt) error {
	if thread := receipt.Receipt.ThreadID; thread != "" && thread != event.ReadReceiptThreadMain {
		return nil // it says nothing about the messages outside of a thread
	}
	order, err := m.readUpTo(at, receipt)
	if err != nil || order == 0 {
		return err
	}
	m.note(ctx, at, receipt.Portal.MXID, order) // first, so that the mark is not sent back
	return m.deps.Node.MarkRead(ctx, at.Account, at.ID, order)
}

// readUpTo returns the position of the last message that a receipt covers, 0 for none.
func (m *Marks) readUpTo(at store.Conversation, receipt *bridgev2.MatrixReadReceipt) (order uint64, err error) {
	if row := receipt.ExactMessage; row != nil {
		if _, id, _, err := mimirid.ParseMessage(row.ID); err == nil {
			message, err := m.deps.Message(at.Account, at.ID, id)
			if err == nil || !errors.Is(err, store.ErrNotFound) {
				return message.Order, err
			}
		} else if account, seq, err := mimirid.ParseNotice(row.ID); err == nil && (account.IsZero() || account == at.Account) {
			return m.lastReceived(at, func(ev store.Event) bool { return ev.Seq <= seq })
		}
		return 0, nil
	}
	// The event is not a message: a reaction, a change of the room, an answer of the bot. The
	// user has read what the room had then.
	if receipt.ReadUpTo.IsZero() {
		return 0, nil
	}
	shown, err := m.deps.Node.Cursor(deliver.Consumer, at.Account, at.ID)
	if err != nil {
		return 0, err
	}
	return m.lastReceived(at, func(ev store.Event) bool { return ev.Seq <= shown && !ev.Time.Time().After(receipt.ReadUpTo) })
}

// lastReceived returns the position of the last unread message for which covers holds, as it
// does for all before, 0 for none.
func (m *Marks) lastReceived(at store.Conversation, covers func(store.Event) bool) (order uint64, err error) {
	after, err := m.deps.Node.Cursor(store.ReadConsumer, at.Account, at.ID)
	if err != nil {
		return 0, err
	}
	for {
		events, err := m.deps.Node.ConversationEvents(at.Account, at.ID, after, store.MaxPage)
		if err != nil || len(events) == 0 {
			return order, err
		}
		for _, ev := range events {
			if !covers(ev) {
				return order, nil
			}
			if after = ev.Seq; ev.Kind == store.MessageReceived {
				order = ev.Order
			}
		}
	}
}

// state is how far our user has read in the room of a conversation, for all that Matrix knows.
// It is stored with the bridge's tables.
type state struct {
	Room  id.RoomID `json:"room"`
	Order uint64    `json:"order"`
}

func stateKey(at store.Conversation) database.Key {
	return database.Key("im.mimir.read." + at.Account.String() + "." + at.ID.String())
}

// known returns the position that Matrix has for a room, 0 for none.
func (m *Marks) known(ctx context.Context, at store.Conversation, room id.RoomID) uint64 {
	m.tables.Lock()
	defer m.tables.Unlock()
	return m.read(ctx, at, room).Order
}

// note stores the position that Matrix has, unless it has a later one.
func (m *Marks) note(ctx context.Context, at store.Conversation, room id.RoomID, order uint64) {
	m.tables.Lock()
	defer m.tables.Unlock()
	if m.read(ctx, at, room).Order >= order {
		return
	}
	text, err := json.Marshal(state{Room: room, Order: order})
	if err != nil {
		panic(fmt.Sprintf("bridge: %v", err)) // a struct of plain fields
	}
	m.deps.Bridge.DB.KV.Set(ctx, stateKey(at), string(text))
}

// read is called under tables.
func (m *Marks) read(ctx context.Context, at store.Conversation, room id.RoomID) (s state) {
	if json.Unmarshal([]byte(m.deps.Bridge.DB.KV.Get(ctx, stateKey(at))), &s) != nil || s.Room != room {
		return state{Room: room} // none yet, or that of a room before
	}
	return s
}
