// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/mimird/mimird/actors/store"
)

// What waits is counted, cancelled and deleted whole, however much it is: nobody is
// told that a message has arrived because it was not in the part that was read.
func TestUndelivered_BeyondOnePage(t *testing.T) {
	const many = store.MaxPage + 400
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	carol, _ := f.conversation("Carol")
	for n := range many {
		op := store.EnqueueMessage{
			Account: f.account, Conversation: store.ContactConversation(bob), GUID: int64(n + 1), Payload: fmt.Append(nil, n), Source: fmt.Sprint("local:", n),
		}
		if _, err := store.Do[store.Enqueued](context.Background(), f.node.actor, op); err != nil {
			t.Fatal(err)
		}
	}
	op := store.EnqueueMessage{Account: f.account, Conversation: store.ContactConversation(carol), GUID: 1, Payload: []byte("to carol"), Source: "local:carol"}
	if _, err := store.Do[store.Enqueued](context.Background(), f.node.actor, op); err != nil {
		t.Fatal(err)
	}
	last := f.write(room, "the last")
	state := func() store.Message {
		sent := f.node.outgoing(f.account, bob)
		return sent[len(sent)-1]
	}
	f.await("it is queued", func() bool { return string(state().Payload) == "the last" })
	f.say(f.alice, f.management, "queue", fmt.Sprintf("Bob: %d messages wait since", many+1))
	if _, err := f.alice.Matrix.RedactEvent(soon(t), room, last); err != nil {
		t.Fatal(err)
	}
	f.await("the last is given up", func() bool { return state().State == store.StateFailed && state().Reason == "you have deleted it" })
	f.say(f.alice, room, "!mimir cancel", fmt.Sprintf("Not sent any more: %d.", many))
	if size, err := f.node.OutboxSize(f.account, bob); err != nil || size.Messages != 0 {
		t.Errorf("%d messages are left, %v", size.Messages, err)
	}
	if size, err := f.node.OutboxSize(f.account, carol); err != nil || size.Messages != 1 {
		t.Errorf("%d messages wait for carol, %v", size.Messages, err)
	}
}
