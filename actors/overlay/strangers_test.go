// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/virtual"
)

// contactList is a contact index for a node.
type contactList struct {
	mu    sync.Mutex
	pairs map[identity.NodeKey]int
}

// knowContacts tells a node that these carriers are those of contacts, with so many
// pairs each.
func knowContacts(node *memnet.Node, pairs map[identity.NodeKey]int) *contactList {
	l := &contactList{pairs: maps.Clone(pairs)}
	if l.pairs == nil {
		l.pairs = make(map[identity.NodeKey]int)
	}
	node.Stack().KnowContacts(func(key identity.NodeKey) int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.pairs[key]
	})
	return l
}

func (l *contactList) add(key identity.NodeKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pairs[key]++
}

// Bars R26 and S14: however many nodes strangers come from, they get half of all
// streams. Contacts connect at once, and so do our own dials; of the strangers the
// one who came first goes, and never a contact, not even one who was a stranger when
// it came.
func TestStrangersHaveHalfOfAllStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		node := newNode(t, n, overlay.Limits{Connections: 40, Backlog: 40})
		l := mustListen(t, node)
		friend, other := newNode(t, n, overlay.Limits{}), newNode(t, n, overlay.Limits{ConnectionsPerKey: 10})
		mustListen(t, other)
		contacts := knowContacts(node, map[identity.NodeKey]int{friend.Key(): 1})

		late := newNode(t, n, overlay.Limits{})
		lateStream := mustDial(t, late, node)
		mustAccept(t, l)
		contacts.add(late.Key()) // has logged in
		var ours []overlay.Conn
		for range 15 { // 120 streams of 15 keys
			stranger := newNode(t, n, overlay.Limits{})
			for range 8 {
				mustDial(t, stranger, node)
				ours = append(ours, mustAccept(t, l))
			}
		}
		synctest.Wait()
		// The one that logged in meanwhile does not count as a stranger's any more.
		if got := node.Stack().Streams(); got > 21 {
			t.Errorf("%d streams, want at most 21: strangers have taken more than half", got)
		}
		began := time.Now()
		for range 12 {
			mustDial(t, friend, node)
			mustAccept(t, l)
		}
		for range 10 {
			mustDial(t, node, other)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("contacts and dials took %v", took)
		}
		for i, c := range ours {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, err := c.Read(make([]byte, 1))
			if ended := errors.Is(err, overlay.ErrReset); ended != (i < len(ours)-17) {
				t.Errorf("stream %d of %d: %v", i, len(ours), err)
				break
			}
		}
		// Contacts and dials go on to the last place, and strangers are evicted.
		if _, err := lateStream.Write([]byte("still here")); err != nil {
			t.Errorf("the stream of who logged in meanwhile: %v", err)
		}
	})
}

// Bar S14: 8 streams for a node, and 4 more for each pair of accepted contacts.
func TestStreamsPerNodeGrowWithPairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		node := newNode(t, n, overlay.Limits{Backlog: 200})
		l := mustListen(t, node)
		stranger, friend := newHandPeer(t, n, node), newHandPeer(t, n, node)
		knowContacts(node, map[identity.NodeKey]int{friend.endpoint.Key(): 20})
		for peer, want := range map[*handPeer]int{stranger: 8, friend: 88} {
			for i := range want {
				peer.open(l, uint16(49152+i))
			}
			peer.ours = 60000
			peer.sendSYN()
			peer.expectSilence(5 * time.Second)
		}
	})
}

// Bar S04: strangers who never complete their openings, from any number of nodes, do
// not end that of a contact, however slow it is.
func TestHalfOpenStrangersLeaveContactsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		node := newNode(t, n, overlay.Limits{HalfOpen: 16, Backlog: 40})
		l := mustListen(t, node)
		friend := newHandPeer(t, n, node)
		knowContacts(node, map[identity.NodeKey]int{friend.endpoint.Key(): 1})
		friend.ours, friend.theirs = 49152, l.Port()
		friend.sendSYN()
		friend.expect("SYN-ACK", flagSYN|flagACK)
		for range 40 {
			h := newHandPeer(t, n, node)
			h.ours, h.theirs = 49152, l.Port()
			h.sendSYN()
			h.expect("SYN-ACK", flagSYN|flagACK)
		}
		synctest.Wait()
		if got := node.Stack().Streams(); got > 13 {
			t.Errorf("%d streams, want 12 of strangers and one", got)
		}
		friend.sendACK(0)
		if c := mustAccept(t, l); c.RemoteKey() != friend.endpoint.Key() {
			t.Errorf("accepted a stream of %v", c.RemoteKey().Short())
		}
	})
}

// A listener whose queue strangers have filled takes a contact's stream at once.
func TestBacklogKeepsPlacesForContacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		node := newNode(t, n, overlay.Limits{Backlog: 16})
		l := mustListen(t, node)
		friend := newNode(t, n, overlay.Limits{})
		knowContacts(node, map[identity.NodeKey]int{friend.Key(): 1})
		for range 20 {
			mustDial(t, newNode(t, n, overlay.Limits{}), node)
		}
		c := mustDial(t, friend, node)
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := 0; ; i++ {
			accepted := mustAccept(t, l)
			if accepted.RemoteKey() == friend.Key() {
				if i != 12 {
					t.Errorf("%d streams were accepted before the contact's, want 12", i)
				}
				return
			}
		}
	})
}

