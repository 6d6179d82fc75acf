// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"slices"
	"sync"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Nodes answers one question: which accepted contacts have authenticated
// from a node key. Every limit that treats contacts and strangers differently asks
// it, for each stream and each packet out of order, so it is a map in memory. It
// is safe for concurrent use.
//
// The store has the same facts, as the NodeKeys of contacts in state accepted.
// Open loads them; afterwards contact actors keep the index current.
type Nodes struct {
	mu     sync.RWMutex
	byNode map[identity.NodeKey][]store.Conversation
	byPair map[store.Conversation][]identity.NodeKey
}

// NewNodes returns an index without entries; Load fills it.
func NewNodes() *Nodes {
	return &Nodes{byNode: make(map[identity.NodeKey][]store.Conversation), byPair: make(map[store.Conversation][]identity.NodeKey)}
}

// Load reads the accepted contacts of all accounts.
func (n *Nodes) Load(s *store.Store) error {
	accounts, err := s.Accounts()
	if err != nil {
		return err
	}
	for _, a := range accounts {
		contacts, err := s.Contacts(a.ID)
		if err != nil {
			return err
		}
		for _, c := range contacts {
			n.set(store.ConversationWith(a.ID, c.ID), nodesOfContact(c))
		}
	}
	return nil
}

// nodesOfContact are the node keys of a contact that count for the index, the one
// that authenticated last at the end: none unless the contact is accepted.
func nodesOfContact(c store.Contact) []identity.NodeKey {
	if c.State != store.ContactAccepted {
		return nil
	}
	nodes := make([]identity.NodeKey, 0, len(c.NodeKeys))
	for _, k := range slices.Backward(c.NodeKeys) { // the store has the latest first
		nodes = append(nodes, k.Key)
	}
	return nodes
}

// set replaces the node keys of a pair. Without any the pair is forgotten.
func (n *Nodes) set(p store.Conversation, nodes []identity.NodeKey) {
	n.mu.RLock()
	same := slices.Equal(n.byPair[p], nodes)
	n.mu.RUnlock()
	if same {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, node := range n.byPair[p] {
		n.dropLocked(p, node)
	}
	delete(n.byPair, p)
	for _, node := range nodes {
		n.addLocked(p, node)
	}
}

// add is called when an accepted contact has authenticated from a node. Of a pair
// with more than store.MaxNodeKeys nodes the one that authenticated first is
// forgotten, as in the store.
func (n *Nodes) add(p store.Conversation, node identity.NodeKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addLocked(p, node)
}

func (n *Nodes) addLocked(p store.Conversation, node identity.NodeKey) {
	if node.IsZero() {
		return
	}
	nodes := n.byPair[p]
	if i := slices.Index(nodes, node); i >= 0 {
		n.byPair[p] = append(slices.Delete(nodes, i, i+1), node)
		return
	}
	if len(nodes) >= store.MaxNodeKeys {
		n.dropLocked(p, nodes[0])
		nodes = slices.Delete(nodes, 0, 1)
	}
	n.byPair[p] = append(nodes, node)
	n.byNode[node] = append(n.byNode[node], p)
}

func (n *Nodes) dropLocked(p store.Conversation, node identity.NodeKey) {
	left := slices.DeleteFunc(n.byNode[node], func(other store.Conversation) bool { return other == p })
	if len(left) == 0 {
		delete(n.byNode, node)
	} else {
		n.byNode[node] = left
	}
}

// ForgetAccount forgets all pairs of an account that is removed.
func (n *Nodes) ForgetAccount(account identity.PublicKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p, nodes := range n.byPair {
		if p.Account != account {
			continue
		}
		for _, node := range nodes {
			n.dropLocked(p, node)
		}
		delete(n.byPair, p)
	}
}

// Refuses implements identity.Guard: the node key of a contact is never signed.
func (n *Nodes) Refuses(value [32]byte) bool { return n.has(value) }

// has reports whether an accepted contact has authenticated from the node.
func (n *Nodes) has(node identity.NodeKey) bool { return n.Pairs(node) > 0 }

// Pairs is the number of pairs of an account and an accepted contact at the node:
// 0 means that the node is a stranger's.
func (n *Nodes) Pairs(node identity.NodeKey) int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.byNode[node])
}
