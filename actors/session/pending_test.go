// SPDX-License-Identifier: MPL-2.0

package session

import (
	"encoding/binary"
	"testing"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// silentConn is a stream on which nothing is said.
type silentConn struct {
	overlay.Conn
	node    identity.NodeKey
	aborted bool
}

func (c *silentConn) RemoteKey() identity.NodeKey { return c.node }

func (c *silentConn) Abort() error {
	c.aborted = true
	return nil
}

func silent(i int) *silentConn {
	c := &silentConn{node: identity.NodeKey{1}}
	binary.BigEndian.PutUint32(c.node[4:], uint32(i))
	return c
}

// Bar S04: strangers with a new node key for each stream push out strangers, and no
// contact who takes its time, however many they are.
func TestGreetings_StrangersLeaveContactsTheirPlaces(t *testing.T) {
	g := newPendingStreams()
	var contacts []*silentConn
	for i := range 100 {
		contacts = append(contacts, silent(i))
		g.enter(contacts[i], 1)
	}
	var strangers []*silentConn
	for i := range 10_000 {
		strangers = append(strangers, silent(1000+i))
		g.enter(strangers[i], 0)
	}
	late := silent(500)
	g.enter(late, 1)
	for i, c := range append(contacts, late) {
		if c.aborted {
			t.Fatalf("contact %d was pushed out", i)
		}
	}
	left := 0
	for i, c := range strangers {
		if !c.aborted {
			left++
		} else if i > len(strangers)-maxPending+len(contacts) {
			t.Errorf("stranger %d was pushed out before an older one", i)
		}
	}
	if want := maxPending - len(contacts) - 1; left != want {
		t.Errorf("%d strangers are left, want %d", left, want)
	}
	// The other way round they have three quarters, until contacts come.
	g = newPendingStreams()
	for i := range 1000 {
		g.enter(silent(i), 0)
	}
	if got := g.strangers.Len(); got != maxStrangerPending {
		t.Errorf("%d places are strangers', want %d", got, maxStrangerPending)
	}
}

// A node has its own bound, a larger one with more pairs, and is its own victim.
func TestGreetings_BoundForEachNode(t *testing.T) {
	for pairs, want := range map[int]int{0: 8, 1: 11, 20: 68} {
		g := newPendingStreams()
		other := silent(2)
		g.enter(other, 0)
		first := silent(1)
		e := g.enter(first, pairs)
		for range 200 {
			g.enter(silent(1), pairs)
		}
		if got := g.perNode[first.node]; got != want || !first.aborted || other.aborted {
			t.Errorf("%d pairs: %d streams, want %d; first aborted: %v, another node's: %v", pairs, got, want, first.aborted, other.aborted)
		}
		g.leave(e)
		g.leave(e)
		if got := g.perNode[first.node]; got != want {
			t.Errorf("leaving twice: %d streams, want %d", got, want)
		}
	}
}
