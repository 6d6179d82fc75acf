// SPDX-License-Identifier: MPL-2.0

package notify

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"

	webpush "github.com/SherClockHolmes/webpush-go"

	"github.com/mimird/mimird/actors/durable"
)

const (
	// maxPush bounds what is encrypted: a push service need not take more than 4,096 bytes
	// (RFC 8030, section 7.2), of which encryption takes 103.
	maxPush = 4096 - 103
	// pushTTL is how many seconds the push service keeps a notification for a phone that is off.
	pushTTL = 24 * 60 * 60
)

// Subscription is where an app takes encrypted pushes, in its own words: an endpoint of
// UnifiedPush or of a browser, and two keys in base64, which the configuration has checked.
type Subscription struct {
	Endpoint string
	P256DH   string // the app's public key, an uncompressed point of P-256
	Auth     string // 16 bytes that the app and we share
}

// decodeKey reads base64, in the alphabet of URLs or the other one, padded or not.
func decodeKey(text string) ([]byte, error) {
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	return base64.RawURLEncoding.DecodeString(text)
}

// WebPush returns a sender that encrypts the JSON of a notification for one app (RFC 8291)
// and signs the request (RFC 8292) with the key in keyPath, which it creates. Push services
// see when something arrives; all requests have the same size.
func WebPush(s Subscription, keyPath string) func(context.Context, Notification) error {
	return func(ctx context.Context, n Notification) error {
		key, err := pushKey(keyPath)
		if err != nil {
			return err
		}
		raw, err := pushBody(n)
		if err != nil {
			return err
		}
		urgency := webpush.UrgencyNormal
		if n.Kind == "trouble" {
			urgency = webpush.UrgencyHigh
		}
		response, err := webpush.SendNotificationWithContext(ctx, raw,
			&webpush.Subscription{Endpoint: s.Endpoint, Keys: webpush.Keys{P256dh: s.P256DH, Auth: s.Auth}},
			&webpush.Options{
				HTTPClient: httpClient, TTL: pushTTL, Urgency: urgency, Subscriber: "https://github.com/mimird/mimird",
				VAPIDPrivateKey: base64.RawURLEncoding.EncodeToString(key.Bytes()),
				VAPIDPublicKey:  base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes()),
			})
		if err != nil {
			return fmt.Errorf("push notification: %w", err)
		}
		defer func() { _ = response.Body.Close() }()                         // only read
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswer)) // so that the connection can be used again
		switch code := response.StatusCode; {
		case code == http.StatusNotFound || code == http.StatusGone:
			return fmt.Errorf("push notification: the server answers %d: the app has to subscribe again, and the configuration needs its new endpoint and keys", code)
		case code < 200 || code > 299:
			return fmt.Errorf("push notification: the server answers %d", code)
		}
		return nil
	}
}

// pushBody is the JSON of a notification, with as much of its text as fits.
func pushBody(n Notification) ([]byte, error) {
	text := []rune(n.Text)
	for {
		raw, err := json.Marshal(n)
		if err != nil || len(raw) <= maxPush || len(text) == 0 {
			return raw, err
		}
		text = text[:len(text)/2]
		n.Text = string(text) + "…"
	}
}

// pushKey reads the key that requests are signed with, or creates it.
func pushKey(path string) (*ecdh.PrivateKey, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdh.P256().GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make key of web push: %w", err)
		}
		err = durable.Create(path, func(w io.Writer) error {
			_, err := io.WriteString(w, base64.RawURLEncoding.EncodeToString(key.Bytes())+"\n")
			return err
		})
		if !errors.Is(err, fs.ErrExist) {
			if err != nil {
				return nil, fmt.Errorf("make key of web push: %w", err)
			}
			return key, nil
		}
		raw, err = os.ReadFile(path) // another sink was faster
		if err != nil {
			return nil, fmt.Errorf("read key of web push: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("read key of web push: %w", err)
	}
	bytes, err := decodeKey(strings.TrimSpace(string(raw)))
	if err == nil {
		var key *ecdh.PrivateKey
		if key, err = ecdh.P256().NewPrivateKey(bytes); err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%s is damaged; remove it for a new key, which apps may have to be told", path)
}
