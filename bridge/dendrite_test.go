// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/dendrite"
)

// real is a bridge between a testNode and a real Dendrite, with a login of alice.
type real struct {
	*world
	server     *dendrite.Server
	alice      *bridgetest.Client
	management id.RoomID
	account    identity.PublicKey
}

// buildPatience is for the first use on a machine: Dendrite is compiled.
const buildPatience = 10 * time.Minute

func newReal(t *testing.T) *real {
	t.Helper()
	return newRealWith(t, func(*matrixconfig.Config) {})
}

// newRealWith changes the configuration before anything is started. Where the
// bridge encrypts, alice does.
func newRealWith(t *testing.T, change func(*matrixconfig.Config)) *real {
	t.Helper()
	r := &real{world: newWorld(t)}
	change(r.config)
	r.encrypted = r.config.Encryption.Allow
	var files []string
	for _, registration := range r.registrations() {
		file := filepath.Join(r.dir, registration.Name)
		if err := matrixconfig.WriteSecretFile(file, registration.Content); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	ctx, cancel := context.WithTimeout(t.Context(), buildPatience)
	defer cancel()
	server, err := dendrite.Start(ctx, dendrite.Options{Dir: filepath.Join(r.dir, "dendrite"), Registrations: files})
	if err != nil {
		t.Fatal(err)
	}
	r.server = server
	t.Cleanup(func() {
		if t.Failed() {
			if log, err := os.ReadFile(server.LogPath()); err == nil {
				t.Logf("the end of Dendrite's log:\n%s", log[max(0, len(log)-4000):])
			}
		}
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
	})
	r.config.Homeserver.Address = server.URL()
	r.account = r.node.addAccount("Alice")
	r.start()
	if err := server.CreateUser(soon(t), "alice", "long-secret", false); err != nil {
		t.Fatal(err)
	}
	r.alice = r.person(server.URL(), "alice")
	r.awaitState(bridge.StateRunning)
	r.management = r.attach(r.alice)
	return r
}

// awaitTexts waits until somebody has written exactly these texts in a room.
func (r *real) awaitTexts(room id.RoomID, sender id.UserID, want ...string) {
	r.t.Helper()
	var have []string
	r.await("all texts are in the room", func() bool {
		have = r.texts(r.alice, room, sender)
		return len(have) >= len(want)
	})
	if !slices.Equal(have, want) {
		r.t.Errorf("the room has %q, want %q", have, want)
	}
}

func TestDendrite_EndToEnd(t *testing.T) {
	r := newReal(t)
	bob := r.node.addContact(r.account, "Bob")

	// The portal appears, and alice is in it without doing anything.
	r.node.receive(r.account, bob, "hello Alice")
	room := r.awaitText(r.alice, r.ghost(bob), "hello Alice")
	if _, err := r.alice.SendText(soon(t), room, "hello Bob"); err != nil {
		t.Fatal(err)
	}
	r.awaitOutgoing(r.account, bob, "hello Bob")

	// The contact's device acknowledges: the bot marks the message as delivered.
	hello, err := r.alice.WaitText(soon(t), room, r.alice.UserID(), "hello Bob")
	if err != nil {
		t.Fatal(err)
	}
	r.node.acknowledge(r.account, bob, r.node.outgoing(r.account, bob)[0].ID)
	_, err = r.alice.Wait(soon(t), func(evt *event.Event) bool {
		status, ok := evt.Content.Parsed.(*event.BeeperMessageStatusEventContent)
		return ok && status.RelatesTo.EventID == hello.ID && status.DeliveredToUsers != nil
	})
	if err != nil {
		t.Errorf("no delivery status: %v", err)
	}

	// Order of a burst in both directions at once.
	incoming, outgoing := numbered("in", 40), numbered("out", 40)
	for i := range incoming {
		r.node.receive(r.account, bob, incoming[i])
		if _, err := r.alice.SendText(soon(t), room, outgoing[i]); err != nil {
			t.Fatal(err)
		}
	}
	r.awaitOutgoing(r.account, bob, append([]string{"hello Bob"}, outgoing...)...)
	r.awaitTexts(room, r.ghost(bob), append([]string{"hello Alice"}, incoming...)...)

	// What both sides write while the bridge is stopped is there afterwards.
	r.stop()
	while := numbered("meanwhile", 20)
	for _, text := range while {
		r.node.receive(r.account, bob, text)
		if _, err := r.alice.SendText(soon(t), room, text); err != nil {
			t.Fatal(err)
		}
	}
	r.start()
	r.awaitOutgoing(r.account, bob, slices.Concat([]string{"hello Bob"}, outgoing, while)...)
	r.awaitTexts(room, r.ghost(bob), slices.Concat([]string{"hello Alice"}, incoming, while)...)
}

// The homeserver has the event, this process is killed before it knows, and the
// homeserver is started again and has forgotten the transaction.
//
// Bar R01
func TestDendrite_TransactionsForgotten_ShownOnce(t *testing.T) {
	r := newReal(t)
	bob := r.node.addContact(r.account, "Bob")
	r.node.receive(r.account, bob, "first")
	room := r.awaitText(r.alice, r.ghost(bob), "first")
	shown := []string{"first"}
	for round := range 3 {
		text := fmt.Sprintf("in doubt %d", round)
		r.await("all is noted", func() bool { return r.status().Conversations == 0 })
		r.node.setCursorError(errTest)
		r.node.receive(r.account, bob, text)
		r.awaitText(r.alice, r.ghost(bob), text)
		shown = append(shown, text)
		r.await("it was noted", func() bool { return len(r.status().Waiting) == 1 && r.status().Waiting[0].Error != "" })
		r.stop()
		r.node.setCursorError(nil)
		r.forgetLast() // as if it had been killed before it could note the answer
		if err := r.server.Restart(soon(t)); err != nil {
			t.Fatal(err)
		}
		r.start()
		after := fmt.Sprintf("after %d", round)
		r.node.receive(r.account, bob, after)
		shown = append(shown, after)
		r.awaitTexts(room, r.ghost(bob), shown...)
	}
}

func TestDendrite_Outage(t *testing.T) {
	r := newReal(t)
	bob := r.node.addContact(r.account, "Bob")
	r.node.receive(r.account, bob, "before")
	room := r.awaitText(r.alice, r.ghost(bob), "before")
	if err := r.server.Kill(); err != nil {
		t.Fatal(err)
	}
	during := numbered("during", 30)
	r.node.receive(r.account, bob, during...)
	r.awaitState(bridge.StateDegraded)
	if err := r.server.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	r.awaitTexts(room, r.ghost(bob), append([]string{"before"}, during...)...)
	r.awaitState(bridge.StateRunning)
}

// nothingPlain fails when the homeserver can read a message in alice's rooms, or has
// fewer encrypted ones than that.
func (r *real) nothingPlain(least int) {
	r.t.Helper()
	plain, err := bridgetest.Login(soon(r.t), r.server.URL(), "alice", "long-secret")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(plain.Close)
	rooms, err := plain.Matrix.JoinedRooms(soon(r.t))
	if err != nil {
		r.t.Fatal(err)
	}
	count := 0
	for _, room := range rooms.JoinedRooms {
		events, err := plain.Timeline(soon(r.t), room)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, evt := range events {
			switch evt.Type {
			case event.EventMessage, event.EventSticker:
				r.t.Errorf("the homeserver can read a message of %s: %s", evt.Sender, evt.Content.VeryRaw)
			case event.EventEncrypted:
				count++
			}
		}
	}
	if count < least {
		r.t.Errorf("%d messages are encrypted", count)
	}
}
