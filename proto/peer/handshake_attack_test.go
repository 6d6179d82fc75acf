// SPDX-License-Identifier: MPL-2.0

package peer_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

// mustRefuse takes a step that must fail with the code and give nothing away.
func mustRefuse(tb testing.TB, h *peer.Handshake, f peer.Frame, code string) error {
	tb.Helper()
	p, err := h.Step(f)
	if wire.ViolationCode(err) != code || len(p.Send) > 0 || p.Event != peer.EventNone {
		tb.Errorf("progress %+v, error %v, want code %q", p, err, code)
	}
	if !h.Remote().IsZero() && !h.IsInitiator() && code == wire.CodeSignature {
		tb.Error("the peer counts as authenticated")
	}
	return err
}

// Bar S06
func TestAcceptorRefusesImpersonation(t *testing.T) {
	small := identity.PublicKey{0: 1} // order 1: R = B·S holds for every message
	noPoint := identity.PublicKey{0: 2}
	for name, test := range map[string]struct {
		hello peer.Hello
		code  string
	}{
		"zero key":        {peer.Hello{Receiver: bob().Public()}, wire.CodeKey},
		"small order":     {peer.Hello{Sender: small, Receiver: bob().Public()}, wire.CodeKey},
		"no point":        {peer.Hello{Sender: noPoint, Receiver: bob().Public()}, wire.CodeKey},
		"not for us":      {peer.Hello{Sender: alice().Public(), Receiver: alice().Public()}, wire.CodeReceiver},
		"for nobody":      {peer.Hello{Sender: alice().Public()}, wire.CodeReceiver},
		"for a small key": {peer.Hello{Sender: alice().Public(), Receiver: small}, wire.CodeReceiver},
	} {
		t.Run(name, func(t *testing.T) {
			b := peer.NewAcceptor(acceptorConfig())
			mustStart(t, b)
			_ = mustRefuse(t, b, test.hello, test.code)
		})
	}

	t.Run("a key that the lookup does not have after all", func(t *testing.T) {
		cfg := acceptorConfig()
		cfg.Lookup = func(identity.PublicKey) (identity.PrivateKey, bool) { return identity.PrivateKey{}, true }
		b := peer.NewAcceptor(cfg)
		mustStart(t, b)
		_ = mustRefuse(t, b, peer.Hello{Sender: alice().Public(), Receiver: bob().Public()}, wire.CodeReceiver)
	})

	for name, forge := range map[string]func(c identity.NodeKey) identity.Signature{
		"signed with another key":  func(c identity.NodeKey) identity.Signature { return bob().SignAnnounce(c) },
		"an older challenge":       func(identity.NodeKey) identity.Signature { return alice().SignAnnounce(identity.NodeKey{9}) },
		"empty":                    func(identity.NodeKey) identity.Signature { return identity.Signature{} },
		"R of order 1 and S zero":  func(identity.NodeKey) identity.Signature { return identity.Signature{0: 1} },
		"one bit of the signature": func(c identity.NodeKey) identity.Signature { s := alice().SignAnnounce(c); s[5] ^= 4; return s },
	} {
		t.Run(name, func(t *testing.T) {
			b := peer.NewAcceptor(acceptorConfig())
			mustStart(t, b)
			c := mustStep(t, b, peer.Hello{Sender: alice().Public(), Receiver: bob().Public()}, peer.EventNone).(peer.Challenge)
			_ = mustRefuse(t, b, peer.ChallengeAnswer{Signature: forge(identity.NodeKey(c.Challenge))}, wire.CodeSignature)
		})
	}
}

