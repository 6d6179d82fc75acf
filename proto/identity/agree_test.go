// SPDX-License-Identifier: MPL-2.0

package identity_test

import (
	"crypto/ed25519"
	"errors"
	"testing"

	"github.com/mimird/mimird/proto/identity"
)

// The bytes are checked by the vectors of package group.
func TestAgreementFromBothSides(t *testing.T) {
	for n := range byte(16) { // identities with either sign
		own := key(n)
		public, theirs, err := own.Public().AgreeEphemeral([32]byte{n, 1})
		if err != nil {
			t.Fatal(err)
		}
		if ours, err := own.Agree(public); ours != theirs || ours == [32]byte{} || err != nil {
			t.Errorf("%d: %x and %x, %v", n, ours, theirs, err)
		}
		if other, err := key(n + 100).Agree(public); other == theirs || err != nil {
			t.Errorf("%d: somebody else has it too, %v", n, err)
		}
	}
}

func TestAgreementRefusesWeakKeys(t *testing.T) {
	for _, u := range [][32]byte{{}, {1}} { // points of small order: everybody knows the secret
		if shared, err := key(1).Agree(u); !errors.Is(err, identity.ErrInvalidKey) {
			t.Errorf("%x gives %x, %v", u, shared, err)
		}
	}
	for _, k := range []identity.PublicKey{{}, {1}, {2}} {
		if u, err := k.X25519(); !errors.Is(err, identity.ErrInvalidKey) {
			t.Errorf("%s becomes %x, %v", k, u, err)
		}
		if _, _, err := k.AgreeEphemeral([32]byte{1}); !errors.Is(err, identity.ErrInvalidKey) {
			t.Errorf("%s: %v", k, err)
		}
	}
}

// The counter is checked by the vectors of package mediator. This nonce needs 65
// tries instead of 65,000.
func TestSignChat(t *testing.T) {
	own, nonce := key(1), [32]byte{77}
	if counter, sig, found := own.SignChat(nonce, 0, 3); found || counter != 0 || sig != (identity.Signature{}) {
		t.Errorf("found %d within 3", counter)
	}
	// It ends where the counter does.
	if _, _, found := own.SignChat(nonce, 1<<32-3, 1<<32-1); found {
		t.Error("found at the end")
	}
	counter, sig, found := own.SignChat(nonce, 0, 100)
	if !found || own.Public().VerifyChat(nonce, counter, sig) != nil {
		t.Fatalf("counter %d, found %v", counter, found)
	}
	// A good signature of the first counter, which begins with other bytes.
	raw := seed(1)
	unsolved := identity.Signature(ed25519.Sign(ed25519.NewKeyFromSeed(raw[:]), append(nonce[:], 0, 0, 0, 0)))
	for name, err := range map[string]error{
		"another counter":  own.Public().VerifyChat(nonce, counter+1, sig),
		"another nonce":    own.Public().VerifyChat([32]byte{78}, counter, sig),
		"another identity": key(2).Public().VerifyChat(nonce, counter, sig),
		"no proof of work": own.Public().VerifyChat(nonce, 0, unsolved),
	} {
		if !errors.Is(err, identity.ErrInvalidSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (identity.PublicKey{}).VerifyChat(nonce, counter, sig); !errors.Is(err, identity.ErrInvalidKey) {
		t.Errorf("no key: %v", err)
	}
}
