// SPDX-License-Identifier: MPL-2.0

package group_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/mimird/mimird/proto/group"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

func newKey(t *testing.T) group.Key {
	t.Helper()
	k, err := group.NewKey(rand.Reader)
	if err != nil || k.IsZero() || !k.Equal(group.KeyOf(k.Bytes())) {
		t.Fatal(err)
	}
	return k
}

// TestSealedTextsOfAllSizes crosses the boundaries of the cipher's blocks, which
// begin 32 bytes off.
func TestSealedTextsOfAllSizes(t *testing.T) {
	k := newKey(t)
	seen := make(map[string]bool)
	for _, n := range []int{0, 1, 15, 16, 31, 32, 33, 63, 64, 65, 95, 96, 97, 1000, 100_000} {
		text := bytes.Repeat([]byte{byte(n)}, n)
		out, err := k.SealGen2(rand.Reader, text)
		if err != nil || len(out) != n+group.Overhead {
			t.Fatalf("%d bytes give %d, %v", n, len(out), err)
		}
		if nonce := string(out[:12]); seen[nonce] {
			t.Error("a nonce is used twice")
		} else {
			seen[nonce] = true
		}
		if got, err := k.OpenGen2(out); !bytes.Equal(got, text) || err != nil {
			t.Errorf("%d bytes open to %d, %v", n, len(got), err)
		}
	}
}

