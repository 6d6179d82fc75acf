// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/test/virtual"
)

// slowPart is a part whose goroutine takes its time to end, and reads the store then.
type slowPart struct {
	node  *node.Node
	takes time.Duration
	read  chan error
}

func (p *slowPart) Started(c *kernel.Context) error {
	c.Go("work", func(ctx context.Context) error {
		<-ctx.Done()
		virtual.Sleep(p.takes)
		_, err := p.node.Accounts()
		p.read <- err
		return nil
	})
	return nil
}

func (*slowPart) Receive(*kernel.Context, any) {}

// slowNode is a node with two slow parts.
func slowNode(t *testing.T, takes time.Duration) (*node.Node, chan error) {
	t.Helper()
	w := actorstest.New(t, memnet.Options{})
	read := make(chan error, 2)
	part := func(n *node.Node) kernel.Actor { return &slowPart{node: n, takes: takes, read: read} }
	n := w.Node("alice", func(o *node.Options) {
		o.Parts = []node.Part{{Name: "one", New: part}, {Name: "two", New: part}}
	})
	for _, name := range []string{"bob", "carol"} { // sessions that have to end, too
		other := w.Node(name)
		actorstest.Befriend(n, other)
		n.Say(other, "hello")
		other.Eventually("it arrives", func() bool { return len(other.Heard(n)) == 1 })
	}
	return n.Node, read
}

// Bar R14: parts that take their time are waited for, within 10 s in all, and the store
// is there until the last of them is gone.
func TestStop_SlowParts_StoreLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, read := slowNode(t, 4*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		if err := errors.Join(n.Stop(ctx), n.Close()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took < 4*time.Second || took > 9*time.Second {
			t.Errorf("the stop took %v", took)
		}
		for range 2 {
			if err := <-read; err != nil {
				t.Errorf("the store was gone under a part: %v", err)
			}
		}
		if _, err := n.Accounts(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("the store is still open: %v", err)
		}
	})
}

// Bar R14: a part that does not stop is named within 10 s, and the store is not closed
// under it.
func TestStop_StuckPart_StoreStaysOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, read := slowNode(t, 5*time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		err := n.Stop(ctx)
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("the stop took %v", took)
		}
		if err == nil || !strings.Contains(err.Error(), "one") || !strings.Contains(err.Error(), "two") {
			t.Errorf("the stop says: %v", err)
		}
		if err := n.Close(); err == nil {
			t.Error("the store was closed under running parts")
		}
		for range 2 {
			if err := <-read; err != nil {
				t.Errorf("the store was gone under a part: %v", err)
			}
		}
		if err := errors.Join(n.Stop(t.Context()), n.Close()); err != nil {
			t.Errorf("when the parts have ended: %v", err)
		}
	})
}
