// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"sync/atomic"

	"github.com/mimird/mimird/proto/identity"
)

// contactIndex tells which node keys belong to contacts. All carriers of a stack
// share one. Without an index, as on the network of a server, nobody is a stranger
// and nothing is reserved for contacts.
type contactIndex struct {
	pairs atomic.Pointer[func(identity.NodeKey) int]
}

// set sets the function that counts the pairs of an account and an accepted contact
// at a node key. It must not block, as the reader of packets calls it.
func (i *contactIndex) set(pairs func(identity.NodeKey) int) { i.pairs.Store(&pairs) }

// known says that there is an index.
func (i *contactIndex) known() bool { return i.pairs.Load() != nil }

// at returns the number of pairs at a node key.
func (i *contactIndex) at(key identity.NodeKey) int {
	if pairs := i.pairs.Load(); pairs != nil {
		return (*pairs)(key)
	}
	return 0
}

// stranger says that a node key is not one of an accepted contact.
func (i *contactIndex) stranger(key identity.NodeKey) bool { return i.known() && i.at(key) == 0 }

// strangersOf is what strangers may take of n places: a quarter is left to contacts.
func (i *contactIndex) strangersOf(n int) int {
	if !i.known() {
		return n
	}
	return max(1, n-n/4)
}

// KnowContacts tells the stack which node keys are those of accepted contacts: pairs
// returns how many pairs of an account and an accepted contact have met at a key, 0
// for a stranger. It is called for each stream and some packets, from any goroutine,
// and must not block. From then on strangers have limits of their own, see
// [Limits].
func (s *Stack) KnowContacts(pairs func(identity.NodeKey) int) { s.contacts.set(pairs) }

// KnowContacts is [Stack.KnowContacts].
func (n *Network) KnowContacts(pairs func(identity.NodeKey) int) { n.stack.KnowContacts(pairs) }
