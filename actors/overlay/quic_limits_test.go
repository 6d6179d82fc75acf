// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/quic-go/quic-go"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/virtual"
)

// countsOf are the places that are taken.
func countsOf(p *places) [placeKinds]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// Connections that are not accepted yet count, for their node and in the memory of
// strangers, and all of it is given back when they end.
func TestQUICAdmission_CountsFromTheFirstPacket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		contacts := new(contactIndex)
		friend := identity.NodeKey{1}
		contacts.set(func(key identity.NodeKey) int {
			if key == friend {
				return 1
			}
			return 0
		})
		memory := newReceiveMemory(4 * 10 * quicStrangerWindow)
		places := newPlaces(contacts, Limits{}.withDefaults())
		a := newQUICAdmission(places, memory, func(func()) { t.Error("nothing was accepted that could be ended") })
		ctx, end := context.WithCancel(t.Context())
		enter := func(key identity.NodeKey) error {
			_, err := a.enter(ctx, &quic.ClientInfo{RemoteAddr: newQUICAddr(key)})
			return err
		}
		for i := range 2 * quicConnsPerNode {
			if err := enter(identity.NodeKey{2}); (err == nil) != (i < quicConnsPerNode) {
				t.Errorf("connection %d of a node: %v", i, err)
			}
		}
		admitted := quicConnsPerNode
		for i := range 100 {
			if enter(identity.NodeKey{3, byte(i)}) == nil {
				admitted++
			}
		}
		if admitted != 10 {
			t.Errorf("%d connections of strangers are admitted, want 10 by their memory", admitted)
		}
		if err := enter(friend); err != nil {
			t.Errorf("a contact's connection: %v", err)
		}
		end()
		synctest.Wait()
		a.mu.Lock()
		defer a.mu.Unlock()
		used, counts := memory.strangers.used.Load(), countsOf(places)
		if used != 0 || counts != [placeKinds]int{} || len(a.perNode) != 0 {
			t.Errorf("left behind: %d bytes, places %v, %d nodes", used, counts, len(a.perNode))
		}
	})
}

// A connection that quic-go has lost gives its place back as well.
func TestQUICAdmission_LostConnectionsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		places := newPlaces(new(contactIndex), Limits{}.withDefaults())
		a := newQUICAdmission(places, newReceiveMemory(1<<20), func(func()) {})
		if _, err := a.enter(t.Context(), &quic.ClientInfo{RemoteAddr: newQUICAddr(identity.NodeKey{2})}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if counts := countsOf(places); counts[placeStranger] != 1 {
			t.Fatalf("places %v", counts)
		}
		virtual.Sleep(quicAcceptTime)
		synctest.Wait()
		if counts := countsOf(places); counts[placeStranger] != 0 {
			t.Errorf("places %v", counts)
		}
	})
}

// A stranger's connection has a window of 64 KiB on all its streams and is granted no
// more. Contacts' windows grow until half of the receive memory is reserved.
func TestQUICAdmission_Windows(t *testing.T) {
	contacts := new(contactIndex)
	friend, stranger := identity.NodeKey{1}, identity.NodeKey{2}
	contacts.set(func(key identity.NodeKey) int {
		if key == friend {
			return 1
		}
		return 0
	})
	memory := newReceiveMemory(1 << 20)
	a := newQUICAdmission(newPlaces(contacts, Limits{}.withDefaults()), memory, func(func()) {})
	standard := &quic.Config{MaxStreamReceiveWindow: quicStreamWindow, MaxConnectionReceiveWindow: quicConnWindow}
	of := a.config(standard)
	if c, err := of(&quic.ClientInfo{RemoteAddr: newQUICAddr(stranger)}); err != nil || c.InitialConnectionReceiveWindow != 64<<10 || c.InitialStreamReceiveWindow != 64<<10 {
		t.Errorf("a stranger's settings: %+v, %v", c, err)
	}
	if c, err := of(&quic.ClientInfo{RemoteAddr: newQUICAddr(friend)}); err != nil || c != standard {
		t.Errorf("a contact's settings: %+v, %v", c, err)
	}
	conns := []*quic.Conn{new(quic.Conn), new(quic.Conn)}
	if a.grant(stranger, conns[0], 1000) {
		t.Error("a stranger's window grows")
	}
	granted := 0
	for i := range 100 {
		if a.grant(friend, conns[i%2], 64<<10) {
			granted += 64 << 10
		}
	}
	if granted != 512<<10 || memory.total.used.Load() != int64(granted) {
		t.Errorf("%d bytes are granted, %d reserved", granted, memory.total.used.Load())
	}
	for range 2 {
		for _, conn := range conns {
			a.forget(conn)
		}
	}
	if used := memory.total.used.Load(); used != 0 || len(a.granted) != 0 {
		t.Errorf("%d bytes are still reserved", used)
	}
}
