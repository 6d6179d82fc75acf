// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// These tests run in real time: the network stack below gen1 does not know
// the time of testing/synctest.

// withCarriers makes a node run further carriers. With mute, nobody reaches it over
// ygg_stream, and it reaches nobody, trackers apart: a node of another time.
func withCarriers(w *actorstest.World, mute bool, kinds ...overlay.Kind) func(*node.Options) {
	return func(o *node.Options) {
		o.OpenNetwork = func(key identity.NodePrivateKey) (uplink.Network, error) {
			n, err := w.Open(key)
			if err != nil {
				return nil, err
			}
			for _, kind := range kinds {
				if err := n.(interface{ Enable(overlay.Kind) error }).Enable(kind); err != nil {
					return nil, err
				}
			}
			if mute {
				return oldNetwork{n}, nil
			}
			return n, nil
		}
	}
}

// oldNetwork is a network whose stream carrier is good for datagrams only.
type oldNetwork struct{ uplink.Network }

func (n oldNetwork) Stream() overlay.Carrier { return mute{n.Network.Stream()} }

func (n oldNetwork) CarrierOf(kind overlay.Kind) (overlay.Carrier, bool) {
	return n.Network.(interface {
		CarrierOf(overlay.Kind) (overlay.Carrier, bool)
	}).CarrierOf(kind)
}

// mute is a stream carrier that speaks to nobody.
type mute struct{ overlay.Carrier }

func (mute) Dial(ctx context.Context, _ identity.NodeKey, _ uint16) (overlay.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (mute) Listen(port uint16) (overlay.Listener, error) {
	return &silentListener{port: port, closed: make(chan struct{})}, nil
}

type silentListener struct {
	port   uint16
	closed chan struct{}
}

func (l *silentListener) Port() uint16 { return l.port }

func (l *silentListener) Accept(ctx context.Context) (overlay.Conn, error) {
	select {
	case <-l.closed:
		return nil, overlay.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *silentListener) Close() error {
	close(l.closed)
	return nil
}

// spoken is the generation in which a node has met another one.
func spoken(n, with *actorstest.Node) uint8 {
	contact, err := n.Contact(n.Account.ID, with.Account.ID)
	if err != nil || len(contact.NodeKeys) == 0 {
		return 0
	}
	return contact.NodeKeys[0].Generation
}

const generationPatience = 2 * time.Minute

func TestNodesTalkInEveryGeneration(t *testing.T) {
	for generation, kind := range map[uint8]overlay.Kind{1: overlay.KindTCP, 2: overlay.KindQUIC} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := actorstest.New(t, memnet.Options{})
			old := w.Node("old", withCarriers(w, true, kind))
			young := w.Node("young", withCarriers(w, false, overlay.KindQUIC, overlay.KindTCP))
			actorstest.Befriend(old, young)
			large := strings.Repeat("large ", 50_000)
			old.Say(young, "from the past")
			young.EventuallyWithin(generationPatience, "the old one is heard", func() bool { return len(young.Heard(old)) == 1 })
			young.Say(old, "to the past")
			young.Say(old, large)
			old.EventuallyWithin(generationPatience, "the young one is heard", func() bool { return len(old.Heard(young)) == 2 })
			if heard := old.Heard(young); heard[0] != "to the past" || heard[1] != large {
				t.Errorf("heard %d messages, not those that were said", len(heard))
			}
			young.EventuallyWithin(generationPatience, "the generation is remembered", func() bool { return spoken(young, old) == generation })
			// What the other side cannot read is not sent, and holds nothing up.
			first, err := young.Messages(young.Account.ID, old.Account.ID, 0, 10)
			if err != nil {
				t.Fatal(err)
			}
			target := peer.GUID(first[len(first)-1].ID.GUID)
			send(t, young, old, peer.TypeReaction, peer.Reaction{Emoji: "👍", Target: target}.AppendTo(nil))
			send(t, young, old, peer.TypeFile, peer.Attachment{OriginalName: "report.pdf", Key: make([]byte, 32)}.AppendTo(nil))
			young.Say(old, "the end")
			old.EventuallyWithin(generationPatience, "the end", func() bool {
				heard := old.Heard(young)
				return heard[len(heard)-1] == "the end"
			})
			heard := strings.Join(old.Heard(young)[2:], "|")
			want := "report.pdf|the end"
			if generation == 1 {
				want = "👍|" + want
			} else {
				want = string(peer.Reaction{Emoji: "👍", Target: target}.AppendTo(nil)) + "|" + want
			}
			if heard != want {
				t.Errorf("heard %q, want %q", heard, want)
			}
			young.EventuallyWithin(generationPatience, "everything is marked delivered", func() bool {
				n, err := young.Waiting(young.Account.ID)
				return err == nil && n == 0
			})
		})
	}
}

