// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"context"
	"crypto/sha256"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/test/phone"
)

// trackerSystem is a system that reaches one tracker of gen1.
type trackerSystem struct {
	overlay.System
	at netip.AddrPort
	// knows is what the tracker answers to every query.
	knows tracker.Record1
}

// ListenPacket implements overlay.System: what is sent comes back as the answer.
func (s trackerSystem) ListenPacket(ctx context.Context, at netip.AddrPort) (net.PacketConn, error) {
	conn, err := s.System.ListenPacket(ctx, at)
	return trackerPort{conn, s}, err
}

type trackerPort struct {
	net.PacketConn
	system trackerSystem
}

func (p trackerPort) WriteTo(b []byte, _ net.Addr) (int, error) {
	q, err := tracker.ParseRequest1(b, tracker.LayoutAddress)
	if err != nil {
		return 0, err
	}
	reply := tracker.Reply1{Command: q.Command, Nonce: q.Nonce, TTL: time.Minute}
	if q.Command == tracker.CommandLookup {
		reply.Records = []tracker.Record1{p.system.knows}
	}
	_, err = p.PacketConn.WriteTo(reply.AppendTo(nil), p.LocalAddr())
	return len(b), err
}

func (p trackerPort) ReadFrom(b []byte) (int, net.Addr, error) {
	n, _, err := p.PacketConn.ReadFrom(b)
	return n, net.UDPAddrFromAddrPort(p.system.at), err
}

// A tracker of gen1 names a device that lies behind a node: it is
// dialled at its own address, although nobody here has met it.
func TestOldTrackerNamesADeviceBehindARouter(t *testing.T) {
	w, all := actorstest.New(t, memnet.Options{}), &memnet.Systems{}
	daemon, router := w.Net.Node(overlay.Limits{}), w.Net.Node(overlay.Limits{})
	t.Cleanup(func() { _, _ = daemon.Close(), router.Close() })
	raw := overlay.AddressOf(router.Key()).As16()
	raw[0], raw[15] = 0x03, raw[15]^1
	device := netip.AddrPortFrom(netip.AddrFrom16(raw), legacy.Port)
	id := phone.IdentityOf("behind a router")
	system := trackerSystem{
		System: all.System(func() []netip.Addr { return []netip.Addr{overlay.AddressOf(daemon.Key())} }),
		at:     netip.AddrPortFrom(overlay.AddressOf(router.Key()), tracker.Port1),
		knows:  tracker.NewAddressRecord(identity.NewPrivateKey(sha256.Sum256([]byte("phone: behind a router"))), device, 3, 7),
	}
	system.knows.Life = time.Hour
	n := w.Node("owner", func(o *node.Options) {
		o.TrackersV1 = []resolver.TrackerV1{{Address: system.at}}
		o.OpenNetwork = func(key identity.NodePrivateKey) (uplink.Network, error) {
			net, err := w.Open(key)
			if err != nil {
				return nil, err
			}
			return net, net.(interface{ EnableSystem(overlay.System) error }).EnableSystem(system)
		}
	})
	l, err := all.System(nil).Listen(t.Context(), device)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	n.AddPhone(id.Key())
	n.SayTo(id.Key(), "found you")
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(generationPatience)); err != nil {
		t.Fatal(err)
	}
	p := phone.NewOld(conn, id, phone.Key(n.Account.ID))
	if err := p.Accept(true); err != nil {
		t.Fatal(err)
	}
	if f, err := p.Expect(phone.OldMessage); err != nil || string(f.Data) != "found you" {
		t.Errorf("heard %q, error %v", f.Data, err)
	}
	n.EventuallyWithin(generationPatience, "the device is remembered with its router", func() bool {
		contact, err := n.Contact(n.Account.ID, identity.PublicKey(id.Key()))
		return err == nil && len(contact.NodeKeys) == 1 && contact.NodeKeys[0].Key == router.Key() &&
			contact.NodeKeys[0].SubnetAddr.Addr() == device.Addr()
	})
}
