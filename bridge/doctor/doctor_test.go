// SPDX-License-Identifier: MPL-2.0

package doctor_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/doctor"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/publicmedia"
	"github.com/mimird/mimird/test/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// practice is a bridge that is not running, and its homeserver.
type practice struct {
	t          *testing.T
	config     *config.Config
	dir        string // with the registration files
	homeserver *bridgetest.Homeserver
	node       func(context.Context) doctor.NodeState
}

// newPractice starts a homeserver of a version that knows the bridge. change edits the
// bridge's registration before the homeserver gets it.
func newPractice(t *testing.T, version string, change func(*bridgetest.Service)) *practice {
	t.Helper()
	address, err := process.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	p := &practice{t: t, config: config.Default(), dir: t.TempDir()}
	p.config.Homeserver.Domain = "mimir.test"
	p.config.AppService.Address, p.config.AppService.Port = "http://"+address, uint16(number)
	p.config.Bridge.Permissions = bridgeconfig.PermissionConfig{
		"mimir.test": &bridgeconfig.PermissionLevelUser, "@alice:mimir.test": &bridgeconfig.PermissionLevelAdmin,
	}
	p.config.DoublePuppet.Registration = config.DoublePuppetSeparate
	p.config.Encryption.Allow = false
	p.config.GenerateSecrets()
	files, err := p.config.Registrations()
	if err != nil {
		t.Fatal(err)
	}
	var services []bridgetest.Service
	for i, file := range files {
		if err := os.WriteFile(filepath.Join(p.dir, file.Name), file.Content, 0o600); err != nil {
			t.Fatal(err)
		}
		service, err := bridgetest.ParseService(file.Content)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 && change != nil {
			change(&service)
		}
		services = append(services, service)
	}
	p.homeserver, err = bridgetest.NewHomeserver(bridgetest.Options{Services: services, Versions: []string{version}, PushRetry: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.homeserver.Close)
	p.homeserver.CreateUser("alice", "secret")
	p.config.Homeserver.Address = p.homeserver.URL()
	return p
}

// diagnose runs the doctor, which may wait for so long for the homeserver.
func (p *practice) diagnose(wait time.Duration) map[string]doctor.Check {
	p.t.Helper()
	reported := 0
	checks := doctor.Diagnose(p.t.Context(), doctor.Options{
		Config: p.config, Dir: p.dir, Wait: wait, Node: p.node, Report: func(doctor.Check) { reported++ },
	})
	if reported != len(checks) {
		p.t.Errorf("%d checks reported of %d", reported, len(checks))
	}
	byName := make(map[string]doctor.Check, len(checks))
	for _, check := range checks {
		byName[check.Name] = check
		if (check.Result == doctor.Failed || check.Result == doctor.Warning) != (check.Remedy != "") {
			p.t.Errorf("%s is %s with the remedy %q", check.Name, check.Result, check.Remedy)
		}
	}
	return byName
}

// want checks the results of checks, written as name=result.
func (p *practice) want(checks map[string]doctor.Check, results ...string) {
	p.t.Helper()
	for _, want := range results {
		name, result, _ := strings.Cut(want, "=")
		if check := checks[name]; string(check.Result) != result {
			p.t.Errorf("%s is %s, want %s: %s", name, check.Result, result, check.Found)
		}
	}
}

func TestDiagnose_StoppedBridge(t *testing.T) {
	for version, versions := range map[string]string{"v1.11": "ok", "v1.2": "warning"} {
		t.Run(version, func(t *testing.T) {
			p := newPractice(t, version, nil)
			checks := p.diagnose(time.Minute)
			p.want(checks, "configuration=ok", "permissions=ok", "registration=ok", "homeserver=ok", "versions="+versions, "clock=ok",
				"as_token=ok", "listener=ok", "hs_token=ok", "double puppet=ok", "encryption=skipped", "node=skipped")
			if found := checks["listener"].Found; !strings.Contains(found, "can listen") {
				t.Errorf("listener: %s", found)
			}
			// Nothing is left behind but a room without members.
			for _, room := range p.homeserver.Rooms() {
				if members := p.homeserver.Members(room, "join"); len(members) > 0 {
					t.Errorf("%v are still in a room", members)
				}
			}
			if again := p.diagnose(time.Minute); again["listener"].Result != doctor.OK {
				t.Errorf("the listener of the first run is still open: %s", again["listener"].Found)
			}
		})
	}
}

func TestDiagnose_Problems(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*bridgetest.Service)
		prepare func(*practice)
		wait    time.Duration
		want    []string
		remedy  string // of the first of them, in part
	}{
		"example": {
			prepare: func(p *practice) { p.config.Homeserver.Domain = "example.com" },
			want:    []string{"configuration=failed", "permissions=skipped", "homeserver=skipped", "hs_token=skipped", "node=skipped"},
			remedy:  "mimird matrix -g",
		},
		"secrets missing": {
			prepare: func(p *practice) { p.config.AppService.ASToken = "generate" },
			want:    []string{"configuration=failed", "registration=skipped"}, remedy: "mimird matrix -g",
		},
		"no admin": {
			prepare: func(p *practice) { delete(p.config.Bridge.Permissions, "@alice:mimir.test") },
			want:    []string{"permissions=warning", "double puppet=ok"}, remedy: "admin to bridge.permissions",
		},
		"registration changed": {
			prepare: func(p *practice) { p.config.AppService.Address = "http://other.example:1" },
			wait:    50 * time.Millisecond,
			want:    []string{"registration=failed", "as_token=ok"}, remedy: "restart the homeserver",
		},
		"registration missing": {
			prepare: func(p *practice) { p.dir += "/none" },
			want:    []string{"registration=warning", "hs_token=ok"}, remedy: "mimird matrix -g",
		},
		"homeserver down": {
			prepare: func(p *practice) { p.homeserver.Close() },
			want:    []string{"homeserver=failed", "as_token=skipped", "listener=ok", "hs_token=skipped"}, remedy: "start the homeserver",
		},
		"versions not allowed": {
			prepare: func(p *practice) { p.config.Homeserver.IgnoreUnsupported = false },
			want:    []string{"versions=failed", "as_token=ok"}, remedy: "ignore_unsupported",
		},
		"bridge unknown": {
			prepare: func(p *practice) { p.homeserver.ForgetService("mimir") },
			want:    []string{"as_token=failed", "hs_token=skipped", "double puppet=skipped"}, remedy: "give registration.yaml",
		},
		"wrong hs_token": {
			change: func(s *bridgetest.Service) { s.HSToken = "another" },
			want:   []string{"hs_token=failed", "double puppet=ok"}, remedy: "give registration.yaml",
		},
		"bridge unreachable": {
			change: func(s *bridgetest.Service) { s.URL = "http://127.0.0.1:1" },
			wait:   50 * time.Millisecond,
			want:   []string{"hs_token=failed"}, remedy: "reachable from the homeserver",
		},
		"double puppets unknown": {
			prepare: func(p *practice) { p.homeserver.ForgetService("mimir-doublepuppet") },
			want:    []string{"double puppet=failed", "as_token=ok"}, remedy: "give doublepuppet.yaml",
		},
		"no double puppets": {
			prepare: func(p *practice) { p.config.DoublePuppet.Registration = config.DoublePuppetNone },
			want:    []string{"double puppet=skipped"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPractice(t, "v1.2", c.change)
			if c.prepare != nil {
				c.prepare(p)
			}
			if c.wait == 0 {
				c.wait = time.Minute
			}
			checks := p.diagnose(c.wait)
			p.want(checks, c.want...)
			first, _, _ := strings.Cut(c.want[0], "=")
			if remedy := checks[first].Remedy; !strings.Contains(remedy, c.remedy) {
				t.Errorf("the remedy is %q", remedy)
			}
		})
	}
}

