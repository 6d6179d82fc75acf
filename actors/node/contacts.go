// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"fmt"

	"github.com/mimird/mimird/actors/contact"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// contactPage is how many contacts are read at once.
const contactPage = 64

// Contacts returns the contacts of an account.
func (n *Node) Contacts(account identity.PublicKey) ([]store.Contact, error) {
	if _, err := n.Account(account); err != nil {
		return nil, err
	}
	return n.store.Contacts(account)
}

// ContactsAfter returns a page of the contacts of an account: those whose ids come after the
// given one, which is zero at first. An empty page is the end.
func (n *Node) ContactsAfter(account, after identity.PublicKey) ([]store.Contact, error) {
	if _, err := n.Account(account); err != nil {
		return nil, err
	}
	return n.store.ContactsAfter(account, after, contactPage)
}

// ContactsNamed returns the contacts of an account among which [FindContact] finds who
// is meant by a name: fast, also when there are many.
func (n *Node) ContactsNamed(account identity.PublicKey, name string, folding store.Folding) ([]store.Contact, error) {
	if _, err := n.Account(account); err != nil {
		return nil, err
	}
	return n.store.ContactsNamed(account, name, folding)
}

// Contact returns one contact of an account, or [ErrUnknownContact].
func (n *Node) Contact(account, contact identity.PublicKey) (store.Contact, error) {
	c, err := n.store.Contact(account, contact)
	return c, known(err, ErrUnknownContact)
}

// AddContact makes somebody a contact of an account who may write and is written
// to. For one who has asked to be a contact, or was blocked, it says yes. The
// name in the link is used until the contact tells their own.
func (n *Node) AddContact(ctx context.Context, account identity.PublicKey, link identity.Link) (store.Contact, error) {
	if link.Key == account {
		return store.Contact{}, ErrOwnKey
	}
	if err := link.Key.Validate(); err != nil {
		return store.Contact{}, fmt.Errorf("add contact: %w", err)
	}
	if _, err := n.Account(account); err != nil {
		return store.Contact{}, err
	}
	added, err := do[store.Added](ctx, n, store.AddContact{Contact: store.Contact{
		Account: account, ID: link.Key, Nickname: wire.CutText(link.Name, wire.MaxNickname),
		State: store.ContactAccepted, Added: n.nowMillis(),
	}})
	if err != nil {
		return store.Contact{}, fmt.Errorf("add contact: %w", err)
	}
	if added.Existed && added.Contact.State != store.ContactAccepted {
		return n.setContactState(ctx, account, link.Key, store.ContactAccepted)
	}
	return added.Contact, nil
}

// RequestContact is AddContact, and asks the other side to do the same: a contact
// request with that text, of at most 4 KiB, goes out with the next session. There
// is one at a time until it is answered, see store.Contact's Asked; the answer is
// an event, store.ContactAnswered. Messages can be sent meanwhile: an app that takes
// them from everybody, as apps do unless told otherwise, gets them all the same.
//
// Somebody who has asked us is simply accepted.
func (n *Node) RequestContact(ctx context.Context, account identity.PublicKey, link identity.Link, text string) (store.Contact, error) {
	if len(text) > wire.MaxRequestText {
		return store.Contact{}, fmt.Errorf("a contact request has at most %d bytes of text: %w", wire.MaxRequestText, store.ErrInvalid)
	}
	before, err := n.Contact(account, link.Key)
	c, addErr := n.AddContact(ctx, account, link)
	if addErr != nil || err == nil && before.State == store.ContactRequested {
		return c, addErr
	}
	return changeContact(ctx, n, account, link.Key, store.AskContact{Account: account, Contact: link.Key, Text: text})
}

// AcceptContact says yes to a contact request. The contact is told, as soon as
// they can be reached.
//
// Errors: [ErrUnknownContact] when there is no request.
func (n *Node) AcceptContact(ctx context.Context, account, contact identity.PublicKey) (store.Contact, error) {
	return changeContact(ctx, n, account, contact, store.DecideRequest{Account: account, Contact: contact, Accept: true})
}

