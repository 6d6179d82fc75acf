// SPDX-License-Identifier: MPL-2.0

// Package changes tells what is different from before on a node and in no log: who comes
// and goes, how many peers are connected, what there is to be warned of. Package control
// streams it beside the event log to those who ask for it.
package changes

import (
	"context"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/control/warnings"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/proto/identity"
)

// The kinds of changes.
const (
	Presence = "presence"
	Peers    = "peers"
	Status   = "status"
)

// Change is something that is different from before and in no log. It is not repeated: who
// begins to follow asks for what is true then.
type Change struct {
	Kind string `json:"kind" enum:"presence,peers,status"`
	// Of presence.
	Contact  string    `json:"contact,omitempty" doc:"Who has come or gone"`
	Name     string    `json:"name,omitempty" doc:"Of the contact"`
	Online   bool      `json:"online,omitempty" doc:"There is a connection now"`
	LastSeen time.Time `json:"last_seen,omitzero"`
	// Of peers.
	Up    int `json:"up,omitempty" doc:"Yggdrasil peers that are connected"`
	Peers int `json:"peers,omitempty" doc:"Yggdrasil peers in all"`
	// Of status.
	Warnings []warnings.Warning `json:"warnings,omitempty" doc:"Those that there are now"`
}

// Watcher compares what is true now with what it was when it was asked last.
type Watcher struct {
	node    *node.Node
	account identity.PublicKey

	version uint64 // of the presences
	online  map[identity.PublicKey]bool

	asked     bool
	up, peers int
	warnings  []string // codes, with their texts
}

// New returns a watcher that has noted who is online.
func New(n *node.Node, account identity.PublicKey) *Watcher {
	c := &Watcher{node: n, account: account, version: n.PresenceVersion()}
	c.online = c.onlineNow()
	return c
}

func (c *Watcher) onlineNow() map[identity.PublicKey]bool {
	now := make(map[identity.PublicKey]bool)
	for _, id := range c.node.OnlineContacts(c.account) {
		now[id] = true
	}
	return now
}

// Presence returns who has come and gone.
func (c *Watcher) Presence() []Change {
	version := c.node.PresenceVersion()
	if version == c.version {
		return nil
	}
	now := c.onlineNow()
	var out []Change
	tell := func(id identity.PublicKey, online bool) {
		contact, err := c.node.Contact(c.account, id)
		if err != nil {
			return // removed at this moment
		}
		out = append(out, Change{Kind: Presence, Contact: id.String(), Name: contact.DisplayName(), Online: online, LastSeen: contact.LastSeen.Time()})
	}
	for id := range now {
		if !c.online[id] {
			tell(id, true)
		}
	}
	for id := range c.online {
		if !now[id] {
			tell(id, false)
		}
	}
	c.version, c.online = version, now
	return out
}

// Status returns how peers and warnings have changed; the first call only notes them.
func (c *Watcher) Status(ctx context.Context) []Change {
	state, err := c.node.Status(ctx)
	if err != nil {
		return nil // the node stops, or is busy; the next time tells
	}
	now := warnings.Of(state)
	known := make([]string, 0, len(now))
	for _, w := range now {
		known = append(known, w.Code+" "+w.Text)
	}
	up, peers := peersOf(state)
	var out []Change
	if c.asked && (up != c.up || peers != c.peers) {
		out = append(out, Change{Kind: Peers, Up: up, Peers: peers})
	}
	if c.asked && !slices.Equal(known, c.warnings) {
		out = append(out, Change{Kind: Status, Warnings: now})
	}
	c.asked, c.up, c.peers, c.warnings = true, up, peers, known
	return out
}

func peersOf(state node.Status) (up, all int) {
	for _, p := range state.Overlay.Peers {
		if p.Up {
			up++
		}
	}
	return up, len(state.Overlay.Peers)
}
