// SPDX-License-Identifier: MPL-2.0

package identity_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

// The vectors of this form are our own; another program computed them.
func TestSeal_Vectors(t *testing.T) {
	file, err := os.ReadFile("testdata/seal.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, v wiretest.Vector) {
		s := identity.Seal{
			VerifierNode: v.Key("node"), Verifier: v.Key("verifier"), Prover: v.Key("prover"),
			Role: identity.SealRole(v.Int("role")),
		}
		want := identity.Challenge(v.OutputHex())
		got, err := s.Draw(bytes.NewReader(v.Hex("r")))
		if err != nil || got != want {
			t.Errorf("%x, error %v", got, err)
		}
		if !s.Fits(want) || !identity.IsSealed(want) {
			t.Error("not recognised")
		}
	}
	wiretest.Run(t, file, map[string]func(*testing.T, wiretest.Vector){
		"acceptor": check, "initiator": check, "another-node": check, "a-pair-of-zeros": check,
	})
}

func exampleSeal() identity.Seal {
	return identity.Seal{VerifierNode: identity.NodeKey{1}, Verifier: key(1).Public(), Prover: key(2).Public(), Role: identity.SealAcceptor}
}

// Every part of a connection counts, and every bit of the challenge.
func TestSeal_FitsNothingElse(t *testing.T) {
	s := exampleSeal()
	c, err := s.Draw(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Fits(c) || !identity.IsSealed(c) {
		t.Fatal("it does not fit its own connection")
	}
	for name, change := range map[string]func(*identity.Seal){
		"node":     func(s *identity.Seal) { s.VerifierNode = identity.NodeKey{2} },
		"verifier": func(s *identity.Seal) { s.Verifier = key(3).Public() },
		"prover":   func(s *identity.Seal) { s.Prover = key(3).Public() },
		"both":     func(s *identity.Seal) { s.Verifier, s.Prover = s.Prover, s.Verifier },
		"role":     func(s *identity.Seal) { s.Role = identity.SealInitiator },
	} {
		other := s
		change(&other)
		if other.Fits(c) {
			t.Errorf("another %s fits", name)
		}
	}
	for bit := range 8 * len(c) {
		d := c
		d[bit/8] ^= 1 << (bit % 8)
		if s.Fits(d) {
			t.Errorf("bit %d does not count", bit)
		}
	}
}

// Bar S07: challenges are fresh, none could be a key, and a random one carries no
// mark.
func TestSeal_ChallengesAreFreshAndNoPoints(t *testing.T) {
	s := exampleSeal()
	seen := make(map[identity.Challenge]bool)
	for range 2000 {
		c, err := s.Draw(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if seen[c] || identity.IsCurvePoint(c) {
			t.Fatalf("%x repeats, or could be a key", c)
		}
		seen[c] = true
		var random identity.Challenge
		if _, err := rand.Read(random[:]); err != nil {
			t.Fatal(err)
		}
		if identity.IsSealed(random) {
			t.Fatalf("%x carries the mark", random)
		}
	}
}

func TestSeal_FailsWithoutRandomness(t *testing.T) {
	if _, err := exampleSeal().Draw(io.LimitReader(rand.Reader, 15)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
}

// Bar S08: nobody signs what was sealed for another connection, under no pretext.
func TestSignChallenge_SealedForAnotherConnection_Refused(t *testing.T) {
	k, here := key(2), exampleSeal()
	other := here
	other.VerifierNode = identity.NodeKey{9}
	c, err := other.Draw(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if sig, err := k.SignChallenge(c, other, identity.GuardFunc(permit)); err != nil || k.Public().VerifyChallenge(c, sig) != nil {
		t.Errorf("on its own connection: %v", err)
	}
	for name, sign := range map[string]func() (identity.Signature, error){
		"challenge": func() (identity.Signature, error) { return k.SignChallenge(c, here, identity.GuardFunc(permit)) },
		"no seal": func() (identity.Signature, error) {
			return k.SignChallenge(c, identity.Seal{}, identity.GuardFunc(permit))
		},
		"server nonce": func() (identity.Signature, error) { return k.SignServerNonce(c, identity.GuardFunc(permit)) },
	} {
		sig, err := sign()
		if !errors.Is(err, identity.ErrRelayed) || !errors.Is(err, identity.ErrRefusedToSign) || sig != (identity.Signature{}) {
			t.Errorf("%s: signed, error %v", name, err)
		}
	}
}

func FuzzSeal(f *testing.F) {
	f.Add(make([]byte, 32), make([]byte, 97))
	f.Fuzz(func(t *testing.T, challenge, fields []byte) {
		var c identity.Challenge
		copy(c[:], challenge)
		fields = append(fields, make([]byte, 97)...)
		s := identity.Seal{
			VerifierNode: identity.NodeKey(fields[:32]), Verifier: identity.PublicKey(fields[32:64]),
			Prover: identity.PublicKey(fields[64:96]), Role: identity.SealRole(fields[96]),
		}
		if s.Fits(c) && !identity.IsSealed(c) {
			t.Error("it fits and is not sealed")
		}
		sealed, err := s.Draw(io.MultiReader(bytes.NewReader(c[:]), rand.Reader))
		if err != nil || !s.Fits(sealed) || identity.IsCurvePoint(sealed) {
			t.Errorf("%x, error %v", sealed, err)
		}
		other := s
		other.VerifierNode[0] ^= 1
		if other.Fits(sealed) {
			t.Error("it fits another node")
		}
	})
}
