// SPDX-License-Identifier: MPL-2.0

package homeserver

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
	// ProbeTimeout bounds one request of a [Probe].
	ProbeTimeout = 15 * time.Second
	// maxProbeBody bounds what is read of an answer, in bytes.
	maxProbeBody = 1 << 20
)

// Probe makes single requests to a homeserver, for diagnosis: none is repeated, and every
// answer is returned.
type Probe struct {
	Client  *http.Client
	address string
	// Date is the time by the homeserver's clock, when the caller has noted it.
	Date time.Time
}

// NewProbe returns a probe of the homeserver at an address: an URL, or unix:// and the
// path of a socket.
func NewProbe(address string) *Probe {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	address = strings.TrimSuffix(address, "/")
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		address = "http://unix"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	return &Probe{Client: &http.Client{Transport: transport, Timeout: ProbeTimeout}, address: address}
}

// Close closes idle connections.
func (p *Probe) Close() { p.Client.CloseIdleConnections() }

// Reply is the outcome of a request. Code is Matrix's error code.
type Reply struct {
	Status int
	Code   string
	text   string
	Date   time.Time
	Err    error
}

// Reason says in a few words why a request failed.
func (a Reply) Reason() string {
	switch {
	case a.Err != nil:
		return fault.OneLine(a.Err)
	case a.Code != "":
		return fmt.Sprintf("%.64s: %.120s", a.Code, fault.OneLineText(a.text))
	default:
		return fmt.Sprintf("HTTP status %d", a.Status)
	}
}

// Ask makes a request to a path of the homeserver. A successful answer is read into out.
func (p *Probe) Ask(ctx context.Context, method, path, token string, in, out any) Reply {
	return p.AskAt(ctx, method, p.address+path, token, in, out)
}

// AskAt is Ask for a whole address.
func (p *Probe) AskAt(ctx context.Context, method, address, token string, in, out any) Reply {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return Reply{Err: err}
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return Reply{Err: err}
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.Client.Do(req)
	if err != nil {
		return Reply{Err: err}
	}
	defer resp.Body.Close()
	a := Reply{Status: resp.StatusCode}
	a.Date, _ = http.ParseTime(resp.Header.Get("Date"))
	var buffer bytes.Buffer
	if _, a.Err = buffer.ReadFrom(io.LimitReader(resp.Body, maxProbeBody)); a.Err != nil {
		return a
	}
	raw := buffer.Bytes()
	if a.Status == http.StatusOK {
		if out != nil && json.Unmarshal(raw, out) != nil {
			a.Status = 0 // such as the page of a proxy
		}
		return a
	}
	var failure struct {
		Code string `json:"errcode"`
		Text string `json:"error"`
	}
	if json.Unmarshal(raw, &failure) == nil {
		a.Code, a.text = failure.Code, failure.Text
	}
	return a
}

// Software returns the name and version of the homeserver's program, as far as known.
func (p *Probe) Software(ctx context.Context) string {
	if name, version := p.Version(ctx); name != "" {
		return strings.TrimSpace(name + " " + version)
	}
	return "a homeserver"
}

// Version returns the name of a homeserver's program, and its version if it
// says so. Both are "" when they cannot be known.
func (p *Probe) Version(ctx context.Context) (name, version string) {
	var about struct {
		Server struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"server"`
	}
	a := p.Ask(ctx, http.MethodGet, "/_matrix/federation/v1/version", "", nil, &about)
	if a.Err == nil && a.Status == http.StatusOK && about.Server.Name != "" {
		return fmt.Sprintf("%.40s", fault.OneLineText(about.Server.Name)), fmt.Sprintf("%.40s", fault.OneLineText(about.Server.Version))
	}
	// One that does not federate may have no such address.
	if a = p.Ask(ctx, http.MethodGet, "/_dendrite/monitor/health", "", nil, nil); a.Err == nil && a.Status == http.StatusOK {
		return "Dendrite", ""
	}
	return "", ""
}
