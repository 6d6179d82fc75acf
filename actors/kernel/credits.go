// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// Credits bounds what is under way between a goroutine that reads and the actor
// that handles: mailboxes have no bound, so the reader takes a credit before it
// sends and the actor gives it back when it has dealt with the item, for a
// message after its commit. While there is none, the reader does not read, and
// the sender at the other end of the socket is slowed down. Safe for use by
// several goroutines; waiters are served in their order.
type Credits struct {
	limit int64
	count *semaphore.Weighted
	bytes *semaphore.Weighted
}

// NewCredits allows at most count items of together at most bytes bytes, both at
// least 1. A single item larger than bytes is allowed, but only alone.
func NewCredits(count int, bytes int64) *Credits {
	limit := max(bytes, 1)
	return &Credits{
		limit: limit,
		count: semaphore.NewWeighted(int64(max(count, 1))),
		bytes: semaphore.NewWeighted(limit),
	}
}

// Acquire waits for one credit of the given size, or for ctx. It blocks: never
// call it inside an actor's turn.
func (c *Credits) Acquire(ctx context.Context, bytes int64) error {
	if err := c.count.Acquire(ctx, 1); err != nil {
		return err
	}
	if err := c.bytes.Acquire(ctx, c.weight(bytes)); err != nil {
		c.count.Release(1)
		return err
	}
	return nil
}

// TryAcquire takes one credit of the given size if there is one. Safe in a turn.
func (c *Credits) TryAcquire(bytes int64) bool {
	if !c.count.TryAcquire(1) {
		return false
	}
	if !c.bytes.TryAcquire(c.weight(bytes)) {
		c.count.Release(1)
		return false
	}
	return true
}

// Release gives back one credit of the size it was acquired with. Giving back
// more than was taken panics. It never blocks and is safe in a turn.
func (c *Credits) Release(bytes int64) {
	c.bytes.Release(c.weight(bytes))
	c.count.Release(1)
}

// weight lets an item above the limit take all of it, and an empty one something,
// so that the large one is alone.
func (c *Credits) weight(bytes int64) int64 { return min(max(bytes, 1), c.limit) }
