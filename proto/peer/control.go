// SPDX-License-Identifier: MPL-2.0

package peer

import "github.com/mimird/mimird/proto/wire"

// Ping asks for a Pong, at once. Neither counts as activity of a session.
type Ping struct{}

// Pong answers a Ping.
type Pong struct{}

// OK acknowledges the message with that guid, and ends both halves of the
// handshake (its id is 0 then and ignored).
type OK struct{ ID GUID }

// FrameType returns FramePing.
func (Ping) FrameType() FrameType { return FramePing }

// AppendTo appends the frame.
func (Ping) AppendTo(b []byte) []byte { return appendHeader(b, FramePing, 0) }

// FrameType returns FramePong.
func (Pong) FrameType() FrameType { return FramePong }

// AppendTo appends the frame.
func (Pong) AppendTo(b []byte) []byte { return appendHeader(b, FramePong, 0) }

// FrameType returns FrameOK.
func (OK) FrameType() FrameType { return FrameOK }

// AppendTo appends the frame.
func (f OK) AppendTo(b []byte) []byte {
	return wire.AppendInt64(appendHeader(b, FrameOK, 8), int64(f.ID))
}

func readOK(r *wire.Reader) OK { return OK{ID: GUID(r.Int64())} }
