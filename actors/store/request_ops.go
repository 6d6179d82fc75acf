// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

// Contact requests, both ways, and what follows from them.

const (
	// MaxRequests is how many contact requests wait for the user of an account.
	MaxRequests = 1000
	// declinedFor is how long a contact who was declined is declined again without
	// asking the user, in milliseconds: a day.
	declinedFor Millis = 24 * 60 * 60 * 1000
)

// ReceiveRequest notes a contact request. It changes nothing for an identity that is
// known already, except that one that was declined long ago may ask again. The result
// is [Requested].
//
// Errors: [ErrRequestsFull], [ErrDiskFull], [ErrNotFound] when the account is
// unknown, [ErrInvalid].
type ReceiveRequest struct {
	// Contact is the sender, as it is stored when it is new: with its profile, Request,
	// and the state that the account gives to strangers who ask.
	Contact Contact
}

// Requested is the result of [ReceiveRequest].
type Requested struct {
	State ContactState // of the contact now
	// Answer is what the contact is to be told at once, without asking the user.
	Answer Answer
}

// DecideRequest is our user's answer to a contact request. With no request it
// changes nothing and fails with [ErrNotFound]. The result is whether the state
// changed.
type DecideRequest struct {
	Account, Contact identity.PublicKey
	Accept           bool
}

// SettleAnswer notes that the contact has been told the answer that was owed. The
// result is [Settled].
type SettleAnswer struct {
	Account, Contact identity.PublicKey
	Answer           Answer
}

// Settled is the result of [SettleAnswer]: whether the answer was owed.
type Settled bool

// UnblockContact restores the state that a contact had before it was
// blocked. The result is whether it was blocked.
type UnblockContact struct{ Account, Contact identity.PublicKey }

// AskContact queues a request to a contact, to be sent with the next session, or
// replaces the text of one that has not been sent. A request that was sent and not
// answered stays: apps show every one. The result is whether anything changed.
type AskContact struct {
	Account, Contact identity.PublicKey
	Text             string
}

// MarkAsked notes that the contact has our request. The result is [AskMarked].
type MarkAsked struct{ Account, Contact identity.PublicKey }

// AskMarked is the result of [MarkAsked]: whether the request waited to be sent.
type AskMarked bool

// MarkAnswered notes the contact's answer to our request. Without a request it
// changes nothing: nobody becomes a contact by saying yes. A no may become a yes,
// not the other way round. The result is [AnswerMarked].
type MarkAnswered struct {
	Account, Contact identity.PublicKey
	Accepted         bool
}

// AnswerMarked is the result of [MarkAnswered]: whether anything changed.
type AnswerMarked bool

// NoteMissedCall appends [CallMissed] to the log. The result is true.
type NoteMissedCall struct{ Account, Contact identity.PublicKey }

func (op ReceiveRequest) size() int { return opOverhead + contactSize(op.Contact) }

func (op ReceiveRequest) apply(t *txn) (any, error) {
	c := op.Contact
	if err := checkTexts(c.Request); err != nil {
		return nil, err
	}
	c.Requested = orNow(c.Requested, t.now)
	if c.State == ContactAccepted {
		c.Owed = AnswerYes
	}
	known, old, err := t.contact(c.Account, c.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		if err := t.needRequest(c); err != nil {
			return nil, err
		}
		if _, err := (AddContact{Contact: c}).apply(t); err != nil {
			return nil, err
		}
		return Requested{State: c.State}, t.requestEvent(c)
	case err != nil:
		return nil, err
	case known.State == ContactAccepted:
		return Requested{State: known.State, Answer: AnswerYes}, nil
	case known.State != ContactStranger:
		return Requested{State: known.State}, nil // it waits, or is blocked
	case known.Declined != 0 && t.now-known.Declined < declinedFor && c.State != ContactAccepted:
		return Requested{State: known.State, Answer: AnswerNo}, nil
	}
	if err := checkProfile(c.Avatar, c.Nickname, c.Info); err != nil {
		return nil, err
	}
	if err := errors.Join(t.needSpace(), t.needRequest(c)); err != nil {
		return nil, err
	}
	known.Nickname, known.Info, known.Avatar = c.Nickname, c.Info, c.Avatar
	known.Request, known.Requested, known.Declined, known.Owed = c.Request, c.Requested, 0, AnswerNone
	if err := t.moveContact(known, old, c.State); err != nil {
		return nil, err
	}
	return Requested{State: c.State}, t.requestEvent(c)
}

