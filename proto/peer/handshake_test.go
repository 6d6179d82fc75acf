// SPDX-License-Identifier: MPL-2.0

package peer_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

func privateKey(b byte) identity.PrivateKey {
	return identity.NewPrivateKey([32]byte(bytes.Repeat([]byte{b}, 32)))
}

// The two sides of the tests, and their nodes.
func alice() identity.PrivateKey    { return privateKey(1) }
func bob() identity.PrivateKey      { return privateKey(2) }
func aliceNode() identity.NodeKey   { return identity.NodeKey(privateKey(3).Public()) }
func bobNode() identity.NodeKey     { return identity.NodeKey(privateKey(4).Public()) }
func trackerNode() identity.NodeKey { return identity.NodeKey(privateKey(5).Public()) }

func initiatorConfig() peer.InitiatorConfig {
	return peer.InitiatorConfig{
		Key: alice(), Remote: bob().Public(), ClientID: 7,
		Security: peer.Security{Guard: identity.KeyGuard(aliceNode(), trackerNode()), RemoteNode: bobNode(), Random: rand.Reader},
	}
}

func acceptorConfig() peer.AcceptorConfig {
	return peer.AcceptorConfig{
		Lookup: func(k identity.PublicKey) (identity.PrivateKey, bool) { return bob(), k == bob().Public() },
		Security: peer.Security{
			Guard: identity.KeyGuard(bobNode(), trackerNode()), RemoteNode: aliceNode(), Random: rand.Reader,
		},
	}
}

// constant is a source of randomness that always gives the same byte.
type constant byte

func (c constant) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c)
	}
	return len(b), nil
}

func mustStart(tb testing.TB, h *peer.Handshake) []peer.Frame {
	tb.Helper()
	p, err := h.Start()
	if err != nil {
		tb.Fatal(err)
	}
	return p.Send
}

// mustStep takes a step that must lead to the event, and returns the one frame
// to send, or nil.
func mustStep(tb testing.TB, h *peer.Handshake, f peer.Frame, want peer.Event) peer.Frame {
	tb.Helper()
	p, err := h.Step(f)
	if err != nil {
		tb.Fatalf("%s: %v", f.FrameType(), err)
	}
	if p.Event != want || len(p.Send) > 1 {
		tb.Fatalf("%s: event %d, %d frames", f.FrameType(), p.Event, len(p.Send))
	}
	if len(p.Send) == 0 {
		return nil
	}
	return p.Send[0]
}

func mustProceed(tb testing.TB, h *peer.Handshake, want peer.Event) []peer.Frame {
	tb.Helper()
	p, err := h.Proceed()
	if err != nil {
		tb.Fatal(err)
	}
	if p.Event != want {
		tb.Fatalf("event %d", p.Event)
	}
	return p.Send
}

// Bar S26
func checkInitiatorBytes(t *testing.T, v wiretest.Vector) {
	cfg := initiatorConfig()
	cfg.Key = identity.NewPrivateKey(v.Key("seed_a"))
	cfg.Remote = v.Key("identity_b")
	cfg.ClientID = 1
	cfg.Random = constant(v.Key("challenge2")[0])
	h := peer.NewInitiator(cfg)

	wrote := []byte{byte(peer.RoleControl)}
	send := func(frames ...peer.Frame) {
		for _, f := range frames {
			wrote = f.AppendTo(wrote)
		}
	}
	send(mustStart(t, h)...)
	send(mustStep(t, h, peer.Challenge{Challenge: v.Key("challenge")}, peer.EventNone))
	send(mustStep(t, h, peer.OK{}, peer.EventNone))
	mustStep(t, h, peer.ChallengeAnswer2{Signature: answerOfB(t)}, peer.EventAuthenticated)
	send(mustProceed(t, h, peer.EventDone)...)
	if !bytes.Equal(wrote, v.OutputHex()) {
		t.Errorf("wrote\n%x, want\n%x", wrote, v.OutputHex())
	}
}

// answerOfB returns the signature of the vector "challenge-answer2".
func answerOfB(t *testing.T) identity.Signature {
	t.Helper()
	for _, v := range wiretest.Load(t, vectors) {
		if v.Name == "challenge-answer2" {
			b := v.OutputHex()
			return identity.Signature(b[len(b)-64:])
		}
	}
	t.Fatal("no such vector")
	return identity.Signature{}
}

