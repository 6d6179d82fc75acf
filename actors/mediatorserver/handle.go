// SPDX-License-Identifier: MPL-2.0

package mediatorserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

const (
	// maxProfile is the largest profile of a member. Ours: the app's picture and texts.
	maxProfile = wire.MaxMemberAvatar + 64<<10
	// maxPage bounds an answer with messages or profiles. A page may end early, but has at
	// least one message; a profile that does not fit is left out, as one that has not
	// changed.
	maxPage = 7 << 20
	// maxIDs is how many ids of groups are tried.
	maxIDs = 8
)

func refuseText(text string) error { return &mediator.ServerError{Text: text} }

// textWithoutLogin is what a command is refused with before the login.
func textWithoutLogin(command mediator.Command) string {
	switch command {
	case mediator.CommandCreateChat:
		return mediator.TextNotAuthenticated
	case mediator.CommandDeleteChat:
		return mediator.TextNotOwner
	}
	return mediator.TextAuthRequired
}

// needsLogin reports whether a command is refused before the login, whatever it says.
// DELETE_CHAT is looked at first.
func needsLogin(command mediator.Command) bool {
	switch command {
	case mediator.CommandGetNonce, mediator.CommandAuth, mediator.CommandPing, mediator.CommandDeleteChat:
		return false
	}
	return command.String() != "UNKNOWN"
}

// handle answers a request. An error ends the connection; a refusal does not.
func (c *client) handle(ctx context.Context, call mediator.Call) error {
	if call.Command == mediator.CommandPing { // whatever it says
		return c.out.answer(ctx, mediator.AppendOK(nil, call.ID, nil))
	}
	var answered mediator.Result
	var err error
	if c.user.IsZero() && needsLogin(call.Command) {
		err = refuseText(textWithoutLogin(call.Command))
	}
	var q mediator.Request
	if err == nil {
		q, err = call.Parse()
	}
	if err == nil {
		answered, err = c.fulfil(ctx, call.ID, q)
	}
	if errors.Is(err, errAnswered) {
		return nil
	}
	if text, ok := refusalOf(err); ok {
		return c.out.answer(ctx, mediator.AppendError(nil, call.ID, text))
	}
	if err != nil {
		return err
	}
	return c.out.answer(ctx, mediator.AppendOK(nil, call.ID, answered))
}

// errAnswered says that a request was answered by who handled it.
var errAnswered = errors.New("answered")

// refusalOf returns the text for the client when an error is one that it should see.
func refusalOf(err error) (string, bool) {
	if refused, ok := errors.AsType[*mediator.ServerError](err); ok {
		return refused.Text, true
	}
	switch {
	case errors.Is(err, store.ErrDiskFull):
		return mediator.TextMediatorQuota, true
	case errors.Is(err, store.ErrBusy):
		return mediator.TextBusy, true
	case errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrNotFound):
		return mediator.TextDatabaseError, true
	}
	return "", false
}

// fulfil does what a request asks for.
func (c *client) fulfil(ctx context.Context, id uint16, q mediator.Request) (mediator.Result, error) {
	switch q := q.(type) {
	case *mediator.GetNonce:
		return c.giveNonce(q.Identity), nil
	case *mediator.Auth:
		return nil, c.authenticate(ctx, id, q)
	case *mediator.Subscribe:
		return nil, c.subscribe(ctx, id, q)
	case *mediator.GetUserChats:
		groups, err := c.server.deps.Store.MediatorGroupsOf(c.user)
		return &mediator.Chats{Chats: groups}, err
	case *mediator.GetLastMessageID:
		if err := c.checkMember(q.Chat); err != nil {
			return nil, err
		}
		last, err := c.server.deps.Store.MediatorLast(q.Chat)
		return &mediator.LastMessage{Message: last}, err
	case *mediator.GetMessagesSince:
		return nil, c.history(ctx, id, q)
	case *mediator.GetMembersInfo:
		return nil, c.profiles(ctx, id, q)
	case *mediator.GetMembers:
		return nil, c.members(ctx, id, q)
	}
	return c.change(ctx, q)
}

// giveNonce draws a nonce that clients with a guard sign: not one that could be a key.
func (c *client) giveNonce(user identity.PublicKey) mediator.Result {
	fresh := nonce{user: user, nonce: random32()}
	for identity.IsCurvePoint(fresh.nonce) || identity.IsSealed(fresh.nonce) {
		fresh.nonce = random32()
	}
	c.nonces = slices.DeleteFunc(c.nonces, func(n nonce) bool { return n.user == user })
	if len(c.nonces) == maxNonces {
		c.nonces = slices.Delete(c.nonces, 0, 1)
	}
	c.nonces = append(c.nonces, fresh)
	return &mediator.Nonce{Nonce: fresh.nonce}
}

