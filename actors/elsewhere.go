// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The handshake of the apps can be abused to get an announcement signed (see
// docs/architecture.md, weak spots). It cannot be prevented for an identity that is
// also used in an app, but it can be seen: after every announcement the tracker is
// asked what it would tell others about us.

const (
	// elsewhereMemory is how long a foreign node is still told of that no tracker has
	// named again. Trackers forget a record after 17 minutes at most.
	elsewhereMemory = 20 * time.Minute
	// maxElsewhere bounds the foreign nodes of one account. Each needs a signature of
	// ours, so there is hardly ever one; the one unseen longest makes room.
	maxElsewhere = store.MaxForeignNodes
)

// AnnouncedElsewhere is a node that is none of ours, and that trackers name for an
// account, with the account's own signature.
type AnnouncedElsewhere struct {
	Account identity.PublicKey
	Node    identity.NodeKey
	// Since is when it was first seen, Last when it was seen last.
	Since, Last time.Time
	// hidden: it was told of, and not seen since the node or the account began.
	hidden bool
}

// elsewhere remembers the foreign nodes. The resolver writes, whoever shows a status
// reads.
type elsewhere struct {
	mu   sync.Mutex
	seen map[identity.PublicKey][]AnnouncedElsewhere
}

func newElsewhere() *elsewhere {
	return &elsewhere{seen: make(map[identity.PublicKey][]AnnouncedElsewhere)}
}

// rememberElsewhere reads what earlier runs have told. Those keys are never signed.
func (e *env) rememberElsewhere() error {
	accounts, err := e.store.Accounts()
	if err != nil {
		return fmt.Errorf("read accounts: %w", err)
	}
	for _, a := range accounts {
		for _, n := range a.ForeignNodes {
			e.keys.Know(n.Key)
		}
		e.elsewhere.remember(a.ID, a.ForeignNodes, time.Now())
	}
	return nil
}

// remember takes over what an earlier run of the node has told: when it is as it was
// it is no news.
func (e *elsewhere) remember(account identity.PublicKey, nodes []store.ForeignNode, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range nodes {
		e.seen[account] = append(e.seen[account], AnnouncedElsewhere{Account: account, Node: n.Key, Since: n.Since.Time(), Last: now, hidden: true})
	}
}

// saw notes a foreign node and reports whether that is news.
func (e *elsewhere) saw(account identity.PublicKey, node identity.NodeKey, now time.Time) (news bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := e.seen[account]
	if i := slices.IndexFunc(seen, func(a AnnouncedElsewhere) bool { return a.Node == node }); i >= 0 {
		if news = now.Sub(seen[i].Last) > elsewhereMemory; news {
			seen[i].Since = now
		}
		seen[i].Last, seen[i].hidden = now, false
		return news
	}
	if len(seen) >= maxElsewhere {
		slices.SortFunc(seen, func(a, b AnnouncedElsewhere) int { return a.Last.Compare(b.Last) })
		seen = seen[1:]
	}
	e.seen[account] = append(seen, AnnouncedElsewhere{Account: account, Node: node, Since: now, Last: now})
	return true
}

// hide shows nothing of an account that is not served any more. It may be about to be
// again, and then what was told is no news.
func (e *elsewhere) hide(account identity.PublicKey) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.seen[account] {
		e.seen[account][i].hidden = true
	}
}

// current are the foreign nodes that trackers have named lately.
func (e *elsewhere) current(now time.Time) []AnnouncedElsewhere {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []AnnouncedElsewhere
	for _, seen := range e.seen {
		for _, a := range seen {
			if !a.hidden && now.Sub(a.Last) <= elsewhereMemory {
				all = append(all, a)
			}
		}
	}
	slices.SortFunc(all, func(a, b AnnouncedElsewhere) int {
		return cmp.Or(a.Since.Compare(b.Since), slices.Compare(a.Account[:], b.Account[:]), slices.Compare(a.Node[:], b.Node[:]))
	})
	return all
}
