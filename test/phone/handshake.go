// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"
)

// handshakeTime is how long a handshake may take; it begins with the role byte.
const handshakeTime = 15 * time.Second

var (
	errProtocol    = errors.New("protocol error") // the other side's
	errWillNotSign = errors.New("not a challenge to be signed")
)

// ErrStopped is a handshake that was stopped where its Gate said.
var ErrStopped = errors.New("handshake stopped")

// Handshake is how two identities prove themselves to each other on a control
// stream:
//
//	initiator                           acceptor
//	00 (role)          ─────────────▶
//	HELLO              ─────────────▶   receiver is my identity?
//	                   ◀─────────────   CHALLENGE
//	CHALLENGE_ANSWER   ─────────────▶   signed by the key in HELLO?
//	                   ◀─────────────   OK
//	CHALLENGE2         ─────────────▶
//	                   ◀─────────────   CHALLENGE_ANSWER2
//	signed by whom I dialled?
//	OK                 ─────────────▶
//
// Only Identity is needed, and for the initiator Receiver. The rest is for lies.
type Handshake struct {
	Identity Identity
	// Receiver is who is dialled.
	Receiver Key
	// Hello are fields of HELLO that replace the true ones.
	Hello Fields
	// Challenge is what the other side has to sign; nil means 32 random bytes.
	Challenge []byte
	// Sign answers the other side's challenge; nil means with Identity's signature. No
	// answer ends the handshake.
	Sign func(challenge []byte) []byte
	// Gate is asked before each frame of ours. An error ends the handshake there.
	Gate func(next Type) error

	// Remote is who the other side claims to be, once a HELLO has come, and has
	// proved to be when the handshake is complete.
	Remote Key
}

// Before returns a Gate that stops the handshake before a frame of ours.
func Before(stop Type) func(Type) error {
	return func(next Type) error {
		if next == stop {
			return ErrStopped
		}
		return nil
	}
}

// Initiate does the initiator's part, without the role byte.
func (h *Handshake) Initiate(l *Line) error {
	h.Remote = h.Receiver
	if err := l.limit(handshakeTime); err != nil {
		return err
	}
	hello := Fields{"version": 1, "own": h.Identity.Key(), "receiver": h.Receiver, "client": 1}
	maps.Copy(hello, h.Hello)
	if err := h.send(l, Frame{Type: TypeHello, Fields: hello}); err != nil {
		return err
	}
	if err := h.answer(l, TypeChallenge, TypeChallengeAnswer); err != nil {
		return err
	}
	if _, err := l.expect(TypeOK); err != nil {
		return err
	}
	if err := h.ask(l, TypeChallenge2, TypeChallengeAnswer2, h.Receiver); err != nil {
		return err
	}
	return h.send(l, Frame{Type: TypeOK})
}

// Accept does the acceptor's part, after the role byte.
func (h *Handshake) Accept(l *Line) error {
	if err := l.limit(handshakeTime); err != nil {
		return err
	}
	hello, err := l.expect(TypeHello)
	if err != nil {
		return err
	}
	h.Remote = Key(hello.Bytes("own"))
	if h.Remote.weak() {
		return fmt.Errorf("%w: HELLO of a weak key", errProtocol)
	}
	if Key(hello.Bytes("receiver")) != h.Identity.Key() {
		return fmt.Errorf("%w: HELLO is for somebody else", errProtocol)
	}
	if err := h.ask(l, TypeChallenge, TypeChallengeAnswer, h.Remote); err != nil {
		return err
	}
	if err := h.send(l, Frame{Type: TypeOK}); err != nil {
		return err
	}
	if err := h.answer(l, TypeChallenge2, TypeChallengeAnswer2); err != nil {
		return err
	}
	_, err = l.expect(TypeOK)
	return err
}

// ask has the other side prove that it is who it says.
func (h *Handshake) ask(l *Line, ask, answer Type, who Key) error {
	if h.Challenge == nil {
		h.Challenge = drawChallenge()
	}
	if err := h.send(l, Frame{Type: ask, Fields: Fields{"challenge": h.Challenge}}); err != nil {
		return err
	}
	f, err := l.expect(answer)
	if err != nil {
		return err
	}
	if !who.Verify(h.Challenge, f.Bytes("answer")) {
		return fmt.Errorf("%w: %v is not signed by %v", errProtocol, answer, who)
	}
	return nil
}

// PlainChallenge is a challenge that cannot be a key, as nodes of this project draw
// them. Half of all challenges of apps could be one, and a stranger's is then
// answered once only.
func PlainChallenge() []byte {
	for {
		if b := drawChallenge(); !isPoint(b) {
			return b
		}
	}
}

// isPoint reports whether 32 bytes are the y of a point of Ed25519's curve,
// -x² + y² = 1 + d·x²·y² modulo 2^255 - 19: then (y² - 1) / (d·y² + 1) is a square.
func isPoint(b []byte) bool {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	d := new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), p))
	le := slices.Clone(b)
	le[31] &= 0x7f // the sign of x
	slices.Reverse(le)
	y2 := new(big.Int).SetBytes(le)
	y2.Mul(y2, y2).Mod(y2, p)
	above := new(big.Int).Sub(y2, big.NewInt(1))
	below := d.Mul(d, y2).Add(d, big.NewInt(1)).Mod(d, p)
	x2 := above.Mul(above, below.ModInverse(below, p)).Mod(above, p)
	return big.Jacobi(x2, p) >= 0
}

func drawChallenge() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return b
}

// answer proves to the other side who we are.
func (h *Handshake) answer(l *Line, ask, answer Type) error {
	f, err := l.expect(ask)
	if err != nil {
		return err
	}
	sign := h.Sign
	if sign == nil {
		sign = h.Identity.Sign
	}
	signature := sign(f.Bytes("challenge"))
	if signature == nil {
		return errWillNotSign
	}
	return h.send(l, Frame{Type: answer, Fields: Fields{"answer": signature}})
}

func (h *Handshake) send(l *Line, f Frame) error {
	if h.Gate != nil {
		if err := h.Gate(f.Type); err != nil {
			return err
		}
	}
	return l.Send(f)
}
