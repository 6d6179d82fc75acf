// SPDX-License-Identifier: MPL-2.0

package identity_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

// The signatures of the protocol's vectors, which cover 32 bytes each.
//
// Bar S26
func TestSignaturesMatchTheVectors(t *testing.T) {
	file, err := os.ReadFile("../peer/testdata/peer.json")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, v := range wiretest.Load(t, file) {
		if v.Name != "challenge-answer" && v.Name != "challenge-answer2" {
			continue
		}
		found++
		k := identity.NewPrivateKey(v.Key("seed"))
		c := identity.Challenge(v.Key("challenge"))
		frame := v.OutputHex()
		want := identity.Signature(frame[len(frame)-64:])
		if got, err := k.SignChallenge(c, identity.Seal{}, identity.GuardFunc(permit)); got != want || err != nil {
			t.Errorf("%s: %x, error %v", v.Name, got, err)
		}
		if err := k.Public().VerifyChallenge(c, want); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
	if found != 2 {
		t.Errorf("%d vectors", found)
	}
}

func TestEveryUseSignsTheBareValue(t *testing.T) {
	k := key(1)
	value := [32]byte(bytes.Repeat([]byte{5}, 32))
	challenge, err := k.SignChallenge(value, identity.Seal{}, identity.GuardFunc(permit))
	if err != nil {
		t.Fatal(err)
	}
	nonce, err := k.SignServerNonce(value, identity.GuardFunc(permit))
	if err != nil {
		t.Fatal(err)
	}
	if announce := k.SignAnnounce(value); announce != challenge || announce != nonce {
		t.Error("the uses differ, the wire does not")
	}
	if err := k.Public().VerifyAnnounce(value, challenge); err != nil {
		t.Error(err)
	}
}

// Bar S08
func TestSign_ForeignValue_NeedsGuard(t *testing.T) {
	k := key(1)
	value := [32]byte(bytes.Repeat([]byte{5}, 32))
	for name, test := range map[string]struct {
		value [32]byte
		guard identity.Guard
	}{
		"no guard":                  {value, nil},
		"a set without guards":      {value, identity.GuardSet{}},
		"a set with a nil guard":    {value, identity.GuardSet{identity.GuardFunc(permit), nil}},
		"our own identity":          {k.Public(), identity.GuardFunc(permit)},
		"zero":                      {[32]byte{}, identity.GuardFunc(permit)},
		"a node key that is known":  {key(2).Public(), identity.KeyGuard(identity.NodeKey(key(2).Public()))},
		"a key the second set has":  {key(2).Public(), identity.GuardSet{identity.KeyGuard(), identity.KeyGuard(identity.NodeKey(key(2).Public()))}},
		"a point that nobody knows": {key(3).Public(), identity.CurvePoints{}},
		"a challenge of our own":    {value, issuedWith(value)},
	} {
		t.Run(name, func(t *testing.T) {
			if sig, err := k.SignChallenge(test.value, identity.Seal{}, test.guard); !errors.Is(err, identity.ErrRefusedToSign) || sig != (identity.Signature{}) {
				t.Errorf("challenge: signed, error %v", err)
			}
			if sig, err := k.SignServerNonce(test.value, test.guard); !errors.Is(err, identity.ErrRefusedToSign) || sig != (identity.Signature{}) {
				t.Errorf("nonce: signed, error %v", err)
			}
		})
	}
}

func issuedWith(c identity.Challenge) *identity.Issued {
	i := identity.NewIssued(1)
	i.Add(c)
	return i
}

// Bar S08
func TestOneFunctionSigns(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			ast.Inspect(decl, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if f, ok := call.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Sign" {
						calls = append(calls, file.Name()+" "+decl.(*ast.FuncDecl).Name.Name)
					}
				}
				return true
			})
		}
	}
	if len(calls) != 1 || calls[0] != "sign.go sign" {
		t.Errorf("calls of Sign: %v", calls)
	}
}

