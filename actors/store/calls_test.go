// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"slices"
	"testing"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Missed calls are listed with the message that came before them, of the contact alone, and
// not from before the contact was removed.
func TestMissedCalls(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	call := func(contact identity.PublicKey) {
		must[bool](r, store.NoteMissedCall{Account: alice, Contact: contact})
	}
	check := func(contact identity.PublicKey, limit int, want ...uint64) {
		t.Helper()
		calls, err := r.store.MissedCalls(alice, contact, limit)
		var got []uint64
		for _, c := range calls {
			got = append(got, c.After)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("calls behind %v, want %v (%v)", got, want, err)
		}
	}
	check(bob, 10)
	call(bob)
	must[store.Accepted](r, accept(1, "one"))
	call(bob)
	call(bob)
	must[store.Enqueued](r, enqueue(2, "two", ""))
	must[bool](r, store.MarkDelivered{Account: alice, Conversation: withBob, GUID: 2})
	call(bob)
	call(carol)
	check(bob, 10, 2, 1, 1, 0)
	check(bob, 3, 2, 1, 1)
	check(bob, 1, 2)
	check(carol, 10, 0)
	must[bool](r, store.RemoveContact{Account: alice, Contact: bob})
	must[store.Added](r, store.AddContact{Contact: store.Contact{Account: alice, ID: bob, State: store.ContactAccepted}})
	check(bob, 10)
	call(bob)
	check(bob, 10, 0)
}
