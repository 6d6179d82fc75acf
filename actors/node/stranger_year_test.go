// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// A year of strangers: one an hour, each with a node key and an identity that nobody
// has seen, ask, say nothing, or give up in the middle of a handshake. What is left of
// them is what tables with a bound hold: no actor, no session, no stream. The days
// between are left out: a node has timers of a second, and nothing of a stranger's
// waits for longer than minutes.
func TestStranger_AYearOfThem(t *testing.T) {
	const strangers, apart = 365 * 24, 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n := w.Node("owner", func(o *node.Options) { o.Logger = nil })
		n.AwaitAnnounced()
		virtual.Sleep(10 * time.Minute)
		began := live(n)
		heap := int64(0)
		for i := range strangers {
			visit(t, w, n, i)
			virtual.Sleep(apart)
			if i == strangers/4 {
				heap = heapInUse() // every table with a bound below this is full
			}
		}
		virtual.Sleep(10 * time.Minute)
		synctest.Wait()
		requests := requestsOf(t, n)
		if requests > store.MaxRequests {
			t.Errorf("%d requests wait", requests)
		}
		began["contact"] += requests
		for kind, now := range live(n) {
			if now > began[kind] {
				t.Errorf("%d actors of kind %s, want %d", now, kind, began[kind])
			}
		}
		if s := n.Status(); s.Sessions != 0 || n.StrangerSessionsForTest() != 0 {
			t.Errorf("%d sessions, %d with strangers", s.Sessions, n.StrangerSessionsForTest())
		}
		if named, seen := n.KnownNodesForTest(); named > 20 || seen > 4096 {
			t.Errorf("%d node keys are known for good, %d of strangers", named, seen)
		}
		if grown := heapInUse() - heap; grown > 32<<20 {
			t.Errorf("the heap has grown by %d MiB in the last three quarters", grown>>20)
		}
	})
}

// live counts actors by their kind.
func live(n *actorstest.Node) map[string]int {
	counts := make(map[string]int)
	for _, s := range n.StatsForTest() {
		counts[s.Kind] = s.Live
	}
	return counts
}

// requestsOf counts the contact requests that wait.
func requestsOf(t *testing.T, n *actorstest.Node) int {
	t.Helper()
	contacts, err := n.Contacts(n.Account.ID)
	if err != nil {
		t.Fatal(err)
	}
	return len(contacts)
}

// visit is one stranger.
func visit(t *testing.T, w *actorstest.World, n *actorstest.Node, i int) {
	t.Helper()
	carrier := w.Net.Node(overlay.Limits{})
	defer func() { _ = carrier.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := phone.DialLine(ctx, carrier, n.Key())
	if err != nil {
		t.Fatalf("stranger %d: %v", i, err)
	}
	defer l.Abort()
	if _, err := l.Write([]byte{phone.RoleControl}); err != nil {
		t.Fatal(err)
	}
	h := &phone.Handshake{Identity: phone.IdentityOf(fmt.Sprint("stranger ", i)), Receiver: phone.Key(n.Account.ID)}
	if i%3 == 0 {
		h.Gate = phone.Before(phone.TypeChallenge2)
	}
	err = h.Initiate(l)
	if i%3 == 1 && err == nil {
		_ = l.Send(requestOf("stranger"))
		synctest.Wait()
	}
}
