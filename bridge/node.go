// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/nodeapi"
)

// Node is what the bridge uses of the node whose conversations it shows; an *node.Node
// is one. Its methods may be called from any goroutine; those with a context wait for a
// commit, the others only read.
type Node interface {
	appservice.Node
	nodeapi.Node
	// CountJournal counts the unfinished entries of a queue.
	CountJournal(queue string) (int, error)
}

var _ Node = (*node.Node)(nil)
