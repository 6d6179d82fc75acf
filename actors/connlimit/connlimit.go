// SPDX-License-Identifier: MPL-2.0

// Package connlimit bounds how many connections a server has, in all and from one node, so
// that a stranger takes places from nobody else. It exists because every server that strangers
// may reach needs the same.
package connlimit

import (
	"sync"

	"github.com/mimird/mimird/proto/identity"
)

// Limit counts connections. It is safe for use by many goroutines.
type Limit struct {
	total, perNode int

	mu    sync.Mutex
	count int
	nodes map[identity.NodeKey]int
}

// New returns a limit of so many connections in all, and of one node.
func New(total, perNode int) *Limit {
	return &Limit{total: total, perNode: perNode, nodes: make(map[identity.NodeKey]int)}
}

// Enter takes a place for a connection of a node, and reports false when there is none: the
// connection is refused then. After true, Leave has to be called once.
func (l *Limit) Enter(node identity.NodeKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.count >= l.total || l.nodes[node] >= l.perNode {
		return false
	}
	l.count++
	l.nodes[node]++
	return true
}

// Leave gives the place of a connection back.
func (l *Limit) Leave(node identity.NodeKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count--
	if l.nodes[node]--; l.nodes[node] <= 0 {
		delete(l.nodes, node)
	}
}
