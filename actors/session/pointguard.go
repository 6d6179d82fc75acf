// SPDX-License-Identifier: MPL-2.0

package session

import (
	"sync"

	"github.com/mimird/mimird/actors/lru"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// A challenge that decodes as a point of the curve may be a node key that nobody
// knows, and the signature an announcement that leads there. Half of all honest
// challenges of apps are points too, so refusing them all costs every second
// handshake (Options.RefusePointChallenges does). By default only strangers are
// refused, and only from the second handshake of a node key or of an identity on:
// an honest app comes again, a thief needs a new node and a new identity each time.

// maxAskers bounds the node keys and identities of strangers that are remembered;
// the one unseen longest is evicted. A new key costs nothing, so a forgotten one
// gains nothing.
const maxAskers = 8192

// askers remembers the keys of strangers to whom a signature was given. It is safe
// for concurrent use.
type askers struct {
	mu   sync.Mutex
	keys *lru.Table[[33]byte, struct{}]
}

func newAskers() *askers { return &askers{keys: lru.New[[33]byte, struct{}](maxAskers)} }

// ask notes that a stranger wants a signature, and reports whether the node or the
// identity has wanted one before.
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

// Refuses implements identity.Guard. It is asked once in a handshake, after the
// other side has proved who it is.
func (g *pointGuard) Refuses(value [32]byte) bool {
	contact, err := g.deps.Store.Contact(g.hs.Local(), g.hs.Remote())
	if err == nil && contact.State == store.ContactAccepted {
		return false
	}
	return g.deps.Table.askers.ask(g.node, g.hs.Remote()) && identity.IsCurvePoint(value)
}
