// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"errors"
	"fmt"

	"github.com/mimird/mimird/actors/session"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/peer"
)

// A contact that is another account of this node cannot be dialled: Yggdrasil does not
// find its own key, and a handshake needs two. Messages and requests go through the store
// instead, by the operations that a session and a contact of the other side would write
// ([session.AcceptOp], requestOp), and a message is delivered when the other account has
// it on disk.

// local reports whether the contact is reached through the store. If a phone has the
// account too, its role decides; and messages that the other account forwards to its
// phone go to the phone.
func (x *contact) local(c *kernel.Context) bool {
	if _, served := x.deps.Keys.Account(x.Contact()); !served {
		return false
	}
	other, err := x.deps.Store.Account(x.Contact())
	if errors.Is(err, store.ErrNotFound) {
		return false // about to be removed
	}
	if err != nil {
		c.Fail(fmt.Errorf("read account: %w", err))
	}
	switch {
	case other.ForwardTo == x.Account:
		return false
	case other.Role == store.RolePrimary:
		return true
	case other.Role == store.RoleBackup:
		return x.attempts > 0 // the phone was tried
	}
	return false
}

// deliverLocally gives a message to the other account. It leaves it undelivered unless
// we are a contact over there, as an app does that accepts messages from contacts only.
func (x *contact) deliverLocally(c *kernel.Context, m store.Message) {
	us, state := x.asKnownThere(c)
	if state != store.ContactAccepted {
		x.retryAfter(c, kernel.Jitter(lastRetry))
		return
	}
	x.sending = peer.GUID(m.ID.GUID)
	there := store.Conversation{Account: x.Contact(), ID: store.ContactConversation(x.Account)}
	received := peer.Message{
		GUID: peer.GUID(m.ID.GUID), ReplyTo: peer.GUID(m.ReplyTo), SendTime: int64(m.SendTime), EditTime: int64(m.EditTime),
		Type: peer.MessageType(m.Type), Payload: m.Payload,
	}
	file := x.deps.Sessions.Files.Incoming(there, received)
	c.Tell(x.deps.Writer, store.Write{Token: uint64(m.ID.GUID), Op: session.AcceptOp(there, received, x.deps.nowMillis(), file)})
	x.showLocally(c, us)
}

// asKnownThere returns our account as the other account knows it. If that accepts
// strangers without asking, we become its contact.
func (x *contact) asKnownThere(c *kernel.Context) (store.Contact, store.ContactState) {
	us, err := x.deps.Store.Contact(x.Contact(), x.Account)
	switch {
	case errors.Is(err, store.ErrNotFound):
		other, err := x.deps.Store.Account(x.Contact())
		if err == nil && other.Strangers == store.StrangersAccept {
			us = store.Contact{Account: x.Contact(), ID: x.Account, State: store.ContactAccepted, Added: x.deps.nowMillis()}
			c.Tell(x.deps.Writer, store.Write{Op: store.AddContact{Contact: us}})
			return us, store.ContactAccepted
		}
		return store.Contact{}, store.ContactStranger
	case err != nil:
		c.Fail(fmt.Errorf("read contact: %w", err))
	}
	return us, us.State
}

// showLocally stores our profile in the other account when it has changed.
func (x *contact) showLocally(c *kernel.Context, us store.Contact) {
	own, err := x.deps.Store.Account(x.Account)
	if err != nil || us.State != store.ContactAccepted || us.ProfileTime >= own.ProfileTime {
		return
	}
	c.Tell(x.deps.Writer, store.Write{Op: store.UpdateContact{
		Account: x.Contact(), Contact: x.Account,
		Fields:   store.FieldNickname | store.FieldInfo | store.FieldAvatar | store.FieldProfileTime,
		Nickname: own.Name, Info: own.Info, Avatar: own.Avatar, ProfileTime: own.ProfileTime,
	}})
}

// sendOwedLocally gives the other account the answer and the request that it is owed, as
// sendOwed does over a session.
func (x *contact) sendOwedLocally(c *kernel.Context) {
	if x.record.Owed != store.AnswerNone {
		accepted := x.record.Owed == store.AnswerYes
		c.Tell(x.deps.Writer, store.Write{Op: store.MarkAnswered{Account: x.Contact(), Contact: x.Account, Accepted: accepted}})
		c.Tell(x.deps.Writer, store.Write{Op: store.SettleAnswer{Account: x.Account, Contact: x.Contact(), Answer: x.record.Owed}})
		x.record.Owed = store.AnswerNone
	}
	if x.record.Asked != store.AskWaiting {
		return
	}
	us, state := x.asKnownThere(c)
	switch state {
	case store.ContactAccepted:
		c.Tell(x.deps.Writer, store.Write{Op: store.MarkAnswered{Account: x.Account, Contact: x.Contact(), Accepted: true}})
		x.showLocally(c, us)
	case store.ContactStranger:
		own, err := x.deps.Store.Account(x.Account)
		other, otherErr := x.deps.Store.Account(x.Contact())
		if err := errors.Join(err, otherErr); err != nil {
			c.Fail(fmt.Errorf("read account: %w", err))
		}
		if other.Strangers == store.StrangersRefuse {
			return
		}
		there := store.Conversation{Account: x.Contact(), ID: store.ContactConversation(x.Account)}
		c.Tell(x.deps.Writer, store.Write{Op: requestOp(there, store.ContactRequested, own.Name, own.Info, own.Avatar, x.record.OurRequest, x.deps.nowMillis())})
	}
	x.record.Asked = store.AskSent
	c.Tell(x.deps.Writer, store.Write{Op: store.MarkAsked{Account: x.Account, Contact: x.Contact()}})
}
