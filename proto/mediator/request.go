// SPDX-License-Identifier: MPL-2.0

package mediator

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

// GetNonce asks for a nonce to sign; the answer is a [Nonce]. A mediator keeps one for
// each identity, and anybody can replace it: a client whose nonce is refused retries.
type GetNonce struct{ Identity identity.PublicKey }

// Auth logs in. Signature is that of identity.PrivateKey.SignServerNonce. Every
// command except GET_NONCE, AUTH and PING requires it. A second login with the same
// identity over the same node key ends the earlier connection.
type Auth struct {
	Identity  identity.PublicKey
	Nonce     [32]byte
	Signature identity.Signature
}

// Ping keeps the connection alive: a mediator closes it after 300 s without a byte.
type Ping struct{}

// CreateChat creates a group; the answer is a [Chat]. Counter and Signature are those
// of identity.PrivateKey.SignChat over a nonce that was asked for this purpose.
type CreateChat struct {
	Owner       identity.PublicKey
	Nonce       [32]byte
	Counter     uint32
	Signature   identity.Signature
	Name        string // at most wire.MaxGroupName characters, a longer one is cut
	Description string // at most wire.MaxGroupDescription characters, a longer one is cut
	Avatar      []byte // at most wire.MaxGroupAvatar bytes, nil for none
}

// DeleteChat ends a group; only its creator may. The answer is a [Deleted].
type DeleteChat struct{ Chat ChatID }

// UpdateChatInfo changes what is not nil, of which there is at least one. It requires
// an owner or admin. An empty Avatar removes the picture.
type UpdateChatInfo struct {
	Chat        ChatID
	Name        *string // limits as in [CreateChat]
	Description *string
	Avatar      []byte
}

// AddUser makes somebody a member without their consent and lifts a ban. The group's
// key is not delivered this way; see [SendInvite]. It requires an owner, admin or
// moderator.
type AddUser struct {
	Chat ChatID
	User identity.PublicKey
}

// DeleteUser bans a member, even the owner. It requires an owner, admin or moderator.
type DeleteUser struct {
	Chat ChatID
	User identity.PublicKey
}

// LeaveChat ends one's own membership. The owner cannot leave.
type LeaveChat struct{ Chat ChatID }

// GetUserChats asks for the groups of the identity; the answer is [Chats]. It is
// expensive for the mediator.
type GetUserChats struct{}

// SendMessage sends a message; the answer is a [Sent]. A retry with the same guid and
// the same time is idempotent; the same guid with another time is stored again under
// another guid.
type SendMessage struct {
	Chat ChatID
	GUID peer.GUID
	Time *int64 // Unix seconds; when nil the mediator's time, and a retry stores twice
	Blob []byte // sealed by package group
}

// DeleteMessage deletes a message for everybody. It requires the author or an owner,
// admin or moderator.
type DeleteMessage struct {
	Chat ChatID
	GUID peer.GUID
}

// GetLastMessageID asks for the highest id in a group, a [LastMessage].
type GetLastMessageID struct{ Chat ChatID }

// Subscribe asks for pushes about a group on this connection. The answer is a
// [LastMessage], and a [RequestMemberInfo] is pushed. Read-only members are refused.
// The mediator reads the id before it registers the subscription, so a client fetches
// once after every Subscribe, whatever the id is.
type Subscribe struct{ Chat ChatID }

// GetMessagesSince asks for the messages with ids above Since, ascending; the answer
// is [Messages]. When the answer is too large for [ReadAnswer], ask for fewer.
type GetMessagesSince struct {
	Chat  ChatID
	Since MessageID
	Limit uint32 // 1 to MaxMessages
}

// SendInvite invites somebody, with the Data of group.Key.Wrap. A mediator keeps one
// invite for each recipient and group, for three days, and refuses another one within
// an hour. It requires an owner, admin or moderator.
type SendInvite struct {
	Chat ChatID
	User identity.PublicKey
	Data []byte
}

