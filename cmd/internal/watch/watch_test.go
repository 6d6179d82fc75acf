// SPDX-License-Identifier: MPL-2.0

package watch_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/mimird/mimird/actors/backup/schedule"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/cmd/internal/watch"
)

var update = flag.Bool("update", false, "write the table of docs/metrics.md")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a node that answers with what it has.
type node struct {
	status control.Status
	err    error
}

func (n *node) Status(context.Context) (control.Status, error) { return n.status, n.err }

func (n *node) Actors(context.Context) ([]control.Actors, error) {
	return []control.Actors{{Kind: "account", Live: 2, Messages: 7}, {Kind: "store", Live: 1, Failures: 1, Busy: 0.5}}, n.err
}

const person = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"

// busy is a node with something in every field that is measured, and people in it.
func busy(t *testing.T) *node {
	t.Helper()
	part, err := json.Marshal(bridge.Status{State: bridge.StateRunning, Homeserver: homeserver.Health{OK: true}, Listener: homeserver.Health{OK: true}, Logins: 2, Transactions: 3})
	if err != nil {
		t.Fatal(err)
	}
	backups, err := json.Marshal(schedule.Status{Target: "sftp://secret-host/path", LastGood: &schedule.Made{Name: "x", Time: time.Now(), Bytes: 7}, TooOld: true})
	if err != nil {
		t.Fatal(err)
	}
	return &node{status: control.Status{
		Version: "1.0.0", Node: person,
		Overlay:   control.Overlay{Peers: []control.Peer{{URI: "tcp://secret-host:1", Up: true, LatencyMS: 20, RX: 5, TX: 6}, {URI: "tcp://other:2"}}},
		Trackers:  []control.Tracker{{Address: "one", Answers: true, Announced: time.Now().Add(time.Hour)}, {Address: "two"}},
		Mediators: []control.MediatorLink{{Account: person, Mediator: "m1", Connected: true}, {Account: person, Mediator: "m2"}}, MissedInvites: 7,
		Sessions: 3, Media: &control.MediaUsage{Used: 1, Quota: 2},
		Accounts:    []control.Account{{ID: person, Name: "Alice", Waiting: 2}, {ID: person, Name: "Work", Waiting: 3}},
		Undelivered: []control.Undelivered{{Name: "Bob Builder", Code: "offline", Since: time.Now().Add(-time.Hour)}, {Name: "Carol", Code: "offline"}},
		Warnings:    []control.Warning{{Code: "part_failing", Text: "store keeps failing"}},
		Role:        &control.TrackerRole{Address: "x"}, FilesRole: &control.FilesRole{}, MediatorRole: &control.MediatorRole{Groups: 4, Bytes: 9},
		Parts: map[string]json.RawMessage{"matrix": part, "backups": backups, "notify": json.RawMessage(`{"sinks":[{"name":"Bob","sent":2,"failures":1},{"name":"x","sent":3}]}`)},
	}}
}

func TestMetrics_Lint_NoPeople(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(watch.NewCollector(busy(t)))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, family := range families {
		names = append(names, family.GetName())
		for _, word := range []string{"Bob", "Carol", "Alice", person[:8], "secret-host"} {
			if strings.Contains(family.String(), word) {
				t.Errorf("%s tells of %s", family.GetName(), word)
			}
		}
	}
	for _, m := range watch.Metrics() {
		if !slices.Contains(names, m.Name) {
			t.Errorf("%s was not measured", m.Name)
		}
	}
	for want, metric := range map[string]string{
		"5": "mimird_undelivered_messages", `{code="offline"} 2`: "mimird_undelivered_conversations", "0.02": "mimird_yggdrasil_best_latency_seconds",
		`{state="down"} 1`: "mimird_yggdrasil_peers", "1": "mimird_trackers_announced",
		`{state="unreachable"} 1`: "mimird_mediators", "7": "mimird_missed_invites_total",
	} {
		text := scrape(t, busy(t))
		if !strings.Contains(text, "\n"+metric+want) && !strings.Contains(text, "\n"+metric+" "+want) {
			t.Errorf("no %s %s in\n%s", metric, want, text)
		}
	}
	if problems, err := promlint.New(strings.NewReader("# HELP bad_Name x\n# TYPE bad_Name counter\nbad_Name 1\n")).Lint(); err != nil || len(problems) == 0 {
		t.Errorf("the lint finds nothing: %v", err)
	}
}

func scrape(t *testing.T, n *node) string {
	t.Helper()
	answer := httptest.NewRecorder()
	watch.Handler(n).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return answer.Body.String()
}

