// SPDX-License-Identifier: MPL-2.0

package dendrite

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	registerPath = "/_synapse/admin/v1/register"
	// requestTimeout bounds one request of CreateUser.
	requestTimeout = 30 * time.Second
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 64 << 10
)

// CreateUser creates a user; name is the part of the user id before the colon.
// A user that exists is an error.
func (s *Server) CreateUser(ctx context.Context, name, password string, admin bool) error {
	if !s.Running() {
		return fmt.Errorf("create user %q: %w", name, ErrNotRunning)
	}
	var nonce struct {
		Nonce string `json:"nonce"`
	}
	if err := s.call(ctx, http.MethodGet, nil, &nonce); err != nil {
		return fmt.Errorf("create user %q: ask for a nonce: %w", name, err)
	}
	role := "notadmin"
	if admin {
		role = "admin"
	}
	mac := hmac.New(sha1.New, []byte(s.secret))
	fmt.Fprintf(mac, "%s\x00%s\x00%s\x00%s", nonce.Nonce, name, password, role)
	err := s.call(ctx, http.MethodPost, map[string]any{
		"nonce":    nonce.Nonce,
		"username": name,
		"password": password,
		"admin":    admin,
		"mac":      hex.EncodeToString(mac.Sum(nil)),
	}, nil)
	if err != nil {
		return fmt.Errorf("create user %q: %w", name, err)
	}
	return nil
}

func (s *Server) call(ctx context.Context, method string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL()+registerPath, body)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %.200s", resp.Status, answer.Bytes())
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer.Bytes(), out)
}
