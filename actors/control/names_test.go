// SPDX-License-Identifier: MPL-2.0

package control_test

import (
	"testing"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/overlay/memnet"
)

// A stranger who waits for an answer takes nothing that is meant for the contact of
// the same name, and can be answered by that name.
func TestContactLookup_StrangerOfSameName_NotMatched(t *testing.T) {
	socket := t.TempDir() + "/s"
	w := actorstest.New(t, memnet.Options{})
	alice, bob, stranger := w.Node("alice", withControl(t, socket)), w.Node("bob"), w.Node("bob")
	api := client.New(socket)
	t.Cleanup(api.Close)
	alice.Eventually("the control API answers", func() bool {
		_, err := api.Accounts(t.Context())
		return err == nil
	})
	actorstest.Befriend(alice, bob)
	if _, err := stranger.RequestContact(t.Context(), stranger.Account.ID, alice.Link(alice.Account), "I am bob"); err != nil {
		t.Fatal(err)
	}
	alice.Eventually("the stranger asks", func() bool {
		c, err := alice.Contact(alice.Account.ID, stranger.Account.ID)
		return err == nil && c.State.String() == "requested" && c.Nickname == "bob"
	})

	m, err := api.Send(t.Context(), "-", "bob", control.Text{Text: "for the contact"})
	if err != nil || m.Contact != bob.Account.ID.String() {
		t.Fatalf("sent to %s, error %v", m.Contact, err)
	}
	if c, err := api.Contact(t.Context(), "-", "bob"); err != nil || c.ID != bob.Account.ID.String() {
		t.Errorf("shows %s, error %v", c.ID, err)
	}
	if c, err := api.DeclineContact(t.Context(), "-", "bob"); err != nil || c.ID != stranger.Account.ID.String() {
		t.Errorf("declined %s, error %v", c.ID, err)
	}
	if c, err := api.AcceptContact(t.Context(), "-", "bob"); err != nil || c.ID != stranger.Account.ID.String() {
		t.Errorf("accepted %s, error %v", c.ID, err)
	}
	// Now both are contacts: the name stays with the one who had it first.
	if m, err := api.Send(t.Context(), "-", "bob", control.Text{Text: "for the first"}); err != nil || m.Contact != bob.Account.ID.String() {
		t.Errorf("sent to %s, error %v", m.Contact, err)
	}
	name := "my other bob"
	if _, err := api.ChangeContact(t.Context(), "-", stranger.Account.ID.String(), control.ContactChange{Name: &name}); err != nil {
		t.Fatal(err)
	}
	if m, err := api.Send(t.Context(), "-", name, control.Text{Text: "for the other"}); err != nil || m.Contact != stranger.Account.ID.String() {
		t.Errorf("sent to %s, error %v", m.Contact, err)
	}
}