// Bar R26: what strangers send behind gaps is bounded for each node, and dropped after
// 2 s. A contact's waits: its link may have been down.
func TestGapsOfStrangersAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		node := newNode(t, n, overlay.Limits{})
		l := mustListen(t, node)
		stranger, friend := newHandPeer(t, n, node), newHandPeer(t, n, node)
		knowContacts(node, map[identity.NodeKey]int{friend.endpoint.Key(): 1})
		const size = 16 << 10
		want := pattern(17 * size)
		for _, tc := range []struct {
			h     *handPeer
			wait  time.Duration
			reach int // how far the stream is once the gap has been filled
		}{
			{stranger, time.Second, 9}, // 8 segments of 16 KiB are kept
			{stranger, 3 * time.Second, 1},
			{friend, 3 * time.Second, 17},
		} {
			c := tc.h.open(l, uint16(49152+int(tc.wait/time.Second)))
			for i := 1; i < 17; i++ {
				tc.h.sendData(uint32(i*size), want[i*size:(i+1)*size])
			}
			virtual.Sleep(tc.wait)
			tc.h.drain()
			tc.h.sendData(0, want[:size])
			if p := tc.h.expect("ACK", flagACK); p.ack != uint32(tc.reach*size) {
				t.Errorf("after %v the stream is at %d, want %d", tc.wait, p.ack, tc.reach*size)
			}
			_ = c.Abort()
			tc.h.drain()
		}
	})
}

// Bar R26: 64 streams with a gap, of strangers and of contacts, take no receive memory
// from a stream without one: its window stays wide.
func TestGapsDoNotPinTheReceiveMemory(t *testing.T) {
	for name, contacts := range map[string]bool{"strangers": false, "contacts": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNet(t, memnet.Options{})
				node := newNode(t, n, overlay.Limits{ReceiveMemory: 8 << 20, Backlog: 100})
				l := mustListen(t, node)
				friend := newHandPeer(t, n, node)
				index := knowContacts(node, map[identity.NodeKey]int{friend.endpoint.Key(): 1})
				for range 8 {
					h := newHandPeer(t, n, node)
					if contacts {
						index.add(h.endpoint.Key())
					}
					for i := range 8 {
						h.open(l, uint16(49152+i))
						for j := range 30 {
							h.sendData(uint32(16+j*(16<<10)), make([]byte, 16<<10))
						}
						h.drain()
						virtual.Sleep(10 * time.Millisecond) // for the limit on packets
					}
				}
				synctest.Wait()
				friend.open(l, 49152)
				friend.sendData(0, make([]byte, 16<<10))
				friend.sendData(16<<10, make([]byte, 16<<10))
				var p handPacket
				for p.ack != 32<<10 {
					p = friend.expect("ACK", flagACK)
				}
				if p.window != fullWindow-32<<10 {
					t.Errorf("the window is %d, want %d", p.window, fullWindow-32<<10)
				}
			})
		})
	}
}

// QUIC has the same limit for each node as the other carriers, and shares it.
func TestQUICStreamsOfStrangersAreLimited(t *testing.T) {
	n := newNet(t, memnet.Options{})
	node, carrier := quicNode(t, n, overlay.Limits{Backlog: 100})
	strangerNode, stranger := quicNode(t, n, overlay.Limits{})
	knowContacts(node, nil)
	l, l3 := mustListen(t, carrier), mustListen(t, node)
	for range 3 { // over gen3
		mustDial(t, strangerNode, node)
		mustAccept(t, l3)
	}
	var streams []overlay.Conn
	for range 10 {
		c := mustDial(t, stranger, node)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, c)
	}
	for range 5 {
		mustAccept(t, l)
	}
	for i, c := range streams[5:] {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrReset) {
			t.Errorf("stream %d: %v", 5+i, err)
		}
	}
}

// A stranger's window is small, and does not keep it from sending what is read; it
// grows when the stranger turns out to be a contact.
func TestQUICWindowGrowsAfterLogin(t *testing.T) {
	n := newNet(t, memnet.Options{})
	node, carrier := quicNode(t, n, overlay.Limits{})
	_, other := quicNode(t, n, overlay.Limits{})
	contacts := knowContacts(node, nil)
	dialled, accepted := quicPair(t, other, carrier)
	carryOver(t, dialled, accepted, 300<<10)
	contacts.add(other.Key())
	carryOver(t, dialled, accepted, 3<<20)
}

// TCP has the same limit, and a stranger's stream carries as much as it likes through
// its small buffer.
func TestTCPStreamsOfStrangersAreLimited(t *testing.T) {
	n := newNet(t, memnet.Options{})
	node, carrier := tcpNode(t, n, overlay.Limits{Backlog: 100})
	strangerNode, stranger := tcpNode(t, n, overlay.Limits{})
	knowContacts(node, nil)
	l, l3 := mustListen(t, carrier), mustListen(t, node)
	for range 7 { // over gen3
		mustDial(t, strangerNode, node)
		mustAccept(t, l3)
	}
	dialled := mustDial(t, stranger, carrier)
	accepted := mustAccept(t, l)
	second := mustDial(t, stranger, carrier)
	go func() { _, _ = l.Accept(t.Context()) }() // refuses it
	if err := second.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrReset) {
		t.Errorf("the ninth stream: %v", err)
	}
	carryOver(t, dialled, accepted, 3<<20)
}
