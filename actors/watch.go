// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"context"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
)

// watchLog has an actor told of new events in the log, with conversationsChanged.
// Whoever calls it before it looks at the store misses nothing: what changes in
// between is seen twice.
func watchLog(c *kernel.Context, watch *store.Watch) {
	inbox := c.Inbox()
	one := kernel.NewCredits(1, 1) // so that wake-ups do not pile up in the mailbox
	c.Go("watch", func(ctx context.Context) error {
		defer watch.Close()
		for {
			if err := one.Acquire(ctx, 1); err != nil {
				return nil // the actor stops
			}
			select {
			case <-ctx.Done():
				return nil
			case <-watch.C():
			}
			inbox.Tell(conversationsChanged{Changes: watch.Take(), Done: one})
		}
	})
}
