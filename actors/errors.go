// SPDX-License-Identifier: MPL-2.0

package actors

import "errors"

var (
	// ErrNodeKey says that a node key of this node is missing, cannot be read, or is
	// another one than the store remembers. [Options.ReplaceNodeKeys] goes on with
	// another key.
	ErrNodeKey = errors.New("a node key is lost")
	// ErrOffline says that the overlay is not running at this moment.
	ErrOffline = errors.New("the overlay network is not running")
	// ErrNotRunning says that the node has not been started, or has stopped.
	ErrNotRunning = errors.New("the node is not running")
	// ErrUnknownAccount says that this node does not hold that identity.
	ErrUnknownAccount = errors.New("no such account on this node")
	// ErrUnknownContact says that the account does not know that identity.
	ErrUnknownContact = errors.New("no such contact")
	// ErrBlocked says that the contact is blocked and gets no messages.
	ErrBlocked = errors.New("the contact is blocked")
	// ErrOwnKey says that an account was told to be its own contact.
	ErrOwnKey = errors.New("this is the account's own key")
	// ErrAccountExists says that this node has the account already.
	ErrAccountExists = errors.New("the account is on this node already")
	// ErrAvatar says that a picture is not what apps show as an avatar.
	ErrAvatar = errors.New("the picture is not used")
	// ErrHandOver says that what one account hands over would come back to it.
	ErrHandOver = errors.New("an account that passes on messages cannot have its own passed on, nor pass on its own")
	// ErrNotFound says that no tracker knows where an identity is.
	ErrNotFound = errors.New("no tracker knows the identity")
	// ErrTrackersSilent says that no tracker answered.
	ErrTrackersSilent = errors.New("no tracker answers")

	errReadOnly          = errors.New("the node was opened for reading only")
	errBusy              = errors.New("too many questions at once")
	errNoTrackers        = errors.New("no trackers are configured")
	errNotAnswering      = errors.New("the contact's device answers pings but acknowledges nothing")
	errPingTimeout       = errors.New("the contact's device does not answer")
	errWriteBlocked      = errors.New("the contact's device does not read")
	errIdle              = errors.New("idle")
	errRefused           = errors.New("the contact is to send again what it sent as a stranger")
	errMirrored          = errors.New("the mirror has it; the contact is to try the phone again")
	errHandedOverLate    = errors.New("the stream was dropped before its session began")
	errStrangerTime      = errors.New("time limit of a stranger's session")
	errTooManyStrangers  = errors.New("too many sessions with strangers")
	errSharedNode        = errors.New("a data stream of the device could be for several conversations; the contact is to send again")
	errYielded           = errors.New("another conversation with the same device has its turn now")
	errOtherDevice       = errors.New("ended for another device of the contact")
	errReplaced          = errors.New("replaced by a newer connection")
	errTooManyHandshakes = errors.New("the node begins too many handshakes")
	errUnreachable       = errors.New("no address of the contact answers")
)
