// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"testing"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// elsewhere writes with the account, but not from Matrix.
func (r *real) sentByOtherDevice(contact identity.PublicKey, text string) {
	r.t.Helper()
	_, err := r.node.Send(soon(r.t), node.Outgoing{
		Account: r.account, Contact: contact, Source: "elsewhere/" + text, Type: peer.TypeText, Payload: []byte(text),
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// With the second registration, what is written elsewhere is alice's in Matrix.
func TestDendrite_DoublePuppetRegistration(t *testing.T) {
	r := newRealWith(t, func(c *matrixconfig.Config) { c.DoublePuppet.Registration = matrixconfig.DoublePuppetSeparate })
	bob := r.node.addContact(r.account, "Bob")
	r.node.receive(r.account, bob, "hello")
	room := r.awaitText(r.alice, r.ghost(bob), "hello")
	r.sentByOtherDevice(bob, "from my phone")
	if _, err := r.alice.WaitText(soon(t), room, r.alice.UserID(), "from my phone"); err != nil {
		t.Fatal(err)
	}
	// It is not taken for something that she wrote in the room.
	if _, err := r.alice.SendText(soon(t), room, "from Matrix"); err != nil {
		t.Fatal(err)
	}
	r.awaitOutgoing(r.account, bob, "from my phone", "from Matrix")
}

// Without any registration for it, a token of alice's own does the same for her.
func TestDendrite_DoublePuppetToken(t *testing.T) {
	r := newRealWith(t, func(c *matrixconfig.Config) { c.DoublePuppet.Registration = matrixconfig.DoublePuppetNone })
	bob := r.node.addContact(r.account, "Bob")
	r.node.receive(r.account, bob, "hello")
	room := r.awaitText(r.alice, r.ghost(bob), "hello")
	r.sentByOtherDevice(bob, "before")
	if _, err := r.alice.WaitText(soon(t), room, r.ghost(r.account), "before"); err != nil {
		t.Fatal(err)
	}
	r.say(r.alice, r.greeted(r.alice), "!mimir login-matrix "+r.alice.Matrix.AccessToken, "Successfully switched puppets")
	r.sentByOtherDevice(bob, "after")
	if _, err := r.alice.WaitText(soon(t), room, r.alice.UserID(), "after"); err != nil {
		t.Fatal(err)
	}
	if r.log.contains(r.alice.Matrix.AccessToken) {
		t.Error("the token is in the log")
	}
}
