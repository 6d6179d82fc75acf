// SPDX-License-Identifier: MPL-2.0

package peer

import "github.com/mimird/mimird/proto/wire"

// CallOffer asks for a call. Receivers ignore its parameters; the app sends
// "audio/aac", 44100, 1.
type CallOffer struct {
	MIMEType   string
	SampleRate int32
	Channels   int32
}

// CallAnswer accepts or declines a call. A node without calls declines at once.
type CallAnswer struct {
	Accepted bool
	Error    string
}

// CallHang ends a call, or the attempt.
type CallHang struct{}

// CallPacket is one packet of audio: a raw AAC-LC access unit, the first one the
// two bytes of codec configuration.
type CallPacket struct{ Data []byte }

// FrameType returns FrameCallOffer.
func (CallOffer) FrameType() FrameType { return FrameCallOffer }

// AppendTo appends the frame.
func (f CallOffer) AppendTo(b []byte) []byte {
	b = appendHeader(b, FrameCallOffer, 4+len(f.MIMEType)+4+4)
	b = wire.AppendBlob(b, f.MIMEType)
	b = wire.AppendInt32(b, f.SampleRate)
	return wire.AppendInt32(b, f.Channels)
}

func readCallOffer(r *wire.Reader) CallOffer {
	return CallOffer{
		MIMEType:   r.Text("mime type", wire.MaxMIMEType),
		SampleRate: r.Int32(),
		Channels:   r.Int32(),
	}
}

// FrameType returns FrameCallAnswer.
func (CallAnswer) FrameType() FrameType { return FrameCallAnswer }

// AppendTo appends the frame.
func (f CallAnswer) AppendTo(b []byte) []byte {
	b = appendHeader(b, FrameCallAnswer, 1+4+len(f.Error))
	b = wire.AppendBool(b, f.Accepted)
	return wire.AppendBlob(b, f.Error)
}

func readCallAnswer(r *wire.Reader) CallAnswer {
	return CallAnswer{Accepted: r.Uint8() != 0, Error: r.Text("error", wire.MaxCallError)}
}

// FrameType returns FrameCallHang.
func (CallHang) FrameType() FrameType { return FrameCallHang }

// AppendTo appends the frame.
func (CallHang) AppendTo(b []byte) []byte { return appendHeader(b, FrameCallHang, 0) }

// FrameType returns FrameCallPacket.
func (CallPacket) FrameType() FrameType { return FrameCallPacket }

// AppendTo appends the frame.
func (f CallPacket) AppendTo(b []byte) []byte {
	return wire.AppendBlob(appendHeader(b, FrameCallPacket, 4+len(f.Data)), f.Data)
}

func readCallPacket(r *wire.Reader) CallPacket {
	return CallPacket{Data: r.Blob("packet", wire.MaxCallPacket)}
}
