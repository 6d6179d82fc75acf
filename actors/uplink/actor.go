// SPDX-License-Identifier: MPL-2.0

// Package uplink has the connection of a node to the Yggdrasil network: the actor that
// opens it and watches its links, and the [Cell] in which the others find the network
// that runs at this moment. The node creates the actor and passes its events [Opened]
// and [Changed] to the parts that dial or listen; every part that opens streams or
// datagrams has the Cell. The roles of a server own their networks and use a Cell of
// their own. It imports the kernel, the overlay and proto/identity.
package uplink

import (
	"context"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/proto/identity"
)

// linkCheck is how often the actor counts the links. There is no event for it, and
// counting costs microseconds.
const linkCheck = time.Second

// settleTime is how long a link must have been up before the network counts as up. The
// others do not find a node that has just joined: they receive our first packet and
// cannot answer it, and Yggdrasil does not repeat the answer to a handshake for a minute.
const settleTime = 3 * time.Second

type checkLinks struct{}

type (
	// Opened tells the parent that there is a carrier, under a new network. It is
	// for everybody who listens on a port.
	Opened struct{}
	// Changed tells the parent whether links to the network are up.
	Changed struct{ Up bool }
)

// Deps is what the actor of [newOverlay] uses.
type Deps struct {
	// Open joins the network under Key. It is called at every start of the actor, also
	// after a failure, and must not block on the network.
	Open func(identity.NodePrivateKey) (Network, error)
	Key  identity.NodePrivateKey
	// Cell is set to the network while that runs.
	Cell *Cell
	// Pairs is how many pairs of an account and an accepted contact there are at a node;
	// zero for a stranger. The network asks it for each packet.
	Pairs func(identity.NodeKey) int
}

// actor owns the connection to the Yggdrasil network. When it is restarted,
// everything that ran over the old network ends by itself and is opened again over the
// new one.
type actor struct {
	deps Deps
	net  Network
	// linked is when the first link came up; zero without one.
	linked time.Time
	// changes is the last result of changesOf.
	changes uint64
}

// NewActor returns the actor that owns the node's connection to the network. It tells
// its parent [Opened] and [Changed].
func NewActor(deps Deps) kernel.Actor { return &actor{deps: deps} }

// changesOf counts how often the machine of a network woke up or moved to another link,
// when the network notices that.
func changesOf(n Network) uint64 {
	if n, ok := n.(interface{ Changes() uint64 }); ok {
		return n.Changes()
	}
	return 0
}

// Started implements [kernel.Starter].
func (o *actor) Started(c *kernel.Context) error {
	net, err := o.deps.Open(o.deps.Key)
	if err != nil {
		return fmt.Errorf("join the overlay: %w", err)
	}
	o.net = net
	if n, ok := net.(interface {
		KnowContacts(pairs func(identity.NodeKey) int)
	}); ok {
		n.KnowContacts(o.deps.Pairs)
	}
	o.deps.Cell.Set(net)
	c.Go("network", func(ctx context.Context) error {
		// Closing waits for the network's own goroutines, so it is done here and not
		// in a turn.
		defer func() { _ = net.Close() }()
		select {
		case <-ctx.Done():
			return nil
		case <-net.Failed():
			return net.Err()
		}
	})
	c.Every(linkCheck, checkLinks{})
	c.Tell(c.Parent(), Opened{})
	c.Log().Info("overlay joined", "node", o.deps.Key.Key().Short())
	return nil
}

// Receive implements [kernel.Actor].
func (o *actor) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case checkLinks:
		o.onCheckLinks(c)
	case kernel.TaskDone:
		c.Fail(fmt.Errorf("overlay: %w", msg.Err))
	}
}

// Stopping implements [kernel.Stopper].
func (o *actor) Stopping(c *kernel.Context) {
	wasUp := o.deps.Cell.Up()
	o.deps.Cell.Clear()
	if wasUp {
		c.Tell(c.Parent(), Changed{Up: false})
	}
}

func (o *actor) onCheckLinks(c *kernel.Context) {
	links, changes := o.net.Links(), changesOf(o.net)
	changed := changes != o.changes
	o.changes = changes
	switch {
	// After a change links may look as if they worked, and trackers have forgotten us:
	// everything begins as if the network had been away.
	case links == 0, changed:
		o.linked = time.Time{}
	case o.linked.IsZero():
		o.linked = time.Now()
	}
	up := !o.linked.IsZero() && time.Since(o.linked) >= settleTime
	if o.deps.Cell.up.Swap(up) != up {
		c.Log().Info("links to the overlay changed", "count", links)
		c.Tell(c.Parent(), Changed{Up: up})
	}
}
