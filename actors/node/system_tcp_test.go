// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

// An app of gen1 talks with a node whose TCP goes over the Yggdrasil of its
// system, and is called back there. Sockets on loopback stand in for that.
func TestOldAppOverTheSystemsYggdrasil(t *testing.T) {
	w, all := actorstest.New(t, memnet.Options{}), &memnet.Systems{}
	daemon, app := w.Net.Node(overlay.Limits{}), w.Net.Node(overlay.Limits{})
	t.Cleanup(func() { _, _ = daemon.Close(), app.Close() })
	own, theirs := overlay.AddressOf(daemon.Key()), overlay.AddressOf(app.Key())
	system := all.System(func() []netip.Addr { return []netip.Addr{own} })
	n := w.Node("owner", func(o *node.Options) {
		o.OpenNetwork = func(key identity.NodePrivateKey) (uplink.Network, error) {
			net, err := w.Open(key)
			if err != nil {
				return nil, err
			}
			return net, net.(interface{ EnableSystem(overlay.System) error }).EnableSystem(system)
		}
	})
	id := phone.IdentityOf("old app")
	n.AddPhone(id.Key())
	dial := func(from netip.Addr) (p *phone.Old) {
		n.Eventually("the node listens on the system's address", func() bool {
			socket, err := all.System(nil).Dial(t.Context(), from, netip.AddrPortFrom(own, 5050))
			if err != nil {
				return false
			}
			t.Cleanup(func() { _ = socket.Close() })
			if err := socket.SetDeadline(time.Now().Add(generationPatience)); err != nil {
				t.Fatal(err)
			}
			p = phone.NewOld(socket, id, phone.Key(n.Account.ID))
			return true
		})
		return p
	}
	said := 0
	// A stream that comes while the one before is not over may be given up; apps dial again.
	talk := func(behind []byte) (p *phone.Old) {
		said++
		n.EventuallyWithin(generationPatience, "the app talks", func() bool {
			p = dial(theirs)
			p.SubnetAddr = behind
			err := p.Dial()
			if err == nil {
				err = p.Say(`"guid":`+string(rune('0'+said))+`,"sendTime":1768000000456,"type":0`, []byte("hello"), 21)
			}
			var f phone.OldFrame
			if err == nil {
				f, err = p.Expect(phone.OldOK)
			}
			if err == nil && f.ID != int64(said) {
				t.Fatalf("acknowledged %d", f.ID)
			}
			return err == nil
		})
		return p
	}

	awaitAccount(n, func() *phone.Old { return dial(theirs) })

	// An address behind the node that it comes from is taken, any other is not.
	behind, other := theirs.As16(), theirs.As16()
	behind[0], other[0], other[4] = 0x03, 0x03, other[4]^1
	for claimed, ok := range map[[16]byte]bool{behind: true, other: false} {
		p := dial(theirs)
		if err := p.Hello(claimed[:]); err != nil {
			t.Fatal(err)
		}
		f, err := p.Expect(phone.OldChallenge)
		if err == nil {
			err = p.Answer(phone.OldChallengeAnswer, f.Data)
		}
		if err != nil {
			t.Fatal(err)
		}
		// A write to a connection that is being reset may fail too.
		err = p.Challenge(phone.OldChallenge2, bytes.Repeat([]byte{7}, 32))
		if err == nil {
			_, err = p.Expect(phone.OldChallengeAnswer2)
		}
		if ok != (err == nil) {
			t.Errorf("the address %v: %v", netip.AddrFrom16(claimed), err)
		}
		_ = p.Close()
	}
	p := talk(nil)
	n.Eventually("the node of the app is remembered", func() bool {
		contact, err := n.Contact(n.Account.ID, identity.PublicKey(id.Key()))
		return err == nil && len(contact.NodeKeys) == 1 && contact.NodeKeys[0].Key == app.Key() && contact.NodeKeys[0].Generation == 1
	})

	// It hangs up, and is called back at its own address; then it is behind a router.
	callBack := func(at netip.Addr, text string) {
		t.Helper()
		l, err := all.System(nil).Listen(t.Context(), netip.AddrPortFrom(at, 5050))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		sent := n.SayTo(id.Key(), text)
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(generationPatience)); err != nil {
			t.Fatal(err)
		}
		if from := netip.MustParseAddrPort(conn.RemoteAddr().String()); from.Addr() != own {
			t.Errorf("called from %v, want %v", from, own)
		}
		p = phone.NewOld(conn, id, phone.Key(n.Account.ID))
		if err := p.Accept(true); err != nil {
			t.Fatal(err)
		}
		f, err := p.Expect(phone.OldMessage)
		if err == nil {
			err = p.OK(int64(sent))
		}
		if err != nil || string(f.Data) != text {
			t.Errorf("heard %q, error %v", f.Data, err)
		}
		n.EventuallyWithin(generationPatience, "it is delivered", func() bool {
			waiting, err := n.Waiting(n.Account.ID)
			return err == nil && waiting == 0
		})
	}
	callBack(theirs, "are you there?")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	device := netip.AddrFrom16(behind)
	p = talk(behind[:])
	n.Eventually("the address behind the node is remembered", func() bool {
		contact, err := n.Contact(n.Account.ID, identity.PublicKey(id.Key()))
		return err == nil && len(contact.NodeKeys) == 1 && contact.NodeKeys[0].SubnetAddr.Addr() == device
	})
	callBack(device, "and behind your router?")
}
