// SPDX-License-Identifier: MPL-2.0

package mediator

import (
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// Push is one of [GotMessage], [GotInvite], [RequestMemberInfo] and [GotMemberInfo].
// Pushes are not ordered, neither among each other nor against answers.
type Push interface {
	// Code returns the code that the push has on the wire.
	Code() PushCode
	payload
}

// GotMessage brings a message of a group that this connection is subscribed to. The
// connection that sent it does not get it, other connections of the sender do. It
// says nothing about messages with lower ids.
type GotMessage struct {
	Chat    ChatID
	Message Message
}

// GotInvite brings an invite. A mediator pushes it once, to all connections of the
// recipient or after the next login. Texts and picture have any size: the reader cuts
// them.
type GotInvite struct {
	Invite      InviteID
	Chat        ChatID
	From        identity.PublicKey
	Time        int64 // Unix seconds
	Name        string
	Description string
	Avatar      []byte // nil for none
	Data        []byte // for group.Unwrap
}

// RequestMemberInfo asks for an [UpdateMemberInfo] if the own profile is newer.
type RequestMemberInfo struct {
	Chat       ChatID
	LastUpdate int64 // Unix seconds, 0 for never
}

// GotMemberInfo brings the profile of a member, also to the member.
type GotMemberInfo struct {
	Chat    ChatID
	Members []MemberInfo // the reference sends one
}

// Code returns PushGotMessage.
func (*GotMessage) Code() PushCode { return PushGotMessage }

// Code returns PushGotInvite.
func (*GotInvite) Code() PushCode { return PushGotInvite }

// Code returns PushRequestMemberInfo.
func (*RequestMemberInfo) Code() PushCode { return PushRequestMemberInfo }

// Code returns PushGotMemberInfo.
func (*GotMemberInfo) Code() PushCode { return PushGotMemberInfo }

func (p *GotMessage) fields(f *fields) {
	f.chat(&p.Chat)
	p.Message.fields(f)
}

func (p *GotInvite) fields(f *fields) {
	number(f, tagInvite, "invite id", &p.Invite)
	f.chat(&p.Chat)
	f.key(tagPublicKey, "sender", &p.From)
	number(f, tagTime, "timestamp", &p.Time)
	f.text(tagName, &p.Name, wire.MaxGroupName)
	f.text(tagDescription, &p.Description, wire.MaxGroupDescription)
	f.optionalBlob(tagAvatar, &p.Avatar)
	f.blob(tagInviteData, &p.Data)
}

func (p *RequestMemberInfo) fields(f *fields) {
	f.chat(&p.Chat)
	number(f, tagLastUpdate, "last update", &p.LastUpdate)
}

func (p *GotMemberInfo) fields(f *fields) {
	f.chat(&p.Chat)
	info := MembersInfo{p.Members}
	info.fields(f)
	if f.in != nil {
		p.Members = info.Members
	}
}

// AppendPush appends a push. It may be called with the same push from many goroutines.
func AppendPush(b []byte, p Push) []byte {
	b, start := wire.AppendServerFrame(b, byte(StatusPush), uint16(p.Code()))
	return wire.FinishServerFrame(appendPayload(b, p), start)
}

// IsPush reports whether this is a push and not the answer to a request.
func (a Answer) IsPush() bool { return a.Status == StatusPush }

// Push parses a push. It returns nil for an answer, and for a push with a code that is
// unknown, which readers ignore. Blobs point into the answer. Errors are violations.
func (a Answer) Push() (Push, error) {
	if !a.IsPush() {
		return nil, nil
	}
	var p Push
	switch PushCode(a.ID) {
	case PushGotMessage:
		p = &GotMessage{}
	case PushGotInvite:
		p = &GotInvite{}
	case PushRequestMemberInfo:
		p = &RequestMemberInfo{}
	case PushGotMemberInfo:
		p = &GotMemberInfo{}
	default:
		return nil, nil
	}
	if err := parsePayload(a.payload, p); err != nil {
		return nil, err
	}
	return p, nil
}
