// SPDX-License-Identifier: MPL-2.0

package group

import (
	"time"

	"github.com/mimird/mimird/actors/session"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/group"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// serverKeeps is how long file servers keep files. A file of an older message is fetched
// only when somebody asks for it.
const serverKeeps = 15 * 24 * time.Hour

// retiredMediator is the key of a mediator that does not run any more. What it said is
// found in histories that were moved, and is of a mediator for the apps too.
var retiredMediator = identity.PublicKey{
	0x42, 0xa0, 0xb0, 0xda, 0x2d, 0x8b, 0x2f, 0xd9, 0xd8, 0x24, 0x2c, 0x3a, 0xb3, 0xd3, 0x16, 0xeb,
	0xd4, 0xd3, 0xad, 0xed, 0xee, 0xac, 0xf4, 0xb7, 0x7d, 0x74, 0x1d, 0x23, 0xfc, 0x9c, 0x69, 0x02,
}

// reader turns what a mediator delivers into what the store keeps.
type reader struct {
	deps     *Deps
	mediator identity.PublicKey
	key      group.Key // zero when there is none
	record   *store.Group
}

// isSystem reports whether the mediator itself is the author.
func (r reader) isSystem(author identity.PublicKey) bool {
	return author == r.mediator || author == retiredMediator
}

// read returns a message for the store. What cannot be decrypted or read is kept as it
// came.
func (r reader) read(m mediator.Message) store.GroupMessage {
	out := store.GroupMessage{
		Number: int64(m.ID), GUID: int64(m.GUID), ServerGUID: int64(m.GUID), Author: m.Author,
		SendTime: store.Millis(min(max(m.Time, 0), 1<<50) * 1000),
	}
	if out.GUID == 0 { // the mediator takes it, the store does not
		out.GUID = int64(peer.DeriveGUID(m.Author[:], wire.AppendInt64(nil, out.Number)))
	}
	if r.isSystem(m.Author) {
		r.readSystem(&out, m.Blob)
		return out
	}
	inner, err := r.open(m.Blob)
	if err != nil {
		out.Unreadable, out.Payload = true, m.Blob
		return out
	}
	out.GUID, out.Type, out.ReplyTo, out.Payload = int64(inner.GUID), int32(inner.Type), int64(inner.ReplyTo), inner.Payload
	out.SendTime = store.Millis(peer.NormalizeSendTime(inner.SendTime))
	out.Reaction = session.ParseReaction(inner.Type, inner.Payload)
	out.Media = r.media(inner, out.SendTime)
	return out
}

func (r reader) open(blob []byte) (peer.Message, error) {
	if r.key.IsZero() {
		return peer.Message{}, group.ErrSealed
	}
	text, err := r.key.Open(blob)
	if err != nil {
		return peer.Message{}, err
	}
	return group.ParseMessage(text, store.MaxPayload)
}

// media returns the row of the file of a message, nil for none.
func (r reader) media(m peer.Message, sent store.Millis) *store.Media {
	if m.Type != peer.TypeImage && m.Type != peer.TypeFile || r.deps.MediaOf == nil {
		return nil
	}
	a, err := peer.ParseAttachment(m.Payload)
	if err != nil {
		return nil // shown as a message that cannot be read
	}
	now := r.deps.nowMillis()
	row := r.deps.MediaOf(*r.record, a, now)
	if row != nil && row.State == store.MediaDownloading && a.Form == peer.FormServer && now.Time().Sub(sent.Time()) > serverKeeps {
		row.State, row.Due = store.MediaOffered, 0
	}
	return row
}

// readSystem reads what the mediator itself says. An event of a later version is kept and
// changes nothing.
func (r reader) readSystem(out *store.GroupMessage, blob []byte) {
	out.System, out.Type, out.Payload = true, int32(peer.TypeSystem), blob
	s, err := mediator.ParseSystem(blob)
	if err != nil {
		return
	}
	member := func(c store.MemberChange) {
		c.Member = s.User
		if !s.User.IsZero() {
			out.Member = &c
		}
	}
	switch s.Event {
	case mediator.EventUserAdded:
		member(store.MemberChange{
			Fields: store.MemberPermissions | store.MemberStanding, Permissions: store.Permissions(mediator.PermissionUser),
		})
	case mediator.EventUserLeft:
		member(store.MemberChange{Fields: store.MemberStanding, Standing: store.StandingLeft})
	case mediator.EventUserBanned:
		member(store.MemberChange{Fields: store.MemberStanding, Standing: store.StandingBanned})
	case mediator.EventPermissions:
		c := store.MemberChange{Fields: store.MemberPermissions | store.MemberStanding, Permissions: store.Permissions(s.Permissions)}
		if s.Permissions.HasAny(mediator.PermissionBanned) {
			c.Standing = store.StandingBanned
		}
		member(c)
	case mediator.EventInfoChanged:
		info := &store.GroupInfo{Name: cutText(s.Name, wire.MaxGroupName), Description: cutText(s.Description, wire.MaxGroupDescription)}
		if s.Avatar != nil && len(s.Avatar) <= wire.MaxGroupAvatar {
			info.SetAvatar, info.Avatar = true, s.Avatar
		}
		out.Info = info
	case mediator.EventMessageDeleted:
		out.Deletes, out.DeletedGUID = true, int64(s.GUID)
	case mediator.EventChatDeleted, mediator.EventMemberOnline: // see onSystemPush
	}
}

// cutText returns the first limit characters of a text, nil for nil.
func cutText(s *string, limit int) *string {
	if s == nil {
		return nil
	}
	cut := firstRunes(*s, limit)
	return &cut
}

func firstRunes(s string, limit int) string {
	for i := range s {
		if limit == 0 {
			return s[:i]
		}
		limit--
	}
	return s
}

// profileOf reads the profile of a member; false when it is none.
func (r reader) profileOf(m mediator.MemberInfo) (store.MemberChange, bool) {
	if len(m.Info) == 0 || r.key.IsZero() || m.User.IsZero() {
		return store.MemberChange{}, false
	}
	text, err := r.key.Open(m.Info)
	if err != nil {
		return store.MemberChange{}, false
	}
	p, err := group.ParseProfile(text)
	if err != nil {
		return store.MemberChange{}, false
	}
	return store.MemberChange{
		Member: m.User, Fields: store.MemberProfile, Name: p.Nickname, Info: p.Info, Avatar: p.Avatar,
		// A time in the future would make every later profile an old one.
		ProfileTime: min(m.Time, r.deps.Now().Unix()),
	}, true
}
