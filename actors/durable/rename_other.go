// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package durable

import (
	"errors"
	"os"
)

// renameNew cannot do here what it does on Linux.
func renameNew(from, to string) error {
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: errors.ErrUnsupported}
}