// Bar S06
func TestInitiatorRefusesImpersonation(t *testing.T) {
	cfg := initiatorConfig()
	cfg.Remote = identity.PublicKey{}
	if _, err := peer.NewInitiator(cfg).Start(); !errors.Is(err, identity.ErrInvalidKey) {
		t.Errorf("dials nobody: %v", err)
	}
	for name, forge := range map[string]func(c identity.NodeKey) identity.Signature{
		"signed with another key": func(c identity.NodeKey) identity.Signature { return alice().SignAnnounce(c) },
		"an older challenge":      func(identity.NodeKey) identity.Signature { return bob().SignAnnounce(identity.NodeKey{9}) },
		"empty":                   func(identity.NodeKey) identity.Signature { return identity.Signature{} },
	} {
		t.Run(name, func(t *testing.T) {
			a := peer.NewInitiator(initiatorConfig())
			mustStart(t, a)
			mustStep(t, a, peer.Challenge{Challenge: identity.Challenge{9}}, peer.EventNone)
			c := mustStep(t, a, peer.OK{}, peer.EventNone).(peer.Challenge2)
			_ = mustRefuse(t, a, peer.ChallengeAnswer2{Signature: forge(identity.NodeKey(c.Challenge))}, wire.CodeSignature)
			if !a.Remote().IsZero() {
				t.Error("the peer counts as authenticated")
			}
		})
	}
}

// Bar S06
// Bar S08
func TestHandshakeFramesHaveExactSizes(t *testing.T) {
	for _, test := range []struct {
		frame peer.Frame
		// offset of the length, which is right in the frame.
		offset int
	}{
		{peer.Hello{Sender: alice().Public(), Receiver: bob().Public(), Address: aliceNode()}, 20},
		{peer.Hello{Sender: alice().Public(), Receiver: bob().Public(), Address: aliceNode()}, 56},
		{peer.Hello{Sender: alice().Public(), Receiver: bob().Public(), Address: aliceNode()}, 96},
		{peer.Challenge{}, 16},
		{peer.Challenge2{}, 16},
		{peer.ChallengeAnswer{}, 16},
		{peer.ChallengeAnswer2{}, 16},
	} {
		right := test.frame.AppendTo(nil)
		size := int32(right[test.offset+3])
		for _, length := range []int32{-1, 0, size - 1, size, size + 1, 128, 129, 4096, 1<<31 - 1, -1 << 31} {
			// All the bytes it announces arrive, as far as that is sane.
			b := append(bytes.Clone(right), make([]byte, 8192)...)
			copy(b[test.offset:], wire.AppendInt32(nil, length))
			f, err := peer.ReadHandshakeFrame(buffered(b))
			if length == size {
				if f != test.frame || err != nil {
					t.Errorf("%s: %v, error %v", test.frame.FrameType(), f, err)
				}
				continue
			}
			if wire.ViolationCode(err) != wire.CodeLength || f != nil {
				t.Errorf("%s, length %d: %v, error %v", test.frame.FrameType(), length, f, err)
			}
		}
	}
}

