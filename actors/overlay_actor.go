// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/proto/identity"
)

// linkCheck is how often the overlay actor looks whether links are up. There is
// no event for it, and asking costs microseconds.
const linkCheck = time.Second

// settleTime is how long a link must have been up before anybody uses it. A node
// that has just joined is not found by others yet: they would take our first
// packet and be unable to answer it, and Yggdrasil does not repeat the answer to
// a handshake for a minute.
const settleTime = 3 * time.Second

type checkLinks struct{}

// overlayActor owns the connection to the Yggdrasil network. It tells its parent
// when links come up and go down. When it is restarted everything that went over
// the old network ends by itself and is opened again over the new one.
type overlayActor struct {
	env *env
	net Network
	// linked is when the first link came up; zero without one.
	linked time.Time
	// changes is what changesOf has counted.
	changes uint64
}

// changesOf counts how often the machine of a network woke up or came to another
// one, for a network that notices.
func changesOf(n Network) uint64 {
	if n, ok := n.(interface{ Changes() uint64 }); ok {
		return n.Changes()
	}
	return 0
}

func (o *overlayActor) Started(c *kernel.Context) error {
	net, err := o.env.opts.OpenNetwork(o.env.keys.node)
	if err != nil {
		return fmt.Errorf("join the overlay: %w", err)
	}
	o.net = net
	if n, ok := net.(interface {
		KnowContacts(pairs func(identity.NodeKey) int)
	}); ok {
		n.KnowContacts(o.env.contactNodes.pairs)
	}
	o.env.net.set(net)
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
	c.Tell(c.Parent(), overlayOpened{})
	c.Log().Info("Joined the overlay", "node", o.env.keys.node.Key().Short())
	return nil
}

func (o *overlayActor) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case checkLinks:
		o.onCheckLinks(c)
	case kernel.TaskDone:
		c.Fail(fmt.Errorf("overlay: %w", msg.Err))
	}
}

func (o *overlayActor) Stopping(c *kernel.Context) {
	wasUp := o.env.net.up.Load()
	o.env.net.clear()
	if wasUp {
		c.Tell(c.Parent(), overlayChanged{Up: false})
	}
}

func (o *overlayActor) onCheckLinks(c *kernel.Context) {
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
	if o.env.net.up.Swap(up) != up {
		c.Log().Info("Links to the overlay changed", "up", links)
		c.Tell(c.Parent(), overlayChanged{Up: up})
	}
}
