// SPDX-License-Identifier: MPL-2.0

package actors

import "errors"

var (
	// ErrNodeKey says that a node key of this node is missing, cannot be read, or is
	// another one than the store remembers. [Options.ReplaceNodeKeys] goes on with
	// another key.
	ErrNodeKey = errors.New("a node key is lost")
	// ErrUnknownAccount says that this node does not hold that identity.
	ErrUnknownAccount = errors.New("no such account on this node")
)
