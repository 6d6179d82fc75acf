// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"errors"
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/trackerserver"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

// oldTrackerNode starts a tracker for all generations and returns its key.
func oldTrackerNode(w *actorstest.World) identity.NodeKey {
	var role node.Options
	withCarriers(w, false, overlay.KindQUIC, overlay.KindTCP)(&role)
	n := w.Node("tracker v1", func(o *node.Options) {
		o.Tracker = &trackerserver.Options{OpenNetwork: role.OpenNetwork}
	})
	var key identity.NodeKey
	n.Eventually("the tracker is up", func() bool {
		if status := n.Status().Tracker; status != nil {
			key = status.Key
		}
		return !key.IsZero()
	})
	return key
}

// Nodes that know each other's identity only, find each other through a tracker of
// their generation and talk in it.
func TestOldTrackersBringNodesTogether(t *testing.T) {
	for generation, kind := range map[uint8]overlay.Kind{1: overlay.KindTCP, 2: overlay.KindQUIC} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := actorstest.New(t, memnet.Options{})
			key := oldTrackerNode(w)
			where := resolver.TrackerV1{Node: key}
			if generation == 1 {
				where = resolver.TrackerV1{Address: netip.AddrPortFrom(overlay.AddressOf(key), tracker.Port1)}
			}
			old := func(o *node.Options) {
				withCarriers(w, true, kind)(o)
				o.Trackers, o.TrackersV1 = nil, []resolver.TrackerV1{where}
			}
			a, b := w.Node("a", old), w.Node("b", old)
			actorstest.Befriend(a, b)
			a.Say(b, "found you")
			b.EventuallyWithin(generationPatience, "b hears a", func() bool { return len(b.Heard(a)) == 1 })
			a.EventuallyWithin(generationPatience, "the generation is remembered", func() bool { return spoken(a, b) == generation })
			a.EventuallyWithin(generationPatience, "the status has the answer", func() bool {
				s := a.Status().TrackersV1
				return len(s) == 1 && s[0].Tracker == where && !s[0].LastAnswer.IsZero() && s[0].Err == nil
			})
		})
	}
}

// An operator who has named trackers v1 sees that they do not answer.
func TestOldTrackersThatAreSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		silent := resolver.TrackerV1{Node: identity.NodeKey{1}}
		n := w.Node("a", func(o *node.Options) {
			withCarriers(w, true, overlay.KindQUIC)(o)
			o.Trackers, o.TrackersV1 = nil, []resolver.TrackerV1{silent}
		})
		n.Eventually("the status says it", func() bool {
			s := n.Status().TrackersV1
			return len(s) == 1 && s[0].Tracker == silent && s[0].LastAnswer.IsZero() && errors.Is(s[0].Err, overlay.ErrTimeout)
		})
		bob := identity.NewPrivateKey([32]byte{2}).Public()
		n.AddPhone([32]byte(bob))
		n.SayTo([32]byte(bob), "where are you?")
		n.Eventually("the contact's presence says it", func() bool {
			return n.Presence(n.Account.ID, bob).LastError == resolver.ErrTrackersUnreachable.Error()
		})
	})
}

func TestOldTrackerRefusesForgeries(t *testing.T) {
	w := actorstest.New(t, memnet.Options{})
	key := oldTrackerNode(w)
	o := oldWorld{t: t, w: w}
	device := o.device(overlay.KindQUIC)
	who := identity.NewPrivateKey([32]byte{1})
	ask := func(b []byte) (tracker.Reply1, error) {
		conn, err := device.Dial(t.Context(), key, 42)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if err := conn.SetDeadline(time.Now().Add(generationPatience)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		b, err = io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		return tracker.ParseReply1(b, tracker.LayoutNode, who.Public())
	}
	announce := tracker.Request1{Command: tracker.CommandAnnounce, Nonce: 1, Identity: who.Public(), Record: tracker.NewNodeRecord(who, device.Key(), 3, 7)}
	forged := announce
	forged.Record.Signature[5] ^= 1
	for what, request := range map[string][]byte{
		"a forgery":       forged.AppendTo([]byte{tracker.SelectorClient}),
		"another tracker": tracker.AppendSyncHello1(nil, device.Key()),
		"malformed":       {tracker.SelectorClient, 9, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33},
	} {
		if reply, err := ask(request); err == nil {
			t.Errorf("%s is answered with %+v", what, reply)
		}
	}
	if reply, err := ask(announce.AppendTo([]byte{tracker.SelectorClient})); err != nil || reply.TTL != 4*time.Minute {
		t.Errorf("announced: %+v, error %v", reply, err)
	}
	lookup := tracker.Request1{Command: tracker.CommandLookup, Nonce: 2, Identity: who.Public()}
	reply, err := ask(lookup.AppendTo([]byte{tracker.SelectorClient}))
	if err != nil || len(reply.Records) != 1 || reply.Records[0].Node != device.Key() || reply.Records[0].Priority != 3 {
		t.Errorf("looked up: %+v, error %v", reply, err)
	}
}