// DeclineContact says no to a contact request. The contact is told when they are
// connected, now or the next time, and declined without further questions for a
// day; after that they may ask again. AcceptContact changes one's mind.
//
// Errors: [ErrUnknownContact] when there is no request.
func (n *Node) DeclineContact(ctx context.Context, account, contact identity.PublicKey) (store.Contact, error) {
	return changeContact(ctx, n, account, contact, store.DecideRequest{Account: account, Contact: contact})
}

// BlockContact ends what is going on with a contact and takes nothing from them
// any more. UnblockContact undoes it.
func (n *Node) BlockContact(ctx context.Context, account, contact identity.PublicKey) (store.Contact, error) {
	return n.setContactState(ctx, account, contact, store.ContactBlocked)
}

// UnblockContact makes a blocked contact what they were before.
func (n *Node) UnblockContact(ctx context.Context, account, contact identity.PublicKey) (store.Contact, error) {
	return changeContact(ctx, n, account, contact, store.UnblockContact{Account: account, Contact: contact})
}

// MuteContact says whether a contact's messages should make a noise. The node does
// nothing about it: consumers show it as they can.
func (n *Node) MuteContact(ctx context.Context, account, contact identity.PublicKey, muted bool) (store.Contact, error) {
	return changeContact(ctx, n, account, contact, store.UpdateContact{
		Account: account, Contact: contact, Fields: store.FieldMuted, Muted: muted,
	})
}

// RenameContact gives a contact a name of our user's choice, which stays whatever
// the contact calls themselves; "" goes back to that.
func (n *Node) RenameContact(ctx context.Context, account, contact identity.PublicKey, name string) (store.Contact, error) {
	if len(name) > wire.MaxNickname {
		return store.Contact{}, fmt.Errorf("a name has at most %d bytes: %w", wire.MaxNickname, store.ErrInvalid)
	}
	return changeContact(ctx, n, account, contact, store.UpdateContact{
		Account: account, Contact: contact, Fields: store.FieldLocalName, LocalName: name,
	})
}

// RemoveContact removes a contact with all messages of the conversation, also
// those that were not delivered. They may connect again as a stranger.
func (n *Node) RemoveContact(ctx context.Context, account, contact identity.PublicKey) error {
	existed, err := do[bool](ctx, n, store.RemoveContact{Account: account, Contact: contact})
	if err != nil {
		return fmt.Errorf("remove contact: %w", err)
	}
	if !existed {
		return ErrUnknownContact
	}
	return nil
}

func (n *Node) setContactState(ctx context.Context, account, contact identity.PublicKey, state store.ContactState) (store.Contact, error) {
	return changeContact(ctx, n, account, contact, store.SetContactState{Account: account, Contact: contact, State: state})
}

// changeContact carries out an operation that answers with a bool and returns the
// contact as it is then.
func changeContact(ctx context.Context, n *Node, account, contact identity.PublicKey, op store.Op) (store.Contact, error) {
	if _, err := do[bool](ctx, n, op); err != nil {
		return store.Contact{}, fmt.Errorf("change contact: %w", known(err, ErrUnknownContact))
	}
	return n.Contact(account, contact)
}

// HeldDevices returns the nodes that authenticated as a contact and that nothing
// else speaks for, the oldest first. They are turned away or wait to be.
func (n *Node) HeldDevices(account, contact identity.PublicKey) []contact.HeldDevice {
	return n.contacts.HeldDevices(store.ConversationWith(account, contact))
}

// TrustDevice lets a contact in from a node, whatever else speaks for it. Our user
// has asked the contact.
//
// Errors: [ErrUnknownContact], store.ErrInvalid for a key that is zero.
func (n *Node) TrustDevice(ctx context.Context, account, contact identity.PublicKey, node identity.NodeKey) (store.Contact, error) {
	_, err := do[store.NodeKeyRecorded](ctx, n, store.RecordNodeKey{Account: account, Contact: contact, Key: node, Time: n.nowMillis()})
	if err != nil {
		return store.Contact{}, fmt.Errorf("trust device: %w", known(err, ErrUnknownContact))
	}
	n.keys.Know(node)
	return n.Contact(account, contact)
}
