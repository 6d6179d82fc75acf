// SPDX-License-Identifier: MPL-2.0

package group_test

import (
	"bufio"
	"bytes"
	"crypto/ecdh"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/group"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/peer"
)

func TestVectors(t *testing.T) {
	checks := map[string]func(*testing.T, vector){
		"message": func(t *testing.T, v vector) {
			sealed(t, v)
			frame, err := legacy.Gen2.ReadFrame(bufio.NewReader(bytes.NewReader(v.hex("plaintext"))), peer.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if m, ok := frame.(peer.Message); !ok || string(m.Payload) != "Hello, Bob" || m.GUID != -4331149402683916402 {
				t.Errorf("%+v", frame)
			}
			again, err := legacy.Gen2.Append(nil, frame)
			same(t, again, v.hex("plaintext"), err)
		},
		"empty": sealed,
		"member_info": func(t *testing.T, v vector) {
			sealed(t, v)
			want := peer.Profile{Nickname: "Bob"}
			got, err := group.ParseProfile(v.hex("plaintext"))
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
			same(t, group.AppendProfile(nil, want), v.hex("plaintext"), nil)
		},
		"invite": invite,
	}
	for _, v := range load(t) {
		check := checks[v.Name]
		if strings.HasPrefix(v.Name, "ed25519_to_x25519_") {
			check = conversion
		} else if check == nil {
			t.Errorf("vector %q is not checked", v.Name)
			continue
		}
		delete(checks, v.Name)
		t.Run(v.Name, func(t *testing.T) {
			v.tb = t
			check(t, v)
		})
	}
	if len(checks) > 0 {
		t.Errorf("%d checks have no vector", len(checks))
	}
}

func same(t *testing.T, got, want []byte, err error) {
	t.Helper()
	if !bytes.Equal(got, want) || err != nil {
		t.Errorf("got  %x\nwant %x, error %v", got, want, err)
	}
}

func sealed(t *testing.T, v vector) {
	key := group.KeyOf(v.key("key"))
	out, err := key.SealGen2(bytes.NewReader(v.hex("nonce")), v.hex("plaintext"))
	same(t, out, v.hex("output"), err)
	text, err := key.OpenGen2(v.hex("output"))
	same(t, text, v.hex("plaintext"), err)
}

func invite(t *testing.T, v vector) {
	if info := v.values["hkdf_info"]; info != "group-invite-key" {
		t.Fatalf("info %v", info)
	}
	key, recipient := group.KeyOf(v.key("group_key")), identity.PublicKey(v.key("recipient_ed25519_pub"))
	if recipient != bob().Public() {
		t.Fatal("the vector is for somebody else")
	}
	out, err := key.WrapGen2(bytes.NewReader(slices.Concat(v.hex("ephemeral_x25519_priv"), v.hex("nonce"))), recipient)
	same(t, out[:], v.hex("output"), err)
	got, err := group.UnwrapGen2(bob(), v.hex("output"))
	if err != nil || got.Bytes() != v.key("group_key") {
		t.Errorf("%x, %v", got.Bytes(), err)
	}

	// The steps in between.
	scalar, err := ecdh.X25519().NewPrivateKey(v.hex("recipient_x25519_priv"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, scalar.PublicKey().Bytes(), v.hex("recipient_x25519_pub"), nil)
	public, err := recipient.X25519()
	same(t, public[:], v.hex("recipient_x25519_pub"), err)
	shared, err := bob().Agree([32]byte(out[:32]))
	same(t, shared[:], v.hex("shared_secret"), err)
	ephemeral, shared, err := recipient.AgreeEphemeral(v.key("ephemeral_x25519_priv"))
	same(t, shared[:], v.hex("shared_secret"), err)
	same(t, ephemeral[:], out[:32], err)
	text, err := group.KeyOf(v.key("derived_key")).OpenGen2(out[32:])
	same(t, text, v.hex("group_key"), err)
}

func conversion(t *testing.T, v vector) {
	ed := v.key("ed25519_pub")
	got, err := identity.PublicKey(ed).X25519()
	same(t, got[:], v.hex("x25519_pub"), err)
	if sign := v.values["sign_bit"]; sign != float64(ed[31]>>7) {
		t.Errorf("sign bit %v", sign)
	}
	// What the apps made of it once: they took the sign for a part of y.
	before := montgomery(ed)
	same(t, before[:], v.hex("x25519_pub_before_2025_11_16"), nil)
	if ed[31]>>7 == 0 != (got == before) {
		t.Errorf("both conversions give %x", got)
	}
	ed[31] &= 0x7f
	now := montgomery(ed)
	same(t, now[:], v.hex("x25519_pub"), nil)
}

// montgomery is (1+y)/(1-y) by the book.
func montgomery(y [32]byte) (u [32]byte) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	reversed := slices.Clone(y[:])
	slices.Reverse(reversed)
	n := new(big.Int).SetBytes(reversed)
	one := big.NewInt(1)
	down := new(big.Int).ModInverse(new(big.Int).Mod(new(big.Int).Sub(one, n), p), p)
	out := new(big.Int).Mod(new(big.Int).Mul(new(big.Int).Add(one, n), down), p).FillBytes(u[:])
	slices.Reverse(out)
	return u
}