func TestMetrics_NodeDoesNotAnswer_ScrapeFails(t *testing.T) {
	answer := httptest.NewRecorder()
	watch.Handler(&node{err: errors.New("stopped")}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if answer.Code != http.StatusInternalServerError {
		t.Errorf("%d: %s", answer.Code, answer.Body)
	}
}

// TestDocs_ListMetrics compares docs/metrics.md with the program.
func TestDocs_ListMetrics(t *testing.T) {
	const page = "../../../docs/metrics.md"
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- written by go test ./cmd/internal/watch -update -->\n", "\n<!-- end -->"
	head, rest, _ := strings.Cut(string(raw), begin)
	_, tail, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatal("the marks of the table are missing")
	}
	var b strings.Builder
	b.WriteString("\n| metric | | labels | meaning |\n|---|---|---|---|\n")
	for _, m := range watch.Metrics() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, strings.Join(m.Labels, ", "), m.Help)
	}
	want := head + begin + b.String() + end + tail
	if *update {
		err = os.WriteFile(page, []byte(want), 0o600)
	} else if want != string(raw) {
		t.Error("docs/metrics.md is not what is measured; run go test ./cmd/internal/watch -update")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestContrib_MetricsExist holds the dashboard and the alert rules to the metrics there
// are.
func TestContrib_MetricsExist(t *testing.T) {
	known := []string{"mimird"}
	for _, m := range watch.Metrics() {
		known = append(known, m.Name)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	raw, err := os.ReadFile("../../../contrib/grafana/mimird.json")
	if err == nil {
		err = json.Unmarshal(raw, &dashboard)
	}
	if err != nil || len(dashboard.Panels) == 0 {
		t.Fatalf("%d panels, %v", len(dashboard.Panels), err)
	}
	var exprs []string
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations struct{ Summary, Description string }
			}
		}
	}
	if raw, err = os.ReadFile("../../../contrib/prometheus/alerts.yml"); err == nil {
		err = yaml.Unmarshal(raw, &rules)
	}
	if err != nil || len(rules.Groups) == 0 {
		t.Fatalf("%+v, %v", rules, err)
	}
	for _, rule := range rules.Groups[0].Rules {
		exprs = append(exprs, rule.Expr)
		if rule.Annotations.Summary == "" || rule.Annotations.Description == "" {
			t.Errorf("%s does not say what to do", rule.Alert)
		}
	}
	for _, expr := range exprs {
		for _, name := range regexp.MustCompile(`\bmimird[a-z_]*`).FindAllString(expr, -1) {
			if !slices.Contains(known, name) {
				t.Errorf("%s: there is no metric %s", expr, name)
			}
		}
	}
}

func TestHealth(t *testing.T) {
	part := func(s bridge.Status) map[string]json.RawMessage {
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]json.RawMessage{"matrix": raw}
	}
	up := homeserver.Health{OK: true}
	for name, test := range map[string]struct {
		status control.Status
		reason string // "" when ready
	}{
		"nothing wrong":     {control.Status{Trackers: []control.Tracker{{}, {Answers: true}}, Warnings: []control.Warning{{Code: "crowded_guids"}}}, ""},
		"offline":           {control.Status{Warnings: []control.Warning{{Code: "offline"}}}, "no Yggdrasil peer is connected"},
		"silent trackers":   {control.Status{Trackers: []control.Tracker{{}, {}}}, "no tracker answers"},
		"disk":              {control.Status{DiskLow: true}, "the disk is nearly full"},
		"failing part":      {control.Status{Warnings: []control.Warning{{Code: "part_failing", Text: "files keeps\nfailing"}}}, "files keeps failing"},
		"bridge works":      {control.Status{Parts: part(bridge.Status{State: bridge.StateRunning, Homeserver: up, Listener: up})}, ""},
		"up but deaf":       {control.Status{Parts: part(bridge.Status{State: bridge.StateDegraded, Homeserver: up})}, "the homeserver does not reach the bridge"},
		"homeserver down":   {control.Status{Parts: part(bridge.Status{State: bridge.StateDegraded, Listener: up})}, "the homeserver does not answer the bridge"},
		"bridge failed":     {control.Status{Parts: part(bridge.Status{State: bridge.StateFailed})}, "the bridge does not run (failed)"},
		"bridge unanswered": {control.Status{Parts: map[string]json.RawMessage{"matrix": json.RawMessage(`{"error":"stopped"}`)}}, "the bridge does not answer: stopped"},
	} {
		h := watch.HealthOf(test.status)
		if h.Ready != (test.reason == "") || test.reason != "" && !slices.Contains(h.Reasons, test.reason) {
			t.Errorf("%s: %+v", name, h)
		}
		answer := httptest.NewRecorder()
		watch.Ready(&node{status: test.status}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if (answer.Code == http.StatusOK) != h.Ready {
			t.Errorf("%s: /readyz answers %d", name, answer.Code)
		}
	}
	for err, want := range map[error]int{nil: http.StatusOK, errors.New("stopped"): http.StatusServiceUnavailable} {
		for _, handler := range []http.Handler{watch.Alive(&node{err: err}), watch.Ready(&node{err: err})} {
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
			if answer.Code != want {
				t.Errorf("%v: answers %d", err, answer.Code)
			}
		}
	}
}