// requestEvent says that a request waits for our user, if it does.
func (t *txn) requestEvent(c Contact) error {
	if c.State != ContactRequested {
		return nil
	}
	return t.event(Event{Account: c.Account, Conversation: ContactConversation(c.ID), Kind: RequestReceived, State: c.State})
}

// needRequest fails when the account has as many requests as it may have.
func (t *txn) needRequest(c Contact) error {
	if c.State != ContactRequested {
		return nil
	}
	n, err := t.requests(c.Account)
	if err != nil {
		return err
	}
	if *n >= MaxRequests {
		return fmt.Errorf("account %s has %d contact requests: %w", c.Account.Short(), *n, ErrRequestsFull)
	}
	return nil
}

func (op DecideRequest) size() int { return opOverhead }

func (op DecideRequest) apply(t *txn) (any, error) {
	c, old, err := t.contact(op.Account, op.Contact)
	if err != nil {
		return nil, err
	}
	asked := c.State == ContactRequested || c.State == ContactStranger && c.Declined != 0
	switch {
	case op.Accept && c.State == ContactAccepted:
		return false, nil
	case !op.Accept && c.State == ContactStranger && c.Declined != 0:
		return false, nil
	case !asked:
		return nil, fmt.Errorf("%s has not asked to be a contact: %w", op.Contact.Short(), ErrNotFound)
	case op.Accept:
		return true, t.moveContact(c, old, ContactAccepted)
	}
	c.Declined, c.Owed = t.now, AnswerNo
	return true, t.moveContact(c, old, ContactStranger)
}

func (op UnblockContact) size() int { return opOverhead }

func (op UnblockContact) apply(t *txn) (any, error) {
	c, old, err := t.contact(op.Account, op.Contact)
	if err != nil {
		return nil, err
	}
	if c.State != ContactBlocked {
		return false, nil
	}
	return true, t.moveContact(c, old, c.Unblocked)
}

// moveContact writes a contact in a new state.
func (t *txn) moveContact(c Contact, old []byte, to ContactState) error {
	if err := t.countRequest(c.Account, c.State, to); err != nil {
		return err
	}
	from := c.State
	c.State = to
	switch to {
	case ContactAccepted:
		if from != ContactBlocked || c.Unblocked != ContactAccepted {
			c.Owed = AnswerYes // unless it has been told before
		}
		c.Declined, c.NicknameSince = 0, t.now
	case ContactBlocked:
		c.Unblocked, c.Owed = from, AnswerNone
	}
	if to != ContactBlocked {
		c.Unblocked = ContactStranger
	}
	if err := t.update(contactKey(c.Account, c.ID), old, c); err != nil {
		return err
	}
	return t.event(Event{Account: c.Account, Conversation: ContactConversation(c.ID), Kind: ContactChanged, State: c.State, Reason: stateChange(from, to)})
}

// stateChange is the reason of the event about a contact in another state.
func stateChange(from, to ContactState) string {
	switch {
	case to == ContactBlocked:
		return ChangedBlocked
	case from == ContactBlocked:
		return ChangedUnblocked
	case to == ContactAccepted:
		return ChangedAccepted
	case to == ContactRequested:
		return ChangedRequested
	}
	return ChangedDeclined
}

func (op SettleAnswer) size() int { return opOverhead }

func (op SettleAnswer) apply(t *txn) (any, error) {
	was, err := t.changeContact(op.Account, op.Contact, func(c *Contact) bool {
		if op.Answer == AnswerNone || c.Owed != op.Answer {
			return false
		}
		c.Owed = AnswerNone
		return true
	})
	return Settled(was), err
}

