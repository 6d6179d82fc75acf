// SPDX-License-Identifier: MPL-2.0

package budget_test

import (
	"context"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/poll"
)

const (
	// toldMembers is in how many connections of a group everybody is told who comes; see
	// actors/mediatorserver. Each is told once of each, so of what they are told nothing
	// grows beyond that.
	toldMembers = 1000
	// maxRestartRSS is for the mediator and for all clients, who are in the same process.
	maxRestartRSS = 768 * mib
	// maxRestartTime is the processor time for each member until all are back and have been
	// told, of both ends and the network between them.
	maxRestartTime = 3 * time.Millisecond
	// reconnects is how many members connect at a time, smallEach which members are in the
	// smaller group, too.
	reconnects = 256
	smallEach  = 10
	// mOnline is the event that tells of somebody's presence.
	mOnline = 9
)

// restart restarts the mediator while members of two groups are connected, and has all of
// them connect again at once. The smaller group has the largest size in which everybody is
// told who comes.
func (r *mediatorRig) restart(members int) {
	t := r.t
	t.Helper()
	r.addNodes(members / mediatorserver.MaxConnectionsPerNode)
	inSmall, small := 0, r.chat
	if *all { // the proof of work takes seconds
		inSmall = (members + smallEach - 1) / smallEach
		small = r.createChat(r.owners[0], phone.IdentityOf("owner"))
		r.add(small, members, smallEach)
	}
	clients := r.connectAll(members, small)
	r.awaitTold(clients, small)
	r.node.Stop()
	for _, c := range append(clients, r.owners...) {
		<-c.Ended()
	}
	r.node.Start()
	begun := processorTime(t)
	clients = r.connectAll(members, small)
	r.awaitTold(clients, small)
	used := processorTime(t) - begun
	after := measure(t)
	pushes := 0
	for _, c := range clients {
		got, _ := c.Counted()
		pushes += got
	}
	// Besides presence each is asked once for a profile.
	told := func(n int) int { return n + min(n, toldMembers)*min(n, toldMembers) + n }
	limit := told(members) + told(inSmall)
	show("%6d members reconnect after a restart, %d of them to two groups: %d pushes, at most %d; %.1f ms of processor time each; %d MiB in all",
		members, inSmall, pushes, limit, used.Seconds()*1e3/float64(members), after.rss/mib)
	if pushes > limit {
		t.Errorf("%d members were sent %d pushes, more than %d", members, pushes, limit)
	}
	if *all && after.rss > maxRestartRSS {
		t.Errorf("%d members: %d bytes in memory", members, after.rss)
	}
	if each := used / time.Duration(members); *all && each > maxRestartTime {
		t.Errorf("%d members: %v of processor time each", members, each)
	}
	for _, c := range clients {
		c.Close()
	}
}

// connectAll connects all members, many at a time, who subscribe to their groups.
func (r *mediatorRig) connectAll(members int, small uint64) []*phone.MediatorClient {
	r.t.Helper()
	clients := make([]*phone.MediatorClient, members)
	numbers := make(chan int)
	var connecting sync.WaitGroup
	for range reconnects {
		connecting.Go(func() {
			for i := range numbers {
				clients[i] = r.member(i, small)
			}
		})
	}
	for i := range members {
		numbers <- i
	}
	close(numbers)
	connecting.Wait()
	if r.t.Failed() {
		r.t.FailNow()
	}
	return clients
}

// member connects one member and counts the pushes; it chooses those about the member.
func (r *mediatorRig) member(i int, small uint64) *phone.MediatorClient {
	who := manyMember(i)
	c, err := phone.DialMediator(r.t.Context(), r.nodes[i%len(r.nodes)], r.key)
	if err != nil {
		r.t.Errorf("connect member %d: %v", i, err)
		return nil
	}
	r.t.Cleanup(c.Close)
	key := who.Key()
	c.Count(func(f phone.MediatorFrame) bool {
		b := f.Get(mBlob)
		return len(b) > 33 && b[0] == mOnline && string(b[1:33]) == string(key[:])
	})
	if err := c.Login(r.t.Context(), who); err != nil {
		r.t.Errorf("log in member %d: %v", i, err)
		return c
	}
	for _, chat := range r.chatsOf(i, small) {
		if f, err := c.Call(r.t.Context(), mSubscribe, phone.U64(mChatID, chat)); err != nil || f.Status != 0 {
			r.t.Errorf("subscribe member %d: %v %s", i, err, f.Refusal())
		}
	}
	return c
}

func (r *mediatorRig) chatsOf(i int, small uint64) []uint64 {
	if small != r.chat && i%smallEach == 0 {
		return []uint64{r.chat, small}
	}
	return []uint64{r.chat}
}

// awaitTold waits until each client was told of its own presence in each of its groups:
// then nothing is left to tell.
func (r *mediatorRig) awaitTold(clients []*phone.MediatorClient, small uint64) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience())
	defer cancel()
	told := poll.Until(ctx, func() bool {
		for i, c := range clients {
			if _, own := c.Counted(); own < len(r.chatsOf(i, small)) {
				return false
			}
		}
		return true
	})
	if !told {
		r.t.Fatal("not all members were told of their own presence")
	}
}
