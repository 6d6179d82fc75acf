// SPDX-License-Identifier: MPL-2.0

package dendrite_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/test/dendrite"
)

// patience is for conditions that hold within a second on an idle machine. The
// first start may compile Dendrite.
const patience = 10 * time.Minute

func startServer(t *testing.T, opts dendrite.Options) *dendrite.Server {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	server, err := dendrite.Start(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// login returns the user's id, or an error with the server's answer.
func login(t *testing.T, server *dendrite.Server, name, password string) (string, error) {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"type":       "m.login.password",
		"identifier": map[string]string{"type": "m.id.user", "user": name},
		"password":   password,
	})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL()+"/_matrix/client/v3/login", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", resp.Status, answer)
	}
	var result struct {
		UserID string `json:"user_id"`
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		t.Fatal(err)
	}
	return result.UserID, nil
}

func TestServerAnswersAndKeepsItsUsers(t *testing.T) {
	server := startServer(t, dendrite.Options{})
	if err := server.CreateUser(t.Context(), "alice", "long-secret", true); err != nil {
		t.Fatal(err)
	}
	if id, err := login(t, server, "alice", "long-secret"); err != nil || id != "@alice:mimir.test" {
		t.Fatalf("login: %q, %v", id, err)
	}
	if err := server.CreateUser(t.Context(), "alice", "other-secret", false); err == nil {
		t.Error("the same user was created twice")
	}

	for name, end := range map[string]func() error{
		"restart": func() error { return nil }, "stop": server.Stop, "kill": server.Kill,
	} {
		if err := end(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatalf("after %s: %v", name, err)
		}
		if _, err := login(t, server, "alice", "long-secret"); err != nil {
			t.Errorf("login after %s: %v", name, err)
		}
	}
	if err := server.CreateUser(t.Context(), "bob", "long-secret", false); err != nil {
		t.Errorf("create a user after restarts: %v", err)
	}
}

func TestServerStopLeavesNoProcess(t *testing.T) {
	server := startServer(t, dendrite.Options{})
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if server.Running() {
		t.Error("says that it runs")
	}
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(server.URL(), "http://"), time.Second)
	if err == nil {
		conn.Close()
		t.Error("something still listens")
	}
	if err := server.Stop(); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if err := server.CreateUser(t.Context(), "alice", "long-secret", false); !errors.Is(err, dendrite.ErrNotRunning) {
		t.Errorf("create a user: %v", err)
	}
	if log, err := os.ReadFile(server.LogPath()); err != nil || len(log) == 0 {
		t.Errorf("log: %d bytes, %v", len(log), err)
	}
}

func TestServerReadsRegistrations(t *testing.T) {
	registration := filepath.Join(t.TempDir(), "registration.yaml")
	err := os.WriteFile(registration, []byte(`
id: test
url: "http://127.0.0.1:1"
as_token: application-service-token
hs_token: homeserver-token
sender_localpart: testbot
rate_limited: false
namespaces: {users: [{regex: '@test_.*', exclusive: true}]}
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	server := startServer(t, dendrite.Options{ServerName: "example.test", Registrations: []string{registration}})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL()+"/_matrix/client/v3/account/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Header.Set("Authorization", "Bearer application-service-token")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("whoami with the token of the registration: %s", resp.Status)
	}
}

func TestStartRefusesAMissingRegistration(t *testing.T) {
	_, err := dendrite.Start(t.Context(), dendrite.Options{
		Dir:           t.TempDir(),
		Program:       "not reached",
		Registrations: []string{filepath.Join(t.TempDir(), "none.yaml")},
	})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
}

func TestStartSaysWhyTheServerEnded(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("id: test\nnamespaces: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := dendrite.Start(ctx, dendrite.Options{Dir: t.TempDir(), Registrations: []string{broken}})
	if err == nil || !strings.Contains(err.Error(), "Token is required") {
		t.Errorf("error is %v", err)
	}
}

func TestStartNamesAPortThatIsTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = dendrite.Start(ctx, dendrite.Options{Dir: t.TempDir(), Address: listener.Addr().String()})
	if err == nil || !strings.Contains(err.Error(), "taken: "+listener.Addr().String()) {
		t.Errorf("error is %v", err)
	}
}
