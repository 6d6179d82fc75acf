// SPDX-License-Identifier: MPL-2.0

package group

import (
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// AppendProfile appends what a member tells about themselves, to be sealed. Texts
// are cut to wire.MaxNickname and wire.MaxInfo bytes; a picture above
// wire.MaxMemberAvatar is left out.
func AppendProfile(b []byte, p peer.Profile) []byte {
	b = wire.AppendShortText(b, wire.CutText(p.Nickname, wire.MaxNickname))
	b = wire.AppendShortText(b, wire.CutText(p.Info, wire.MaxInfo))
	if len(p.Avatar) > wire.MaxMemberAvatar {
		p.Avatar = nil
	}
	return wire.AppendBlob(b, p.Avatar)
}

// ParseProfile reads what a member told, and cuts as [AppendProfile] does. The
// picture points into b. Errors are violations.
func ParseProfile(b []byte) (peer.Profile, error) {
	c := wire.NewCursor(b)
	p := peer.Profile{
		Nickname: wire.CutText(c.ShortText("nickname", wire.MaxProfileText), wire.MaxNickname),
		Info:     wire.CutText(c.ShortText("info", wire.MaxProfileText), wire.MaxInfo),
	}
	// What is below 0 counts as none, as in the apps.
	if n := c.Int32("avatar"); n > 0 {
		avatar := c.Rest()
		switch {
		case int(n) > len(avatar):
			return peer.Profile{}, wire.NewViolation(wire.CodeTruncated, "avatar: %d bytes wanted, %d left", n, len(avatar))
		case n <= wire.MaxMemberAvatar:
			p.Avatar = avatar[:n:n]
		}
	}
	if err := c.Err(); err != nil {
		return peer.Profile{}, err
	}
	return p, nil
}
