// SPDX-License-Identifier: MPL-2.0

package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/mimird/mimird/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestExampleEqualsDefaults(t *testing.T) {
	parsed, err := config.Parse(config.Example())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Default(), parsed, cmpopts.IgnoreTypes(yaml.Node{})); diff != "" {
		t.Errorf("example.yaml differs from Default():\n%s", diff)
	}
}

// An example that leaves a key out would pass the test above, so every key must
// stand in its text.
func TestExampleNamesEveryKey(t *testing.T) {
	out, err := yaml.Marshal(config.Default())
	if err != nil {
		t.Fatal(err)
	}
	var want, have map[string]any
	if err := yaml.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(config.Example(), &have); err != nil {
		t.Fatal(err)
	}
	for section, value := range want {
		if _, ok := have[section]; !ok {
			t.Errorf("example.yaml lacks %q", section)
		}
		keys, ok := value.(map[string]any)
		if !ok {
			continue
		}
		for key := range keys {
			inner, _ := have[section].(map[string]any)
			if _, ok := inner[key]; !ok {
				t.Errorf("example.yaml lacks %q", section+"."+key)
			}
		}
	}
}

func TestEmptyFileIsTheDefault(t *testing.T) {
	for _, text := range []string{"", "# only a comment\n", "{}\n"} {
		parsed, err := config.Parse([]byte(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if diff := cmp.Diff(config.Default(), parsed, cmpopts.IgnoreTypes(yaml.Node{})); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestParseNamesEveryProblemAtOnce(t *testing.T) {
	_, err := config.Parse([]byte(`
roles: [node, butler]
log: {level: loud, format: pretty, max_size: 1KiB, keep: 0}
yggdrasil:
  peers: ["tls://no-port", "gopher://x:1"]
  connected: -1
session: {idle: 1s, max: 0}
outbox: {max_messages: 0}
control: {socket: ""}
tracker: {max_identities: -1}
mediator: {create: friends, per_group: 1KiB, max_message: 16MiB, max_groups: 0, members_per_group: 200000, keep: 5m, listen: ["x"]}
`))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"butler", "mediator.create", "mediator.per_group", "mediator.max_message", "mediator.max_groups", "mediator.members_per_group",
		"mediator.keep", "mediator.listen", "log.level", "log.format", "the port is missing", "gopher",
		"yggdrasil.connected", "session.idle", "session.max", "outbox.max_messages", "control.socket", "tracker.max_identities",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not mention %q:\n%v", want, err)
		}
	}
}

func TestParseNamesUnknownKeysWithTheNearestKnownOne(t *testing.T) {
	_, err := config.Parse([]byte("yggdrasil:\n  pears: []\nlogg: {}\nzzzzzzzzzzzz: 1\n"))
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		`line 2: unknown key "yggdrasil.pears"; did you mean "peers"?`,
		`line 3: unknown key "logg"; did you mean "log"?`,
		`line 4: unknown key "zzzzzzzzzzzz"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in:\n%v", want, err)
		}
	}
}

func TestParseRefusesBadValues(t *testing.T) {
	cases := map[string]string{
		"a duration without a unit": "session: {idle: 600}",
		"a tracker without a port":  "trackers: [0000118d965a512ce8a37896957ef15b4108f89a9954ae9365448c6bf049c48d]",
		"a tracker with port 0":     "trackers: ['0000118d965a512ce8a37896957ef15b4108f89a9954ae9365448c6bf049c48d:0']",
		"a tracker with a bad key":  "trackers: ['00:69']",
		"a device with a bad key":   "security: {own_devices: ['00']}",
		"not YAML":                  "roles: [",
		"a list for a map":          "log: []",
		"a call that never ends":    "calls: {ring: 2m}",
		"matrix without node":       "roles: [matrix]",
		"no roles":                  "roles: []",
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := config.Parse([]byte(text)); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestParseReadsValues(t *testing.T) {
	c, err := config.Parse([]byte("roles: [node, matrix]\nsession: {idle: 90s}\nyggdrasil: {peers: []}\nmatrix: {homeserver: {domain: example.org}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if time.Duration(c.Session.Idle) != 90*time.Second || c.Session.Max != 10_000 {
		t.Errorf("session = %+v", c.Session)
	}
	if len(c.Yggdrasil.Peers) != 0 {
		t.Errorf("an empty list must stay empty, have %v", c.Yggdrasil.Peers)
	}
	if !c.Has(config.RoleMatrix) || c.Has(config.RoleTracker) {
		t.Errorf("roles = %v", c.Roles)
	}
	var section struct {
		Homeserver struct {
			Domain string `yaml:"domain"`
		} `yaml:"homeserver"`
	}
	if err := c.Matrix.Decode(&section); err != nil || section.Homeserver.Domain != "example.org" {
		t.Errorf("matrix section = %+v, %v", section, err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := config.Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	path := filepath.Join(dir, config.FileName)
	if err := os.WriteFile(path, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), "right file") {
		t.Errorf("a huge file: %v", err)
	}
	if err := os.WriteFile(path, []byte("rolls: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), config.FileName) {
		t.Errorf("the error must name the file: %v", err)
	}
}

func FuzzConfigYAML(f *testing.F) {
	f.Add(config.Example())
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("log: {level: 1e999}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := config.Parse(raw)
		if err == nil && len(c.Roles) == 0 {
			t.Error("a valid configuration without roles")
		}
	})
}

func TestParseNamesTheWrongKindOfValue(t *testing.T) {
	cases := map[string]string{
		"log: 3":                                 "line 1: want a section with keys, have `3`",
		"log: []":                                "line 1: want a section with keys",
		"\nroles: node":                          "line 2: want a list, have `node`",
		"session: {max: many}":                   "line 1: want a whole number, have `many`",
		"yggdrasil: {multicast: maybe}":          "line 1: want true or false, have `maybe`",
		"log: {level: [info]}":                   "line 1: want a text",
		"roles: [{}]":                            "line 1: want a text",
		"log: 3\ntracker: 4":                     "line 1: want a section with keys, have `3`\nline 2: want a section with keys, have `4`",
		"yggdrasil: {carriers: [stream, smoke]}": "yggdrasil.carriers: \"smoke\" is none of stream, quic, tcp",
		"yggdrasil: {carriers: [tcp]}":           "yggdrasil.carriers: stream is missing; trackers are asked over it",
		"yggdrasil: {system_tcp: true}":          "yggdrasil.system_tcp: carriers does not name tcp",
		"session: {idle: 600}":                   "line 1: want a duration such as 90s, 15m or 1h30m",
		"just words":                             "line 1: want a section with keys, have `just words`",
		"roles: [node]\n---\nlog: {}":            "more than one YAML document, of which only the first would be read: remove the line ---",
		"roles: [node":                           "not valid YAML, line 1: did not find expected ',' or ']'",
	}
	for text, want := range cases {
		if _, err := config.Parse([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestLoadPutsOneProblemIntoOneLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), config.FileName)
	for text, want := range map[string]string{
		"logg: {}":           `configuration mimird.yaml: line 1: unknown key "logg"; did you mean "log"?`,
		"logg: {}\nrols: []": "configuration mimird.yaml:\nline 1: unknown key \"logg\"; did you mean \"log\"?\nline 2: unknown key \"rols\"; did you mean \"roles\"?",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(path); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestMediatorCreators_KeysAndLinks(t *testing.T) {
	key := strings.Repeat("03a107bff3ce10be1d70dd18e74bc099", 2)
	c, err := config.Parse([]byte("mediator: {create: listed, creators: [" + key + ", \"mimir://mm/u/" + key + "/x\"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Mediator.Creators; len(got) != 2 || got[0].String() != key || got[1] != got[0] {
		t.Errorf("creators %v", got)
	}
	for _, text := range []string{"mediator: {create: listed, creators: [x]}", "mediator: {creators: [" + key + "]}"} {
		if _, err := config.Parse([]byte(text)); err == nil {
			t.Errorf("accepted %s", text)
		}
	}
}
