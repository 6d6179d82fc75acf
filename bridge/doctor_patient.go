// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/mimird/mimird/bridge/fault"
)

const (
	patientTimeout = 15 * time.Second
	maxPatientBody = 1 << 20
)

// patient is the homeserver as [Diagnose] asks it: one request at a time, nothing
// repeated, and every answer looked at.
type patient struct {
	client  *http.Client
	address string
	date    time.Time // by its clock, zero when it does not say
}

func newPatient(address string) *patient {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	address = strings.TrimSuffix(address, "/")
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		address = "http://unix"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	return &patient{client: &http.Client{Transport: transport, Timeout: patientTimeout}, address: address}
}

func (p *patient) close() { p.client.CloseIdleConnections() }

// answer is what came of a request. Code is Matrix's name for what is wrong.
type answer struct {
	status int
	code   string
	text   string
	date   time.Time
	err    error
}

// reason says in a few words what is wrong.
func (a answer) reason() string {
	switch {
	case a.err != nil:
		return fault.OneLine(a.err)
	case a.code != "":
		return fmt.Sprintf("%.64s: %.120s", a.code, fault.OneLineText(a.text))
	default:
		return fmt.Sprintf("HTTP status %d", a.status)
	}
}

// ask makes a request. The answer to one that succeeds is read into out.
func (p *patient) ask(ctx context.Context, method, path, token string, in, out any) answer {
	return p.at(ctx, method, p.address+path, token, in, out)
}

func (p *patient) at(ctx context.Context, method, address, token string, in, out any) answer {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return answer{err: err}
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return answer{err: err}
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode}
	a.date, _ = http.ParseTime(resp.Header.Get("Date"))
	var buffer bytes.Buffer
	if _, a.err = buffer.ReadFrom(io.LimitReader(resp.Body, maxPatientBody)); a.err != nil {
		return a
	}
	raw := buffer.Bytes()
	if a.status == http.StatusOK {
		if out != nil && json.Unmarshal(raw, out) != nil {
			a.status = 0 // such as the page of a proxy
		}
		return a
	}
	var failure struct {
		Code string `json:"errcode"`
		Text string `json:"error"`
	}
	if json.Unmarshal(raw, &failure) == nil {
		a.code, a.text = failure.Code, failure.Text
	}
	return a
}

// software names the program of the homeserver, if it tells.
func (p *patient) software(ctx context.Context) string {
	if name, version := p.version(ctx); name != "" {
		return strings.TrimSpace(name + " " + version)
	}
	return "a homeserver"
}

// version returns the name of a homeserver's program, and its version if it
// tells. Both are "" when it cannot be known.
func (p *patient) version(ctx context.Context) (name, version string) {
	var about struct {
		Server struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"server"`
	}
	a := p.ask(ctx, http.MethodGet, "/_matrix/federation/v1/version", "", nil, &about)
	if a.err == nil && a.status == http.StatusOK && about.Server.Name != "" {
		return fmt.Sprintf("%.40s", fault.OneLineText(about.Server.Name)), fmt.Sprintf("%.40s", fault.OneLineText(about.Server.Version))
	}
	// One that does not federate may have no such address.
	if a = p.ask(ctx, http.MethodGet, "/_dendrite/monitor/health", "", nil, nil); a.err == nil && a.status == http.StatusOK {
		return "Dendrite", ""
	}
	return "", ""
}