// Bar S26
func checkAcceptorBytes(t *testing.T, v wiretest.Vector) {
	key := identity.NewPrivateKey(v.Key("seed_b"))
	cfg := acceptorConfig()
	cfg.Lookup = func(k identity.PublicKey) (identity.PrivateKey, bool) { return key, k == key.Public() }
	cfg.Random = constant(v.Key("challenge")[0])
	h := peer.NewAcceptor(cfg)

	var wrote []byte
	send := func(f peer.Frame) { wrote = f.AppendTo(wrote) }
	mustStart(t, h)
	send(mustStep(t, h, peer.Hello{Sender: alice().Public(), Receiver: key.Public()}, peer.EventNone))
	send(mustStep(t, h, peer.ChallengeAnswer{Signature: alice().SignAnnounce(v.Key("challenge"))}, peer.EventAuthenticated))
	mustProceed(t, h, peer.EventNone)
	send(mustStep(t, h, peer.Challenge2{Challenge: v.Key("challenge2")}, peer.EventNone))
	mustStep(t, h, peer.OK{ID: 99}, peer.EventDone)
	if !bytes.Equal(wrote, v.OutputHex()) {
		t.Errorf("wrote\n%x, want\n%x", wrote, v.OutputHex())
	}
}

func TestHandshakeAuthenticatesBothSides(t *testing.T) {
	a, b := peer.NewInitiator(initiatorConfig()), peer.NewAcceptor(acceptorConfig())
	if !a.IsInitiator() || b.IsInitiator() || a.Local() != alice().Public() || !b.Local().IsZero() {
		t.Error("roles are wrong")
	}

	hello := mustStart(t, a)
	if len(hello) != 1 || len(mustStart(t, b)) != 0 {
		t.Fatal("the wrong side speaks first")
	}
	challenge := mustStep(t, b, hello[0], peer.EventNone)
	if !b.Remote().IsZero() || b.Local() != bob().Public() || b.Hello() != hello[0] {
		t.Error("the acceptor believes a claim")
	}
	answer := mustStep(t, a, challenge, peer.EventNone)
	ok := mustStep(t, b, answer, peer.EventAuthenticated)
	if b.Remote() != alice().Public() || b.Done() {
		t.Error("the acceptor does not know its peer")
	}
	challenge2 := mustStep(t, a, ok, peer.EventNone)
	if !a.Remote().IsZero() {
		t.Error("the initiator believes a claim")
	}

	mustProceed(t, b, peer.EventNone)
	answer2 := mustStep(t, b, challenge2, peer.EventNone)
	if final := mustStep(t, a, answer2, peer.EventAuthenticated); final != nil {
		t.Error("the initiator completes without being told")
	}
	if a.Remote() != bob().Public() || a.Done() {
		t.Error("the initiator does not know its peer")
	}
	final := mustProceed(t, a, peer.EventDone)
	if len(final) != 1 {
		t.Fatal("no final OK")
	}
	mustStep(t, b, final[0], peer.EventDone)
	if !a.Done() || !b.Done() {
		t.Error("no session")
	}
}

func TestHandshakeDrivesAStream(t *testing.T) {
	aliceEnd, bobEnd := newStream()
	initiated := make(chan error, 1)
	go func() { initiated <- aliceEnd.run(peer.NewInitiator(initiatorConfig())) }()

	b := peer.NewAcceptor(acceptorConfig())
	p, err := b.Start()
	if err != nil {
		t.Fatal(err)
	}
	if event, err := b.Drive(bobEnd.src, bobEnd.dst, p); event != peer.EventAuthenticated || err != nil {
		t.Errorf("event %d, error %v", event, err)
	}
	// The second half runs elsewhere, with the same machine and reader.
	accepted := make(chan error, 1)
	go func() {
		defer bobEnd.close()
		p, err := b.Proceed()
		if err == nil {
			_, err = b.Drive(bobEnd.src, bobEnd.dst, p)
		}
		accepted <- err
	}()
	if err := errors.Join(<-accepted, <-initiated); err != nil {
		t.Error(err)
	}
	if !b.Done() {
		t.Error("no session")
	}
}

// end is one end of a stream in memory.
type end struct {
	src   *bufio.Reader
	dst   io.Writer
	close func()
}

func newStream() (a, b end) {
	fromA, toB := io.Pipe()
	fromB, toA := io.Pipe()
	closeBoth := func() {
		_ = toA.Close() // never fails
		_ = toB.Close() // never fails
	}
	return end{bufio.NewReader(fromB), toB, closeBoth}, end{bufio.NewReader(fromA), toA, closeBoth}
}

