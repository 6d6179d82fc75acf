// SPDX-License-Identifier: MPL-2.0

package peer

import "github.com/mimird/mimird/proto/wire"

// ContactRequest asks to become a contact. It may be sent to anyone right after
// the handshake and carries our profile. Send at most one until it is answered:
// the app shows every one.
type ContactRequest struct {
	// Message is cut to wire.MaxRequestText bytes when it comes in.
	Message string
	Profile
}

// ContactResponse answers a ContactRequest. It is sent only while connected and
// is not repeated, so no answer says nothing.
type ContactResponse struct{ Accepted bool }

// FrameType returns FrameContactRequest.
func (ContactRequest) FrameType() FrameType { return FrameContactRequest }

// AppendTo appends the frame.
func (f ContactRequest) AppendTo(b []byte) []byte {
	b = appendHeader(b, FrameContactRequest, 4+len(f.Message)+f.size())
	b = wire.AppendBlob(b, f.Message)
	return f.append(b)
}

func readContactRequest(r *wire.Reader) ContactRequest {
	return ContactRequest{
		Message: r.CutText("message", wire.MaxRequestText, wire.MaxProfileText),
		Profile: readProfile(r),
	}
}

// FrameType returns FrameContactResponse.
func (ContactResponse) FrameType() FrameType { return FrameContactResponse }

// AppendTo appends the frame.
func (f ContactResponse) AppendTo(b []byte) []byte {
	return wire.AppendBool(appendHeader(b, FrameContactResponse, 1), f.Accepted)
}

func readContactResponse(r *wire.Reader) ContactResponse {
	return ContactResponse{Accepted: r.Uint8() != 0}
}