// Bar S06
func TestVerifyRefusesEverythingButTheSignature(t *testing.T) {
	k := key(1)
	value := [32]byte(bytes.Repeat([]byte{5}, 32))
	good := k.SignAnnounce(value)
	old := k.SignAnnounce([32]byte(bytes.Repeat([]byte{6}, 32)))
	tampered := func(i int) identity.Signature {
		sig := good
		sig[i] ^= 1
		return sig
	}
	for name, sig := range map[string]identity.Signature{
		"of another key":      key(2).SignAnnounce(value),
		"of an old challenge": old,
		"zero":                {},
		"R tampered with":     tampered(3),
		"S tampered with":     tampered(40),
		"S + L":               plusL(good),
	} {
		t.Run(name, func(t *testing.T) {
			if err := k.Public().VerifyChallenge(value, sig); !errors.Is(err, identity.ErrInvalidSignature) {
				t.Errorf("challenge: error %v", err)
			}
			if err := k.Public().VerifyAnnounce(value, sig); !errors.Is(err, identity.ErrInvalidSignature) {
				t.Errorf("announce: error %v", err)
			}
		})
	}
	if err := k.Public().VerifyChallenge(value, good); err != nil {
		t.Error(err)
	}
}

// plusL returns the same signature with S + L, which satisfies the equation but
// is not canonical.
func plusL(sig identity.Signature) identity.Signature {
	l, err := hex.DecodeString("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	if err != nil {
		panic(err)
	}
	carry := 0
	for i, b := range l {
		sum := int(sig[32+i]) + int(b) + carry
		sig[32+i], carry = byte(sum), sum>>8
	}
	return sig
}

// Bar S06
func TestValidate_InvalidKeys_Rejected(t *testing.T) {
	for name, digits := range map[string]string{
		"zero, order 4":                    strings.Repeat("00", 32),
		"order 1":                          "01" + strings.Repeat("00", 31),
		"order 2":                          "ec" + strings.Repeat("ff", 30) + "7f",
		"order 4, other sign":              strings.Repeat("00", 31) + "80",
		"order 8":                          "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"order 8, other sign":              "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"order 8, second":                  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"order 8, second, other sign":      "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"order 1, sign of zero":            "01" + strings.Repeat("00", 30) + "80",
		"order 2, sign of zero":            "ec" + strings.Repeat("ff", 31),
		"order 4, y = p":                   "ed" + strings.Repeat("ff", 30) + "7f",
		"order 4, y = p, other sign":       "ed" + strings.Repeat("ff", 31),
		"order 1, y = p + 1":               "ee" + strings.Repeat("ff", 30) + "7f",
		"order 1, y = p + 1, sign of zero": "ee" + strings.Repeat("ff", 31),
		"a point with y = p + 3":           "f0" + strings.Repeat("ff", 30) + "7f",
		"no point":                         "02" + strings.Repeat("00", 31),
	} {
		t.Run(name, func(t *testing.T) {
			k, err := identity.ParsePublicKey(digits)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Validate(); !errors.Is(err, identity.ErrInvalidKey) {
				t.Errorf("error %v", err)
			}
			// crypto/ed25519 accepts this for a key of order 1: R = S·B for any
			// message, here with S = 0.
			forged := identity.Signature{0: 1}
			if err := k.VerifyAnnounce(identity.NodeKey{1}, forged); !errors.Is(err, identity.ErrInvalidKey) {
				t.Errorf("verify: error %v", err)
			}
			if name == "order 1" && !ed25519.Verify(k[:], bytes.Repeat([]byte{0}, 32), forged[:]) {
				t.Error("the forgery would not work anyway: the test proves nothing")
			}
		})
	}
	for b := range byte(20) {
		if err := key(b).Public().Validate(); err != nil {
			t.Errorf("a real key: %v", err)
		}
	}
}
