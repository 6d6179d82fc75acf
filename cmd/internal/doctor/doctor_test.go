// SPDX-License-Identifier: MPL-2.0

package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/backup/schedule"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/cmd/internal/doctor"
	"github.com/mimird/mimird/config"
)

var now = time.Date(2026, time.November, 30, 12, 0, 0, 0, time.UTC)

// healthy is a set-up with nothing wrong: two peers, two trackers, two accounts with two
// contacts each.
func healthy(t *testing.T) (*doctor.Options, *control.Status, *doctor.Outside) {
	t.Helper()
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	if err := errors.Join(os.Mkdir(keys, 0o700), os.WriteFile(filepath.Join(keys, "node.pem"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	status := &control.Status{
		Version: "1.0.0", Node: strings.Repeat("ab", 32),
		Overlay: control.Overlay{Running: true, Peers: []control.Peer{{URI: "tcp://one:1", Up: true}, {URI: "tcp://two:2"}}},
		Accounts: []control.Account{
			{ID: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", Name: "Home"},
			{ID: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", Name: "Work"},
		},
	}
	for _, tracker := range c.Trackers {
		status.Trackers = append(status.Trackers, control.Tracker{Address: tracker.String(), Answers: true, Announced: now.Add(time.Minute)})
	}
	outside := &doctor.Outside{Connected: true, Trackers: make([]error, len(c.Trackers))}
	return &doctor.Options{
		Dir: dir, Config: c,
		Status: func(context.Context) (control.Status, error) { return *status, nil },
		Contacts: func(_ context.Context, account string) ([]control.Contact, error) {
			return []control.Contact{{ID: account, Name: "Bob", State: "accepted"}, {ID: account, Name: "Carol", State: "accepted"}}, nil
		},
		Store:    func() ([]string, error) { return nil, nil },
		Disk:     func() (doctor.Disk, error) { return doctor.Disk{Free: 50 << 30, Total: 100 << 30}, nil },
		Clock:    func() doctor.Clock { return doctor.Clock{Now: now, Synchronised: true, Known: true} },
		DialPeer: func(context.Context, string) error { return nil },
		Outside:  func(context.Context, doctor.Question) (doctor.Outside, error) { return *outside, nil },
		Bridge:   func(context.Context) []doctor.Check { return nil },
	}, status, outside
}

func TestDoctor_Healthy_NothingWrong(t *testing.T) {
	o, _, _ := healthy(t)
	reported := 0
	o.Report = func(doctor.Check) { reported++ }
	checks := doctor.Diagnose(t.Context(), *o)
	for _, c := range checks {
		if c.Result != doctor.OK && c.Result != doctor.Skipped || c.Result == doctor.Skipped && c.Name != "bridge" && c.Name != "roles" && c.Name != "backups" {
			t.Errorf("%+v", c)
		}
	}
	if reported != len(checks) {
		t.Errorf("%d of %d reported", reported, len(checks))
	}
}

// backups gives a node a schedule of backups in this state.
func backups(o *doctor.Options, s *control.Status, b schedule.Status) {
	b.Target = "sftp://me@host/x"
	o.Config.Backup.Target = b.Target
	raw, _ := json.Marshal(b) // has no values that cannot be written
	s.Parts = map[string]json.RawMessage{schedule.PartName: raw}
}

// TestDoctor_BrokenSetUps_NamesCause breaks one thing at a time. The check of that name
// has to say so, with what it means and what to do, and no check before it may fail.
func TestDoctor_BrokenSetUps_NamesCause(t *testing.T) {
	type broken struct {
		check  string
		result doctor.Result
		found  string
		remedy string
		do     func(*doctor.Options, *control.Status, *doctor.Outside)
	}
	stopped := func(o *doctor.Options, err error) {
		o.Status = func(context.Context) (control.Status, error) { return control.Status{}, client.ErrNotRunning }
		o.Store = func() ([]string, error) { return nil, err }
	}
	for name, b := range map[string]broken{
		"misspelt configuration": {"configuration", doctor.Failed, `unknown key "pears"`, "correct", func(o *doctor.Options, _ *control.Status, _ *doctor.Outside) {
			o.ConfigErr = errors.New(`line 3: unknown key "pears"`)
		}},
		"clock at 1970": {"clock", doctor.Failed, "1970-01-01", "set the clock", func(o *doctor.Options, _ *control.Status, _ *doctor.Outside) {
			o.Clock = func() doctor.Clock { return doctor.Clock{Now: time.Unix(0, 0).UTC()} }
		}},
		"clock without synchronisation": {"clock", doctor.Warning, "does not synchronise", "systemd-timesyncd", func(o *doctor.Options, _ *control.Status, _ *doctor.Outside) {
			o.Clock = func() doctor.Clock { return doctor.Clock{Now: now, Known: true} }
		}},
		"full disk": {"disk", doctor.Failed, "1.0 MiB of 100 GiB free", "make space", func(o *doctor.Options, _ *control.Status, _ *doctor.Outside) {
			o.Disk = func() (doctor.Disk, error) { return doctor.Disk{Free: 1 << 20, Total: 100 << 30}, nil }
		}},
		"keys that others can read": {"data directory", doctor.Failed, "node.pem can be read by others", "chmod 600", func(o *doctor.Options, _ *control.Status, _ *doctor.Outside) {
			_ = os.Chmod(filepath.Join(o.Dir, "keys", "node.pem"), 0o644)
		}},
		"never started": {"data directory", doctor.Failed, "there is no", "mimird up", func(o *doctor.Options, _ *control.Status, _ *doctor.Outside) {
			o.Dir = filepath.Join(o.Dir, "none")
			stopped(o, fs.ErrNotExist)
		}},
		"role that nobody reaches": {"roles", doctor.Failed, "not connected to any Yggdrasil node: mediator 0011", "yggdrasil.peers", func(_ *doctor.Options, s *control.Status, _ *doctor.Outside) {
			s.FilesRole = &control.FilesRole{Key: "ff", Links: 2}
			s.MediatorRole = &control.MediatorRole{Key: "0011"}
		}},
		"backup too old": {"backups", doctor.Failed, "The last good backup at sftp://me@host/x is of", "docs/backups.md", func(o *doctor.Options, s *control.Status, _ *doctor.Outside) {
			backups(o, s, schedule.Status{LastGood: &schedule.Made{Time: now.Add(-100 * time.Hour)}, TooOld: true, Failures: 9, Error: "no route"})
		}},
		"backup that fails": {"backups", doctor.Warning, "2 attempts failed since the last good one: no route", "by hand", func(o *doctor.Options, s *control.Status, _ *doctor.Outside) {
			backups(o, s, schedule.Status{Failures: 2, Error: "no route"})
		}},
		"backup of a node that was not started again": {"backups", doctor.Warning, "makes none", "start the node again", func(o *doctor.Options, _ *control.Status, _ *doctor.Outside) {
			o.Config.Backup.Target = "x"
		}},
		"node does not run": {"node", doctor.Failed, "does not run", "mimird up", func(o *doctor.Options, _ *control.Status, _ *doctor.Outside) {
			stopped(o, nil)
		}},
		"two nodes on one directory": {"store", doctor.Failed, "another process", "control.socket", func(o *doctor.Options, _ *control.Status, _ *doctor.Outside) {
			stopped(o, store.ErrInUse)
		}},
		"damaged store": {"store", doctor.Failed, "damaged", "mimird restore", func(o *doctor.Options, _ *control.Status, _ *doctor.Outside) {
			stopped(o, store.ErrCorrupt)
		}},
		"store of a newer version": {"store", doctor.Failed, "", "install that version", func(o *doctor.Options, _ *control.Status, _ *doctor.Outside) {
			stopped(o, store.ErrNewerSchema)
		}},
		"lost key": {"keys", doctor.Failed, "the key of account Home is lost", "backup", func(_ *doctor.Options, s *control.Status, _ *doctor.Outside) {
			s.Warnings = []control.Warning{{Code: "key_lost", Text: "the key of account Home is lost"}}
		}},
		"no peer answers": {"yggdrasil", doctor.Failed, "connection refused", "online", func(o *doctor.Options, s *control.Status, _ *doctor.Outside) {
			s.Overlay.Peers = nil
			o.DialPeer = func(context.Context, string) error { return errors.New("connection refused") }
		}},
		"peers with another password": {"yggdrasil", doctor.Warning, "can be connected to", "log", func(_ *doctor.Options, s *control.Status, _ *doctor.Outside) {
			s.Overlay.Peers = nil
		}},
		"no peers configured": {"yggdrasil", doctor.Failed, "yggdrasil.peers is empty", "add peers", func(o *doctor.Options, s *control.Status, _ *doctor.Outside) {
			s.Overlay.Peers, o.Config.Yggdrasil.Peers = nil, nil
		}},
		"not reached from outside": {"outside", doctor.Warning, "does not reach this one", "paths", func(_ *doctor.Options, _ *control.Status, out *doctor.Outside) {
			out.Node = errors.New("no answer")
		}},
		"silent trackers": {"trackers", doctor.Failed, "none answers", "other trackers", func(_ *doctor.Options, _ *control.Status, out *doctor.Outside) {
			out.Trackers = []error{errors.New("no answer"), errors.New("no answer")}
		}},
		"one silent tracker": {"trackers", doctor.Warning, "1 of 2 do not answer", "replace", func(_ *doctor.Options, _ *control.Status, out *doctor.Outside) {
			out.Trackers[0] = errors.New("no answer")
		}},
		"file server gone": {"file server", doctor.Warning, "does not answer", "media.server", func(_ *doctor.Options, _ *control.Status, out *doctor.Outside) {
			out.Files = errors.New("no answer")
		}},
		"file server on an island": {"file server", doctor.Warning, "does not answer", "one of the 2 in reserve: set yggdrasil.connected to 0", func(_ *doctor.Options, s *control.Status, out *doctor.Outside) {
			s.Overlay.Spares = []string{"tcp://three:3", "tcp://four:4"}
			out.Files = errors.New("no answer")
		}},
		"tracker on an island": {"trackers", doctor.Warning, "1 of 2 do not answer", "one of the 1 in reserve", func(_ *doctor.Options, s *control.Status, out *doctor.Outside) {
			s.Overlay.Spares = []string{"tcp://three:3"}
			out.Trackers[0] = errors.New("no answer")
		}},
		"request declined": {"contact Bob", doctor.Warning, "2 undelivered", "mimird cancel", func(_ *doctor.Options, s *control.Status, _ *doctor.Outside) {
			s.Undelivered = []control.Undelivered{{Name: "Bob", Messages: 2, Code: "request_declined", Why: "they declined"}}
		}},
		"file server takes nothing": {"contact Bob", doctor.Warning, "quota exceeded", "media.server", func(_ *doctor.Options, s *control.Status, _ *doctor.Outside) {
			s.Undelivered = []control.Undelivered{{Name: "Bob", Messages: 1, Code: "upload_failed", Why: "the file is not uploaded yet: quota exceeded"}}
		}},
		"request waits for an answer": {"contact Dave", doctor.Warning, "asks to be a contact of Home", "mimird contact accept", func(o *doctor.Options, s *control.Status, _ *doctor.Outside) {
			s.Accounts = s.Accounts[:1]
			o.Contacts = func(context.Context, string) ([]control.Contact, error) {
				return []control.Contact{{ID: strings.Repeat("cd", 32), Name: "Dave", State: "requested"}}, nil
			}
		}},
		"port in use": {"node says", doctor.Failed, "Nobody can connect to", "", func(_ *doctor.Options, s *control.Status, _ *doctor.Outside) {
			s.Warnings = []control.Warning{{Code: "not_listening", Text: "Nobody can connect to tcp://0.0.0.0:1"}}
		}},
		"homeserver down": {"bridge homeserver", doctor.Failed, "refused", "start it", func(o *doctor.Options, _ *control.Status, _ *doctor.Outside) {
			o.Config.Roles = append(o.Config.Roles, config.RoleMatrix)
			o.Bridge = func(context.Context) []doctor.Check {
				return []doctor.Check{{Name: "bridge homeserver", Result: doctor.Failed, Found: "refused", Remedy: "start it"}}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o, status, outside := healthy(t)
			b.do(o, status, outside)
			for _, c := range doctor.Diagnose(t.Context(), *o) {
				if c.Name == b.check {
					if c.Result != b.result || !strings.Contains(c.Found, b.found) || !strings.Contains(c.Remedy, b.remedy) {
						t.Errorf("%+v", c)
					}
					if c.Means == "" && !strings.HasPrefix(c.Name, "bridge") {
						t.Errorf("%s does not say what it means", c.Name)
					}
					return
				}
				if c.Result == doctor.Failed && c.Name != "node" && b.check != "store" {
					t.Errorf("before the cause: %+v", c)
				}
			}
			t.Error("nothing says so")
		})
	}
}

// The second node joins by the peers that the first one is connected to: by others it could
// reach what the first cannot.
func TestDoctor_Outside_ByConnectedPeers(t *testing.T) {
	for name, c := range map[string]struct{ peers, spares, want []string }{
		"some in reserve": {
			[]string{"tcp://one:1", "tls://two:2?password=x", "tcp://three:3", "tcp://four:4?maxbackoff=1m"},
			[]string{"tls://two:2", "tcp://three:3"},
			[]string{"tcp://one:1", "tcp://four:4?maxbackoff=1m"},
		},
		"none in reserve": {[]string{"tcp://one:1", "tcp://two:2"}, nil, []string{"tcp://one:1", "tcp://two:2"}},
		"all in reserve":  {[]string{"tcp://one:1", "tcp://two:2"}, []string{"tcp://one:1", "tcp://two:2"}, []string{"tcp://one:1", "tcp://two:2"}},
	} {
		o, status, outside := healthy(t)
		o.Config.Yggdrasil.Peers, status.Overlay.Spares = c.peers, c.spares
		var asked []string
		o.Outside = func(_ context.Context, q doctor.Question) (doctor.Outside, error) {
			asked = q.Peers
			return *outside, nil
		}
		for _, check := range doctor.Diagnose(t.Context(), *o) {
			if check.Name == "yggdrasil" && strings.Contains(check.Found, "in reserve") != (c.spares != nil) {
				t.Errorf("%s: %s", name, check.Found)
			}
		}
		if !slices.Equal(asked, c.want) {
			t.Errorf("%s: the second node joins by %v, want %v", name, asked, c.want)
		}
	}
}

func TestDoctor_TextsFromOutside_OneLine(t *testing.T) {
	o, status, _ := healthy(t)
	status.Warnings = []control.Warning{{Code: "x", Text: "first\nsecond\x1b[2J"}}
	for _, c := range doctor.Diagnose(t.Context(), *o) {
		if strings.ContainsAny(c.Found+c.Name+c.Remedy+c.Means, "\n\x1b") {
			t.Errorf("%+v", c)
		}
	}
}

func TestRedact_Secrets_Gone(t *testing.T) {
	secrets := []string{"s3cret", "alice", "192.0.2.7", "peer.example", "Bob Builder", "hunter2", "as_9876", "@alice:example.org", "postgres", "200:1234:5678:9abc::1", "hello there"}
	raw, err := doctor.RedactConfig([]byte(`# written by alice
roles: [node, matrix]
yggdrasil:
  peers: ["tls://peer.example:443?password=s3cret", "socks://alice:hunter2@192.0.2.7:1/x:2"]
  connected: 3
trackers: ["0000118d965a512ce8a37896957ef15b4108f89a9954ae9365448c6bf049c48d:69"]
matrix:
  appservice: {as_token: as_9876, hs_token: &a "hunter2"}
  database: {uri: "postgres://alice:hunter2@192.0.2.7/db"}
  permissions: {"@alice:example.org": admin}
  again: *a
  enabled: true
`))
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, stays := range []string{"roles: [node, matrix]", "connected: 3", "enabled: true", "tls://", "as_token"} {
		if !strings.Contains(text, stays) {
			t.Errorf("no %q in\n%s", stays, text)
		}
	}
	status, err := doctor.RedactJSON([]byte(`{"version":"1.0 (abc)","node":"` + strings.Repeat("ab", 32) + `","sessions":4,
		"accounts":[{"name":"alice","link":"mimir://mm/u/` + strings.Repeat("ab", 32) + `/alice","state":"accepted"}],
		"overlay":{"peers":[{"uri":"tcp://peer.example:1","error":"dial 192.0.2.7:1: refused"}]},"address":"200:1234:5678:9abc::1",
		"undelivered":[{"name":"Bob Builder","why":"hello there","code":"offline"}],"means":"tcp://peer.example:1 is down, 192.0.2.7:44 too, @alice:example.org, 200:1234:5678:9abc::1"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, stays := range []string{`"sessions": 4`, "abababab…", `"code": "offline"`, `"version": "1.0 (abc)"`, `"state": "accepted"`} {
		if !strings.Contains(string(status), stays) {
			t.Errorf("no %q in\n%s", stays, status)
		}
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) || strings.Contains(string(status), secret) {
			t.Errorf("%q stays in\n%s\n%s", secret, text, status)
		}
	}
	if strings.Contains(text+string(status), strings.Repeat("ab", 8)) {
		t.Error("a whole key stays")
	}
	if raw, err := doctor.RedactConfig([]byte("a: [hunter2")); err != nil || strings.Contains(string(raw), "hunter2") {
		t.Errorf("%q, %v", raw, err)
	}
}