// InviteResponse accepts or declines an invite to this identity. Accepting lifts a ban.
type InviteResponse struct {
	Invite InviteID
	Accept bool
}

// UpdateMemberInfo publishes one's own profile to the other members.
type UpdateMemberInfo struct {
	Chat ChatID
	Info []byte // group.AppendProfile, sealed; empty removes it
	Time int64  // of the profile, Unix seconds
}

// GetMembersInfo asks for the profiles that changed after Since. The answer is
// [MembersInfo] and lists all members, without Info where it is not newer.
type GetMembersInfo struct {
	Chat  ChatID
	Since *int64 // Unix seconds; nil or 0 for all
}

// GetMembers asks who is a member; the answer is [Members].
type GetMembers struct{ Chat ChatID }

// ChangeMemberStatus sets the role of another member. It requires an owner or admin,
// and an owner for an owner. Apps write one of PermissionAdmin, PermissionModerator
// and PermissionUser.
type ChangeMemberStatus struct {
	Chat        ChatID
	User        identity.PublicKey
	Permissions Permissions
}

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

// Command returns CommandUpdateChatInfo.
func (*UpdateChatInfo) Command() Command { return CommandUpdateChatInfo }

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

// Command returns CommandChangeMemberStatus.
func (*ChangeMemberStatus) Command() Command { return CommandChangeMemberStatus }

// The names of fields are those that the reference puts behind "missing or invalid",
// see [Call.Parse].

func (q *GetNonce) fields(f *fields) { f.key(tagPublicKey, "pubkey", &q.Identity) }

func (q *Auth) fields(f *fields) {
	f.key(tagPublicKey, "pubkey", &q.Identity)
	f.fixed(tagNonce, "nonce", q.Nonce[:])
	f.fixed(tagSignature, "signature", q.Signature[:])
}

func (*Ping) fields(*fields) {}

func (q *CreateChat) fields(f *fields) {
	f.key(tagPublicKey, "owner pubkey", &q.Owner)
	f.fixed(tagNonce, "nonce", q.Nonce[:])
	f.uint32(tagCounter, "counter", &q.Counter)
	f.fixed(tagSignature, "signature", q.Signature[:])
	f.requiredText(tagName, "chat name", &q.Name, wire.MaxGroupName)
	f.requiredText(tagDescription, "chat description", &q.Description, wire.MaxGroupDescription)
	f.optionalBlob(tagAvatar, &q.Avatar)
}

func (q *DeleteChat) fields(f *fields) { f.chat(&q.Chat) }

func (q *UpdateChatInfo) fields(f *fields) {
	f.chat(&q.Chat)
	f.optionalText(tagName, &q.Name, wire.MaxGroupName)
	f.optionalText(tagDescription, &q.Description, wire.MaxGroupDescription)
	f.optionalBlob(tagAvatar, &q.Avatar)
}

func (q *AddUser) fields(f *fields) {
	f.chat(&q.Chat)
	f.key(tagUser, "user pubkey", &q.User)
}

func (q *DeleteUser) fields(f *fields) {
	f.chat(&q.Chat)
	f.key(tagUser, "user pubkey", &q.User)
}

func (q *LeaveChat) fields(f *fields) { f.chat(&q.Chat) }

func (*GetUserChats) fields(*fields) {}

func (q *SendMessage) fields(f *fields) {
	f.chat(&q.Chat)
	number(f, tagGUID, "guid", &q.GUID)
	f.optionalNumber(tagTime, &q.Time)
	f.optionalBlob(tagBlob, &q.Blob)
}

func (q *DeleteMessage) fields(f *fields) {
	f.chat(&q.Chat)
	number(f, tagGUID, "message guid", &q.GUID)
}

func (q *GetLastMessageID) fields(f *fields) { f.chat(&q.Chat) }

func (q *Subscribe) fields(f *fields) { f.chat(&q.Chat) }

