// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"fmt"
	"testing"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

// Apps of gen1 and gen2 draw a node key at each start: a contact who uses one
// is taken from each, without a hold.
func TestNewDevice_OldAppAtEachStart_NotHeld(t *testing.T) {
	for _, kind := range []overlay.Kind{overlay.KindTCP, overlay.KindQUIC} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			o, id := newOldWorld(t), phone.IdentityOf("old app")
			o.n.AddPhone(id.Key())
			for start := range 3 {
				p := o.dial(o.device(kind), kind, id)
				if err := p.Dial(); err != nil {
					t.Fatalf("start %d: %v", start, err)
				}
				guid := fmt.Sprint(start + 5)
				if err := p.Say(`"guid":`+guid+`,"sendTime":1768000000456,"type":0`, []byte("hello"), 0); err != nil {
					t.Fatal(err)
				}
				if f := o.expect(p, phone.OldOK); fmt.Sprint(f.ID) != guid {
					t.Errorf("acknowledged %d", f.ID)
				}
				_ = p.Close()
				o.n.Eventually("the session has ended", func() bool { return o.n.Status().Sessions == 0 })
			}
			if held := o.n.HeldDevices(o.n.Account.ID, identity.PublicKey(id.Key())); len(held) != 0 {
				t.Errorf("held: %+v", held)
			}
		})
	}
}
