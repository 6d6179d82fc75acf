// SPDX-License-Identifier: MPL-2.0

package group

import (
	"errors"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/mediatorlink"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/wire"
)

// fetchPause is how long nothing is fetched because of a push after a fetch that brought
// nothing: a mediator that announces what it does not have is not asked for ever.
const (
	fetchPauseMin = time.Second
	fetchPauseMax = time.Minute
)

func (x *chat) reader() reader {
	return reader{deps: x.deps, mediator: identity.PublicKey(x.record.Mediator), key: x.secret, record: &x.record}
}

// onHistory gets a page of the history.
func (x *chat) onHistory(c *kernel.Context, a mediator.Answer, refused *mediator.ServerError) {
	if refused != nil {
		x.leaveTurn(c)
		if !x.refusedAsMember(refused) {
			x.backOff(c)
		}
		return
	}
	var page mediator.Messages
	if err := errors.Join(a.Parse(&page), checkPage(page.Messages, x.limit)); err != nil {
		x.malformed(c, err)
		return
	}
	crashpoint.At(crashpoint.AfterDecode)
	x.tries = 0
	asked := x.limit
	if len(page.Messages) > 0 {
		x.limit = min(x.limit*2, pageSize)
	}
	before, announced := x.position, x.last
	x.acceptPage(c, page.Messages)
	if x.accepting == 0 {
		x.leaveTurn(c)
	}
	x.last = max(x.last, x.position)
	if len(page.Messages) >= int(asked) {
		x.idleFetches = 0
		return // there may be more
	}
	x.historyDue = false
	if x.position > before {
		x.idleFetches = 0
	} else {
		x.pauseFetches(c)
	}
	if len(page.Messages) == 0 && announced < before && x.subscribed {
		x.readAgain(c, before-announced)
	}
	x.last = x.position
	if x.membersMoved {
		x.membersMoved, x.membersDue = false, true
	}
}

// pauseFetches lets nothing be fetched for a while, longer each time.
func (x *chat) pauseFetches(c *kernel.Context) {
	x.idleFetches++
	if x.idleFetches > 2 {
		x.mayFetch = false
		c.After(kernel.Backoff{Min: fetchPauseMin, Max: fetchPauseMax}.Delay(x.idleFetches-3), fetchDue{})
	}
}

// checkPage fails when a page of history is not what was asked for.
func checkPage(page []mediator.Message, limit uint32) error {
	if len(page) > int(limit) {
		return wire.NewViolation(wire.CodeValue, "%d messages, at most %d asked for", len(page), limit)
	}
	var last mediator.MessageID
	for _, m := range page {
		if m.ID <= last {
			return wire.NewViolation(wire.CodeValue, "message %d after message %d", m.ID, last)
		}
		last = m.ID
	}
	return nil
}

// readAgain reads the whole history again, because the mediator has lost a part of it and
// gives its numbers to other messages. It happens once for each connection.
func (x *chat) readAgain(c *kernel.Context, lost int64) {
	c.Log().Warn("mediator has lost a part of the history, reading it again", "server", x.record.Mediator.Short(), "contact", x.id.Short(), "count", lost)
	x.position, x.historyDue, x.resync = 0, true, true
	x.write(c, store.ResetGroupPosition{Account: x.account, Group: x.id}, func(c *kernel.Context, msg store.Written) {
		x.resync = false
		if msg.Err != nil {
			x.storeRefused(c, msg.Err)
			x.resynced(c)
		}
	})
}

// acceptPage gives a page to the store in parts.
func (x *chat) acceptPage(c *kernel.Context, page []mediator.Message) {
	r := x.reader()
	var part []store.GroupMessage
	size := 0
	flush := func() {
		if len(part) > 0 {
			x.accept(c, part, size)
			part, size = nil, 0
		}
	}
	for _, m := range page {
		if int64(m.ID) <= x.position {
			continue // came as a push meanwhile
		}
		read := r.read(m)
		x.noticeMember(read, false)
		part = append(part, read)
		if size += len(read.Payload); len(part) >= chunkMessages || size >= chunkBytes {
			flush()
		}
	}
	flush()
}

// accept gives messages to the store that follow the position, and moves it.
func (x *chat) accept(c *kernel.Context, messages []store.GroupMessage, size int) {
	since := x.position
	x.position = messages[len(messages)-1].Number
	x.accepting++
	x.acceptingBytes += size
	op := store.AcceptGroupMessages{
		Account: x.account, Group: x.id, Since: since, Upto: x.position, Messages: messages, Received: x.deps.nowMillis(),
	}
	x.write(c, op, func(c *kernel.Context, msg store.Written) {
		x.accepting--
		x.acceptingBytes -= size
		if msg.Err != nil {
			x.resync = true
			if !errors.Is(msg.Err, store.ErrPosition) { // which follows from another one
				x.storeRefused(c, msg.Err)
			}
		}
		if x.accepting > 0 {
			return
		}
		x.leaveTurn(c) // others are served in between
		if x.resync {
			x.resynced(c)
		}
	})
}

