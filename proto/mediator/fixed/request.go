// SPDX-License-Identifier: MPL-2.0

package fixed

import (
	"bufio"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Request is one of the requests below.
type Request interface {
	// Command returns the command that the request has on the wire.
	Command() Command
	payload
}

// GetNonce asks for a nonce to sign; the answer is a [Nonce]. There is one for each
// key, and anybody can have it replaced: a client whose nonce is refused asks again.
type GetNonce struct{ Identity identity.PublicKey }

// Auth logs in. Signature is that of identity.PrivateKey.SignServerNonce. All
// commands but GET_NONCE, AUTH and PING want it first.
type Auth struct {
	Identity  identity.PublicKey
	Nonce     [32]byte
	Signature identity.Signature
}

// Ping asks for a sign of life.
type Ping struct{}

// CreateChat makes a group chat; the answer is a [Chat]. Counter and Signature are
// those of identity.PrivateKey.SignChat over a nonce of its own.
type CreateChat struct {
	Owner       identity.PublicKey
	Nonce       [32]byte
	Counter     uint32
	Signature   identity.Signature
	Name        string // at most MaxName bytes, longer ones are cut
	Description string // at most MaxDescription bytes, longer ones are cut
	Avatar      []byte // at most MaxAvatar bytes, none when empty
}

// DeleteChat ends a group chat; only its owner can. The answer is a [Deleted].
type DeleteChat struct{ Chat ChatID }

// AddUser makes somebody a member without asking them, and undoes a ban. They get
// no key this way; see [SendInvite]. It takes an owner, admin or moderator.
type AddUser struct {
	Chat ChatID
	User identity.PublicKey
}

// DeleteUser bans a member, also the owner. It takes an owner, admin or moderator.
type DeleteUser struct {
	Chat ChatID
	User identity.PublicKey
}

// LeaveChat ends one's own membership. The owner cannot leave. Some refusals have
// the id 0, so the client waits for its timeout.
type LeaveChat struct{ Chat ChatID }

// GetUserChats asks for the chats that one is a member of; the answer is [Chats].
// Refusals have the id 0, as with [LeaveChat].
type GetUserChats struct{}

// SendMessage sends a message; the answer is a [LastMessage] with its id. A
// mediator refuses a guid that it knows, so the answer to a second try is an error
// also when the first one arrived.
type SendMessage struct {
	Chat ChatID
	GUID peer.GUID
	Blob []byte // sealed by package group
}

// DeleteMessage removes a message for everybody who has not fetched it yet. It takes
// an owner, admin or moderator.
type DeleteMessage struct {
	Chat    ChatID
	Message MessageID
}

// GetLastMessageID asks for the id of the latest message, a [LastMessage].
type GetLastMessageID struct{ Chat ChatID }

// Subscribe asks for pushes about a chat, on this stream. The answer is a
// [LastMessage], and a [RequestMemberInfo] follows. Members that may only read
// cannot.
type Subscribe struct{ Chat ChatID }

// GetMessagesSince asks for the messages with ids above Since, in order; the answer
// is [Messages]. After 24 hours a mediator forgets a message, and leaves it out. An
// answer above MaxAnswer is not read: ask for fewer.
type GetMessagesSince struct {
	Chat  ChatID
	Since MessageID
	Limit uint32 // 1 to MaxMessages
}

// SendInvite invites somebody, with the Data of group.Key.WrapGen2. There is one
// invite for each recipient and chat, for three days. It takes an owner, admin or
// moderator.
type SendInvite struct {
	Chat ChatID
	User identity.PublicKey
	Data []byte
}

// InviteResponse accepts or rejects an invite. When it was accepted a
// [RequestMemberInfo] follows.
type InviteResponse struct {
	Invite InviteID
	Accept bool
}

// UpdateMemberInfo tells the other members about oneself.
type UpdateMemberInfo struct {
	Chat ChatID
	Time int64  // of the profile, Unix seconds
	Info []byte // group.AppendProfile, sealed
}

// GetMembersInfo asks for what members told after a time in Unix seconds, 0 for all
// of it. The answer is [MembersInfo], with all members in it.
type GetMembersInfo struct {
	Chat  ChatID
	Since int64
}

// GetMembers asks who is a member; the answer is [Members].
type GetMembers struct{ Chat ChatID }

// Command returns CommandGetNonce.
func (*GetNonce) Command() Command { return CommandGetNonce }

// Command returns CommandAuth.
func (*Auth) Command() Command { return CommandAuth }

// Command returns CommandPing.
func (*Ping) Command() Command { return CommandPing }

// Command returns CommandCreateChat.
func (*CreateChat) Command() Command { return CommandCreateChat }

// Command returns CommandDeleteChat.
func (*DeleteChat) Command() Command { return CommandDeleteChat }

// Command returns CommandAddUser.
func (*AddUser) Command() Command { return CommandAddUser }

// Command returns CommandDeleteUser.
func (*DeleteUser) Command() Command { return CommandDeleteUser }

// Command returns CommandLeaveChat.
func (*LeaveChat) Command() Command { return CommandLeaveChat }

// Command returns CommandGetUserChats.
func (*GetUserChats) Command() Command { return CommandGetUserChats }

// Command returns CommandSendMessage.
func (*SendMessage) Command() Command { return CommandSendMessage }

// Command returns CommandDeleteMessage.
func (*DeleteMessage) Command() Command { return CommandDeleteMessage }

// Command returns CommandGetLastMessageID.
func (*GetLastMessageID) Command() Command { return CommandGetLastMessageID }

// Command returns CommandSubscribe.
func (*Subscribe) Command() Command { return CommandSubscribe }

// Command returns CommandGetMessagesSince.
func (*GetMessagesSince) Command() Command { return CommandGetMessagesSince }

// Command returns CommandSendInvite.
func (*SendInvite) Command() Command { return CommandSendInvite }

// Command returns CommandInviteResponse.
func (*InviteResponse) Command() Command { return CommandInviteResponse }

// Command returns CommandUpdateMemberInfo.
func (*UpdateMemberInfo) Command() Command { return CommandUpdateMemberInfo }

// Command returns CommandGetMembersInfo.
func (*GetMembersInfo) Command() Command { return CommandGetMembersInfo }

// Command returns CommandGetMembers.
func (*GetMembers) Command() Command { return CommandGetMembers }

func (q *GetNonce) fields(f *fields) { f.key("key", &q.Identity) }

func (q *Auth) fields(f *fields) {
	f.key("key", &q.Identity)
	f.fixed("nonce", q.Nonce[:])
	f.fixed("signature", q.Signature[:])
}

func (*Ping) fields(*fields) {}

func (q *CreateChat) fields(f *fields) {
	f.key("owner", &q.Owner)
	f.fixed("nonce", q.Nonce[:])
	f.uint32("counter", &q.Counter)
	f.fixed("signature", q.Signature[:])
	f.text("name", &q.Name, MaxName)
	f.text("description", &q.Description, MaxDescription)
	f.blob("avatar", &q.Avatar, MaxAvatar)
}

func (q *DeleteChat) fields(f *fields) { number(f, "chat", &q.Chat) }

func (q *AddUser) fields(f *fields) {
	number(f, "chat", &q.Chat)
	f.key("user", &q.User)
}

func (q *DeleteUser) fields(f *fields) {
	number(f, "chat", &q.Chat)
	f.key("user", &q.User)
}

func (q *LeaveChat) fields(f *fields) { number(f, "chat", &q.Chat) }

func (*GetUserChats) fields(*fields) {}

func (q *SendMessage) fields(f *fields) {
	number(f, "chat", &q.Chat)
	number(f, "guid", &q.GUID)
	f.blob("message", &q.Blob, anyBlob)
}

func (q *DeleteMessage) fields(f *fields) {
	number(f, "chat", &q.Chat)
	number(f, "message", &q.Message)
}

func (q *GetLastMessageID) fields(f *fields) { number(f, "chat", &q.Chat) }

func (q *Subscribe) fields(f *fields) { number(f, "chat", &q.Chat) }

func (q *GetMessagesSince) fields(f *fields) {
	number(f, "chat", &q.Chat)
	number(f, "message", &q.Since)
	f.uint32("limit", &q.Limit)
}

func (q *SendInvite) fields(f *fields) {
	number(f, "chat", &q.Chat)
	f.key("user", &q.User)
	f.blob("invite", &q.Data, anyBlob)
}

func (q *InviteResponse) fields(f *fields) {
	number(f, "invite", &q.Invite)
	f.flag("accept", &q.Accept)
}

func (q *UpdateMemberInfo) fields(f *fields) {
	number(f, "chat", &q.Chat)
	number(f, "time", &q.Time)
	f.blob("member info", &q.Info, anyBlob)
}

func (q *GetMembersInfo) fields(f *fields) {
	number(f, "chat", &q.Chat)
	number(f, "time", &q.Since)
}

func (q *GetMembers) fields(f *fields) { number(f, "chat", &q.Chat) }

// requests makes an empty request of every command.
var requests = map[Command]func() Request{
	CommandGetNonce:         func() Request { return &GetNonce{} },
	CommandAuth:             func() Request { return &Auth{} },
	CommandPing:             func() Request { return &Ping{} },
	CommandCreateChat:       func() Request { return &CreateChat{} },
	CommandDeleteChat:       func() Request { return &DeleteChat{} },
	CommandAddUser:          func() Request { return &AddUser{} },
	CommandDeleteUser:       func() Request { return &DeleteUser{} },
	CommandLeaveChat:        func() Request { return &LeaveChat{} },
	CommandGetUserChats:     func() Request { return &GetUserChats{} },
	CommandSendMessage:      func() Request { return &SendMessage{} },
	CommandDeleteMessage:    func() Request { return &DeleteMessage{} },
	CommandGetLastMessageID: func() Request { return &GetLastMessageID{} },
	CommandSubscribe:        func() Request { return &Subscribe{} },
	CommandGetMessagesSince: func() Request { return &GetMessagesSince{} },
	CommandSendInvite:       func() Request { return &SendInvite{} },
	CommandInviteResponse:   func() Request { return &InviteResponse{} },
	CommandUpdateMemberInfo: func() Request { return &UpdateMemberInfo{} },
	CommandGetMembersInfo:   func() Request { return &GetMembersInfo{} },
	CommandGetMembers:       func() Request { return &GetMembers{} },
}

// AppendRequest appends a whole request. The answer has the same id. Apps draw ids
// from 1 to 65535, ours begin at [FirstID].
func AppendRequest(b []byte, id uint16, q Request) []byte {
	b, start := wire.AppendServerFrame(append(b, version), byte(q.Command()), id)
	return wire.FinishServerFrame(appendPayload(b, q), start)
}

// Call is a request as it came, before its fields are looked at: a wrong field
// spoils the request, not the stream.
type Call struct {
	Command Command
	ID      uint16
	payload []byte
}

// ReadCall reads a request. A violation, or an error of the stream, ends the stream.
func ReadCall(src *bufio.Reader) (Call, error) {
	r := wire.NewReader(src)
	if got := r.Uint8(); r.Err() == nil && got != version {
		return Call{}, wire.NewViolation(wire.CodeVersion, "request of version %d", got)
	}
	command, id, payload := r.ServerFrame("request", MaxRequest)
	switch {
	case r.Err() != nil:
		return Call{}, r.Err()
	case requests[Command(command)] == nil:
		return Call{}, wire.NewViolation(wire.CodeCommand, "command %d", command)
	}
	return Call{Command: Command(command), ID: id, payload: payload}, nil
}

// Parse reads the fields of a call. Blobs point into the call. Errors are
// violations.
func (c Call) Parse() (Request, error) {
	empty := requests[c.Command]
	if empty == nil {
		return nil, wire.NewViolation(wire.CodeCommand, "command %d", c.Command)
	}
	q := empty()
	if err := parsePayload(c.payload, q); err != nil {
		return nil, err
	}
	return q, nil
}
