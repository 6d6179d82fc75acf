// SPDX-License-Identifier: MPL-2.0

package fixed

// SelectorClient is the first byte of a stream. It is not answered.
const SelectorClient byte = 0x00

const (
	version     = 1
	statusOK    = 0x00
	statusError = 0x01
)

// Limits in bytes. "Reference" is the Go mediator of November 2025 and the app at
// aef232c. Fields of an answer have no limits of their own: one member with a large
// picture does not hide the others.
const (
	// MaxRequest is the payload of a request. Reference.
	MaxRequest = 32 << 20
	// MaxAnswer is the payload of an answer or a push. Ours: a message that fills a
	// request comes back with 40 more bytes, and an answer holds several.
	MaxAnswer = 50 << 20
	// MaxName is the name of a new group chat. Reference.
	MaxName = 20
	// MaxDescription is the description of a new group chat. Reference.
	MaxDescription = 200
	// MaxAvatar is the picture of a new group chat. Reference.
	MaxAvatar = 200 << 10
)

// FirstID is the lowest id that a client should give to a request: below it are the
// push codes. Ours; ids then count up to 65535 and begin again.
const FirstID uint16 = 0x0100

// MaxMessages is the highest limit of a [GetMessagesSince].
const MaxMessages = 500

// ChatID is the mediator's id of a group chat, above 0.
type ChatID int64

// MessageID is the mediator's id of a message. They count from 1 in each chat, and
// some are missing. 0 is none.
type MessageID int64

// InviteID is the mediator's id of an invite.
type InviteID int64

// Command is what a request asks for.
type Command byte

// The commands.
const (
	CommandGetNonce         Command = 0x01
	CommandAuth             Command = 0x02
	CommandPing             Command = 0x03
	CommandCreateChat       Command = 0x10
	CommandDeleteChat       Command = 0x11
	CommandAddUser          Command = 0x20
	CommandDeleteUser       Command = 0x21
	CommandLeaveChat        Command = 0x22
	CommandGetUserChats     Command = 0x23
	CommandSendMessage      Command = 0x30
	CommandDeleteMessage    Command = 0x31
	CommandGetLastMessageID Command = 0x33
	CommandSubscribe        Command = 0x35
	CommandGetMessagesSince Command = 0x36
	CommandSendInvite       Command = 0x40
	CommandInviteResponse   Command = 0x42
	CommandUpdateMemberInfo Command = 0x50
	CommandGetMembersInfo   Command = 0x52
	CommandGetMembers       Command = 0x53
)

var commandNames = map[Command]string{
	CommandGetNonce:         "GET_NONCE",
	CommandAuth:             "AUTH",
	CommandPing:             "PING",
	CommandCreateChat:       "CREATE_CHAT",
	CommandDeleteChat:       "DELETE_CHAT",
	CommandAddUser:          "ADD_USER",
	CommandDeleteUser:       "DELETE_USER",
	CommandLeaveChat:        "LEAVE_CHAT",
	CommandGetUserChats:     "GET_USER_CHATS",
	CommandSendMessage:      "SEND_MESSAGE",
	CommandDeleteMessage:    "DELETE_MESSAGE",
	CommandGetLastMessageID: "GET_LAST_MESSAGE_ID",
	CommandSubscribe:        "SUBSCRIBE",
	CommandGetMessagesSince: "GET_MESSAGES_SINCE",
	CommandSendInvite:       "SEND_INVITE",
	CommandInviteResponse:   "INVITE_RESPONSE",
	CommandUpdateMemberInfo: "UPDATE_MEMBER_INFO",
	CommandGetMembersInfo:   "GET_MEMBERS_INFO",
	CommandGetMembers:       "GET_MEMBERS",
}

// String returns the protocol's name of a command, "UNKNOWN" for all others: a
// fixed set, fit for a metric label.
func (c Command) String() string {
	if name, ok := commandNames[c]; ok {
		return name
	}
	return "UNKNOWN"
}

// PushCode is what a mediator tells unasked.
type PushCode uint16

// The push codes.
const (
	PushGotMessage        PushCode = 0x0032
	PushGotInvite         PushCode = 0x0041
	PushRequestMemberInfo PushCode = 0x0051
	PushGotMemberInfo     PushCode = 0x0054
)

// Permissions are what a member may do: a set of bits, of which any that an action
// asks for suffices.
type Permissions byte

// The permissions. Who makes a chat has PermissionOwner and PermissionUser.
const (
	PermissionOwner     Permissions = 0x80
	PermissionAdmin     Permissions = 0x40
	PermissionModerator Permissions = 0x20
	PermissionUser      Permissions = 0x10
	PermissionReadOnly  Permissions = 0x08
	PermissionBanned    Permissions = 0x01
)

// HasAny reports whether any of the wanted bits is set.
func (p Permissions) HasAny(wanted Permissions) bool { return p&wanted != 0 }