func TestDiagnose_OtherListeners(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		want   []string
	}{
		"another program":                {http.StatusNotFound, []string{"listener=failed", "hs_token=skipped"}},
		"the bridge with another token":  {http.StatusForbidden, []string{"listener=failed", "hs_token=skipped"}},
		"the bridge, which is not heard": {http.StatusOK, []string{"listener=ok", "hs_token=failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPractice(t, "v1.2", nil)
			listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", strings.TrimPrefix(p.config.AppService.Address, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			other := &httptest.Server{Listener: listener, Config: &http.Server{
				ReadHeaderTimeout: time.Minute,
				Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.WriteHeader(c.status)
					_, _ = w.Write([]byte("{}"))
				}),
			}}
			other.Start()
			t.Cleanup(other.Close)
			p.want(p.diagnose(50*time.Millisecond), c.want...)
		})
	}
}

func TestDiagnose_PublicMedia(t *testing.T) {
	gone := func(publicmedia.Ref) (io.ReadSeekCloser, transfer.Info, error) {
		return nil, transfer.Info{}, store.ErrNotFound
	}
	for name, c := range map[string]struct {
		key         string // of the bridge that runs, if one does
		otherServer bool   // the proxy leads to something else
		want        doctor.Result
	}{
		"the bridge does not run": {"", false, doctor.Skipped},
		"it leads to the bridge":  {"the same key, which is long enough to be one", false, doctor.OK},
		"another key":             {"another key, which is long enough to be one", false, doctor.Failed},
		"another program":         {"the same key, which is long enough to be one", true, doctor.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPractice(t, "v1.2", nil)
			p.config.PublicMedia.Enabled = true
			p.config.PublicMedia.SigningKey = "the same key, which is long enough to be one"
			p.config.AppService.PublicAddress = p.config.AppService.Address
			if c.otherServer {
				p.config.AppService.PublicAddress = p.homeserver.URL()
			}
			if c.key != "" {
				files, err := publicmedia.New(publicmedia.Options{Key: c.key, Open: gone, Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				running := appservice.NewListener(appservice.ListenerOptions{
					Log: slog.New(slog.DiscardHandler), Token: p.config.AppService.HSToken, Files: files.Serve, FilesPath: publicmedia.Path,
				})
				running.Refuse()
				if err := running.Open(t.Context(), p.config.AppService.Hostname, p.config.AppService.Port); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { running.Close(0) })
			}
			if check := p.diagnose(time.Minute)["public media"]; check.Result != c.want {
				t.Errorf("%s: %s", check.Result, check.Found)
			}
		})
	}
	p := newPractice(t, "v1.2", nil)
	if check := p.diagnose(time.Minute)["public media"]; check.Result != doctor.Skipped {
		t.Errorf("switched off: %s: %s", check.Result, check.Found)
	}
}

