// SPDX-License-Identifier: MPL-2.0

package transfer

import "errors"

var (
	// ErrNoMedia says that a message has no file.
	ErrNoMedia = errors.New("the message has no file")
	// ErrNotHere says that the file of a message is not in the media store.
	ErrNotHere = errors.New("the file is not here")
	// ErrFileEmpty says that a file has no content. Apps cannot send such a file.
	ErrFileEmpty = errors.New("the file is empty")
	// ErrFileTooLarge says that a file is larger than Options.MaxFile, or than the share
	// of a contact.
	ErrFileTooLarge = errors.New("the file is too large")
	// errNoFileServer says that no file server is configured.
	errNoFileServer = errors.New("no file server is configured")

	errNoKey         = errors.New("no such account on this node")
	errManyFiles     = errors.New("too many files of this contact wait already")
	errIncomplete    = errors.New("the message does not say where the file is")
	errForeignServer = errors.New("the file is on a server that this node does not know")
	errServerSilent  = errors.New("the file server does not answer")
	errGone          = errors.New("the file server does not have the file any more")
	errExpired       = errors.New("the file could not be fetched in the time that servers keep it")
	errNotTheFile    = errors.New("what came is not the file that was announced")
	errSpoilt        = errors.New("the file server has not kept what it was given")
	errOtherSize     = errors.New("the file has another size than the message says")
	errFileLost      = errors.New("the file is not in the media store any more")
	errNoSession     = errors.New("the contact, who has the file, is not connected")
	errNoAnswer      = errors.New("the contact does not send the file")
	errSettled       = errors.New("the message is not waiting any more")
)

// permanentError is a failure of a transfer that is not retried.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

func permanent(err error) error { return permanentError{err} }

func isPermanent(err error) bool {
	_, ok := errors.AsType[permanentError](err)
	return ok
}
