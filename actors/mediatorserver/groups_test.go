// SPDX-License-Identifier: MPL-2.0

package mediatorserver_test

import (
	"testing"
	"testing/synctest"

	"github.com/mimird/mimird/test/phone"
)

func TestMediator_CreateWithProofOfWork_IDGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := r.as(alice)
		chat, err := c.CreateChat(t.Context(), alice, "name", "")
		if err != nil || chat == 0 || chat>>63 != 0 {
			t.Fatalf("chat %x, %v", chat, err)
		}
		if last := c.ok(subscribe, phone.U64(chatID, chat)).Number(messageID); last != 0 {
			t.Errorf("last id %d", last)
		}
		if id := c.send(chat, 7, 1000, "hello"); id != 1 {
			t.Errorf("id %d", id)
		}
	})
}

func TestMediator_Message_PushedToSubscribersOfItsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		a, b, d := r.in(alice), r.in(bob), r.in(dave)
		a.send(groupA, 1, 1000, "for a")
		b.send(groupB, 1, 1000, "for b")
		for _, c := range []*client{b, d} {
			c.await("message", message(groupA, "for a"))
		}
		for _, c := range []*client{a, d} {
			c.await("message", message(groupB, "for b"))
		}
	})
}
