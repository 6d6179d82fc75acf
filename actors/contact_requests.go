// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// Contact requests, both ways. What we owe a contact, an answer or a request, is
// in the store until the contact has it; that it has been told is noted when it
// has, so a crash in between repeats it once.

// onContactRequested answers who is a contact already, and holds or accepts the
// rest as the account wants it.
//
// The credit of the frame is kept until the store has the request: a peer that sends
// one after the other is read no faster than that.
func (x *contact) onContactRequested(c *kernel.Context, msg contactRequested) {
	if !x.takeRequest(c, msg) {
		msg.Credit.release()
	}
}

// takeRequest reports whether the store is asked to keep the request.
func (x *contact) takeRequest(c *kernel.Context, msg contactRequested) bool {
	if c.Sender() != x.live {
		return false
	}
	switch {
	case x.allowed():
		c.Tell(x.live, respond{Accepted: true})
		return false
	case x.receiving || x.known && x.record.State != store.ContactStranger:
		return false // asked before, or blocked
	}
	state := store.ContactRequested
	switch x.strangers(c) {
	case store.StrangersRefuse:
		return false
	case store.StrangersAccept:
		state = store.ContactAccepted
	}
	if !x.deps.Table.requests.allow(x.liveNode, time.Now()) {
		x.deps.Log.Warn("rate-limiting contact requests", "node", x.liveNode.Short(), "account", x.Account.Short())
		return false
	}
	x.receiving = true
	x.unstored.request(msg.Credit)
	r := msg.Request
	now := x.deps.nowMillis()
	c.Tell(x.deps.Writer, store.Write{Op: store.ReceiveRequest{Contact: store.Contact{
		Account: x.Account, ID: x.Contact(), State: state, Added: now, Requested: now,
		Nickname: r.Nickname, Info: r.Info, Avatar: media.UsableAvatar(r.Avatar), Request: wire.CutText(r.Message, wire.MaxRequestText),
	}}})
	return true
}

// onRequested is the store's answer to a request.
func (x *contact) onRequested(c *kernel.Context, r store.Requested) {
	x.receiving = false
	x.unstored.requestStored()
	if !x.live.IsZero() {
		c.Tell(x.live, requestStored{})
	}
	x.onLookAgain(c) // the account's word of it may come later
	if r.Answer != store.AnswerNone && !x.live.IsZero() {
		c.Tell(x.live, respond{Accepted: r.Answer == store.AnswerYes})
	}
}

// isRefusal reports whether the store has refused something new, which is no
// failure of ours.
func isRefusal(err error) bool {
	return errors.Is(err, store.ErrRequestsFull) || errors.Is(err, store.ErrDiskFull) || errors.Is(err, store.ErrContactFull) || errors.Is(err, store.ErrBusy)
}

// onContactAnswered notes an answer to our request.
func (x *contact) onContactAnswered(c *kernel.Context, msg contactAnswered) {
	if c.Sender() != x.live || !x.known {
		msg.Credit.release()
		return
	}
	switch x.record.Asked {
	case store.AskNone, store.AskAccepted:
		msg.Credit.release()
		return // apps answer also who has not asked, and whom they have answered
	}
	x.logInfo(c, "A contact answered our request", "accepted", msg.Accepted)
	x.unstored.answer(msg.Credit)
	c.Tell(x.deps.Writer, store.Write{Op: store.MarkAnswered{Account: x.Account, Contact: x.Contact(), Accepted: msg.Accepted}})
}

// wantsSession reports whether something other than a message is worth a session:
// our request, and a yes. A no is told when the contact comes by.
func (x *contact) wantsSession() bool {
	return x.recall || x.wantTurn || x.devices.wantSession() || x.record.Asked == store.AskWaiting || x.record.Owed == store.AnswerYes
}

// settle tells the contact what it is owed, once in a session.
func (x *contact) settle(c *kernel.Context) {
	if x.live.IsZero() || !x.known {
		return
	}
	if x.record.Owed != store.AnswerNone && !x.answering && !x.settling {
		x.answering = true
		c.Tell(x.live, respond{Accepted: x.record.Owed == store.AnswerYes, Owed: true})
	}
	if x.allowed() && x.record.Asked == store.AskWaiting && !x.asking && !x.marking {
		x.asking = true
		c.Tell(x.live, ask{Text: x.record.OurRequest})
	}
}

