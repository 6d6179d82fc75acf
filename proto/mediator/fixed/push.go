// SPDX-License-Identifier: MPL-2.0

package fixed

import (
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// Push is one of [GotMessage], [GotInvite], [RequestMemberInfo] and [GotMemberInfo].
type Push interface {
	// Code returns the code that the push has on the wire.
	Code() PushCode
	payload
}

// GotMessage brings a message of a chat that this stream is subscribed to. The
// stream that sent it does not get it.
type GotMessage struct{ Message Message }

// GotInvite brings an invite, once. Its texts and its picture may have any size: who
// shows them cuts them.
type GotInvite struct {
	Invite      InviteID
	Chat        ChatID
	From        identity.PublicKey
	Time        int64 // Unix seconds
	Name        string
	Description string
	Avatar      []byte
	Data        []byte // for group.UnwrapGen2
}

// RequestMemberInfo asks for an [UpdateMemberInfo] if the own profile is newer.
type RequestMemberInfo struct {
	Chat       ChatID
	LastUpdate int64 // Unix seconds, 0 for none
}

// GotMemberInfo brings what a member of some chat of ours told; of which, is not
// said. There is one.
type GotMemberInfo struct{ Members []MemberInfo }

// Code returns PushGotMessage.
func (*GotMessage) Code() PushCode { return PushGotMessage }

// Code returns PushGotInvite.
func (*GotInvite) Code() PushCode { return PushGotInvite }

// Code returns PushRequestMemberInfo.
func (*RequestMemberInfo) Code() PushCode { return PushRequestMemberInfo }

// Code returns PushGotMemberInfo.
func (*GotMemberInfo) Code() PushCode { return PushGotMemberInfo }

func (p *GotMessage) fields(f *fields) { p.Message.fields(f) }

func (p *GotInvite) fields(f *fields) {
	number(f, "invite", &p.Invite)
	number(f, "chat", &p.Chat)
	f.key("sender", &p.From)
	number(f, "time", &p.Time)
	f.text("name", &p.Name, anyText)
	f.text("description", &p.Description, anyText)
	f.blob("avatar", &p.Avatar, anyBlob)
	f.blob("invite", &p.Data, anyBlob)
}

func (p *RequestMemberInfo) fields(f *fields) {
	number(f, "chat", &p.Chat)
	number(f, "time", &p.LastUpdate)
}

func (p *GotMemberInfo) fields(f *fields) { (*MembersInfo)(p).fields(f) }

// AppendPush appends a push. It may be called with the same push from many
// goroutines.
func AppendPush(b []byte, p Push) []byte {
	b, start := wire.AppendServerFrame(b, statusOK, uint16(p.Code()))
	return wire.FinishServerFrame(appendPayload(b, p), start)
}

// IsPush reports whether this is a push. Requests whose ids begin at [FirstID] get
// no answer that looks like one; in recordings of the apps, which draw their ids, one
// answer in 16,000 does.
func (a Answer) IsPush() bool { return !a.failed && a.push() != nil }

// push makes an empty push of the code that stands in the place of the id.
func (a Answer) push() Push {
	switch PushCode(a.ID) {
	case PushGotMessage:
		return &GotMessage{}
	case PushGotInvite:
		return &GotInvite{}
	case PushRequestMemberInfo:
		return &RequestMemberInfo{}
	case PushGotMemberInfo:
		return &GotMemberInfo{}
	}
	return nil
}

// Push reads the fields of a push; nil for what is none. Blobs point into the
// answer. Errors are violations.
func (a Answer) Push() (Push, error) {
	if !a.IsPush() {
		return nil, nil
	}
	p := a.push()
	if err := parsePayload(a.payload, p); err != nil {
		return nil, err
	}
	return p, nil
}