// Bar S08
func TestHandshake_NotASigningOracle(t *testing.T) {
	address := identity.NodeKey(privateKey(6).Public())
	refused := map[string][32]byte{
		"the remote node":      aliceNode(),
		"our own node":         bobNode(),
		"a tracker":            trackerNode(),
		"our identity":         bob().Public(),
		"their identity":       alice().Public(),
		"the address in HELLO": address,
		"zero":                 {},
	}
	for name, value := range refused {
		t.Run("acceptor, "+name, func(t *testing.T) {
			b := peer.NewAcceptor(acceptorConfig())
			mustStart(t, b)
			c := mustStep(t, b, peer.Hello{Sender: alice().Public(), Receiver: bob().Public(), Address: address}, peer.EventNone).(peer.Challenge)
			mustStep(t, b, peer.ChallengeAnswer{Signature: alice().SignAnnounce(identity.NodeKey(c.Challenge))}, peer.EventAuthenticated)
			mustProceed(t, b, peer.EventNone)
			if err := mustRefuse(t, b, peer.Challenge2{Challenge: value}, wire.CodeChallenge); !errors.Is(err, identity.ErrRefusedToSign) {
				t.Errorf("error %v", err)
			}
		})
	}
	delete(refused, "the address in HELLO")
	refused["our own node"], refused["the remote node"] = aliceNode(), bobNode()
	for name, value := range refused {
		t.Run("initiator, "+name, func(t *testing.T) {
			a := peer.NewInitiator(initiatorConfig())
			mustStart(t, a)
			if err := mustRefuse(t, a, peer.Challenge{Challenge: value}, wire.CodeChallenge); !errors.Is(err, identity.ErrRefusedToSign) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("without a guard", func(t *testing.T) {
		cfg := initiatorConfig()
		cfg.Guard = nil
		a := peer.NewInitiator(cfg)
		mustStart(t, a)
		_ = mustRefuse(t, a, peer.Challenge{Challenge: identity.Challenge{9}}, wire.CodeChallenge)
	})
	t.Run("any curve point, when so configured", func(t *testing.T) {
		cfg := initiatorConfig()
		cfg.Guard = identity.GuardSet{cfg.Guard, identity.CurvePoints{}}
		a := peer.NewInitiator(cfg)
		mustStart(t, a)
		_ = mustRefuse(t, a, peer.Challenge{Challenge: identity.Challenge(privateKey(77).Public())}, wire.CodeChallenge)
	})
}

func TestHandshakeBetweenOurNodesPassesWithCurvePointsRefused(t *testing.T) {
	for range 50 {
		ac, bc := initiatorConfig(), acceptorConfig()
		ac.Guard = identity.GuardSet{ac.Guard, identity.CurvePoints{}}
		bc.Guard = identity.GuardSet{bc.Guard, identity.CurvePoints{}}
		aliceEnd, bobEnd := newStream()
		initiated := make(chan error, 1)
		go func() { initiated <- aliceEnd.run(peer.NewInitiator(ac)) }()
		if err := errors.Join(bobEnd.run(peer.NewAcceptor(bc)), <-initiated); err != nil {
			t.Fatal(err)
		}
	}
}

// Bar S07
func TestAcceptorRefusesItsOwnChallenge(t *testing.T) {
	b := peer.NewAcceptor(acceptorConfig())
	mustStart(t, b)
	c := mustStep(t, b, peer.Hello{Sender: alice().Public(), Receiver: bob().Public()}, peer.EventNone).(peer.Challenge)
	mustStep(t, b, peer.ChallengeAnswer{Signature: alice().SignAnnounce(identity.NodeKey(c.Challenge))}, peer.EventAuthenticated)
	mustProceed(t, b, peer.EventNone)
	_ = mustRefuse(t, b, peer.Challenge2(c), wire.CodeChallenge)
}

// A stranger opens one stream to us, reflects its challenge on another and would
// thereby be us.
//
// Bar S07
func TestAChallengeOfOursIsRefusedOnEveryConnection(t *testing.T) {
	issued := identity.NewIssued(100)
	ac, bc := initiatorConfig(), acceptorConfig()
	ac.Issued, bc.Issued = issued, issued

	b := peer.NewAcceptor(bc)
	mustStart(t, b)
	c := mustStep(t, b, peer.Hello{Sender: bob().Public(), Receiver: bob().Public()}, peer.EventNone).(peer.Challenge)
	a := peer.NewInitiator(ac)
	mustStart(t, a)
	_ = mustRefuse(t, a, c, wire.CodeChallenge)

	// The other way round: the initiator's challenge, shown to an acceptor.
	a = peer.NewInitiator(ac)
	mustStart(t, a)
	mustStep(t, a, peer.Challenge{Challenge: identity.Challenge{9}}, peer.EventNone)
	c2 := mustStep(t, a, peer.OK{}, peer.EventNone).(peer.Challenge2)
	b = peer.NewAcceptor(bc)
	mustStart(t, b)
	c = mustStep(t, b, peer.Hello{Sender: alice().Public(), Receiver: bob().Public()}, peer.EventNone).(peer.Challenge)
	mustStep(t, b, peer.ChallengeAnswer{Signature: alice().SignAnnounce(identity.NodeKey(c.Challenge))}, peer.EventAuthenticated)
	mustProceed(t, b, peer.EventNone)
	_ = mustRefuse(t, b, c2, wire.CodeChallenge)
}

// Bar S07
func TestAReplayedSessionIsRefused(t *testing.T) {
	// Everything that Alice said in one session, said again in the next.
	first := peer.NewAcceptor(acceptorConfig())
	mustStart(t, first)
	hello := peer.Hello{Sender: alice().Public(), Receiver: bob().Public()}
	c := mustStep(t, first, hello, peer.EventNone).(peer.Challenge)
	answer := peer.ChallengeAnswer{Signature: alice().SignAnnounce(identity.NodeKey(c.Challenge))}
	mustStep(t, first, answer, peer.EventAuthenticated)

	second := peer.NewAcceptor(acceptorConfig())
	mustStart(t, second)
	mustStep(t, second, hello, peer.EventNone)
	_ = mustRefuse(t, second, answer, wire.CodeSignature)
}

// Bar S07
func TestChallengesAreFreshAndNoPoints(t *testing.T) {
	seen := make(map[identity.Challenge]bool)
	for range 300 {
		b := peer.NewAcceptor(acceptorConfig())
		mustStart(t, b)
		c := mustStep(t, b, peer.Hello{Sender: alice().Public(), Receiver: bob().Public()}, peer.EventNone).(peer.Challenge)
		if seen[c.Challenge] {
			t.Fatal("a challenge repeats")
		}
		if identity.IsCurvePoint(c.Challenge) {
			t.Fatal("a challenge looks like a node key")
		}
		seen[c.Challenge] = true
	}
}

func TestHandshakeFailsWithoutRandomness(t *testing.T) {
	broken := io.LimitReader(rand.Reader, 31)
	cfg := acceptorConfig()
	cfg.Random = broken
	b := peer.NewAcceptor(cfg)
	mustStart(t, b)
	mustFail(t, b, peer.Hello{Sender: alice().Public(), Receiver: bob().Public()}, io.ErrUnexpectedEOF)

	icfg := initiatorConfig()
	icfg.Random = bytes.NewReader(nil)
	a := peer.NewInitiator(icfg)
	mustStart(t, a)
	mustStep(t, a, peer.Challenge{Challenge: identity.Challenge{9}}, peer.EventNone)
	mustFail(t, a, peer.OK{}, io.EOF)
}

func TestHandshakeIsUsedInOrder(t *testing.T) {
	for name, misuse := range map[string]func(*peer.Handshake) error{
		"proceed before start": func(h *peer.Handshake) error { _, err := h.Proceed(); return err },
		"start twice": func(h *peer.Handshake) error {
			_, first := h.Start()
			_, err := h.Start()
			return errors.Join(first, err)
		},
		"step without a frame": func(h *peer.Handshake) error {
			_, first := h.Start()
			_, err := h.Step(nil)
			return errors.Join(first, err)
		},
	} {
		for _, h := range []*peer.Handshake{peer.NewInitiator(initiatorConfig()), peer.NewAcceptor(acceptorConfig())} {
			if err := misuse(h); !errors.Is(err, peer.ErrHandshakeState) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	}
}

// The input is what the other side sends, in chunks that its first byte chooses.
// Nobody without Alice's or Bob's key may get further than the first check.
//
// Bar S01
// Bar S09
func FuzzHandshakeMachine(f *testing.F) {
	addVectors(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, machine := range []func() *peer.Handshake{
			func() *peer.Handshake {
				cfg := initiatorConfig()
				cfg.Random = constant(8)
				return peer.NewInitiator(cfg)
			},
			func() *peer.Handshake {
				cfg := acceptorConfig()
				cfg.Random = constant(8)
				return peer.NewAcceptor(cfg)
			},
		} {
			h := machine()
			var wrote bytes.Buffer
			err := drive(h, bufio.NewReaderSize(chunked(b), 16), &wrote)
			if err == nil || h.Done() || !h.Remote().IsZero() {
				t.Fatalf("authenticated without a key, error %v", err)
			}
			if wire.ViolationCode(err) == "" && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error %v", err)
			}
			// HELLO, CHALLENGE_ANSWER, CHALLENGE2 at most; or one CHALLENGE.
			if wrote.Len() > 96+84+52 {
				t.Errorf("wrote %d bytes", wrote.Len())
			}
			src := bufio.NewReader(bytes.NewReader(nil))
			wiretest.CheckAllocationSampled(t, b, func() {
				src.Reset(bytes.NewReader(b))
				_ = drive(machine(), src, io.Discard)
			})
		}
	})
}

// chunked gives b in chunks of a size that depends on it.
func chunked(b []byte) io.Reader {
	if len(b) == 0 {
		return bytes.NewReader(nil)
	}
	size := int(b[0])%7 + 1
	readers := make([]io.Reader, 0, len(b)/size+1)
	for len(b) > 0 {
		n := min(size, len(b))
		readers = append(readers, bytes.NewReader(b[:n]))
		b = b[n:]
	}
	return io.MultiReader(readers...)
}
