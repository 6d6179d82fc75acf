// SPDX-License-Identifier: MPL-2.0

package contact

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/session"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/lru"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// Contact requests, both ways. An answer or a request that we owe a contact stays in
// the store until it was sent, so a crash in between repeats it once.

// onContactRequested answers a contact, and accepts or stores the request of a
// stranger as the account's policy says.
//
// It keeps the credit of the frame until the store has the request: a peer that sends
// one request after the other is read no faster than that.
func (x *contact) onContactRequested(c *kernel.Context, msg session.Requested) {
	if !x.storesRequest(c, msg) {
		msg.Credit.Release()
	}
}

// storesRequest reports whether the store was told to keep the request.
func (x *contact) storesRequest(c *kernel.Context, msg session.Requested) bool {
	if c.Sender() != x.live {
		return false
	}
	switch {
	case x.allowed():
		c.Tell(x.live, session.Respond{Accepted: true})
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
	c.Tell(x.deps.Writer, store.Write{Op: requestOp(x.Conversation, state, r.Nickname, r.Info, r.Avatar, r.Message, x.deps.nowMillis())})
	return true
}

// requestOp is the operation that stores a contact request in the account that was asked,
// however it came. What does not fit is cut, and a picture that cannot be shown is left out.
func requestOp(to store.Conversation, state store.ContactState, name, info string, avatar []byte, text string, now store.Millis) store.ReceiveRequest {
	return store.ReceiveRequest{Contact: store.Contact{
		Account: to.Account, ID: to.ID.Contact(), State: state, Added: now, Requested: now,
		Nickname: name, Info: info, Avatar: media.UsableAvatar(avatar), Request: wire.CutText(text, wire.MaxRequestText),
	}}
}

// onRequested is the store's answer to a request.
func (x *contact) onRequested(c *kernel.Context, r store.Requested) {
	x.receiving = false
	x.unstored.requestStored()
	if !x.live.IsZero() {
		c.Tell(x.live, session.RequestStored{})
	}
	x.onChanged(c) // lookAgain may come later
	if r.Answer != store.AnswerNone && !x.live.IsZero() {
		c.Tell(x.live, session.Respond{Accepted: r.Answer == store.AnswerYes})
	}
}

// isRefusal reports whether the store refused something for lack of space or by a
// quota, which does not fail the actor.
func isRefusal(err error) bool {
	return errors.Is(err, store.ErrRequestsFull) || errors.Is(err, store.ErrDiskFull) || errors.Is(err, store.ErrContactFull) || errors.Is(err, store.ErrBusy)
}

// onContactAnswered stores the answer to our request.
func (x *contact) onContactAnswered(c *kernel.Context, msg session.Answered) {
	if c.Sender() != x.live || !x.known {
		msg.Credit.Release()
		return
	}
	switch x.record.Asked {
	case store.AskNone, store.AskAccepted:
		msg.Credit.Release()
		return // apps answer without having been asked, and more than once
	}
	state := "declined"
	if msg.Accepted {
		state = "accepted"
	}
	x.logInfo(c, "contact request answered", "state", state)
	x.unstored.answer(msg.Credit)
	c.Tell(x.deps.Writer, store.Write{Op: store.MarkAnswered{Account: x.Account, Contact: x.Contact(), Accepted: msg.Accepted}})
}

// wantsSession reports whether something other than a message needs a session: our
// request, and a yes to theirs. A no waits until the contact connects.
func (x *contact) wantsSession() bool {
	return x.wantRedial || x.wantTurn || x.devices.wantSession() || x.record.Asked == store.AskWaiting || x.record.Owed == store.AnswerYes
}

// sendOwed sends the answer and the request that the contact is owed, once in a session.
func (x *contact) sendOwed(c *kernel.Context) {
	if x.live.IsZero() || !x.known {
		return
	}
	if x.record.Owed != store.AnswerNone && !x.answerSent && !x.answerUnsaved {
		x.answerSent = true
		c.Tell(x.live, session.Respond{Accepted: x.record.Owed == store.AnswerYes, Owed: true})
	}
	if x.allowed() && x.record.Asked == store.AskWaiting && !x.requestSent && !x.requestUnsaved {
		x.requestSent = true
		c.Tell(x.live, session.Ask{Text: x.record.OurRequest})
	}
}

// onResponded notes that the session has sent the answer that was owed.
func (x *contact) onResponded(c *kernel.Context, msg session.Responded) {
	if c.Sender() != x.live {
		return
	}
	x.answerSent, x.answerUnsaved = false, true
	answer := store.AnswerNo
	if msg.Accepted {
		answer = store.AnswerYes
	}
	if x.record.Owed == answer {
		x.record.Owed = store.AnswerNone
	}
	c.Tell(x.deps.Writer, store.Write{Op: store.SettleAnswer{Account: x.Account, Contact: x.Contact(), Answer: answer}})
}

// onRequestDelivered notes that the contact has our request.
func (x *contact) onRequestDelivered(c *kernel.Context) {
	if c.Sender() != x.live {
		return
	}
	x.requestSent, x.requestUnsaved = false, true
	if x.record.Asked == store.AskWaiting {
		x.record.Asked = store.AskSent
	}
	c.Tell(x.deps.Writer, store.Write{Op: store.MarkAsked{Account: x.Account, Contact: x.Contact()}})
}

// strangers returns the account's policy for strangers.
func (x *contact) strangers(c *kernel.Context) store.StrangerPolicy {
	account, err := x.deps.Store.Account(x.Account)
	if err != nil {
		c.Fail(fmt.Errorf("read account: %w", err))
	}
	return account.Strangers
}

const (
	// maxRequests bounds the contact requests from one node within requestWindow:
	// identities cost nothing, nodes hardly more.
	maxRequests   = 20
	requestWindow = time.Hour
	// maxRequestNodes bounds the nodes that are remembered.
	maxRequestNodes = 4096
)

// requestGuard counts the contact requests of each node. It is safe for
// concurrent use.
type requestGuard struct {
	mu    sync.Mutex
	nodes *lru.Table[identity.NodeKey, requestCount]
}

type requestCount struct {
	since time.Time
	n     int
}

func newRequestGuard() *requestGuard {
	return &requestGuard{nodes: lru.New[identity.NodeKey, requestCount](maxRequestNodes)}
}

// allow reports whether a request of a node may be looked at.
func (g *requestGuard) allow(node identity.NodeKey, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	count, ok := g.nodes.Peek(node)
	if !ok || now.Sub(count.since) >= requestWindow {
		count = requestCount{since: now}
	}
	count.n++
	g.nodes.Put(node, count)
	return count.n <= maxRequests
}

// unstoredFrames are the credits of frames whose operation the store has not
// answered. A contact actor owns it.
type unstoredFrames struct {
	asked    session.Credit
	answered []session.Credit
}

func (u *unstoredFrames) request(credit session.Credit) { u.asked = credit }

func (u *unstoredFrames) requestStored() {
	u.asked.Release()
	u.asked = session.Credit{}
}

func (u *unstoredFrames) answer(credit session.Credit) { u.answered = append(u.answered, credit) }

func (u *unstoredFrames) answerStored() {
	if len(u.answered) > 0 {
		u.answered[0].Release()
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
