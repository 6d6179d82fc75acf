// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// Bar S08: a stranger who wants a signature over what could be a node key gets one
// for a fresh node key and a fresh identity, and none for either of them after
// that; with security.refuse_point_challenges none at all. Challenges that cannot be
// keys, and contacts, are answered.
func TestPointChallenge_OfStrangers_RefusedFromTheSecondOn(t *testing.T) {
	point := phone.IdentityOf("a node key that nobody knows").Key()
	plain := [32]byte{2} // decodes as no point
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprint(refuse), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{})
				n := w.Node("owner", func(o *node.Options) { o.RefusePointChallenges = refuse })
				n.AwaitAnnounced()
				owner := phone.Key(n.Account.ID)
				nodes := make(map[string]*memnet.Node)
				signed := func(node, name string, challenge [32]byte) bool {
					if nodes[node] == nil {
						nodes[node] = w.Net.Node(overlay.Limits{})
						t.Cleanup(func() { _ = nodes[node].Close() })
					}
					l, err := phone.DialLine(t.Context(), nodes[node], n.Key())
					if err != nil {
						t.Fatal(err)
					}
					if _, err := l.Write([]byte{phone.RoleControl}); err != nil {
						t.Fatal(err)
					}
					h := &phone.Handshake{Identity: phone.IdentityOf(name), Receiver: owner, Challenge: challenge[:]}
					err = h.Initiate(l)
					l.Abort()
					virtual.Sleep(time.Minute) // the session is over
					return err == nil
				}
				for i, step := range []struct {
					node, name string
					challenge  [32]byte
					want       bool
				}{
					{"first node", "stranger", point, !refuse},
					{"first node", "stranger", point, false},
					{"first node", "another stranger", point, false},
					{"second node", "stranger", point, false},
					{"second node", "another stranger", plain, true},
					{"third node", "a third stranger", plain, true},
					{"third node", "a third stranger", point, false},
					{"fourth node", "a fourth stranger", point, !refuse},
				} {
					if got := signed(step.node, step.name, step.challenge); got != step.want {
						t.Errorf("step %d, %s at %s: signed %v", i, step.name, step.node, got)
					}
				}
				contact := phone.IdentityOf("contact")
				n.AddPhone(contact.Key())
				for i := range 3 {
					if got := signed("first node", "contact", point); got == refuse {
						t.Errorf("contact, %d: signed %v", i, got)
					}
				}
			})
		})
	}
}

// The phone computes for itself what could be a key, and agrees with proto.
func TestPlainChallenge_IsNoPoint(t *testing.T) {
	for range 300 {
		if c := [32]byte(phone.PlainChallenge()); identity.IsCurvePoint(c) {
			t.Fatalf("%x could be a key", c)
		}
	}
}