func (q *GetMessagesSince) fields(f *fields) {
	f.chat(&q.Chat)
	number(f, tagSince, "since message id", &q.Since)
	f.uint32(tagLimit, "limit", &q.Limit)
}

func (q *SendInvite) fields(f *fields) {
	f.chat(&q.Chat)
	f.key(tagUser, "to_pubkey", &q.User)
	f.optionalBlob(tagInviteData, &q.Data)
}

func (q *InviteResponse) fields(f *fields) {
	number(f, tagInvite, "invite id", &q.Invite)
	f.flag(tagAccepted, "accepted", &q.Accept)
}

func (q *UpdateMemberInfo) fields(f *fields) {
	f.chat(&q.Chat)
	f.optionalBlob(tagMemberInfo, &q.Info)
	number(f, tagTime, "timestamp", &q.Time)
}

func (q *GetMembersInfo) fields(f *fields) {
	f.chat(&q.Chat)
	f.optionalNumber(tagLastUpdate, &q.Since)
}

func (q *GetMembers) fields(f *fields) { f.chat(&q.Chat) }

func (q *ChangeMemberStatus) fields(f *fields) {
	f.chat(&q.Chat)
	f.key(tagUser, "user pubkey", &q.User)
	octet(f, tagPermissions, "perms", &q.Permissions)
}

func (f *fields) chat(v *ChatID) { number(f, tagChat, "chat id", v) }

// requests makes an empty request of every command.
var requests = map[Command]func() Request{
	CommandGetNonce:           func() Request { return &GetNonce{} },
	CommandAuth:               func() Request { return &Auth{} },
	CommandPing:               func() Request { return &Ping{} },
	CommandCreateChat:         func() Request { return &CreateChat{} },
	CommandDeleteChat:         func() Request { return &DeleteChat{} },
	CommandUpdateChatInfo:     func() Request { return &UpdateChatInfo{} },
	CommandAddUser:            func() Request { return &AddUser{} },
	CommandDeleteUser:         func() Request { return &DeleteUser{} },
	CommandLeaveChat:          func() Request { return &LeaveChat{} },
	CommandGetUserChats:       func() Request { return &GetUserChats{} },
	CommandSendMessage:        func() Request { return &SendMessage{} },
	CommandDeleteMessage:      func() Request { return &DeleteMessage{} },
	CommandGetLastMessageID:   func() Request { return &GetLastMessageID{} },
	CommandSubscribe:          func() Request { return &Subscribe{} },
	CommandGetMessagesSince:   func() Request { return &GetMessagesSince{} },
	CommandSendInvite:         func() Request { return &SendInvite{} },
	CommandInviteResponse:     func() Request { return &InviteResponse{} },
	CommandUpdateMemberInfo:   func() Request { return &UpdateMemberInfo{} },
	CommandGetMembersInfo:     func() Request { return &GetMembersInfo{} },
	CommandGetMembers:         func() Request { return &GetMembers{} },
	CommandChangeMemberStatus: func() Request { return &ChangeMemberStatus{} },
}

// AppendRequest appends a whole request. The answer has the same id, which clients
// count cyclically from 1 to 65535.
func AppendRequest(b []byte, id uint16, q Request) []byte {
	b, start := wire.AppendServerFrame(b, byte(q.Command()), id)
	return wire.FinishServerFrame(appendPayload(b, q), start)
}

// Call is a request as it arrived, before its fields are parsed: a wrong field fails
// the request, not the connection.
type Call struct {
	Command Command
	ID      uint16
	payload []byte
}

// ReadCall reads a request with a payload of at most limit bytes. An error ends the
// connection. An unknown command is not an error here, its request is answered.
func ReadCall(src *bufio.Reader, limit int) (Call, error) {
	r := wire.NewReader(src)
	command, id, payload := r.ServerFrame("request", limit)
	if r.Err() != nil {
		return Call{}, r.Err()
	}
	return Call{Command: Command(command), ID: id, payload: payload}, nil
}