// onResponded is the session having sent the answer that was owed.
func (x *contact) onResponded(c *kernel.Context, msg responded) {
	if c.Sender() != x.live {
		return
	}
	x.answering, x.settling = false, true
	answer := store.AnswerNo
	if msg.Accepted {
		answer = store.AnswerYes
	}
	if x.record.Owed == answer {
		x.record.Owed = store.AnswerNone
	}
	c.Tell(x.deps.Writer, store.Write{Op: store.SettleAnswer{Account: x.Account, Contact: x.Contact(), Answer: answer}})
}

// onAskedHeard is the contact having our request.
func (x *contact) onAskedHeard(c *kernel.Context) {
	if c.Sender() != x.live {
		return
	}
	x.asking, x.marking = false, true
	if x.record.Asked == store.AskWaiting {
		x.record.Asked = store.AskSent
	}
	c.Tell(x.deps.Writer, store.Write{Op: store.MarkAsked{Account: x.Account, Contact: x.Contact()}})
}

// strangers is what the account wants done with people it does not know.
func (x *contact) strangers(c *kernel.Context) store.StrangerPolicy {
	account, err := x.deps.Store.Account(x.Account)
	if err != nil {
		c.Fail(fmt.Errorf("read account: %w", err))
	}
	return account.Strangers
}

const (
	// maxRequests is how many contact requests of one node are taken within
	// requestWindow: identities cost nothing, nodes hardly more.
	maxRequests   = 20
	requestWindow = time.Hour
	// maxRequestNodes bounds the nodes that are remembered. When there are more, the
	// one that began first is forgotten.
	maxRequestNodes = 4096
)

// requestGuard counts the contact requests of each node. It is safe for
// concurrent use.
type requestGuard struct {
	mu    sync.Mutex
	nodes map[identity.NodeKey]requestCount
}

type requestCount struct {
	since time.Time
	n     int
}

func newRequestGuard() *requestGuard {
	return &requestGuard{nodes: make(map[identity.NodeKey]requestCount)}
}

// allow reports whether a request of a node may be looked at.
func (g *requestGuard) allow(node identity.NodeKey, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	count, ok := g.nodes[node]
	if !ok && len(g.nodes) >= maxRequestNodes {
		g.forgetOldest(now)
	}
	if !ok || now.Sub(count.since) >= requestWindow {
		count = requestCount{since: now}
	}
	count.n++
	g.nodes[node] = count
	return count.n <= maxRequests
}

// forgetOldest makes room.
func (g *requestGuard) forgetOldest(now time.Time) {
	var oldest identity.NodeKey
	since := now.Add(time.Hour)
	for node, count := range g.nodes {
		if now.Sub(count.since) >= requestWindow {
			delete(g.nodes, node)
		} else if count.since.Before(since) {
			oldest, since = node, count.since
		}
	}
	if len(g.nodes) >= maxRequestNodes {
		delete(g.nodes, oldest)
	}
}

// unstoredFrames are the credits of frames whose operation the store has not
// answered. A contact actor owns it.
type unstoredFrames struct {
	asked    frameCredit
	answered []frameCredit
}

func (u *unstoredFrames) request(credit frameCredit) { u.asked = credit }

func (u *unstoredFrames) requestStored() {
	u.asked.release()
	u.asked = frameCredit{}
}

func (u *unstoredFrames) answer(credit frameCredit) { u.answered = append(u.answered, credit) }

func (u *unstoredFrames) answerStored() {
	if len(u.answered) > 0 {
		u.answered[0].release()
		u.answered = u.answered[1:]
	}
}

// releaseAll is called when the store has refused one of the operations: it does not
// say which.
func (u *unstoredFrames) releaseAll() {
	u.requestStored()
	for len(u.answered) > 0 {
		u.answerStored()
	}
}
