// SPDX-License-Identifier: MPL-2.0

package nodeapi

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/readmarks"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Node is what the bridge uses of the node whose conversations it shows. Its
// methods may be called from any goroutine; those with a context wait for a commit, the
// others only read.
type Node interface {
	deliver.Node
	readmarks.Node

	// Accounts returns all accounts.
	Accounts() ([]store.Account, error)
	// ImportAccount makes an account of an identity that exists already.
	ImportAccount(ctx context.Context, in node.Import) (node.Imported, error)
	// CreateAccount makes a new identity.
	CreateAccount(ctx context.Context, name string) (store.Account, error)
	// Account returns one account, or node.ErrUnknownAccount.
	Account(id identity.PublicKey) (store.Account, error)
	// Contacts returns all contacts of an account.
	Contacts(account identity.PublicKey) ([]store.Contact, error)
	// ContactsNamed returns those among which node.FindContact finds who is meant.
	ContactsNamed(account identity.PublicKey, name string, folding store.Folding) ([]store.Contact, error)
	// Contact returns one contact, or node.ErrUnknownContact.
	Contact(account, contact identity.PublicKey) (store.Contact, error)
	// RequestContact makes a contact of a link, and asks the other side to do the
	// same. Somebody who has asked us is accepted.
	RequestContact(ctx context.Context, account identity.PublicKey, link identity.Link, text string) (store.Contact, error)
	// AcceptContact and DeclineContact answer a contact request.
	AcceptContact(ctx context.Context, account, contact identity.PublicKey) (store.Contact, error)
	DeclineContact(ctx context.Context, account, contact identity.PublicKey) (store.Contact, error)
	// BlockContact takes nothing from a contact any more; UnblockContact undoes it.
	BlockContact(ctx context.Context, account, contact identity.PublicKey) (store.Contact, error)
	UnblockContact(ctx context.Context, account, contact identity.PublicKey) (store.Contact, error)
	// MuteContact says whether a contact's messages should make a noise.
	MuteContact(ctx context.Context, account, contact identity.PublicKey, muted bool) (store.Contact, error)
	// RenameContact gives a contact a name of our user's choice.
	RenameContact(ctx context.Context, account, contact identity.PublicKey, name string) (store.Contact, error)
	// Send puts a message into the outbox. It is durable when Send returns. The same
	// Source of the same account again returns the message of the first time.
	Send(ctx context.Context, m node.Outgoing) (store.Message, error)
	// React queues a reaction, which replaces an earlier one to the same message.
	React(ctx context.Context, r node.OutgoingReaction) (store.Message, error)
	// Reactions returns the reactions to a message that count.
	Reactions(account, contact identity.PublicKey, target peer.GUID) ([]store.Reaction, error)
	// SendFile puts a file into the outbox, as Send does with a text.
	SendFile(ctx context.Context, f node.OutgoingFile) (store.Message, error)
	// MediaState returns what is known of the file of a message.
	MediaState(account, contact identity.PublicKey, id store.MessageID) (transfer.Info, error)
	// OpenMedia opens the file of a message, or returns transfer.ErrNotHere.
	OpenMedia(account, contact identity.PublicKey, id store.MessageID) (io.ReadSeekCloser, transfer.Info, error)
	// FetchMedia asks for the file of a message, again if need be.
	FetchMedia(ctx context.Context, account, contact identity.PublicKey, id store.MessageID) (transfer.Info, error)
	// CancelMessage gives up an undelivered message and reports whether it was one.
	CancelMessage(ctx context.Context, account, contact identity.PublicKey, id store.MessageID, reason string) (bool, error)
	// Outbox returns a page of the undelivered messages to a contact, oldest first;
	// Undelivered iterates over all of them.
	Outbox(account, contact identity.PublicKey, limit int) ([]store.Message, error)
	Undelivered(account, contact identity.PublicKey) iter.Seq2[store.Message, error]
	// OutboxContacts returns the contacts for whom something is undelivered, OutboxSize
	// how much it is for one of them.
	OutboxContacts(account identity.PublicKey) ([]identity.PublicKey, error)
	OutboxSize(account, contact identity.PublicKey) (store.OutboxSize, error)
	// Message returns one message, or store.ErrNotFound.
	Message(account, contact identity.PublicKey, id store.MessageID) (store.Message, error)
	// Messages returns a page of a conversation, newest first, below the position
	// before (0: the newest).
	Messages(account, contact identity.PublicKey, before uint64, limit int) ([]store.Message, error)
}

// IsGone reports whether what was asked for does not exist any more.
func IsGone(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, node.ErrUnknownAccount) || errors.Is(err, node.ErrUnknownContact) ||
		errors.Is(err, node.ErrUnknownGroup)
}
