// SPDX-License-Identifier: MPL-2.0

package group_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	_ "embed"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/group"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

//go:embed testdata/vectors.json
var currentVectors []byte

// Bar S26
func TestCurrentVectors(t *testing.T) {
	key := func(v wiretest.Vector) group.Key { return group.KeyOf(v.Key("group_key")) }
	refused := func(t *testing.T, v wiretest.Vector) {
		if text, err := key(v).Open(v.Hex("blob")); !errors.Is(err, group.ErrSealed) || text != nil {
			t.Errorf("%x, %v", text, err)
		}
	}
	seals := func(t *testing.T, v wiretest.Vector) {
		sealed, err := key(v).Seal(bytes.NewReader(v.Hex("nonce")), v.Hex("plaintext"))
		same(t, sealed, v.OutputHex(), err)
		text, err := key(v).Open(v.OutputHex())
		same(t, text, v.Hex("plaintext"), err)
	}
	wiretest.Run(t, currentVectors, map[string]func(*testing.T, wiretest.Vector){
		"group-message": func(t *testing.T, v wiretest.Vector) {
			seals(t, v)
			m, err := group.ParseMessage(v.Hex("plaintext"), wire.MaxControlPayload)
			want := peer.Message{GUID: -77, SendTime: 1767225600500, Payload: []byte("group hi")}
			if diff := cmp.Diff(want, m); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
			// Android writes the JSON in another order; the header is the same.
			if got := group.AppendMessage(nil, m); !bytes.Equal(got[:16], v.Hex("plaintext")[:16]) {
				t.Errorf("header %x", got[:16])
			}
		},
		"group-message-tampered": refused,
		"group-message-short":    refused,
		"ed25519-pub-to-x25519": func(t *testing.T, v wiretest.Vector) {
			got, err := identity.PublicKey(v.Key("ed25519_pub")).X25519()
			same(t, got[:], v.OutputHex(), err)
		},
		"ed25519-seed-to-x25519": func(t *testing.T, v wiretest.Vector) {
			// The scalar stays inside of package identity: both agree with the same key.
			own, other := identity.NewPrivateKey(v.Key("seed")), [32]byte{9: 7, 31: 1}
			public, theirs, err := own.Public().AgreeEphemeral(other)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := own.Agree(public)
			same(t, ours[:], theirs[:], err)
			expected := clampedAgree(t, v.OutputHex(), public)
			same(t, ours[:], expected, nil)
		},
		"ecies-wrap": func(t *testing.T, v wiretest.Vector) {
			random := io.MultiReader(bytes.NewReader(v.Hex("ephemeral_x25519_secret")), bytes.NewReader(v.Hex("nonce")))
			invite, err := key(v).Wrap(random, v.Key("recipient_ed25519_pub"))
			same(t, invite[:], v.OutputHex(), err)
			unwrapped, err := group.Unwrap(bob(), v.OutputHex())
			if err != nil || !unwrapped.Equal(key(v)) {
				t.Errorf("unwrap: %v", err)
			}
		},
		"member-info-plain": func(t *testing.T, v wiretest.Vector) {
			profile := peer.Profile{Nickname: v.Text("nickname"), Info: v.Text("info"), Avatar: v.Hex("avatar")}
			same(t, group.AppendProfile(nil, profile), v.OutputHex(), nil)
			parsed, err := group.ParseProfile(v.OutputHex())
			if diff := cmp.Diff(profile, parsed); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		},
		"member-info-blob": seals,
	})
}

func TestOpen_EveryChangeIsRefused(t *testing.T) {
	key, other := newKey(t), newKey(t)
	sealed, err := key.Seal(rand.Reader, []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := key.Open(changed); !errors.Is(err, group.ErrSealed) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := key.Open(sealed[:i]); !errors.Is(err, group.ErrSealed) {
			t.Errorf("cut after %d bytes: %v", i, err)
		}
	}
	if _, err := other.Open(sealed); !errors.Is(err, group.ErrSealed) {
		t.Errorf("another group's key: %v", err)
	}
	again, err := key.Seal(rand.Reader, []byte("text"))
	if err != nil || bytes.Equal(again, sealed) {
		t.Error("a text is sealed to the same bytes twice")
	}
}

