// SPDX-License-Identifier: MPL-2.0

package peer

import (
	"bufio"
	"crypto/subtle"
	"fmt"
	"io"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// Event is what a step of a [Handshake] leads to.
type Event uint8

// The events.
const (
	// EventNone: send what there is to send and read the next frame.
	EventNone Event = iota
	// EventAuthenticated: the other side has proved that it is
	// [Handshake.Remote]. The machine stops until the caller decides:
	// [Handshake.Proceed], or drop the stream.
	//
	// As acceptor we have proved nothing yet and signed nothing; the app waits
	// for our answer and gives up after 15 s without any effect. As initiator we
	// have proved who we are, but the other side has no session before our OK.
	EventAuthenticated
	// EventDone: both sides have a session, once Send is sent.
	EventDone
)

// Progress is the result of a step.
type Progress struct {
	// Send are frames to send before the next one is read, as one write.
	Send []Frame
	// Event says whether the machine stops here.
	Event Event
}

// InitiatorConfig is what an initiator needs.
type InitiatorConfig struct {
	// Key of the identity that dials.
	Key identity.PrivateKey
	// Remote is the identity that must answer.
	Remote identity.PublicKey
	// ClientID tells the devices of our identity apart.
	ClientID uint32
	Security
}

// AcceptorConfig is what an acceptor needs.
type AcceptorConfig struct {
	// Lookup returns the private key of an identity that is served here. It is
	// called once, with the receiver of the HELLO, before anything is proved.
	Lookup func(receiver identity.PublicKey) (identity.PrivateKey, bool)
	Security
}

// Security is what both roles need to sign with care.
type Security struct {
	// Guard knows values that must not be signed: all node keys that we know.
	// Without one nothing is signed and every handshake fails. The machine adds
	// RemoteNode, the keys in the HELLO, its own challenge and Issued.
	Guard identity.Guard
	// Issued remembers our challenges across connections. It may be nil, then
	// only reflections within this handshake are seen.
	Issued *identity.Issued
	// RemoteNode is the node at the other end of the stream.
	RemoteNode identity.NodeKey
	// SealLocal and SealRemote name the ends of the stream in sealed challenges
	// (identity.Seal), in a form that both ends see: the keys of their nodes where
	// streams prove them. With a zero SealLocal our challenges are not sealed.
	SealLocal, SealRemote identity.NodeKey
	// Random is crypto/rand.Reader outside of tests.
	Random io.Reader
}

type state uint8

const (
	stateNew state = iota
	// Acceptor.
	stateHello
	stateAnswer
	stateChallenge2
	stateFinalOK
	// Initiator.
	stateChallenge
	stateOK
	stateAnswer2
	// Both.
	stateDecision
	stateDone
	stateFailed
)

// Handshake is the state machine of one handshake, for either role. It is fed
// with frames and gives frames to send; it reads and writes nothing itself,
// except in [Handshake.Drive], and has no timeout: the caller gives the whole
// handshake 15 s, as the apps do.
//
// Call Start, then Step with every frame until an event. At EventAuthenticated
// decide and call Proceed, then go on stepping until EventDone. Any error is
// final; the stream is dropped without a word, as nothing else is foreseen.
//
// A machine is not safe for concurrent use, but bound to no goroutine: between
// two steps it can be handed to another owner, together with its buffered
// reader, which may already hold the next frame.
type Handshake struct {
	// Fixed at creation.
	initiator bool
	security  Security
	lookup    func(identity.PublicKey) (identity.PrivateKey, bool)

	// key is fixed for an initiator, looked up by HELLO for an acceptor.
	key identity.PrivateKey
	// hello is ours as initiator, theirs as acceptor.
	hello Hello

	state     state
	remote    identity.PublicKey
	challenge identity.Challenge
	issued    bool
}

// NewInitiator makes the machine for a stream that we opened. The role byte has
// been written.
func NewInitiator(cfg InitiatorConfig) *Handshake {
	return &Handshake{
		initiator: true, security: cfg.Security, key: cfg.Key,
		hello: Hello{Version: ProtocolVersion, Sender: cfg.Key.Public(), Receiver: cfg.Remote, ClientID: cfg.ClientID},
	}
}

// NewAcceptor makes the machine for a stream that was opened to us. The role
// byte has been read.
func NewAcceptor(cfg AcceptorConfig) *Handshake {
	return &Handshake{security: cfg.Security, lookup: cfg.Lookup}
}

// IsInitiator reports our role.
func (h *Handshake) IsInitiator() bool { return h.initiator }

// Hello returns the HELLO that was sent or received, zero before. What a
// received one says of its sender is a claim.
func (h *Handshake) Hello() Hello { return h.hello }

// Local returns the identity on our side; as acceptor zero before the HELLO.
func (h *Handshake) Local() identity.PublicKey {
	if h.key.IsZero() {
		return identity.PublicKey{}
	}
	return h.key.Public()
}

// Remote returns the identity that the other side has proved, zero before
// EventAuthenticated.
func (h *Handshake) Remote() identity.PublicKey { return h.remote }

// Done reports whether there is a session.
func (h *Handshake) Done() bool { return h.state == stateDone }

// Start begins. An initiator has a HELLO to send then.
func (h *Handshake) Start() (Progress, error) {
	switch {
	case h.state != stateNew:
		return h.fail(ErrHandshakeState)
	case !h.initiator:
		h.state = stateHello
		return Progress{}, nil
	}
	if err := h.hello.Receiver.Validate(); err != nil {
		return h.fail(fmt.Errorf("dial: %w", err))
	}
	h.state = stateChallenge
	return Progress{Send: []Frame{h.hello}}, nil
}

// Step takes the next frame from the other side. The error is a *[wire.Violation]
// when the other side is to blame, joined with identity.ErrRefusedToSign when it
// asked for a signature that we do not give, and with identity.ErrRelayed when it
// hands on the challenge of somebody else.
func (h *Handshake) Step(f Frame) (Progress, error) {
	switch h.state {
	case stateHello:
		if f, ok := f.(Hello); ok {
			return h.onHello(f)
		}
	case stateAnswer:
		if f, ok := f.(ChallengeAnswer); ok {
			return h.onAnswer(f)
		}
	case stateChallenge2:
		if f, ok := f.(Challenge2); ok {
			return h.onChallenge2(f)
		}
	case stateFinalOK:
		if _, ok := f.(OK); ok {
			h.state = stateDone
			return Progress{Event: EventDone}, nil
		}
	case stateChallenge:
		if f, ok := f.(Challenge); ok {
			return h.onChallenge(f)
		}
	case stateOK:
		if _, ok := f.(OK); ok {
			return h.onOK()
		}
	case stateAnswer2:
		if f, ok := f.(ChallengeAnswer2); ok {
			return h.onAnswer2(f)
		}
	default:
		return h.fail(ErrHandshakeState)
	}
	if f == nil {
		return h.fail(ErrHandshakeState)
	}
	return h.fail(wire.NewViolation(wire.CodeFrameType, "%s out of turn in the handshake", f.FrameType()))
}

// Proceed goes on after EventAuthenticated.
//
// An acceptor answers CHALLENGE2 from now on. An initiator has its final OK to
// send, with EventDone: the session stands on the other side as soon as it
// arrives.
func (h *Handshake) Proceed() (Progress, error) {
	switch {
	case h.state != stateDecision:
		return h.fail(ErrHandshakeState)
	case h.initiator:
		h.state = stateDone
		return Progress{Send: []Frame{OK{}}, Event: EventDone}, nil
	}
	h.state = stateChallenge2
	return Progress{}, nil
}

// Drive sends what p says, then reads, steps and sends until the next event. p is
// the result of Start or Proceed. It blocks on the stream; deadlines are the
// caller's.
func (h *Handshake) Drive(src *bufio.Reader, dst io.Writer, p Progress) (Event, error) {
	for {
		if len(p.Send) > 0 {
			var b []byte
			for _, f := range p.Send {
				b = f.AppendTo(b)
			}
			if _, err := dst.Write(b); err != nil {
				h.state = stateFailed
				return EventNone, fmt.Errorf("write handshake: %w", err)
			}
		}
		if p.Event != EventNone {
			return p.Event, nil
		}
		f, err := ReadHandshakeFrame(src)
		if err == nil {
			p, err = h.Step(f)
		}
		if err != nil {
			h.state = stateFailed
			return EventNone, err
		}
	}
}

func (h *Handshake) onHello(f Hello) (Progress, error) {
	if err := f.Sender.Validate(); err != nil {
		return h.fail(wire.NewViolation(wire.CodeKey, "sender of the hello: %v", err))
	}
	key, ok := h.lookup(f.Receiver)
	if !ok || key.IsZero() {
		return h.fail(wire.NewViolation(wire.CodeReceiver, "hello for an identity that is not here"))
	}
	h.key, h.hello = key, f
	if err := h.issue(); err != nil {
		return h.fail(err)
	}
	h.state = stateAnswer
	return Progress{Send: []Frame{Challenge{h.challenge}}}, nil
}

func (h *Handshake) onAnswer(f ChallengeAnswer) (Progress, error) {
	if err := h.hello.Sender.VerifyChallenge(h.challenge, f.Signature); err != nil {
		return h.fail(wire.NewViolation(wire.CodeSignature, "challenge answer: %v", err))
	}
	h.remote, h.state = h.hello.Sender, stateDecision
	return Progress{Send: []Frame{OK{}}, Event: EventAuthenticated}, nil
}

func (h *Handshake) onChallenge2(f Challenge2) (Progress, error) {
	sig, err := h.answer(f.Challenge)
	if err != nil {
		return h.fail(err)
	}
	h.state = stateFinalOK
	return Progress{Send: []Frame{ChallengeAnswer2{sig}}}, nil
}

func (h *Handshake) onChallenge(f Challenge) (Progress, error) {
	sig, err := h.answer(f.Challenge)
	if err != nil {
		return h.fail(err)
	}
	h.state = stateOK
	return Progress{Send: []Frame{ChallengeAnswer{sig}}}, nil
}

func (h *Handshake) onOK() (Progress, error) {
	if err := h.issue(); err != nil {
		return h.fail(err)
	}
	h.state = stateAnswer2
	return Progress{Send: []Frame{Challenge2{h.challenge}}}, nil
}

func (h *Handshake) onAnswer2(f ChallengeAnswer2) (Progress, error) {
	if err := h.hello.Receiver.VerifyChallenge(h.challenge, f.Signature); err != nil {
		return h.fail(wire.NewViolation(wire.CodeSignature, "challenge answer: %v", err))
	}
	h.remote, h.state = h.hello.Receiver, stateDecision
	return Progress{Event: EventAuthenticated}, nil
}

func (h *Handshake) fail(err error) (Progress, error) {
	h.state = stateFailed
	return Progress{}, err
}

// maxDraws bounds the search of draw. Every second draw succeeds.
const maxDraws = 32

// issue draws our challenge and remembers it before it leaves.
func (h *Handshake) issue() error {
	var err error
	if h.challenge, err = h.draw(); err != nil {
		return err
	}
	h.issued = true
	if h.security.Issued != nil {
		h.security.Issued.Add(h.challenge)
	}
	return nil
}

// draw returns a challenge that is sealed for this stream, or a random one when
// the stream's end has no name. A challenge that decodes as a point could be taken
// for a node key by an honest but careful peer (identity.CurvePoints), so those are
// thrown back; at the cost of one bit.
func (h *Handshake) draw() (c identity.Challenge, err error) {
	if !h.security.SealLocal.IsZero() {
		return h.seal(h.security.SealLocal, true).Draw(h.security.Random)
	}
	for range maxDraws {
		if _, err := io.ReadFull(h.security.Random, c[:]); err != nil {
			return c, fmt.Errorf("draw a challenge: %w", err)
		}
		if !identity.IsCurvePoint(c) {
			break
		}
	}
	return c, nil
}

// seal names this connection for a challenge of ours or of the other side, whose
// node is verifier.
func (h *Handshake) seal(verifier identity.NodeKey, ours bool) identity.Seal {
	s := identity.Seal{VerifierNode: verifier, Verifier: h.hello.Sender, Prover: h.hello.Receiver, Role: identity.SealInitiator}
	if ours != h.initiator {
		s.Verifier, s.Prover, s.Role = s.Prover, s.Verifier, identity.SealAcceptor
	}
	return s
}

// answer signs the other side's challenge, unless it could be something else, or
// was sealed for another connection.
func (h *Handshake) answer(c identity.Challenge) (identity.Signature, error) {
	here := h.seal(h.security.SealRemote, false)
	sig, err := h.key.SignChallenge(c, here, identity.GuardSet{identity.GuardFunc(h.refuses), h.security.Guard})
	if err != nil {
		return sig, fmt.Errorf("%w: %w", wire.NewViolation(wire.CodeChallenge, "challenge that must not be signed"), err)
	}
	return sig, nil
}

// refuses knows what this handshake knows. An identity counts as a node key
// because apps dial it as one when no tracker knows better.
func (h *Handshake) refuses(value [32]byte) bool {
	known := [][32]byte{h.security.RemoteNode, h.hello.Address, h.hello.Sender, h.hello.Receiver}
	if h.issued {
		known = append(known, h.challenge)
	}
	refused := 0
	for _, k := range known {
		refused |= subtle.ConstantTimeCompare(value[:], k[:])
	}
	return refused == 1 || h.security.Issued != nil && h.security.Issued.Refuses(value)
}
