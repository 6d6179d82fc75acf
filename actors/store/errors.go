// SPDX-License-Identifier: MPL-2.0

package store

import "errors"

var (
	// ErrNotFound says that the row asked for, or one that the operation needs
	// (the account, the contact), does not exist.
	ErrNotFound = errors.New("not found")
	// ErrInvalid says that an operation or argument can never succeed: a zero
	// guid, a name that is too long, a cursor beyond the end of the log.
	ErrInvalid = errors.New("invalid")
	// ErrGUIDTaken says that an outgoing guid is used by another message of the
	// same conversation.
	ErrGUIDTaken = errors.New("message id is already used by another message")
	// ErrOutboxFull says that the account's outbox is full. Nothing
	// is evicted from it.
	ErrOutboxFull = errors.New("too many undelivered messages")
	// ErrJournalFull says that a journal has as many unfinished entries as it may
	// have.
	ErrJournalFull = errors.New("too many unfinished journal entries")
	// ErrRequestsFull says that too many contact requests of an account wait
	// for its user.
	ErrRequestsFull = errors.New("too many contact requests are waiting")
	// ErrNotBanned says that the identity whose ban is to end is not banned.
	ErrNotBanned = errors.New("this identity is not banned")
	// ErrTasksFull says that too many tasks of a group wait for its mediator.
	ErrTasksFull = errors.New("too many tasks of the group are waiting")
	// ErrPosition says that messages do not follow what is stored of a group.
	ErrPosition = errors.New("messages do not follow the stored history")
	// ErrBusy says that too many bytes wait for the disk. The caller may retry later.
	ErrBusy = errors.New("too much is waiting for the disk")
	// ErrDiskFull says that the free space is below the reserve. Operations that
	// add something are refused, all others work.
	ErrDiskFull = errors.New("not enough free disk space")

	// ErrContactFull says that the messages of one contact take most of the disk. New
	// ones of it are refused, those of others are accepted.
	ErrContactFull = errors.New("the messages of this contact take most of the disk")

	// ErrInUse says that another process, or another Store of this one, has the
	// directory open.
	ErrInUse = errors.New("store is in use by another process")
	// ErrNewerSchema says that a newer version of the program has written the
	// database.
	ErrNewerSchema = errors.New("store was written by a newer version")
	// ErrOlderSchema says that the database was written by an older version of the
	// program. Open brings it to the version of this one, OpenReadOnly cannot.
	ErrOlderSchema = errors.New("store was written by an older version")
	// ErrCorrupt says that something on the disk is not what was written there.
	ErrCorrupt = errors.New("store is damaged")
	// ErrFailed says that a commit failed or that damage was met. It is final:
	// the process has to end.
	ErrFailed = errors.New("store has failed")
	// ErrClosed says that the Store was closed.
	ErrClosed = errors.New("store is closed")
)