func TestDiagnose_Node(t *testing.T) {
	p := newPractice(t, "v1.2", nil)
	p.config.Homeserver.Domain = "example.com" // the other checks do not matter
	down := homeserver.Health{Error: "it is down"}
	for name, c := range map[string]struct {
		state  doctor.NodeState
		result doctor.Result
		found  string
	}{
		"no role":         {doctor.NodeState{}, doctor.Failed, "no bridge is started"},
		"runs, no role":   {doctor.NodeState{Runs: true}, doctor.Failed, "without the bridge"},
		"stopped":         {doctor.NodeState{Role: true}, doctor.Skipped, "mimird up"},
		"no answer":       {doctor.NodeState{Role: true, Runs: true, Error: "no\nanswer"}, doctor.Failed, "no answer"},
		"started without": {doctor.NodeState{Role: true, Runs: true}, doctor.Failed, "started without"},
		"starting":        {doctor.NodeState{Role: true, Runs: true, Status: &bridge.Status{State: bridge.StateStarting}}, doctor.Warning, "starting"},
		"failed":          {doctor.NodeState{Role: true, Runs: true, Status: &bridge.Status{State: bridge.StateFailed, Error: "why"}}, doctor.Failed, "why"},
		"degraded": {
			doctor.NodeState{Role: true, Runs: true, Status: &bridge.Status{State: bridge.StateDegraded, Homeserver: down}},
			doctor.Warning, "it is down",
		},
		"running": {doctor.NodeState{Role: true, Runs: true, Status: &bridge.Status{State: bridge.StateRunning, Logins: 2}}, doctor.OK, "2 logins"},
	} {
		t.Run(name, func(t *testing.T) {
			p.t, p.node = t, func(context.Context) doctor.NodeState { return c.state }
			if check := p.diagnose(time.Minute)["node"]; check.Result != c.result || !strings.Contains(check.Found, c.found) {
				t.Errorf("%s: %s", check.Result, check.Found)
			}
		})
	}
}

func TestHasLogin(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		answer string
		has    bool
		err    string
	}{
		"application services": {200, `{"flows":[{"type":"m.login.password"},{"type":"m.login.application_service"}]}`, true, ""},
		"passwords alone":      {200, `{"flows":[{"type":"m.login.password"}]}`, false, ""},
		"authentication moved": {200, `{"flows":[{"type":"m.login.sso","org.matrix.msc3824.delegated_oidc_compatibility":true}]}`, false, ""},
		"no login at all":      {404, `{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}`, false, ""},
		"not a homeserver":     {404, `<html>`, false, "does not say how to log in (HTTP status 404)"},
		"nothing":              {200, `<html>`, false, "does not say how to log in"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/_matrix/client/v3/login" {
					t.Errorf("asked %s", r.URL.Path)
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.answer)
			}))
			defer server.Close()
			has, err := doctor.HasLogin(t.Context(), server.URL+"/")
			if has != test.has || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("has %v, %v", has, err)
			}
		})
	}
}
