// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
)

// refusingNode does not store transactions with a certain text.
type refusingNode struct {
	bridge.Node
	text    []byte
	refuses atomic.Bool
	refused atomic.Int32
}

func (n *refusingNode) AppendJournalBatch(ctx context.Context, queue string, entries []store.NewEntry) (int, error) {
	for _, entry := range entries {
		if n.refuses.Load() && bytes.Contains(entry.Body, n.text) {
			n.refused.Add(1)
			return 0, errTest
		}
	}
	return n.Node.AppendJournalBatch(ctx, queue, entries)
}

// Bar R02: the homeserver is told 200 only for what is stored. Everything else it
// sends again.
func TestTransaction_NotStored_HomeserverRetries(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	node := &refusingNode{Node: f.node, text: []byte(`"first"`)}
	node.refuses.Store(true)
	f.stop()
	f.facing = node
	f.start()
	f.write(room, "first")
	f.write(room, "second")
	f.await("it is sent again", func() bool { return node.refused.Load() >= 2 })
	node.refuses.Store(false)
	f.awaitOutgoing(f.account, bob, "first", "second")
}
