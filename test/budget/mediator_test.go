// SPDX-License-Identifier: MPL-2.0

package budget_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/poll"
)

// maxMediatorRSS is what a process may take that is a mediator with a group of 100,000
// members, and has their clients too.
const maxMediatorRSS = 512 * mib

// Commands and tags of the mediator protocol.
const (
	mAddUser, mSend, mSubscribe, mSince, mInfos, mMembers = 0x20, 0x30, 0x35, 0x36, 0x52, 0x53
	mChatID, mGUID, mSinceID, mUserKey, mBlob, mLimit     = 0x10, 0x11 + 1, 0x14, 0x15, 0x23, 0x30
	mCount                                                = 0x31
)

// mediatorRig is a mediator with a group, and nodes from which its members connect.
type mediatorRig struct {
	t      *testing.T
	world  *actorstest.World
	node   *actorstest.Node
	key    identity.NodeKey
	nodes  []*memnet.Node
	owners []*phone.MediatorClient
	chat   uint64
}

// TestMediatorWithManyMembers adds members with real frames, over connections of the owner
// from several nodes, has a part of them come, talk and go again in waves, and lists all.
// Then the mediator restarts with many of them connected.
func TestMediatorWithManyMembers(t *testing.T) {
	members, waves, wave, returning := 1000, 2, 50, 60
	if *all {
		members, waves, wave, returning = 100_000, 10, 1000, 10_000
	}
	r := newMediatorRig(t)
	before := measure(t)
	r.add(r.chat, members, 1)
	for w := range waves {
		r.wave(w*wave, wave)
	}
	r.list(members + 1)
	after := measure(t)
	show("%6d members of one group, %d of them connected in turn: %d MiB in all, %d MiB more heap",
		members, waves*wave, after.rss/mib, (after.heap-before.heap)/mib)
	if after.rss > maxMediatorRSS {
		t.Errorf("%d members: %d bytes in memory", members, after.rss)
	}
	r.restart(returning)
}

func newMediatorRig(t *testing.T) *mediatorRig {
	t.Helper()
	limits := overlay.Limits{Connections: 16_384, ConnectionsPerKey: 2048, HalfOpen: 4096, Backlog: 1024}
	w := actorstest.New(t, memnet.Options{})
	w.Limits = limits
	n := w.Node("mediator", func(o *node.Options) {
		o.Dir = filepath.Join(t.TempDir(), "mediator")
		o.OpenStore = store.Open // what is on the disk is not in memory
		o.Mediator = &mediatorserver.Options{OpenNetwork: w.Open, Rate: 1e6, Burst: 1e6, MaxConnections: 16_384}
	})
	r := &mediatorRig{t: t, world: w, node: n}
	r.key, _ = n.MediatorKey()
	r.addNodes(8)
	owner := phone.IdentityOf("owner")
	for i := range 4 * len(r.nodes) {
		// One connection of an identity for each node.
		one := w.Net.Node(limits)
		t.Cleanup(func() { _ = one.Close() })
		c := r.connect(one, owner)
		if i == 0 {
			r.chat = r.createChat(c, owner)
		}
		r.owners = append(r.owners, c)
	}
	return r
}

// addNodes adds nodes for members to connect from.
func (r *mediatorRig) addNodes(count int) {
	for range count {
		one := r.world.Net.Node(r.world.Limits)
		r.t.Cleanup(func() { _ = one.Close() })
		r.nodes = append(r.nodes, one)
	}
}

func (r *mediatorRig) createChat(c *phone.MediatorClient, owner phone.Identity) uint64 {
	r.t.Helper()
	chat, err := c.CreateChat(r.t.Context(), owner, "many", "")
	if err != nil {
		r.t.Fatal(err)
	}
	return chat
}

func (r *mediatorRig) connect(node overlay.Carrier, who phone.Identity) *phone.MediatorClient {
	r.t.Helper()
	c, err := phone.DialMediator(r.t.Context(), node, r.key)
	if err == nil {
		err = c.Login(r.t.Context(), who)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

func manyMember(i int) phone.Identity { return phone.IdentityOf(fmt.Sprint("member ", i)) }

// add makes each so-many-th of the first identities a member of a group, over all
// connections of the owner at once.
func (r *mediatorRig) add(chat uint64, members, each int) {
	r.t.Helper()
	var adding sync.WaitGroup
	for o, c := range r.owners {
		adding.Go(func() {
			for i := o * each; i < members; i += len(r.owners) * each {
				key := manyMember(i).Key()
				f, err := c.Call(r.t.Context(), mAddUser, phone.U64(mChatID, chat), phone.TLV{Tag: mUserKey, Value: key[:]})
				if err != nil || f.Status != 0 {
					r.t.Errorf("add: %v %s", err, f.Refusal())
					return
				}
			}
		})
	}
	adding.Wait()
}

// wave connects members at once. All subscribe, and one in ten says something, which each
// of them is pushed.
func (r *mediatorRig) wave(first, size int) {
	r.t.Helper()
	last := fmt.Sprintf("text %d", first+(size-1)/10*10)
	clients := make([]*phone.MediatorClient, size)
	for i := range clients {
		c := r.connect(r.nodes[i%len(r.nodes)], manyMember(first+i))
		// Each is told of each other: a million pushes, which are not the mediator's memory.
		c.Count(func(f phone.MediatorFrame) bool { return string(f.Get(mBlob)) == last })
		if f, err := c.Call(r.t.Context(), mSubscribe, phone.U64(mChatID, r.chat)); err != nil || f.Status != 0 {
			r.t.Fatalf("subscribe: %v %s", err, f.Refusal())
		}
		clients[i] = c
	}
	for i, c := range clients {
		if i%10 != 0 {
			continue
		}
		f, err := c.Call(r.t.Context(), mSend, phone.U64(mChatID, r.chat), phone.U64(mGUID, uint64(first+i)), phone.TLV{Tag: mBlob, Value: fmt.Appendf(nil, "text %d", first+i)})
		if err != nil || f.Status != 0 {
			r.t.Fatalf("send: %v %s", err, f.Refusal())
		}
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience())
	defer cancel()
	for i, c := range clients[:size-1] {
		if i == (size-1)/10*10 {
			continue // its sender
		}
		if !poll.Until(ctx, func() bool { _, got := c.Counted(); return got > 0 }) {
			r.t.Fatalf("member %d was not pushed %q", first+i, last)
		}
	}
	for _, c := range clients {
		c.Close()
	}
}

// list asks for all members, and for all profiles.
func (r *mediatorRig) list(want int) {
	r.t.Helper()
	for _, command := range []byte{mMembers, mInfos} {
		f, err := r.owners[0].Call(r.t.Context(), command, phone.U64(mChatID, r.chat))
		if err != nil || f.Status != 0 {
			r.t.Fatalf("list: %v %s", err, f.Refusal())
		}
		if got := binary.BigEndian.Uint32(f.Get(mCount)); int(got) != want {
			r.t.Errorf("%d members of %d", got, want)
		}
	}
}
