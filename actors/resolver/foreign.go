// SPDX-License-Identifier: MPL-2.0

package resolver

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The handshake of the apps can be abused to get an announcement signed (see
// docs/architecture.md, weak spots). That cannot be prevented for an identity that is
// also used in an app, but it can be detected: after each announcement the resolver looks
// its own account up at the same tracker.

const (
	// foreignMemory is how long a foreign node is reported after a tracker named it last.
	// Trackers forget a record after 17 minutes at most.
	foreignMemory = 20 * time.Minute
	// maxForeign bounds the foreign nodes of one account. Each needs a signature of ours,
	// so there is hardly ever one; the one that was seen least recently is evicted.
	maxForeign = store.MaxForeignNodes
)

// ForeignNode is a node that is not ours and that trackers give for an account, with the
// account's own signature.
type ForeignNode struct {
	Account identity.PublicKey
	Node    identity.NodeKey
	// Since is when it was first seen, Last when it was seen last.
	Since, Last time.Time
	// suppressed: it was reported, and not seen since the node or the account began.
	suppressed bool
}

// ForeignNodes remembers the foreign nodes of all accounts, for the resolver and for the
// status. It is safe for concurrent use.
type ForeignNodes struct {
	mu   sync.Mutex
	seen map[identity.PublicKey][]ForeignNode
}

// OpenForeignNodes reads the foreign nodes that earlier runs have reported. The keyring
// never signs their keys.
func OpenForeignNodes(s *store.Store, keys *keyring.Ring) (*ForeignNodes, error) {
	f := &ForeignNodes{seen: make(map[identity.PublicKey][]ForeignNode)}
	accounts, err := s.Accounts()
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	now := time.Now()
	for _, a := range accounts {
		for _, n := range a.ForeignNodes {
			keys.Know(n.Key)
			f.seen[a.ID] = append(f.seen[a.ID], ForeignNode{Account: a.ID, Node: n.Key, Since: n.Since.Time(), Last: now, suppressed: true})
		}
	}
	return f, nil
}

// observe notes a foreign node and reports whether that is to be reported.
func (f *ForeignNodes) observe(account identity.PublicKey, node identity.NodeKey, now time.Time) (report bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := f.seen[account]
	if i := slices.IndexFunc(seen, func(n ForeignNode) bool { return n.Node == node }); i >= 0 {
		if report = now.Sub(seen[i].Last) > foreignMemory; report {
			seen[i].Since = now
		}
		seen[i].Last, seen[i].suppressed = now, false
		return report
	}
	if len(seen) >= maxForeign {
		slices.SortFunc(seen, func(a, b ForeignNode) int { return a.Last.Compare(b.Last) })
		seen = seen[1:]
	}
	f.seen[account] = append(seen, ForeignNode{Account: account, Node: node, Since: now, Last: now})
	return true
}

// suppress leaves the nodes of an account out of Current, because the account is not
// served any more. When it is served again they are not reported again.
func (f *ForeignNodes) suppress(account identity.PublicKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.seen[account] {
		f.seen[account][i].suppressed = true
	}
}

// Current returns the foreign nodes that trackers have named within the last 20 minutes,
// the oldest first.
func (f *ForeignNodes) Current(now time.Time) []ForeignNode {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []ForeignNode
	for _, seen := range f.seen {
		for _, n := range seen {
			if !n.suppressed && now.Sub(n.Last) <= foreignMemory {
				all = append(all, n)
			}
		}
	}
	slices.SortFunc(all, func(a, b ForeignNode) int {
		return cmp.Or(a.Since.Compare(b.Since), slices.Compare(a.Account[:], b.Account[:]), slices.Compare(a.Node[:], b.Node[:]))
	})
	return all
}
