// SPDX-License-Identifier: MPL-2.0

package actors

import "errors"

var (
	// ErrNoMedia says that a message has no file.
	ErrNoMedia = errors.New("the message has no file")
	// ErrMediaElsewhere says that a file is known but not here.
	ErrMediaElsewhere = errors.New("the file is not here")
	// ErrFileEmpty says that a file has no content: apps claim to send such a file
	// and do not.
	ErrFileEmpty = errors.New("the file is empty")
	// ErrFileTooLarge says that a file is larger than this node takes.
	ErrFileTooLarge = errors.New("the file is too large")

	errNoFiles = errors.New("files cannot be sent yet")
)
