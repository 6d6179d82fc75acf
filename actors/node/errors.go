// SPDX-License-Identifier: MPL-2.0

package node

import (
	"errors"

	"github.com/mimird/mimird/actors/keyring"
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
	// ErrBlocked says that the contact is blocked and gets no messages.
	ErrBlocked = errors.New("the contact is blocked")
	// ErrOwnKey says that an account was told to be its own contact.
	ErrOwnKey = errors.New("this is the account's own key")
	// ErrAccountExists says that this node has the account already.
	ErrAccountExists = errors.New("the account is on this node already")
	// ErrAvatar says that a picture is not what apps show as an avatar.
	ErrAvatar = errors.New("the picture is not used")
	// ErrForwardTo says that what one account forwards would come back to it.
	ErrForwardTo = errors.New("an account that forwards messages cannot have its own forwarded, nor forward its own")

	errReadOnly = errors.New("the node was opened for reading only")
)
