// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"slices"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

// askForOwn asks a tracker that has just taken an announcement what it tells others
// about the account.
func (r *resolver) askForOwn(c *kernel.Context, announcement *question) {
	id := announcement.identity
	nonce := r.ask(c, announcement.tracker, func(n tracker.Nonce) tracker.Request { return tracker.Lookup{Nonce: n, Identity: id} })
	q := r.open[nonce]
	q.identity, q.announced, q.own = id, announcement.announced, true
}

// onOwnRecords looks for records of an account, with its signature, that lead to a
// node which is none of its devices. It is told once, also over restarts, and
// again when it is back after it was over. Then our own record is announced again,
// so that it stands before the foreign one.
func (r *resolver) onOwnRecords(c *kernel.Context, q *question, records []tracker.Record) {
	if _, ok := r.accounts[q.identity]; !ok {
		return // removed meanwhile
	}
	news := false
	for _, rec := range records {
		if r.isOwn(rec.Node) || !r.env.elsewhere.saw(q.identity, rec.Node, time.Now()) {
			continue
		}
		news = true
		c.Log().Error("A tracker leads to a node that is none of ours, with our own signature",
			"account", q.identity.Short(), "node", rec.Node.Short(), "tracker", q.tracker.address.Node.Short())
		// From now on it is a node key that we know, and never sign.
		r.env.keys.Know(rec.Node)
		c.Tell(r.env.writer, store.Write{Op: store.NoteForeignNode{Account: q.identity, Node: rec.Node}})
	}
	if news {
		r.announceAfter(c, q.announced, 0)
	}
}

func (r *resolver) isOwn(node identity.NodeKey) bool {
	return node == r.env.keys.RoleKey(keyring.RoleNode) || slices.Contains(r.env.opts.OwnDevices, node)
}
