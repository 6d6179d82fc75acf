// SPDX-License-Identifier: MPL-2.0

package identity_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/mimird/mimird/proto/identity"
)

// The test vectors of RFC 8032, section 7.1.
//
// Bar S26
func TestPrivateKeyMatchesRFC8032(t *testing.T) {
	for _, test := range []struct{ name, seed, public, message, signature string }{
		{
			"test 1", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
			"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
			"e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
		},
		{
			"test 2", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
			"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
			"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
		},
		{
			"test 3", "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
			"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
			"6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
		},
		{
			"SHA(abc)", "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
			"ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
			"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
			"dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := hex.DecodeString(test.seed)
			if err != nil {
				t.Fatal(err)
			}
			message, err := hex.DecodeString(test.message)
			if err != nil {
				t.Fatal(err)
			}
			k := identity.NewPrivateKey([identity.SeedSize]byte(s))
			n := identity.NewNodePrivateKey([identity.SeedSize]byte(s))
			if k.Public().String() != test.public || n.Key().String() != test.public {
				t.Errorf("public key %s", k.Public())
			}
			if got := hex.EncodeToString(ed25519.Sign(n.Ed25519(), message)); got != test.signature {
				t.Errorf("signature %s", got)
			}
		})
	}
}

func TestPrivateKeyIsItsSeed(t *testing.T) {
	k, n := key(7), identity.NewNodePrivateKey(seed(7))
	if k.Seed() != seed(7) || n.Seed() != seed(7) {
		t.Error("the seed differs")
	}
	if !k.Equal(key(7)) || k.Equal(key(8)) || !n.Equal(identity.NewNodePrivateKey(seed(7))) || n.Equal(identity.NewNodePrivateKey(seed(8))) {
		t.Error("Equal is wrong")
	}
	var zero identity.PrivateKey
	if !zero.IsZero() || k.IsZero() || zero.Equal(k) || k.Equal(zero) || !zero.Equal(identity.PrivateKey{}) {
		t.Error("the zero key is wrong")
	}
	clear(n.Ed25519())
	if n.Seed() != seed(7) {
		t.Error("Ed25519 gave away more than a copy")
	}
}

func TestPrivateKeyIsGeneratedFromItsSource(t *testing.T) {
	source := bytes.Repeat([]byte{7}, identity.SeedSize)
	k, err := identity.GeneratePrivateKey(bytes.NewReader(source))
	if err != nil || !k.Equal(key(7)) {
		t.Errorf("error %v", err)
	}
	n, err := identity.GenerateNodePrivateKey(bytes.NewReader(source))
	if err != nil || n.Seed() != seed(7) {
		t.Errorf("error %v", err)
	}
	if _, err := identity.GeneratePrivateKey(bytes.NewReader(source[1:])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	a, errA := identity.GeneratePrivateKey(rand.Reader)
	b, errB := identity.GeneratePrivateKey(rand.Reader)
	if errA != nil || errB != nil || a.Equal(b) {
		t.Error("two keys are equal")
	}
}

func TestPrivateKeySurvivesPEM(t *testing.T) {
	k, n := key(7), identity.NewNodePrivateKey(seed(8))
	if got, err := identity.ParsePEM(k.MarshalPEM()); err != nil || !got.Equal(k) {
		t.Errorf("error %v", err)
	}
	if got, err := identity.ParseNodePEM(append(n.MarshalPEM(), " \n\n"...)); err != nil || !got.Equal(n) {
		t.Errorf("error %v", err)
	}
	// The form that openssl genpkey writes, here of the seed 07 07 ...
	der, err := hex.DecodeString("302e020100300506032b657004220420" + strings.Repeat("07", 32))
	if err != nil {
		t.Fatal(err)
	}
	want := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if !bytes.Equal(k.MarshalPEM(), want) {
		t.Errorf("another form than RFC 8410:\n%s", k.MarshalPEM())
	}
}

func TestParsePEMRefusesOtherFiles(t *testing.T) {
	good := key(7).MarshalPEM()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, headers map[string]string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Headers: headers, Bytes: der})
	}
	der, _ := pem.Decode(good)
	for name, file := range map[string][]byte{
		"nothing":            nil,
		"text":               []byte("hello"),
		"half a file":        good[:len(good)/2],
		"two keys":           append(bytes.Clone(good), good...),
		"text behind":        append(bytes.Clone(good), "x"...),
		"a public key":       block("PUBLIC KEY", nil, der.Bytes),
		"an encrypted key":   block("ENCRYPTED PRIVATE KEY", nil, der.Bytes),
		"headers":            block("PRIVATE KEY", map[string]string{"Proc-Type": "4,ENCRYPTED"}, der.Bytes),
		"another algorithm":  block("PRIVATE KEY", nil, ecDER),
		"a broken block":     block("PRIVATE KEY", nil, der.Bytes[:20]),
		"more than its size": append(bytes.Clone(good), bytes.Repeat([]byte("\n"), 4<<10)...),
	} {
		t.Run(name, func(t *testing.T) {
			k, err := identity.ParsePEM(file)
			if !errors.Is(err, identity.ErrInvalidPEM) || !k.IsZero() {
				t.Errorf("error %v", err)
			}
			if _, err := identity.ParseNodePEM(file); !errors.Is(err, identity.ErrInvalidPEM) {
				t.Errorf("node key: error %v", err)
			}
		})
	}
}

// Bar S21
func TestPrivateKeyNeverShows(t *testing.T) {
	var s [identity.SeedSize]byte
	for i := range s {
		s[i] = byte(0xa1 + 3*i)
	}
	k, n := identity.NewPrivateKey(s), identity.NewNodePrivateKey(s)
	hidden := struct { // fmt prints unexported fields without asking their methods
		k identity.PrivateKey
		n *identity.NodePrivateKey
	}{k, &n}
	type open struct {
		K identity.PrivateKey
		N *identity.NodePrivateKey
	}
	shown := open{k, &n}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%t", "%p", "%U"} {
		for _, v := range []any{k, &k, n, &n, shown, &shown, hidden, &hidden, []any{k, n}, map[string]any{"k": k}, []identity.PrivateKey{k}} {
			_, _ = fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, v := range []any{k, n, shown, hidden, map[string]any{"k": &k}} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("Keys", "k", k, "n", &n, "shown", shown, "hidden", fmt.Sprint(hidden))
	}
	out.WriteString(k.String() + k.GoString() + n.LogValue().String())
	if text, err := k.MarshalText(); err != nil {
		t.Error(err)
	} else {
		out.Write(text)
	}
	if !strings.Contains(out.String(), "[redacted]") {
		t.Error("nothing was redacted: the test looks at the wrong thing")
	}

	full := n.Ed25519()
	for _, secret := range [][]byte{s[:8], s[12:20], s[24:], full[:8]} {
		var decimal []string
		for _, b := range secret[:4] {
			decimal = append(decimal, fmt.Sprint(b))
		}
		for _, form := range []string{
			string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
			base64.StdEncoding.EncodeToString(secret)[:10], base64.RawURLEncoding.EncodeToString(secret)[:10],
			strings.Join(decimal, " "), strings.Join(decimal, ", "), strings.Join(decimal, ","),
			fmt.Sprintf("%#v", secret[:4])[7:20],
		} {
			if strings.Contains(out.String(), form) {
				t.Errorf("the secret shows as %q", form)
			}
		}
	}
}
