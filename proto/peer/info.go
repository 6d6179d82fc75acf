// SPDX-License-Identifier: MPL-2.0

package peer

import "github.com/mimird/mimird/proto/wire"

// InfoRequest asks for the profile if it is newer than Since. When it is not,
// there is no answer at all.
type InfoRequest struct {
	// Since is a time in Unix seconds, 0 for "any".
	Since int64
}

// Profile is what a person shows of themselves. Texts that come in are cut to
// wire.MaxNickname and wire.MaxInfo bytes and otherwise as sent: a caller that shows
// them cleans them.
type Profile struct {
	Nickname string
	Info     string
	// Avatar is an image file, nil for none. Apps drop one above wire.MaxAvatar.
	Avatar []byte
}

// InfoResponse answers an InfoRequest. Without an avatar it removes the one that
// the app had.
type InfoResponse struct {
	// Time is when the profile changed, in Unix seconds of the sender's clock.
	Time int64
	Profile
}

// FrameType returns FrameInfoRequest.
func (InfoRequest) FrameType() FrameType { return FrameInfoRequest }

// AppendTo appends the frame.
func (f InfoRequest) AppendTo(b []byte) []byte {
	return wire.AppendInt64(appendHeader(b, FrameInfoRequest, 8), f.Since)
}

func readInfoRequest(r *wire.Reader) InfoRequest { return InfoRequest{Since: r.Int64()} }

// FrameType returns FrameInfoResponse.
func (InfoResponse) FrameType() FrameType { return FrameInfoResponse }

// AppendTo appends the frame.
func (f InfoResponse) AppendTo(b []byte) []byte {
	b = appendHeader(b, FrameInfoResponse, 8+f.size())
	b = wire.AppendInt64(b, f.Time)
	return f.append(b)
}

func readInfoResponse(r *wire.Reader) InfoResponse {
	return InfoResponse{Time: r.Int64(), Profile: readProfile(r)}
}

func (p Profile) size() int {
	return 4 + len(p.Nickname) + 4 + len(p.Info) + 4 + len(p.Avatar)
}

func (p Profile) append(b []byte) []byte {
	b = wire.AppendBlob(b, p.Nickname)
	b = wire.AppendBlob(b, p.Info)
	return wire.AppendBlob(b, p.Avatar)
}

func readProfile(r *wire.Reader) Profile {
	return Profile{
		Nickname: r.CutText("nickname", wire.MaxNickname, wire.MaxProfileText),
		Info:     r.CutText("info", wire.MaxInfo, wire.MaxProfileText),
		Avatar:   r.BlobOrSkip("avatar", wire.MaxAvatar, wire.MaxSkip),
	}
}
