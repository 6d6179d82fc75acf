// SPDX-License-Identifier: MPL-2.0

package notify_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/notify"
)

// app is what subscribes: the other side of RFC 8291, written from it.
type app struct {
	key  *ecdh.PrivateKey
	auth []byte
}

func newApp(t *testing.T) app {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := app{key: key, auth: make([]byte, 16)}
	_, _ = rand.Read(a.auth) // never fails
	return a
}

func (a app) subscription(endpoint string) notify.Subscription {
	return notify.Subscription{
		Endpoint: endpoint,
		P256DH:   base64.RawURLEncoding.EncodeToString(a.key.PublicKey().Bytes()),
		Auth:     base64.URLEncoding.EncodeToString(a.auth),
	}
}

// decrypt opens a body of one record: salt (16), record size (4), length of the key id (1),
// the sender's public key, ciphertext.
func (a app) decrypt(body []byte) ([]byte, error) {
	if len(body) < 21+65 || body[20] != 65 || binary.BigEndian.Uint32(body[16:]) < uint32(len(body)-86) {
		return nil, errors.New("not a record of aes128gcm")
	}
	salt, public, sealed := body[:16], body[21:86], body[86:]
	sender, err := ecdh.P256().NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	shared, err := a.key.ECDH(sender)
	if err != nil {
		return nil, err
	}
	derive := func(secret, salt []byte, info string, length int) []byte {
		key, err := hkdf.Key(sha256.New, secret, salt, info, length)
		if err != nil {
			panic(err) // the lengths are constant
		}
		return key
	}
	ikm := derive(shared, a.auth, "WebPush: info\x00"+string(a.key.PublicKey().Bytes())+string(public), 32)
	block, err := aes.NewCipher(derive(ikm, salt, "Content-Encoding: aes128gcm\x00", 16))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, derive(ikm, salt, "Content-Encoding: nonce\x00", 12), sealed, nil)
	if err != nil {
		return nil, err
	}
	text := strings.TrimRight(string(plain), "\x00")
	if !strings.HasSuffix(text, "\x02") {
		return nil, errors.New("the padding has no delimiter of a last record")
	}
	return []byte(strings.TrimSuffix(text, "\x02")), nil
}

// TestApp_DecryptsRFC8291 holds the app to the example of RFC 8291, section 5.
func TestApp_DecryptsRFC8291(t *testing.T) {
	decode := func(text string) []byte {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	key, err := ecdh.P256().NewPrivateKey(decode("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := app{key: key, auth: decode("BTBZMqHH6r4Tts7J_aSIgg")}.decrypt(decode(
		"DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz" +
			"AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"))
	if err != nil || string(plain) != "When I grow up, I want to be a watermelon" {
		t.Fatalf("got %q, %v", plain, err)
	}
}

// pushed is one request of a push service.
type pushed struct {
	path   string
	header http.Header
	body   []byte
}

// pushService records what it gets and answers with code.
func pushService(t *testing.T, code int) (url string, requests func() []pushed) {
	t.Helper()
	var mu sync.Mutex
	var got []pushed
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, pushed{r.URL.Path, r.Header, body})
		w.WriteHeader(code)
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []pushed {
		mu.Lock()
		defer mu.Unlock()
		return got
	}
}