func TestSealedTextsAreRefused(t *testing.T) {
	k := newKey(t)
	out, err := k.SealGen2(rand.Reader, []byte("the text"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range out {
		changed := bytes.Clone(out)
		changed[i] ^= 0x10
		if text, err := k.OpenGen2(changed); !errors.Is(err, group.ErrSealed) {
			t.Errorf("byte %d changed: %q, %v", i, text, err)
		}
	}
	for n := range out {
		if _, err := k.OpenGen2(out[:n]); !errors.Is(err, group.ErrSealed) {
			t.Errorf("%d bytes of it: %v", n, err)
		}
	}
	if _, err := newKey(t).OpenGen2(out); !errors.Is(err, group.ErrSealed) {
		t.Errorf("another key: %v", err)
	}
	if _, err := k.OpenGen2(append(out, 0)); !errors.Is(err, group.ErrSealed) {
		t.Errorf("a byte more: %v", err)
	}
}

// TestGen2Cipher_NotRFC8439: who repairs it breaks it.
func TestGen2Cipher_NotRFC8439(t *testing.T) {
	k := newKey(t)
	raw := k.Bytes()
	aead, err := chacha20poly1305.New(raw[:])
	if err != nil {
		t.Fatal(err)
	}
	ours, err := k.SealGen2(rand.Reader, []byte("the text"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := aead.Open(nil, ours[:12], ours[12:], nil); err == nil {
		t.Error("a standard cipher opens ours")
	}
	nonce := make([]byte, 12)
	if _, err := k.OpenGen2(aead.Seal(nonce, nonce, []byte("the text"), nil)); !errors.Is(err, group.ErrSealed) {
		t.Errorf("ours opens a standard cipher's: %v", err)
	}
}

func TestInvites(t *testing.T) {
	k, alice := newKey(t), identity.NewPrivateKey([32]byte{1})
	first, err := k.WrapGen2(rand.Reader, alice.Public())
	if err != nil {
		t.Fatal(err)
	}
	second, err := k.WrapGen2(rand.Reader, alice.Public())
	if err != nil || first == second {
		t.Errorf("two invites are the same, %v", err)
	}
	if got, err := group.UnwrapGen2(alice, first[:]); !got.Equal(k) || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := group.UnwrapGen2(bob(), first[:]); !errors.Is(err, group.ErrSealed) {
		t.Errorf("for somebody else: %v", err)
	}
	for _, n := range []int{0, 31, 32, 60, 91, 93} {
		_, err := group.UnwrapGen2(alice, append(bytes.Clone(first[:]), 0)[:n])
		if !errors.Is(err, group.ErrSealed) || !strings.Contains(err.Error(), "must have 92") {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	// With a key of small order the secret would be known to everybody.
	weak := first
	clear(weak[:32])
	if _, err := group.UnwrapGen2(alice, weak[:]); !errors.Is(err, identity.ErrInvalidKey) {
		t.Errorf("small order: %v", err)
	}
	for _, nobody := range []identity.PublicKey{{}, {1}} {
		if _, err := k.WrapGen2(rand.Reader, nobody); !errors.Is(err, identity.ErrInvalidKey) {
			t.Errorf("invite %s: %v", nobody, err)
		}
	}
	for n := range 44 {
		if _, err := k.WrapGen2(bytes.NewReader(make([]byte, n)), alice.Public()); err == nil {
			t.Errorf("an invite with %d random bytes", n)
		}
	}
}

func TestProfiles(t *testing.T) {
	full := peer.Profile{Nickname: "Боб", Info: "info", Avatar: []byte{1, 2, 3}}
	// The numbers are those of the apps, and ours for texts.
	long := peer.Profile{Nickname: strings.Repeat("ж", 1000), Info: strings.Repeat("x", 20_000)}
	cut := peer.Profile{Nickname: strings.Repeat("ж", 128), Info: long.Info[:4096]}
	large := peer.Profile{Nickname: "n", Avatar: make([]byte, 512_001)}
	for name, test := range map[string]struct{ in, want peer.Profile }{
		"full":            {full, full},
		"empty":           {},
		"long texts":      {long, cut},
		"large picture":   {large, peer.Profile{Nickname: "n"}},
		"largest picture": {peer.Profile{Avatar: large.Avatar[1:]}, peer.Profile{Avatar: large.Avatar[1:]}},
	} {
		got, err := group.ParseProfile(group.AppendProfile(nil, test.in))
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	// As somebody else writes them.
	foreign := wire.AppendShortText(wire.AppendShortText(nil, long.Nickname), long.Info[:16<<10])
	got, err := group.ParseProfile(wire.AppendBlob(foreign, large.Avatar))
	if diff := cmp.Diff(cut, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	got, err = group.ParseProfile(append(group.AppendProfile(nil, full), "more"...))
	if diff := cmp.Diff(full, got); diff != "" || err != nil || cap(got.Avatar) != 3 {
		t.Errorf("%v\n%s", err, diff)
	}
	negative := slices.Concat([]byte{0, 0, 0, 0}, wire.AppendInt32(nil, -1))
	if p, err := group.ParseProfile(negative); err != nil || p.Avatar != nil {
		t.Errorf("%+v, %v", p, err)
	}
	for name, test := range map[string]struct {
		b    []byte
		code string
	}{
		"nothing":    {nil, wire.CodeTruncated},
		"no picture": {[]byte{0, 0, 0, 0}, wire.CodeTruncated},
		"cut":        {[]byte{0, 0, 0, 0, 0, 0, 0, 2, 1}, wire.CodeTruncated},
		"lying":      {wire.AppendInt32([]byte{0, 0, 0, 0}, 1<<31-1), wire.CodeTruncated},
		"nickname":   {wire.AppendShortText(nil, strings.Repeat("x", 16<<10+1)), wire.CodeLength},
		"info":       {wire.AppendShortText([]byte{0, 0}, strings.Repeat("x", 16<<10+1)), wire.CodeLength},
		"no text":    {[]byte{0, 1, 0xff, 0, 0, 0, 0, 0, 0}, wire.CodeText},
	} {
		if p, err := group.ParseProfile(test.b); wire.ViolationCode(err) != test.code {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func TestKeys_RedactedInLogs(t *testing.T) {
	k := newKey(t)
	raw := k.Bytes()
	holder := struct{ hidden group.Key }{k}
	inJSON, err := json.Marshal(map[string]any{"key": k})
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{string(inJSON), fmt.Sprint(k), fmt.Sprintf("%x %v %+v %#v %s %d %q", k, k, k, k, k, k, k)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s", "%d"} {
		texts = append(texts, fmt.Sprintf(verb, holder)+" redacted")
	}
	for _, s := range texts {
		hex, decimal, golang := fmt.Sprintf("%x", raw[:4]), fmt.Sprintf("%d %d %d %d", raw[0], raw[1], raw[2], raw[3]), fmt.Sprintf("%#x, %#x", raw[0], raw[1])
		if strings.Contains(s, hex) || strings.Contains(s, decimal) || strings.Contains(s, golang) || !strings.Contains(s, "redacted") {
			t.Errorf("a key shows itself: %s", s)
		}
	}
}

func TestKeys(t *testing.T) {
	k := newKey(t)
	if !(group.Key{}).IsZero() || !(group.Key{}).Equal(group.Key{}) || k.Equal(group.Key{}) || (group.Key{}).Equal(k) || k.Equal(newKey(t)) {
		t.Error("keys are told apart wrongly")
	}
	if _, err := group.NewKey(bytes.NewReader(make([]byte, 31))); err == nil {
		t.Error("a key of 31 bytes")
	}
}

// Bar S01
func FuzzOpenGen2(f *testing.F) {
	for _, v := range load(f) {
		if _, ok := v.values["output"]; ok {
			f.Add(v.hex("output"))
		}
	}
	key := group.KeyOf(named(f, "message").key("key"))
	f.Fuzz(func(t *testing.T, b []byte) {
		wiretest.CheckAllocationSampled(t, b, func() {
			if text, err := key.OpenGen2(b); err == nil {
				again, err := key.SealGen2(bytes.NewReader(b), text)
				if !bytes.Equal(again, b) || err != nil {
					t.Errorf("%x becomes %x, %v", b, again, err)
				}
			}
			_, _ = group.UnwrapGen2(bob(), b)
		})
	})
}

// Bar S01
func FuzzParseProfile(f *testing.F) {
	f.Add(named(f, "member_info").hex("plaintext"))
	f.Fuzz(func(t *testing.T, b []byte) {
		wiretest.CheckAllocationSampled(t, b, func() {
			p, err := group.ParseProfile(b)
			if err != nil {
				return
			}
			if again, err := group.ParseProfile(group.AppendProfile(nil, p)); err != nil || !cmp.Equal(again, p) {
				t.Errorf("%+v becomes %+v, %v", p, again, err)
			}
		})
	})
}