// run runs a whole handshake and ends the stream.
func (e end) run(h *peer.Handshake) error {
	defer e.close()
	return drive(h, e.src, e.dst)
}

// drive runs a whole handshake with a caller that always goes on.
func drive(h *peer.Handshake, src *bufio.Reader, dst io.Writer) error {
	p, err := h.Start()
	for err == nil {
		var event peer.Event
		event, err = h.Drive(src, dst, p)
		if err != nil || event == peer.EventDone {
			break
		}
		p, err = h.Proceed()
	}
	return err
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestHandshakeDriveReportsABrokenStream(t *testing.T) {
	h := peer.NewInitiator(initiatorConfig())
	p, err := h.Start()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Drive(buffered(nil), brokenWriter{}, p); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error %v", err)
	}
	mustFail(t, h, peer.Challenge{}, peer.ErrHandshakeState)

	h = peer.NewInitiator(initiatorConfig())
	if p, err = h.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Drive(buffered(nil), io.Discard, p); !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
	h = peer.NewInitiator(initiatorConfig())
	if p, err = h.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Drive(buffered(peer.Ping{}.AppendTo(nil)), io.Discard, p); wire.ViolationCode(err) != wire.CodeFrameType {
		t.Errorf("error %v", err)
	}
}

func mustFail(tb testing.TB, h *peer.Handshake, f peer.Frame, want error) {
	tb.Helper()
	if p, err := h.Step(f); !errors.Is(err, want) || len(p.Send) > 0 || p.Event != peer.EventNone {
		tb.Errorf("progress %+v, error %v", p, err)
	}
}

// everyFrame has one well-formed frame of each type, the message-only types as
// unknown ones.
func everyFrame() []peer.Frame {
	return []peer.Frame{
		peer.Hello{Sender: alice().Public(), Receiver: bob().Public()},
		peer.Challenge{Challenge: identity.Challenge{9}},
		peer.ChallengeAnswer{},
		peer.Challenge2{Challenge: identity.Challenge{9}},
		peer.ChallengeAnswer2{},
		peer.InfoRequest{},
		peer.InfoResponse{},
		peer.Ping{},
		peer.Pong{},
		peer.Unknown{Type: 10},
		peer.Message{GUID: 1},
		peer.Unknown{Type: 1001},
		peer.CallOffer{},
		peer.CallAnswer{},
		peer.CallHang{},
		peer.CallPacket{},
		peer.ContactRequest{},
		peer.ContactResponse{},
		peer.FileRequest{},
		peer.Unknown{Type: 4001},
		peer.OK{},
	}
}

