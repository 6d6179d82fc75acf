// SPDX-License-Identifier: MPL-2.0

package mediator

// Port is the port of a mediator on the overlay.
const Port = 42

// Opening are the first bytes of a connection: the version, and the protocol
// "client". The mediator does not answer them, and drops a connection that begins
// otherwise.
var Opening = [2]byte{0x01, 0x00}

// Status is the first byte of what a mediator sends.
type Status byte

// The statuses.
const (
	StatusOK    Status = 0x00
	StatusError Status = 0x01
	StatusPush  Status = 0x02
)

// MaxMessages is the highest limit of a [GetMessagesSince].
const MaxMessages = 500

// ChatID is the mediator's id of a group, above 0.
type ChatID int64

// MessageID is the mediator's id of a message. Ids ascend from 1 within a group, with
// gaps where messages were deleted, and are never reused. 0 is none.
type MessageID int64

// InviteID is the mediator's id of an invite.
type InviteID int64

// Command is the kind of a request.
type Command byte

// The commands.
const (
	CommandGetNonce           Command = 0x01
	CommandAuth               Command = 0x02
	CommandPing               Command = 0x03
	CommandCreateChat         Command = 0x10
	CommandDeleteChat         Command = 0x11
	CommandUpdateChatInfo     Command = 0x12
	CommandAddUser            Command = 0x20
	CommandDeleteUser         Command = 0x21
	CommandLeaveChat          Command = 0x22
	CommandGetUserChats       Command = 0x23
	CommandSendMessage        Command = 0x30
	CommandDeleteMessage      Command = 0x31
	CommandGetLastMessageID   Command = 0x33
	CommandSubscribe          Command = 0x35
	CommandGetMessagesSince   Command = 0x36
	CommandSendInvite         Command = 0x40
	CommandInviteResponse     Command = 0x42
	CommandUpdateMemberInfo   Command = 0x50
	CommandGetMembersInfo     Command = 0x52
	CommandGetMembers         Command = 0x53
	CommandChangeMemberStatus Command = 0x55
)

var commandNames = map[Command]string{
	CommandGetNonce:           "GET_NONCE",
	CommandAuth:               "AUTH",
	CommandPing:               "PING",
	CommandCreateChat:         "CREATE_CHAT",
	CommandDeleteChat:         "DELETE_CHAT",
	CommandUpdateChatInfo:     "UPDATE_CHAT_INFO",
	CommandAddUser:            "ADD_USER",
	CommandDeleteUser:         "DELETE_USER",
	CommandLeaveChat:          "LEAVE_CHAT",
	CommandGetUserChats:       "GET_USER_CHATS",
	CommandSendMessage:        "SEND_MESSAGE",
	CommandDeleteMessage:      "DELETE_MESSAGE",
	CommandGetLastMessageID:   "GET_LAST_MESSAGE_ID",
	CommandSubscribe:          "SUBSCRIBE",
	CommandGetMessagesSince:   "GET_MESSAGES_SINCE",
	CommandSendInvite:         "SEND_INVITE",
	CommandInviteResponse:     "INVITE_RESPONSE",
	CommandUpdateMemberInfo:   "UPDATE_MEMBER_INFO",
	CommandGetMembersInfo:     "GET_MEMBERS_INFO",
	CommandGetMembers:         "GET_MEMBERS",
	CommandChangeMemberStatus: "CHANGE_MEMBER_STATUS",
}

// String returns the protocol's name of a command, "UNKNOWN" for all others: a
// fixed set, fit for a metric label.
func (c Command) String() string {
	if name, ok := commandNames[c]; ok {
		return name
	}
	return "UNKNOWN"
}

// PushCode is the kind of a push. It stands where an answer has its request id.
type PushCode uint16

// The push codes.
const (
	PushGotMessage        PushCode = 0x0032
	PushGotInvite         PushCode = 0x0041
	PushRequestMemberInfo PushCode = 0x0051
	PushGotMemberInfo     PushCode = 0x0054
)

// The tags of fields. Package wire has their form.
const (
	tagPublicKey   = 0x01
	tagSignature   = 0x02
	tagNonce       = 0x03
	tagCounter     = 0x04
	tagChat        = 0x10
	tagMessage     = 0x11
	tagGUID        = 0x12
	tagInvite      = 0x13
	tagSince       = 0x14
	tagUser        = 0x15
	tagName        = 0x20
	tagDescription = 0x21
	tagAvatar      = 0x22
	tagBlob        = 0x23
	tagMemberInfo  = 0x24
	tagInviteData  = 0x25
	tagLimit       = 0x30
	tagCount       = 0x31
	tagTime        = 0x32
	tagPermissions = 0x33
	tagOnline      = 0x34
	tagAccepted    = 0x35
	tagLastUpdate  = 0x36
	tagLastSeen    = 0x37
)