func (op AskContact) size() int { return opOverhead + len(op.Text) }

func (op AskContact) apply(t *txn) (any, error) {
	if err := checkTexts(op.Text); err != nil {
		return nil, err
	}
	changed, err := t.changeContact(op.Account, op.Contact, func(c *Contact) bool {
		if c.Asked == AskSent || c.Asked == AskWaiting && c.OurRequest == op.Text {
			return false
		}
		c.Asked, c.OurRequest = AskWaiting, op.Text
		return true
	})
	if err != nil || !changed {
		return changed, err
	}
	// The event wakes the contact's actor, which sends it.
	return true, t.changedEvent(op.Account, op.Contact, ChangedAsked)
}

func (op MarkAsked) size() int { return opOverhead }

func (op MarkAsked) apply(t *txn) (any, error) {
	was, err := t.changeContact(op.Account, op.Contact, func(c *Contact) bool {
		if c.Asked != AskWaiting {
			return false
		}
		c.Asked = AskSent
		return true
	})
	return AskMarked(was), err
}

func (op MarkAnswered) size() int { return opOverhead }

func (op MarkAnswered) apply(t *txn) (any, error) {
	state := AskDeclined
	if op.Accepted {
		state = AskAccepted
	}
	changed, err := t.changeContact(op.Account, op.Contact, func(c *Contact) bool {
		if c.Asked == AskNone || c.Asked == state || c.Asked == AskAccepted {
			return false // nothing was asked, or nothing is left to say
		}
		c.Asked = state
		return true
	})
	if err != nil || !changed {
		return AnswerMarked(changed), err
	}
	return AnswerMarked(true), t.event(Event{Account: op.Account, Conversation: ContactConversation(op.Contact), Kind: ContactAnswered, Accepted: op.Accepted})
}

func (op NoteMissedCall) size() int { return opOverhead }

func (op NoteMissedCall) apply(t *txn) (any, error) {
	if err := t.needConversation(op.Account, ContactConversation(op.Contact)); err != nil {
		return nil, err
	}
	return true, t.event(Event{Account: op.Account, Conversation: ContactConversation(op.Contact), Kind: CallMissed})
}

// changeContact rewrites a contact without an event. It reports what change does:
// whether there is anything to write.
func (t *txn) changeContact(account, contact identity.PublicKey, change func(*Contact) bool) (bool, error) {
	c, old, err := t.contact(account, contact)
	if err != nil || !change(&c) {
		return false, err
	}
	return true, t.update(contactKey(account, contact), old, c)
}

// changedEvent appends an event that says what has changed of a contact.
func (t *txn) changedEvent(account, contact identity.PublicKey, reason string) error {
	c, _, err := t.contact(account, contact)
	if err != nil {
		return err
	}
	return t.event(Event{Account: account, Conversation: ContactConversation(contact), Kind: ContactChanged, State: c.State, Reason: reason})
}

// requests returns the number of contacts of an account that wait for an answer.
// It has to be called before the operation changes anything.
func (t *txn) requests(account identity.PublicKey) (*uint64, error) {
	a, err := t.w.account(t, account)
	if err != nil || a.requests != nil {
		return a.requests, err
	}
	n := new(uint64)
	err = t.scan(tablePrefix(account, tableContact), func(_, value []byte) error {
		var c Contact
		if err := decode(value, &c); err != nil {
			return err
		}
		if c.State == ContactRequested {
			*n++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.requests = n
	return n, nil
}

// countRequest keeps the number of requests when a contact changes its state.
func (t *txn) countRequest(account identity.PublicKey, from, to ContactState) error {
	if (from == ContactRequested) == (to == ContactRequested) {
		return nil
	}
	n, err := t.requests(account)
	if err != nil {
		return err
	}
	if to == ContactRequested {
		t.count(n, *n+1)
	} else {
		t.count(n, *n-1)
	}
	return nil
}