// random32 returns 32 random bytes.
func random32() (b [32]byte) {
	_, _ = rand.Read(b[:]) // never fails
	return b
}

func (c *client) nonceOf(user identity.PublicKey) (nonce, bool) {
	i := slices.IndexFunc(c.nonces, func(n nonce) bool { return n.user == user })
	if i < 0 {
		return nonce{}, false
	}
	return c.nonces[i], true
}

func (c *client) forgetNonce(user identity.PublicKey) {
	c.nonces = slices.DeleteFunc(c.nonces, func(n nonce) bool { return n.user == user })
}

func (c *client) authenticate(ctx context.Context, id uint16, q *mediator.Auth) error {
	issued, ok := c.nonceOf(q.Identity)
	switch {
	case !ok:
		return refuseText(mediator.TextUnknownNonce)
	case issued.nonce != q.Nonce:
		return refuseText(mediator.TextNonceMismatch)
	}
	if err := signatureText(q.Identity.VerifyChallenge(identity.Challenge(q.Nonce), q.Signature)); err != nil {
		return err
	}
	c.forgetNonce(q.Identity)
	in, err := kernel.Ask[loggedIn](ctx, c.server.actor, login{c, q.Identity})
	if err != nil {
		return err
	}
	c.user, c.login = q.Identity, in.account
	if err := c.out.answer(ctx, mediator.AppendOK(nil, id, nil)); err != nil {
		return err
	}
	for _, invite := range in.invites {
		f, err := inviteFrame(c.server.deps.Store, c.server.shared, invite)
		if errors.Is(err, store.ErrNotFound) {
			continue // the group was deleted; the invite expires
		}
		if err != nil {
			return err
		}
		c.push(f)
	}
	return errAnswered
}

// signatureText turns what is wrong with a signature into the text of the protocol.
func signatureText(err error) error {
	switch {
	case errors.Is(err, identity.ErrInvalidKey):
		return refuseText(mediator.TextInvalidPublicKey)
	case err != nil:
		return refuseText(mediator.TextInvalidSignature)
	}
	return nil
}

func (c *client) subscribe(ctx context.Context, id uint16, q *mediator.Subscribe) error {
	in, err := kernel.Ask[subscribed](ctx, c.server.actor, subscribe{c, q.Chat})
	if err != nil {
		return err
	}
	if err := c.out.answer(ctx, mediator.AppendOK(nil, id, &mediator.LastMessage{Message: in.last})); err != nil {
		return err
	}
	c.push(pushFrame(c.server.shared, &mediator.RequestMemberInfo{Chat: q.Chat, LastUpdate: in.changed}))
	return errAnswered
}

// checkMember refuses who is not a member of a group. A read-only member is one.
func (c *client) checkMember(group mediator.ChatID) error {
	member, err := c.server.deps.Store.MediatorMember(group, c.user)
	if errors.Is(err, store.ErrNotFound) || err == nil && member.Banned {
		return refuseText(mediator.TextNotMemberOrBanned)
	}
	return err
}

// large answers with what may take much memory. build puts it together, and knows before
// how large it is at most.
func (c *client) large(ctx context.Context, id uint16, size int, build func() (mediator.Result, error)) error {
	if err := c.server.answers.Acquire(ctx, int64(size)); err != nil {
		return err
	}
	defer c.server.answers.Release(int64(size))
	answered, err := c.working(ctx, build)
	if err != nil {
		return err
	}
	if err := c.out.answer(ctx, mediator.AppendOK(nil, id, answered)); err != nil {
		return err
	}
	if size > maxAnswerBytes {
		err = c.out.drained(ctx)
	}
	return errors.Join(errAnswered, err)
}