// resynced reads the position again, after the store has refused a part of what came.
func (x *chat) resynced(c *kernel.Context) {
	x.resync, x.historyDue = false, true
	if err := x.readPosition(); err != nil {
		c.Fail(err)
	}
}

// onTooLarge: the answer did not fit. A single message that does not fit is passed over; for
// the rest see [tooLarge].
func (x *chat) onTooLarge(c *kernel.Context, asked step) {
	switch {
	case asked == askProfiles:
		x.profilesDue = x.large.noteProfiles(x.deps.Now())
	case asked == askMembers:
		// Only members get an answer that is not a refusal.
		x.large.noteMembers(x.deps.Now())
		x.membersDue, x.checkDue, x.inDoubt, x.mayCheck = false, false, false, false
		c.After(checkPause, checkAllowed{})
	case asked != askHistory:
	case x.limit > 1:
		x.limit = 1
	default:
		c.Log().Warn("message is too large, passed over", "server", x.record.Mediator.Short(), "contact", x.id.Short(), "message", x.position+1)
		x.skip(c)
	}
}

// skip moves the position by one: the message behind it cannot be read.
func (x *chat) skip(c *kernel.Context) {
	since := x.position
	x.position++
	x.accepting++
	x.write(c, store.AcceptGroupMessages{Account: x.account, Group: x.id, Since: since, Upto: x.position}, func(c *kernel.Context, msg store.Written) {
		if x.accepting--; msg.Err != nil {
			x.storeRefused(c, msg.Err)
			x.resynced(c)
		}
	})
}

// onPushed gets a push about the group. Its place is free again in any case.
func (x *chat) onPushed(c *kernel.Context, msg mediatorlink.Pushed) {
	defer msg.Release()
	if !x.known {
		return
	}
	switch p := msg.Push.(type) {
	case *mediator.GotMessage:
		x.onMessage(c, p.Message)
	case *mediator.RequestMemberInfo:
		if p.LastUpdate < x.profileTime() {
			x.profileWanted = true
		}
	case *mediator.GotMemberInfo:
		if x.profiling >= maxProfiling {
			x.profilesDue = true
		} else {
			x.acceptProfiles(c, p.Members)
		}
	}
	x.next(c)
}

// onMessage gets a pushed message. It is stored only when it follows the position, so that
// no other one is missed; else the history is asked for.
func (x *chat) onMessage(c *kernel.Context, m mediator.Message) {
	number := int64(m.ID)
	system := x.reader().isSystem(m.Author)
	switch {
	case number == 0 && system:
		x.onFleeting(c, m)
		return
	case !x.record.State.IsActive():
		x.onOutsidePush(c, m, system) // a mediator goes on pushing to those who were banned
		return
	case number <= x.position:
		return
	case number != x.position+1 || x.historyDue || x.question == askHistory || !x.subscribed || x.resync,
		x.accepting >= maxUnstored || x.acceptingBytes+len(m.Blob) > maxUnstoredBytes:
		x.historyDue = true
		x.last = max(x.last, number)
		return
	}
	crashpoint.At(crashpoint.AfterDecode)
	x.idleFetches, x.last = 0, number
	read := x.reader().read(m)
	x.noticeMember(read, true)
	x.accept(c, []store.GroupMessage{read}, len(read.Payload))
}

// onFleeting gets what the mediator says and does not store.
func (x *chat) onFleeting(c *kernel.Context, m mediator.Message) {
	s, err := mediator.ParseSystem(m.Blob)
	if err != nil {
		return
	}
	switch s.Event {
	case mediator.EventMemberOnline:
		p := Presence{Online: s.Online}
		if !s.Online {
			p.LastSeen = time.Unix(min(max(s.Time, 0), x.deps.Now().Unix()), 0)
		}
		x.deps.Table.setPresent(x.conversation(), s.User, p)
	case mediator.EventChatDeleted:
		x.setState(c, store.GroupDeleted, x.record.Permissions, "The group was deleted.")
	}
}

// noticeMember notes what a message says about members, ourselves among them. What was said
// before we asked who is a member may not be true any more.
func (x *chat) noticeMember(m store.GroupMessage, live bool) {
	if m.Member == nil {
		return
	}
	if m.Member.Member == x.account {
		x.checkDue = true
	}
	if !live {
		x.membersMoved = true
	}
}
