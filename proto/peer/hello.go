// SPDX-License-Identifier: MPL-2.0

package peer

import (
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// ProtocolVersion is what we write into a HELLO. Nobody looks at it.
const ProtocolVersion = 1

const (
	// helloSize is the body of a HELLO without address: version, two keys with
	// their lengths, client id. A larger size field says that one follows.
	helloSize     = 4 + 2*(4+identity.KeySize) + 4
	challengeSize = 4 + len(identity.Challenge{})
	answerSize    = 4 + len(identity.Signature{})
)

// Hello opens a handshake.
type Hello struct {
	// Version is ignored by everybody.
	Version int32
	// Sender is who the initiator claims to be; the handshake proves it.
	Sender identity.PublicKey
	// Receiver is the identity that the initiator wants to talk to.
	Receiver identity.PublicKey
	// ClientID tells the devices of one identity apart. The reference ignores it.
	ClientID uint32
	// Address is a node key that older peers send along; zero when absent.
	// Nothing proves it.
	Address identity.NodeKey
}

// Challenge is the acceptor's challenge.
type Challenge struct{ Challenge identity.Challenge }

// ChallengeAnswer is the initiator's signature over it.
type ChallengeAnswer struct{ Signature identity.Signature }

// Challenge2 is the initiator's challenge.
type Challenge2 struct{ Challenge identity.Challenge }

// ChallengeAnswer2 is the acceptor's signature over it.
type ChallengeAnswer2 struct{ Signature identity.Signature }

// FrameType returns FrameHello.
func (Hello) FrameType() FrameType { return FrameHello }

// AppendTo appends the frame.
func (f Hello) AppendTo(b []byte) []byte {
	size := helloSize
	if !f.Address.IsZero() {
		size += 4 + identity.KeySize
	}
	b = appendHeader(b, FrameHello, size)
	b = wire.AppendInt32(b, f.Version)
	b = wire.AppendBlob(b, f.Sender[:])
	b = wire.AppendBlob(b, f.Receiver[:])
	b = wire.AppendUint32(b, f.ClientID)
	if !f.Address.IsZero() {
		b = wire.AppendBlob(b, f.Address[:])
	}
	return b
}

func readHello(r *wire.Reader, size int64) Hello {
	var f Hello
	f.Version = r.Int32()
	r.FixedBlob("sender", f.Sender[:])
	r.FixedBlob("receiver", f.Receiver[:])
	f.ClientID = r.Uint32()
	if size > int64(helloSize) {
		r.FixedBlob("address", f.Address[:])
	}
	return f
}

// FrameType returns FrameChallenge.
func (Challenge) FrameType() FrameType { return FrameChallenge }

// AppendTo appends the frame.
func (f Challenge) AppendTo(b []byte) []byte { return appendChallenge(b, FrameChallenge, f.Challenge) }

// FrameType returns FrameChallenge2.
func (Challenge2) FrameType() FrameType { return FrameChallenge2 }

// AppendTo appends the frame.
func (f Challenge2) AppendTo(b []byte) []byte {
	return appendChallenge(b, FrameChallenge2, f.Challenge)
}

// FrameType returns FrameChallengeAnswer.
func (ChallengeAnswer) FrameType() FrameType { return FrameChallengeAnswer }

// AppendTo appends the frame.
func (f ChallengeAnswer) AppendTo(b []byte) []byte {
	return appendAnswer(b, FrameChallengeAnswer, f.Signature)
}

// FrameType returns FrameChallengeAnswer2.
func (ChallengeAnswer2) FrameType() FrameType { return FrameChallengeAnswer2 }

// AppendTo appends the frame.
func (f ChallengeAnswer2) AppendTo(b []byte) []byte {
	return appendAnswer(b, FrameChallengeAnswer2, f.Signature)
}

func appendChallenge(b []byte, t FrameType, c identity.Challenge) []byte {
	return wire.AppendBlob(appendHeader(b, t, challengeSize), c[:])
}

func appendAnswer(b []byte, t FrameType, sig identity.Signature) []byte {
	return wire.AppendBlob(appendHeader(b, t, answerSize), sig[:])
}

func readChallenge(r *wire.Reader) identity.Challenge {
	var c identity.Challenge
	r.FixedBlob("challenge", c[:])
	return c
}

func readAnswer(r *wire.Reader) identity.Signature {
	var sig identity.Signature
	r.FixedBlob("answer", sig[:])
	return sig
}
