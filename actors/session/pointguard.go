// SPDX-License-Identifier: MPL-2.0

package session

import (
	"sync"

	"github.com/mimird/mimird/actors/lru"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// A challenge that decodes as a point of the curve may be an unknown node key; then the
// signature would be an announcement of that node. Half of all honest challenges of apps
// are points too, so refusing them all fails every second handshake, as
// Options.RefusePointChallenges does. By default only strangers are refused, and only from
// the second handshake of a node key or of an identity on: an honest app retries, an
// attacker needs a new node and a new identity for each signature.

// maxAskers bounds the node keys and identities of strangers that are remembered; the one
// unseen longest is evicted. A new key is free, so eviction gives an attacker nothing.
const maxAskers = 8192

// askers are the keys of strangers that were given a signature. It is safe for concurrent
// use.
type askers struct {
	mu   sync.Mutex
	keys *lru.Table[[33]byte, struct{}]
}

func newAskers() *askers { return &askers{keys: lru.New[[33]byte, struct{}](maxAskers)} }

// ask notes that a stranger requests a signature, and reports whether the node or the
// identity has requested one before.
func (a *askers) ask(node identity.NodeKey, id identity.PublicKey) (before bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	knownNode := a.noteLocked('n', node)
	return a.noteLocked('i', id) || knownNode
}

func (a *askers) noteLocked(kind byte, key [32]byte) (before bool) {
	k := [33]byte{kind}
	copy(k[1:], key[:])
	_, before = a.keys.Peek(k)
	a.keys.Put(k, struct{}{})
	return before
}

// pointGuard is the guard of one accepted handshake.
type pointGuard struct {
	deps *Deps
	node identity.NodeKey
	hs   *peer.Handshake
}

// Refuses implements identity.Guard. It is called once in a handshake, after the other
// side has authenticated.
func (g *pointGuard) Refuses(value [32]byte) bool {
	contact, err := g.deps.Store.Contact(g.hs.Local(), g.hs.Remote())
	if err == nil && contact.State == store.ContactAccepted {
		return false
	}
	return g.deps.Table.askers.ask(g.node, g.hs.Remote()) && identity.IsCurvePoint(value)
}
