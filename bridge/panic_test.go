// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/proto/identity"
)

// panickyNode panics once in a call that it is told.
type panickyNode struct {
	bridge.Node
	armed  atomic.Pointer[string]
	panics atomic.Int32
}

func (n *panickyNode) arm(call string) { n.armed.Store(&call) }

func (n *panickyNode) passing(call string) {
	if armed := n.armed.Load(); armed != nil && *armed == call && n.armed.CompareAndSwap(armed, nil) {
		n.panics.Add(1)
		panic("injected into " + call)
	}
}

func (n *panickyNode) Message(account, contact identity.PublicKey, id store.MessageID) (store.Message, error) {
	n.passing("Message")
	return n.Node.Message(account, contact, id)
}

func (n *panickyNode) ConversationEvents(account identity.PublicKey, conversation store.ConversationID, after uint64, limit int) ([]store.Event, error) {
	n.passing("ConversationEvents")
	return n.Node.ConversationEvents(account, conversation, after, limit)
}

func (n *panickyNode) MoveCursor(ctx context.Context, consumer string, account identity.PublicKey, conversation store.ConversationID, seq uint64) error {
	n.passing("MoveCursor")
	return n.Node.MoveCursor(ctx, consumer, account, conversation, seq)
}

func (n *panickyNode) Pending(consumer string, account identity.PublicKey) ([]store.PendingConversation, error) {
	n.passing("Pending")
	return n.Node.Pending(consumer, account)
}

func (n *panickyNode) WatchEvents() *store.Watch {
	n.passing("WatchEvents")
	return n.Node.WatchEvents()
}

func (n *panickyNode) AppendJournalBatch(ctx context.Context, queue string, entries []store.NewEntry) (int, error) {
	n.passing("AppendJournalBatch")
	return n.Node.AppendJournalBatch(ctx, queue, entries)
}

func (n *panickyNode) Journal(queue string, after uint64, limit int) ([]store.JournalEntry, error) {
	n.passing("Journal")
	return n.Node.Journal(queue, after, limit)
}

func (n *panickyNode) FinishJournalBatch(ctx context.Context, queue string, seqs []uint64) error {
	n.passing("FinishJournalBatch")
	return n.Node.FinishJournalBatch(ctx, queue, seqs)
}

// Bar R16: a panic in any goroutine of the bridge costs at most a new start of the
// bridge, and nobody a message.
func TestPanic_Part_NodeAndBridgeSurvive(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	node := &panickyNode{Node: f.node}
	f.stop()
	f.facing = node
	f.start()
	shown, sent := []string{"I am Bob"}, []string(nil)
	for i, call := range []string{
		"Message", "ConversationEvents", "MoveCursor", "AppendJournalBatch", "Journal", "FinishJournalBatch", "Pending", "WatchEvents",
	} {
		if call == "Pending" || call == "WatchEvents" { // called at the start
			f.stop()
		}
		node.arm(call)
		if f.bridge.IsZero() {
			f.start()
		}
		in, out := fmt.Sprintf("in %s", call), fmt.Sprintf("out %s", call)
		f.node.receive(f.account, bob, in)
		f.write(room, out)
		shown, sent = append(shown, in), append(sent, out)
		f.awaitShown(room, shown...)
		f.awaitOutgoing(f.account, bob, sent...)
		f.awaitState(bridge.StateRunning)
		f.await("the panic in "+call, func() bool { return node.panics.Load() == int32(i+1) })
	}
	f.await("nothing is left", func() bool {
		status := f.status()
		return status.Transactions == 0 && status.Conversations == 0
	})
}

// Bar R16: a panic of the bridge actor itself starts it anew, and what was under
// way goes on. Nobody else is stopped.
func TestPanic_Actor_BridgeRestarts(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	var armed atomic.Bool
	ref := f.bridge
	before := func(actor kernel.Ref, msg any) {
		if _, asked := msg.(bridge.StatusRequest); asked && actor == ref && armed.CompareAndSwap(true, false) {
			panic("injected into the actor")
		}
	}
	f.before.Store(&before)
	for i := range 20 {
		f.node.receive(f.account, bob, fmt.Sprintf("in %d", i))
		f.write(room, fmt.Sprintf("out %d", i))
		if i == 10 {
			armed.Store(true)
			ref.Tell(bridge.StatusRequest{})
		}
	}
	f.await("the actor has panicked", func() bool { return !armed.Load() })
	f.awaitShown(room, append([]string{"I am Bob"}, numbered("in", 20)...)...)
	f.awaitOutgoing(f.account, bob, numbered("out", 20)...)
	f.awaitState(bridge.StateRunning)
	if !f.log.contains("injected into the actor") {
		t.Error("the panic is not in the log")
	}
}