func TestWebPush_TwoApps_EachReadsItsOwn(t *testing.T) {
	url, requests := pushService(t, http.StatusCreated)
	keyPath := filepath.Join(t.TempDir(), "webpush.key")
	phone, tablet := newApp(t), newApp(t)
	long := notify.Notification{Kind: "message", Title: "Bob", Text: strings.Repeat("<ж>", 2000), Count: 1, Time: time.Unix(1, 0).UTC()}
	short := notify.Notification{Kind: "trouble", Title: "mimird", Text: "no peer", Count: 1, Time: time.Unix(2, 0).UTC()}
	for name, n := range map[string]struct {
		a app
		n notify.Notification
	}{"/phone": {phone, long}, "/tablet": {tablet, short}} {
		if err := notify.WebPush(n.a.subscription(url+name), keyPath)(t.Context(), n.n); err != nil {
			t.Fatal(err)
		}
	}
	got := requests()
	if len(got) != 2 {
		t.Fatalf("%d requests", len(got))
	}
	keys := map[string]bool{}
	for _, r := range got {
		own, other, want := phone, tablet, long
		if r.path == "/tablet" {
			own, other, want = tablet, phone, short
		}
		if _, err := other.decrypt(r.body); err == nil {
			t.Errorf("%s: the other app can read it", r.path)
		}
		plain, err := own.decrypt(r.body)
		if err != nil {
			t.Fatalf("%s: %v", r.path, err)
		}
		var n notify.Notification
		if err := json.Unmarshal(plain, &n); err != nil || n.Title != want.Title || n.Kind != want.Kind || !n.Time.Equal(want.Time) {
			t.Errorf("%s: got %s, %v", r.path, plain, err)
		}
		if !strings.HasPrefix(want.Text, strings.TrimSuffix(n.Text, "…")) || n.Text == "" {
			t.Errorf("%s: text %q", r.path, n.Text)
		}
		if len(r.body) > 4096 || len(r.body) != len(got[0].body) {
			t.Errorf("%s: %d bytes, the first request has %d", r.path, len(r.body), len(got[0].body))
		}
		if r.header.Get("Content-Encoding") != "aes128gcm" || r.header.Get("TTL") == "" {
			t.Errorf("%s: header %v", r.path, r.header)
		}
		keys[verifyVAPID(t, r.header.Get("Authorization"), url)] = true
	}
	if len(keys) != 1 {
		t.Errorf("requests are signed with %d keys", len(keys))
	}
	if info, err := os.Stat(keyPath); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
}

// verifyVAPID checks the signature of a request (RFC 8292) and returns its key.
func verifyVAPID(t *testing.T, authorization, audience string) (key string) {
	t.Helper()
	token, key, ok := strings.Cut(strings.TrimPrefix(authorization, "vapid t="), ", k=")
	parts := strings.Split(token, ".")
	if !ok || len(parts) != 3 {
		t.Fatalf("authorization %q", authorization)
	}
	var raw [3][]byte
	for i, text := range []string{parts[1], parts[2], key} {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(text); err != nil {
			t.Fatal(err)
		}
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw[2])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if len(raw[1]) != 64 || !ecdsa.Verify(public, sum[:], new(big.Int).SetBytes(raw[1][:32]), new(big.Int).SetBytes(raw[1][32:])) {
		t.Error("the signature of the request is wrong")
	}
	var claims struct {
		Aud string
		Exp int64
	}
	if err := json.Unmarshal(raw[0], &claims); err != nil || claims.Aud != audience || time.Until(time.Unix(claims.Exp, 0)) > 24*time.Hour {
		t.Errorf("claims %s, %v", raw[0], err)
	}
	return key
}

func TestWebPush_Refused(t *testing.T) {
	for code, want := range map[int]string{http.StatusGone: "subscribe again", http.StatusFound: "answers 302", http.StatusTooManyRequests: "answers 429"} {
		url, _ := pushService(t, code)
		err := notify.WebPush(newApp(t).subscription(url), filepath.Join(t.TempDir(), "key"))(t.Context(), notify.Notification{Title: "x"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestWebPush_DamagedKey_Named(t *testing.T) {
	path := filepath.Join(t.TempDir(), "webpush.key")
	if err := os.WriteFile(path, []byte("AAAA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := notify.WebPush(newApp(t).subscription("http://127.0.0.1:1"), path)(context.Background(), notify.Notification{})
	if err == nil || !strings.Contains(err.Error(), path+" is damaged") {
		t.Fatalf("got %v", err)
	}
}

// TestWebPush_KeyCreatedOnce has several sinks begin at once.
func TestWebPush_KeyCreatedOnce(t *testing.T) {
	url, requests := pushService(t, http.StatusCreated)
	path := filepath.Join(t.TempDir(), "webpush.key")
	var wg sync.WaitGroup
	for range 4 {
		send := notify.WebPush(newApp(t).subscription(url), path)
		wg.Go(func() {
			if err := send(t.Context(), notify.Notification{Title: "x"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	keys := map[string]bool{}
	for _, r := range requests() {
		keys[verifyVAPID(t, r.header.Get("Authorization"), url)] = true
	}
	if len(keys) != 1 {
		t.Errorf("requests are signed with %d keys", len(keys))
	}
}