// Bar S09
func TestHandshakeTakesOneTypeInEachState(t *testing.T) {
	for _, state := range []struct {
		name  string
		legal peer.FrameType
		// reach brings a new machine into the state and returns the legal frame.
		reach func(*testing.T) (*peer.Handshake, peer.Frame)
	}{
		{"acceptor waits for HELLO", peer.FrameHello, func(t *testing.T) (*peer.Handshake, peer.Frame) {
			b := peer.NewAcceptor(acceptorConfig())
			mustStart(t, b)
			return b, peer.Hello{Sender: alice().Public(), Receiver: bob().Public()}
		}},
		{"acceptor waits for CHALLENGE_ANSWER", peer.FrameChallengeAnswer, acceptorAtAnswer},
		{"acceptor waits for CHALLENGE2", peer.FrameChallenge2, acceptorAtChallenge2},
		{"acceptor waits for OK", peer.FrameOK, func(t *testing.T) (*peer.Handshake, peer.Frame) {
			b, challenge2 := acceptorAtChallenge2(t)
			mustStep(t, b, challenge2, peer.EventNone)
			return b, peer.OK{}
		}},
		{"initiator waits for CHALLENGE", peer.FrameChallenge, func(t *testing.T) (*peer.Handshake, peer.Frame) {
			a := peer.NewInitiator(initiatorConfig())
			mustStart(t, a)
			return a, peer.Challenge{Challenge: identity.Challenge{9}}
		}},
		{"initiator waits for OK", peer.FrameOK, func(t *testing.T) (*peer.Handshake, peer.Frame) {
			a := peer.NewInitiator(initiatorConfig())
			mustStart(t, a)
			mustStep(t, a, peer.Challenge{Challenge: identity.Challenge{9}}, peer.EventNone)
			return a, peer.OK{}
		}},
		{"initiator waits for CHALLENGE_ANSWER2", peer.FrameChallengeAnswer2, initiatorAtAnswer2},
		{"not started", 0, func(*testing.T) (*peer.Handshake, peer.Frame) {
			return peer.NewAcceptor(acceptorConfig()), nil
		}},
		{"acceptor waits for a decision", 0, func(t *testing.T) (*peer.Handshake, peer.Frame) {
			b, answer := acceptorAtAnswer(t)
			mustStep(t, b, answer, peer.EventAuthenticated)
			return b, nil
		}},
		{"initiator waits for a decision", 0, func(t *testing.T) (*peer.Handshake, peer.Frame) {
			a, answer2 := initiatorAtAnswer2(t)
			mustStep(t, a, answer2, peer.EventAuthenticated)
			return a, nil
		}},
		{"done", 0, func(t *testing.T) (*peer.Handshake, peer.Frame) {
			a, answer2 := initiatorAtAnswer2(t)
			mustStep(t, a, answer2, peer.EventAuthenticated)
			mustProceed(t, a, peer.EventDone)
			return a, nil
		}},
	} {
		for _, f := range everyFrame() {
			t.Run(fmt.Sprintf("%s, gets %s %d", state.name, f.FrameType(), f.FrameType()), func(t *testing.T) {
				h, legal := state.reach(t)
				if f.FrameType() == state.legal {
					if _, err := h.Step(legal); err != nil {
						t.Errorf("the legal frame is refused: %v", err)
					}
					return
				}
				p, err := h.Step(f)
				if len(p.Send) > 0 || p.Event != peer.EventNone || err == nil {
					t.Fatalf("progress %+v, error %v", p, err)
				}
				if state.legal != 0 && wire.ViolationCode(err) != wire.CodeFrameType {
					t.Errorf("error %v", err)
				}
				if state.legal == 0 && !errors.Is(err, peer.ErrHandshakeState) {
					t.Errorf("error %v", err)
				}
				// And it is over: what was legal is so no more.
				if legal != nil {
					mustFail(t, h, legal, peer.ErrHandshakeState)
				}
				if h.Done() {
					t.Error("done")
				}
				if _, err := h.Proceed(); !errors.Is(err, peer.ErrHandshakeState) {
					t.Errorf("proceeds after an error: %v", err)
				}
			})
		}
	}
}

// Bar S09
func TestReadHandshakeFrameSkipsNothing(t *testing.T) {
	legal := map[peer.FrameType]bool{
		peer.FrameHello: true, peer.FrameChallenge: true, peer.FrameChallengeAnswer: true, peer.FrameChallenge2: true,
		peer.FrameChallengeAnswer2: true, peer.FrameOK: true,
	}
	for _, f := range everyFrame() {
		got, err := peer.ReadHandshakeFrame(buffered(f.AppendTo(nil)))
		switch {
		case legal[f.FrameType()]:
			if diff := cmp.Diff(f, got); diff != "" || err != nil {
				t.Errorf("%s: error %v\n%s", f.FrameType(), err, diff)
			}
		case wire.ViolationCode(err) != wire.CodeFrameType || got != nil:
			t.Errorf("%s %d: %v, error %v", f.FrameType(), f.FrameType(), got, err)
		}
	}
}

func acceptorAtAnswer(t *testing.T) (*peer.Handshake, peer.Frame) {
	t.Helper()
	b := peer.NewAcceptor(acceptorConfig())
	mustStart(t, b)
	challenge := mustStep(t, b, peer.Hello{Sender: alice().Public(), Receiver: bob().Public()}, peer.EventNone).(peer.Challenge)
	return b, peer.ChallengeAnswer{Signature: alice().SignAnnounce(identity.NodeKey(challenge.Challenge))}
}

func acceptorAtChallenge2(t *testing.T) (*peer.Handshake, peer.Frame) {
	t.Helper()
	b, answer := acceptorAtAnswer(t)
	mustStep(t, b, answer, peer.EventAuthenticated)
	mustProceed(t, b, peer.EventNone)
	return b, peer.Challenge2{Challenge: identity.Challenge{9}}
}

func initiatorAtAnswer2(t *testing.T) (*peer.Handshake, peer.Frame) {
	t.Helper()
	a := peer.NewInitiator(initiatorConfig())
	mustStart(t, a)
	mustStep(t, a, peer.Challenge{Challenge: identity.Challenge{9}}, peer.EventNone)
	challenge2 := mustStep(t, a, peer.OK{}, peer.EventNone).(peer.Challenge2)
	return a, peer.ChallengeAnswer2{Signature: bob().SignAnnounce(identity.NodeKey(challenge2.Challenge))}
}
