// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// A contact that changes its profile all the time makes one event a minute, the last
// change counts, and the profile of another contact is taken at once.
func TestProfileChangesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n := w.Node("owner")
		n.AwaitAnnounced()
		key := phone.Key(n.Account.ID)
		phones := []*phone.Phone{w.Phone("busy", phone.Quirks{NoInfoRequest: true}), w.Phone("quiet", phone.Quirks{NoInfoRequest: true})}
		for _, p := range phones {
			n.AddPhone(p.Key())
			p.Write(key, "hello")
			n.Eventually("a session", func() bool { return len(n.Stored(p.Key())) == 1 })
		}
		change := func(p *phone.Phone, number int) {
			t.Helper()
			if err := p.Session(key).Send(phone.Frame{Type: phone.TypeInfoResponse, Fields: phone.Fields{
				"time": number + 1, "nickname": fmt.Sprint("name ", number), "info": "", "avatar": []byte{},
			}}); err != nil {
				t.Fatal(err)
			}
		}
		virtual.Sleep(2 * time.Minute) // behind the profiles that came with the sessions
		before := changes(t, n, phones[0].Key())
		for number := range 800 {
			change(phones[0], number)
		}
		change(phones[1], 1)
		synctest.Wait()
		if got := contactOf(t, n, phones[1].Key()); got.Nickname != "name 1" {
			t.Errorf("the quiet one is %q", got.Nickname)
		}
		virtual.Sleep(2 * time.Minute)
		if got := contactOf(t, n, phones[0].Key()); got.Nickname != "name 799" {
			t.Errorf("the busy one is %q", got.Nickname)
		}
		if made := changes(t, n, phones[0].Key()) - before; made != 2 {
			t.Errorf("%d events of 800 changes", made)
		}
	})
}

// changes counts the events that say that a contact has changed.
func changes(t *testing.T, n *actorstest.Node, contact phone.Key) (count int) {
	t.Helper()
	for after := uint64(0); ; {
		page, err := n.Events(n.Account.ID, after, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return count
		}
		for _, ev := range page {
			if ev.Kind == store.ContactChanged && ev.Conversation.Contact() == identity.PublicKey(contact) {
				count++
			}
			after = ev.Seq
		}
	}
}