// TestGenerations_DoNotInteroperate: neither cipher opens what the other sealed.
func TestGenerations_DoNotInteroperate(t *testing.T) {
	key := newKey(t)
	for name, pair := range map[string]struct {
		seal func(io.Reader, []byte) ([]byte, error)
		open func([]byte) ([]byte, error)
	}{
		"2 to 3": {key.SealGen2, key.Open},
		"3 to 2": {key.Seal, key.OpenGen2},
	} {
		sealed, err := pair.seal(rand.Reader, []byte("text"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pair.open(sealed); !errors.Is(err, group.ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	invite, err := key.WrapGen2(rand.Reader, bob().Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := group.Unwrap(bob(), invite[:]); !errors.Is(err, group.ErrSealed) {
		t.Errorf("an invite of gen2: %v", err)
	}
}

func TestUnwrap_RefusesWhatIsNotForUs(t *testing.T) {
	key := newKey(t)
	invite, err := key.Wrap(rand.Reader, bob().Public())
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := group.Unwrap(stranger, invite[:]); !errors.Is(err, group.ErrSealed) {
		t.Errorf("another recipient: %v", err)
	}
	for _, n := range []int{0, 59, 60, len(invite) - 1} {
		if _, err := group.Unwrap(bob(), invite[:n]); !errors.Is(err, group.ErrSealed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := group.Unwrap(bob(), make([]byte, len(invite))); !errors.Is(err, identity.ErrInvalidKey) {
		t.Errorf("an ephemeral key of small order: %v", err)
	}
	if _, err := key.Wrap(rand.Reader, identity.PublicKey{}); !errors.Is(err, identity.ErrInvalidKey) {
		t.Errorf("wrapped for nobody: %v", err)
	}
}

func TestParseMessage_RefusesWhatNoAppReads(t *testing.T) {
	whole := group.AppendMessage(nil, peer.Message{GUID: 5, SendTime: 1767225600500, Payload: []byte("text")})
	for name, test := range map[string]struct {
		text []byte
		code string
	}{
		"whole":             {whole, ""},
		"nothing":           {nil, wire.CodeTruncated},
		"without guid":      {group.AppendMessage(nil, peer.Message{SendTime: 1767225600500}), wire.CodeMissing},
		"another frame":     {peer.Ping{}.AppendTo(nil), wire.CodeFrameType},
		"unknown frame":     {peer.Unknown{Type: 77}.AppendTo(nil), wire.CodeFrameType},
		"too large payload": {group.AppendMessage(nil, peer.Message{GUID: 5, Payload: make([]byte, 65)}), wire.CodeLength},
	} {
		if _, err := group.ParseMessage(test.text, 64); wire.ViolationCode(err) != test.code || (err == nil) != (test.code == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := range whole {
		if _, err := group.ParseMessage(whole[:n], 64); wire.ViolationCode(err) == "" {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
}

// Bar S01
func FuzzGroupPayloadDecrypt(f *testing.F) {
	key := group.KeyOf([32]byte{1})
	sealed, err := key.Seal(bytes.NewReader(make([]byte, 12)), group.AppendMessage(nil, peer.Message{GUID: 5, Payload: []byte("text")}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	for _, v := range wiretest.Load(f, currentVectors) {
		for _, b := range v.HexStrings() {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if text, err := key.Open(b); err == nil && len(text) != len(b)-group.Overhead {
			t.Fatalf("%d bytes of %d", len(text), len(b))
		}
		_, _ = group.Unwrap(bob(), b)
		m, err := group.ParseMessage(b, 1<<10)
		if err != nil {
			if wire.ViolationCode(err) == "" {
				t.Fatal(err)
			}
			return
		}
		again, err := group.ParseMessage(group.AppendMessage(nil, m), 1<<10)
		if diff := cmp.Diff(m, again); diff != "" || err != nil {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}

// clampedAgree is the agreement with the scalar of the vector, by the standard library.
func clampedAgree(t *testing.T, scalar []byte, public [32]byte) []byte {
	t.Helper()
	private, err := ecdh.X25519().NewPrivateKey(scalar)
	if err != nil {
		t.Fatal(err)
	}
	remote, err := ecdh.X25519().NewPublicKey(public[:])
	if err != nil {
		t.Fatal(err)
	}
	shared, err := private.ECDH(remote)
	if err != nil {
		t.Fatal(err)
	}
	return shared
}