func send(t *testing.T, from, to *actorstest.Node, kind peer.MessageType, payload []byte) {
	t.Helper()
	if _, err := from.Send(t.Context(), node.Outgoing{
		Account: from.Account.ID, Contact: to.Account.ID, Type: kind, Payload: payload,
	}); err != nil {
		t.Fatal(err)
	}
}

// The newest generation that both speak is taken.
func TestNodesPreferTheNewestGeneration(t *testing.T) {
	w := actorstest.New(t, memnet.Options{})
	a := w.Node("a", withCarriers(w, false, overlay.KindQUIC, overlay.KindTCP))
	b := w.Node("b", withCarriers(w, false, overlay.KindQUIC, overlay.KindTCP))
	actorstest.Befriend(a, b)
	a.Say(b, "hello")
	b.EventuallyWithin(generationPatience, "hello", func() bool { return len(b.Heard(a)) == 1 })
	a.EventuallyWithin(generationPatience, "the node is remembered", func() bool { return spoken(a, b) != 0 })
	if got := spoken(a, b); got != 3 {
		t.Errorf("they talk in generation %d", got)
	}
}

// Older generations have no data streams, so nothing has to be attributed: large texts
// of two accounts at each end arrive at the right one, from the right one, and once.
func TestFamily_OldGenerations(t *testing.T) {
	for generation, kind := range map[uint8]overlay.Kind{1: overlay.KindTCP, 2: overlay.KindQUIC} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := actorstest.New(t, memnet.Options{})
			nodes := [2]*actorstest.Node{
				w.Node("old", withCarriers(w, true, kind)),
				w.Node("young", withCarriers(w, false, overlay.KindQUIC, overlay.KindTCP)),
			}
			var ids [2][2]identity.PublicKey
			for side, n := range nodes {
				other, err := n.CreateAccount(t.Context(), "other")
				if err != nil {
					t.Fatal(err)
				}
				ids[side] = [2]identity.PublicKey{n.Account.ID, other.ID}
			}
			text := func(side, us, them int) string {
				return fmt.Sprintf("%d: from %d to %d. %s", side, us, them, strings.Repeat("large ", 50_000))
			}
			each := func(do func(n *actorstest.Node, side, us, them int)) {
				for side, n := range nodes {
					for us := range ids[side] {
						for them := range ids[1-side] {
							do(n, side, us, them)
						}
					}
				}
			}
			each(func(n *actorstest.Node, side, us, them int) {
				if _, err := n.AddContact(t.Context(), ids[side][us], identity.Link{Key: ids[1-side][them]}); err != nil {
					t.Fatal(err)
				}
			})
			each(func(n *actorstest.Node, side, us, them int) {
				_, err := n.Send(t.Context(), node.Outgoing{
					Account: ids[side][us], Contact: ids[1-side][them], Payload: []byte(text(side, us, them)),
				})
				if err != nil {
					t.Fatal(err)
				}
			})
			each(func(n *actorstest.Node, side, us, them int) {
				var in []string
				n.EventuallyWithin(generationPatience, "the text", func() bool {
					page, err := n.Messages(ids[side][us], ids[1-side][them], 0, 10)
					in = nil
					for _, m := range page {
						if m.ID.Dir == store.In {
							in = append(in, string(m.Payload))
						}
					}
					return err == nil && len(in) > 0
				})
				if len(in) != 1 || in[0] != text(1-side, them, us) {
					t.Errorf("account %d/%d has from %d: %s", side, us, them, actorstest.Brief(in))
				}
				n.EventuallyWithin(generationPatience, "the generation is remembered", func() bool {
					contact, err := n.Contact(ids[side][us], ids[1-side][them])
					return err == nil && len(contact.NodeKeys) > 0 && contact.NodeKeys[0].Generation == generation
				})
			})
			// What no frame may carry is given up, and holds nothing up.
			young := nodes[1]
			out := node.Outgoing{Account: ids[1][0], Contact: ids[0][0], Payload: []byte(strings.Repeat("x", 1<<20+1))}
			large, err := young.EnqueueForTest(t.Context(), out)
			if err != nil {
				t.Fatal(err)
			}
			out.Payload = []byte("the end")
			last, err := young.Send(t.Context(), out)
			if err != nil {
				t.Fatal(err)
			}
			young.EventuallyWithin(generationPatience, "the end", func() bool {
				m, err := young.Message(out.Account, out.Contact, last.ID)
				return err == nil && m.State == store.StateDelivered
			})
			if m, err := young.Message(out.Account, out.Contact, large.ID); err != nil || m.State != store.StateFailed || m.Reason == "" {
				t.Errorf("%v %q, %v", m.State, m.Reason, err)
			}
		})
	}
}
