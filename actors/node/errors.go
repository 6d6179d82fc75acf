// SPDX-License-Identifier: MPL-2.0

package node

import (
	"errors"

	"github.com/mimird/mimird/actors/answering"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/store"
)

var (
	// ErrNodeKey is that of the keyring.
	ErrNodeKey = keyring.ErrNodeKey
	// ErrExposed is that of the keyring.
	ErrExposed = keyring.ErrExposed
	// ErrUnknownAccount is that of the keyring.
	ErrUnknownAccount = keyring.ErrUnknownAccount
	// ErrNotRunning says that the node has not been started, or has stopped.
	ErrNotRunning = errors.New("the node is not running")
	// ErrUnknownContact says that the account does not know that identity.
	ErrUnknownContact = errors.New("no such contact")
	// ErrUnknownGroup says that the account has no such group.
	ErrUnknownGroup = errors.New("no such group")
	// ErrNotInGroup says that the account is not a member of the group: invited, banned,
	// left, or not yet a member.
	ErrNotInGroup = errors.New("the account is not a member of this group")
	// ErrGroupReadOnly says that the account may only read in the group.
	ErrGroupReadOnly = errors.New("the account may only read in this group")
	// ErrGroupKey says that the key of the group is missing: nothing in it can be read or
	// written.
	ErrGroupKey = errors.New("the key of this group is missing")
	// ErrOwnMembership says that an account was told to ban itself, or to lift its own ban.
	ErrOwnMembership = errors.New("this is the account itself, which can neither ban itself nor end its own ban")
	// ErrNotBanned is that of the store.
	ErrNotBanned = store.ErrNotBanned
	// ErrSourceUsed says that a message to another contact or group has the source.
	ErrSourceUsed = errors.New("this source belongs to a message to another contact or group")
	// ErrNoInvite says that no invite to the group waits for an answer.
	ErrNoInvite = errors.New("no invite to this group waits for an answer")
	// ErrMediatorMissing says that no mediator is configured that could keep a new group.
	ErrMediatorMissing = errors.New("no mediator is configured")
	// ErrTaskRefused says that the mediator has refused what the account asked for.
	ErrTaskRefused = errors.New("refused by the mediator")
	// ErrBlocked says that the contact is blocked and gets no messages.
	ErrBlocked = errors.New("the contact is blocked")
	// ErrOwnKey says that an account was told to be its own contact.
	ErrOwnKey = errors.New("this is the account's own key")
	// ErrAccountExists says that this node has the account already.
	ErrAccountExists = errors.New("the account is on this node already")
	// ErrAvatar says that a picture is not what apps show as an avatar.
	ErrAvatar = errors.New("the picture is not used")
	// ErrGreeting says that a file cannot be the greeting of an answering machine.
	ErrGreeting = answering.ErrGreeting
	// ErrAnsweringRole says that an account has no answering machine because its phone takes
	// the calls.
	ErrAnsweringRole = errors.New("only an account in the role primary has an answering machine")
	// ErrForwardTo says that what one account forwards would come back to it.
	ErrForwardTo = errors.New("an account that forwards messages cannot have its own forwarded, nor forward its own")

	errReadOnly = errors.New("the node was opened for reading only")
)