// working bounds how many answers are put together at a time.
func (c *client) working(ctx context.Context, build func() (mediator.Result, error)) (mediator.Result, error) {
	select {
	case c.server.reads <- struct{}{}:
		defer func() { <-c.server.reads }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return build()
}

func (c *client) history(ctx context.Context, id uint16, q *mediator.GetMessagesSince) error {
	if q.Limit == 0 || q.Limit > mediator.MaxMessages {
		return refuseText(mediator.TextLimit)
	}
	if err := c.checkMember(q.Chat); err != nil {
		return err
	}
	s, limit := c.server.deps.Store, int(q.Limit)
	size, err := s.MediatorMessagesSize(q.Chat, q.Since, limit)
	if err != nil {
		return err
	}
	size = max(min(size, maxPage), c.server.opts.MaxMessage+store.MediatorOverhead)
	if size <= maxAnswerBytes {
		size = 1
	}
	return c.large(ctx, id, size, func() (mediator.Result, error) {
		found, err := s.MediatorMessages(q.Chat, q.Since, limit, maxPage)
		page := &mediator.Messages{Messages: make([]mediator.Message, 0, len(found))}
		for _, m := range found {
			page.Messages = append(page.Messages, wireMessage(m))
		}
		return page, err
	})
}

const (
	// memberSize is what a member takes in an answer and while it is put together,
	// memberWire in the answer alone.
	memberSize = 256
	memberWire = 64
)

func (c *client) members(ctx context.Context, id uint16, q *mediator.GetMembers) error {
	size, err := c.memberListSize(q.Chat)
	if err != nil {
		return err
	}
	here, err := kernel.Ask[map[identity.PublicKey]bool](ctx, c.server.actor, online{q.Chat})
	if err != nil {
		return err
	}
	return c.large(ctx, id, size, func() (mediator.Result, error) {
		list := &mediator.Members{}
		for m, err := range c.server.deps.Store.MediatorMembers(q.Chat) {
			if err != nil {
				return nil, err
			}
			if !m.Banned {
				list.Members = append(list.Members, mediator.Member{User: m.User, Permissions: m.Permissions, Online: here[m.User], LastSeen: m.LastSeen})
			}
		}
		return list, nil
	})
}

// memberListSize refuses who is not a member, and returns what a list of all takes.
func (c *client) memberListSize(group mediator.ChatID) (int, error) {
	if err := c.checkMember(group); err != nil {
		return 0, err
	}
	_, usage, err := c.server.deps.Store.MediatorGroup(group)
	return memberSize * (1 + int(usage.Members)), err //nolint:gosec // a count
}

func (c *client) profiles(ctx context.Context, id uint16, q *mediator.GetMembersInfo) error {
	size, err := c.memberListSize(q.Chat)
	if err != nil {
		return err
	}
	since := int64(0)
	if q.Since != nil {
		since = *q.Since
	}
	return c.large(ctx, id, size+maxPage, func() (mediator.Result, error) {
		list, left := &mediator.MembersInfo{}, maxPage-size/memberSize*memberWire
		for m, err := range c.server.deps.Store.MediatorMembers(q.Chat) {
			if err != nil {
				return nil, err
			}
			if m.Banned {
				continue
			}
			info := mediator.MemberInfo{User: m.User, Time: m.Changed}
			// The reference compares as unsigned numbers.
			if m.Profile > 0 && int(m.Profile) <= left && (since == 0 || uint64(m.Changed) > uint64(since)) { //nolint:gosec // see above
				if info.Info, err = c.server.deps.Store.MediatorProfile(q.Chat, m.User); err != nil {
					return nil, err
				}
				left -= len(info.Info)
			}
			list.Members = append(list.Members, info)
		}
		return list, nil
	})
}

// change does what a request asks for that changes something.
func (c *client) change(ctx context.Context, q mediator.Request) (mediator.Result, error) {
	if c.login != nil {
		if err := c.login.limit.Wait(ctx); err != nil {
			return nil, err
		}
	}
	limits := c.server.opts.Limits
	by := func(group mediator.ChatID) store.MediatorChange {
		return store.MediatorChange{
			Mediator: identity.PublicKey(c.server.deps.Key.Key()), Group: group, Actor: c.user, Random: random32(), Limits: limits,
		}
	}
	var op store.Op
	switch q := q.(type) {
	case *mediator.CreateChat:
		return c.create(ctx, q)
	case *mediator.DeleteChat:
		_, err := c.do(ctx, store.DeleteMediatorGroup{Group: q.Chat, Actor: c.user})
		return &mediator.Deleted{}, err
	case *mediator.SendMessage:
		return c.send(ctx, q)
	case *mediator.UpdateChatInfo:
		if err := checkInfo(q); err != nil {
			return nil, err
		}
		op = store.UpdateMediatorGroup{MediatorChange: by(q.Chat), Name: q.Name, Description: q.Description, Avatar: bytes.Clone(q.Avatar)}
	case *mediator.AddUser:
		op = store.AddMediatorMember{MediatorChange: by(q.Chat), User: q.User}
	case *mediator.DeleteUser:
		op = store.BanMediatorMember{MediatorChange: by(q.Chat), User: q.User}
	case *mediator.LeaveChat:
		op = store.LeaveMediatorGroup{MediatorChange: by(q.Chat)}
	case *mediator.ChangeMemberStatus:
		op = store.ChangeMediatorRole{MediatorChange: by(q.Chat), User: q.User, Permissions: q.Permissions}
	case *mediator.DeleteMessage:
		op = store.DeleteMediatorMessage{MediatorChange: by(q.Chat), GUID: int64(q.GUID)}
	case *mediator.SendInvite:
		if len(q.Data) > wire.MaxInviteData {
			return nil, refuseText(mediator.TextFieldTooLarge)
		}
		op = store.SendMediatorInvite{Group: q.Chat, Actor: c.user, User: q.User, Data: q.Data, Limits: limits}
	case *mediator.InviteResponse:
		op = store.AnswerMediatorInvite{
			Mediator: identity.PublicKey(c.server.deps.Key.Key()), ID: q.Invite, User: c.user, Accept: q.Accept, Random: random32(), Limits: limits,
		}
	case *mediator.UpdateMemberInfo:
		if len(q.Info) > maxProfile {
			return nil, refuseText(mediator.TextFieldTooLarge)
		}
		op = store.UpdateMediatorProfile{Group: q.Chat, User: c.user, Profile: q.Info, Time: q.Time, Limits: limits}
	default:
		return nil, refuseText(mediator.TextUnknownCommand)
	}
	_, err := c.do(ctx, op)
	return nil, err
}

// do has the store carry out an operation, and returns when it is durable and its pushes
// are queued.
func (c *client) do(ctx context.Context, op store.Op) (any, error) {
	done, err := kernel.Ask[result](ctx, c.server.actor, write{c, op})
	return done.value, err
}

func checkInfo(q *mediator.UpdateChatInfo) error {
	switch {
	case q.Name == nil && q.Description == nil && q.Avatar == nil:
		return refuseText(mediator.TextNoFields)
	case q.Name != nil && utf8.RuneCountInString(*q.Name) > wire.MaxGroupName:
		return refuseText(mediator.TextNameTooLong)
	case q.Description != nil && utf8.RuneCountInString(*q.Description) > wire.MaxGroupDescription:
		return refuseText(mediator.TextDescriptionLong)
	case len(q.Avatar) > wire.MaxGroupAvatar:
		return refuseText(mediator.TextAvatarTooLarge)
	}
	return nil
}

func (c *client) send(ctx context.Context, q *mediator.SendMessage) (mediator.Result, error) {
	if len(q.Blob) > c.server.opts.MaxMessage {
		return nil, refuseText(mediator.TextMessageTooLarge)
	}
	value, err := c.do(ctx, store.SendMediatorMessage{
		Group: q.Chat, Author: c.user, GUID: int64(q.GUID), Time: q.Time, Blob: q.Blob, Limits: c.server.opts.Limits,
	})
	sent, ok := value.(store.MediatorSent)
	if err == nil && !ok {
		err = fmt.Errorf("the store answered with %T", value)
	}
	if err != nil {
		return nil, err
	}
	return &mediator.Sent{GUID: peer.GUID(sent.Message.GUID), Message: sent.Message.ID}, nil
}

// create checks the proof of work and creates a group.
func (c *client) create(ctx context.Context, q *mediator.CreateChat) (mediator.Result, error) {
	issued, ok := c.nonceOf(c.user)
	switch {
	case q.Owner != c.user:
		return nil, refuseText(mediator.TextKeysMismatch)
	case utf8.RuneCountInString(q.Name) > wire.MaxGroupName, utf8.RuneCountInString(q.Description) > wire.MaxGroupDescription,
		len(q.Avatar) > wire.MaxGroupAvatar:
		return nil, refuseText(mediator.TextFieldTooLarge)
	case !ok || issued.nonce != q.Nonce:
		return nil, refuseText(mediator.TextUnknownNonce)
	case q.Signature[0] != 0 || q.Signature[1] != 0:
		return nil, refuseText(mediator.TextProofOfWork)
	}
	if err := signatureText(c.user.VerifyChat(q.Nonce, q.Counter, q.Signature)); err != nil {
		return nil, err
	}
	c.forgetNonce(c.user)
	if may := c.server.opts.Creators; may != nil && !slices.Contains(may, c.user) {
		return nil, refuseText(mediator.TextNotPermitted)
	}
	g := store.MediatorGroup{Owner: c.user, Name: q.Name, Description: q.Description, Avatar: bytes.Clone(q.Avatar)}
	for range maxIDs {
		draw := random32()
		if g.ID = mediator.ChatID(binary.BigEndian.Uint64(draw[:]) >> 1); g.ID == 0 {
			continue
		}
		created, err := c.do(ctx, store.CreateMediatorGroup{Group: g, Limits: c.server.opts.Limits})
		if err != nil {
			return nil, err
		}
		if created == true {
			return &mediator.Chat{Chat: g.ID}, nil
		}
	}
	return nil, refuseText(mediator.TextDatabaseError)
}
