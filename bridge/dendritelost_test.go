// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"net/http"
	"testing"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/proto/identity"
)

// What a real homeserver says of rooms is enough to learn them again, and to follow
// one that it has upgraded.
func TestDendrite_RoomsAdopted(t *testing.T) {
	r := newRealWith(t, func(c *matrixconfig.Config) { c.Encryption.Allow = false })
	bob, carol := r.node.addContact(r.account, "Bob"), r.node.addContact(r.account, "Carol")
	r.node.receive(r.account, bob, "I am Bob")
	r.node.receive(r.account, carol, "I am Carol")
	rooms := map[identity.PublicKey]id.RoomID{
		bob:   r.awaitText(r.alice, r.ghost(bob), "I am Bob"),
		carol: r.awaitText(r.alice, r.ghost(carol), "I am Carol"),
	}
	r.await("all is delivered", func() bool { return r.status().Conversations == 0 })

	r.loseTables()
	before := r.alice.Seen(r.botSaying(rooms[bob], "login attach"))
	if _, err := r.alice.SendText(soon(t), rooms[bob], "is anybody here"); err != nil {
		t.Fatal(err)
	}
	r.hear(r.alice, rooms[bob], "login attach", before)
	r.say(r.alice, r.management, "login attach", "You use the Mimir identity Alice")
	for contact, room := range rooms {
		if _, err := r.alice.SendText(soon(t), room, "here again"); err != nil {
			t.Fatal(err)
		}
		r.awaitOutgoing(r.account, contact, "here again")
		r.node.receive(r.account, contact, "so am I, "+contact.Short())
		if in := r.awaitText(r.alice, r.ghost(contact), "so am I, "+contact.Short()); in != room {
			t.Errorf("it goes on in %s, want %s", in, room)
		}
	}

	r.empower(rooms[bob], r.alice)
	var upgraded struct {
		Room id.RoomID `json:"replacement_room"`
	}
	address := r.alice.Matrix.BuildClientURL("v3", "rooms", rooms[bob], "upgrade")
	if _, err := r.alice.Matrix.MakeRequest(soon(t), http.MethodPost, address, map[string]any{"new_version": "10"}, &upgraded); err != nil {
		t.Fatal(err)
	}
	r.said(r.alice, upgraded.Room, "goes on here")
	if _, err := r.alice.SendText(soon(t), upgraded.Room, "in the new room"); err != nil {
		t.Fatal(err)
	}
	r.awaitOutgoing(r.account, bob, "here again", "in the new room")
	r.node.receive(r.account, bob, "nice here")
	if in := r.awaitText(r.alice, r.ghost(bob), "nice here"); in != upgraded.Room {
		t.Errorf("it goes on in %s, want %s", in, upgraded.Room)
	}
}
