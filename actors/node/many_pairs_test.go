// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// manyPairs is how many conversations two nodes have at least.
const manyPairs = 20

// Two nodes with many accounts, each the contact of one at the other node. They have
// not met before, all write at once, and each has a session at the end: none waits for
// the others.
func TestManyPairs_TwoNodes(t *testing.T) {
	for name, link := range map[string]memnet.Link{
		"a perfect network": {},
		"a slow network":    {Delay: 150 * time.Millisecond, Jitter: 30 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{Link: link})
				nodes := [2]*actorstest.Node{w.Node("left"), w.Node("right")}
				var ids [2][]identity.PublicKey
				for side, n := range nodes {
					n.AwaitAnnounced()
					for i := range manyPairs {
						a, err := n.CreateAccount(t.Context(), fmt.Sprint("account ", i))
						if err != nil {
							t.Fatal(err)
						}
						ids[side] = append(ids[side], a.ID)
					}
				}
				virtual.Sleep(time.Minute) // all are announced
				start := time.Now()
				text := func(side, i int) string { return fmt.Sprintf("from %d/%d", side, i) }
				for i := range manyPairs {
					for side, n := range nodes {
						us, them := ids[side][i], ids[1-side][i]
						if _, err := n.AddContact(t.Context(), us, identity.Link{Key: them}); err != nil {
							t.Fatal(err)
						}
						if _, err := n.Send(t.Context(), node.Outgoing{Account: us, Contact: them, Payload: []byte(text(side, i))}); err != nil {
							t.Fatal(err)
						}
					}
				}
				online := func(side, i int) bool { return nodes[side].Presence(ids[side][i], ids[1-side][i]).Online }
				all := func(texts int) func() bool {
					return func() bool {
						for i := range manyPairs {
							for side, n := range nodes {
								page, err := n.Messages(ids[side][i], ids[1-side][i], 0, 10)
								if err != nil || len(page) != texts || !online(side, i) {
									return false
								}
							}
						}
						return true
					}
				}
				nodes[0].EventuallyWithin(time.Minute, "all have a session and the text", all(2))
				t.Logf("after %v", time.Since(start))
				// Nobody's session is there at the expense of another's.
				virtual.Sleep(time.Minute)
				for i := range manyPairs {
					for side := range nodes {
						if p := nodes[side].Presence(ids[side][i], ids[1-side][i]); !p.Online || p.Since.After(start.Add(time.Minute)) {
							t.Errorf("account %d/%d: %+v", side, i, p)
						}
					}
				}
				// All come back: the pause after a failed dial is two minutes at most.
				nodes[0].Stop()
				for i := range manyPairs {
					if _, err := nodes[1].Send(t.Context(), node.Outgoing{Account: ids[1][i], Contact: ids[0][i], Payload: []byte("again")}); err != nil {
						t.Fatal(err)
					}
				}
				virtual.Sleep(2 * time.Minute)
				nodes[0].Start()
				start = time.Now()
				nodes[0].EventuallyWithin(5*time.Minute, "all have the next text", all(3))
				t.Logf("again after %v", time.Since(start))
			})
		})
	}
}

// One phone is the contact of many accounts of a node. It opens a data stream with
// each session, as the apps do.
func TestManyPairs_OnePhone(t *testing.T) {
	for name, q := range map[string]phone.Quirks{"phone": {}, "app": phone.Android()} {
		for _, phoneDials := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, phone dials %v", name, phoneDials), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: 30 * time.Millisecond}})
					f := w.NewFamily(manyPairs, 1, q)
					start := time.Now()
					f.Each(func(a, p int) {
						if phoneDials {
							f.PhoneSays(a, p, 100)
						} else {
							f.NodeSays(a, p, 100)
						}
					})
					f.Settle(3 * time.Minute)
					t.Logf("after %v", time.Since(start))
					f.CheckOnce()
					sessions := 0
					f.Each(func(a, p int) {
						if f.Node.Presence(f.Accounts[a], f.Contact(p)).Online {
							sessions++
						}
					})
					if sessions != manyPairs {
						t.Errorf("%d sessions, want %d", sessions, manyPairs)
					}
				})
			})
		}
	}
}

// Everybody at a node may begin a handshake at the same time: none is aborted for the
// sake of another.
func TestManyPairs_HandshakesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := wireUp(t)
		for i := len(f.people); i < manyPairs; i++ {
			id := phone.IdentityOf(fmt.Sprint("contact ", i))
			f.people = append(f.people, id)
			f.n.AddPhone(id.Key())
		}
		for i := range f.people {
			f.session(i, 0).Close() // from here on the node is known as that of a contact
			virtual.Sleep(2 * time.Second)
		}
		var lines []*phone.Line
		for range f.people {
			lines = append(lines, f.line(phone.RoleControl))
		}
		synctest.Wait()
		for i, l := range lines {
			h := &phone.Handshake{Identity: f.people[i], Receiver: phone.Key(f.accounts[0])}
			if err := h.Initiate(l); err != nil {
				t.Errorf("handshake %d: %v", i, err)
			}
		}
	})
}

// A node that does not answer is told of as such, not as a limit of ours.
func TestContact_NodeDoesNotAnswer_SaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n := w.Node("owner", withCarriers(w, true)) // what it dials does not answer
		other, _ := w.Owner()
		n.AddPhone(phone.Key(other.Account.ID))
		n.SayTo(phone.Key(other.Account.ID), "hello")
		n.EventuallyWithin(5*time.Minute, "a reason", func() bool {
			reason := n.Presence(n.Account.ID, other.Account.ID).LastError
			return strings.Contains(reason, "does not answer within 10s")
		})
	})
}
