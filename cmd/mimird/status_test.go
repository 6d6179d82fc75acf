// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/bridge/botcrypto"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/homeserver"
)

func TestStatus_UnencryptedRooms_Named(t *testing.T) {
	for sentence, state := range map[string]botcrypto.State{
		"Rooms are not encrypted, use another homeserver.": botcrypto.Unavailable,
		"": botcrypto.On,
	} {
		part, err := json.Marshal(bridge.Status{State: bridge.StateRunning, Encryption: botcrypto.Status{State: state, Error: sentence}})
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		printStatus(&out, control.Status{Parts: map[string]json.RawMessage{matrixName: part}})
		if says := strings.Contains(out.String(), "warning   "); says != (sentence != "") || !strings.Contains(out.String(), sentence) {
			t.Errorf("%s says:\n%s", state, out.String())
		}
	}
}

func TestStatus_Mediators_Shown(t *testing.T) {
	since := time.Now().Add(-time.Hour)
	var out strings.Builder
	printStatus(&out, control.Status{
		Accounts: []control.Account{{ID: "aa", Name: "Home"}, {ID: "bb", Name: "Work"}},
		Mediators: []control.MediatorLink{
			{Account: "aa", Mediator: "1111111111111111", Connected: true, Since: since, Groups: 1},
			{Account: "bb", Mediator: "2222222222222222", Since: since, Error: "no answer\x1b[2J", NextAttempt: time.Now().Add(time.Hour), Groups: 3},
		},
	})
	at := since.Local().Format(time.DateTime)
	for _, want := range []string{
		"mediator       111111111111…   connected since " + at + ", 1 group of Home\n",
		"mediator       222222222222…   not connected since " + at + ": no answer",
		", 3 groups of Work, next attempt in 1h0m0s\n",
	} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), strings.Join(strings.Fields(want), " ")) || strings.Contains(out.String(), "\x1b") {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestStatus_StuckRooms_Named(t *testing.T) {
	long := time.Now().Add(-2 * time.Minute)
	part, err := json.Marshal(bridge.Status{State: bridge.StateRunning, Waiting: []bridge.Waiting{
		{Events: 3, Name: "Bob", Room: "!a:b", Error: "M_FORBIDDEN", Since: long, Remedy: "Do this."},
		{Events: 1, Name: "Carol\x1b[2J", Error: "HTTP 500", Since: long, Remedy: "Do that."},
		{Events: 1, Name: "Dave", Error: "HTTP 502", Since: time.Now()},
		{Events: 1, Name: "Eve"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	printStatus(&out, control.Status{Parts: map[string]json.RawMessage{matrixName: part}})
	var warnings []string
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "warning") {
			warnings = append(warnings, line)
		}
	}
	since := long.Local().Format(time.DateTime)
	if len(warnings) != 2 || !strings.Contains(warnings[0], "3 events for the room of Bob (!a:b) since "+since+": M_FORBIDDEN. Do this.") ||
		!strings.Contains(warnings[1], "(no room yet)") || strings.Contains(warnings[1], "\x1b") {
		t.Errorf("warnings: %q", warnings)
	}
}

func TestStatus_TrackersV1(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 30, 15, 0, time.Local)
	var out strings.Builder
	printStatus(&out, control.Status{OldTrackers: []control.TrackerV1{
		{Address: "[200::1]:5050"},
		{Address: "0123456789abcdef", Answers: true, Last: at},
		{Address: "[200::2]:5050", Last: at, Error: "remote node does not answer"},
	}})
	for _, line := range []string{
		"[200::1]:505…   not asked yet\n",
		"0123456789ab…   answered at 12:30:15\n",
		"[200::2]:505…   the last question failed: remote node does not answer\n",
	} {
		if !strings.Contains(out.String(), "tracker v1   "+line) {
			t.Errorf("no line %q in:\n%s", line, out.String())
		}
	}
}

func TestStatus_UndeliveredForGroupWithBlankName_Identified(t *testing.T) {
	var out strings.Builder
	printStatus(&out, control.Status{Undelivered: []control.Undelivered{
		{Group: "group-0123456789abcdef0123456789abcdef", Name: "  ", Messages: 2, Why: "offline"},
		{Group: "group-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Name: "Choir", Messages: 3, Why: "offline"},
	}})
	for _, want := range []string{"2 for the group group-0123456789abcdef since", "3 for the group Choir since"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("status says:\n%s\nwithout %q", out.String(), want)
		}
	}
}

func TestStatus_StuckInboundRooms_Named(t *testing.T) {
	part, err := json.Marshal(bridge.Status{State: bridge.StateRunning, Inbound: []bridge.WaitingRoom{
		{Room: "!a\x1b[31m:example.org", Events: 3, Since: time.Date(2026, 11, 23, 12, 30, 15, 0, time.Local), Error: "the disk is full"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	printStatus(&out, control.Status{Parts: map[string]json.RawMessage{matrixName: part}})
	if !strings.Contains(out.String(), ":example.org wait since 2026-11-23 12:30:15: the disk is full\n") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("status says:\n%q", out.String())
	}
}

func TestStatus_Bridge_InWords(t *testing.T) {
	since := time.Date(2026, 11, 23, 12, 30, 15, 0, time.Local)
	up, down := homeserver.Health{OK: true}, homeserver.Health{Since: since, Error: "connection refused"}
	for want, state := range map[string]bridge.Status{
		"works both ways; 1 login": {State: bridge.StateRunning, Homeserver: up, Listener: up, Logins: 1},
		"works both ways; 2 logins, 1 event from Matrix not handled yet, 3 conversations with events for Matrix": {
			State: bridge.StateRunning, Homeserver: up, Listener: up, Logins: 2, Transactions: 1, Conversations: 3,
		},
		"the homeserver does not answer since 2026-11-23 12:30:15: connection refused; 2 logins; see: mimird matrix doctor": {
			State: bridge.StateDegraded, Homeserver: down, Listener: up, Logins: 2,
		},
		"the homeserver does not reach the bridge since 2026-11-23 12:30:15: connection refused; 0 logins; see: mimird matrix doctor": {
			State: bridge.StateDegraded, Homeserver: up, Listener: down,
		},
		"does not run since 2026-11-23 12:30:15: no token; it is started again by itself": {State: bridge.StateFailed, Since: since, Error: "no token"},
		"is starting": {State: bridge.StateStarting},
	} {
		part, err := json.Marshal(state)
		if err != nil {
			t.Fatal(err)
		}
		if have := bridgeLine(part); have != want {
			t.Errorf("have %q\nwant %q", have, want)
		}
	}
	for part, want := range map[string]string{
		`{"error":"the bridge does not answer"}`: "its state is not known: the bridge does not answer",
		`[]`:                                     "its state is not known: the answer cannot be read",
	} {
		if have := bridgeLine(json.RawMessage(part)); have != want {
			t.Errorf("have %q, want %q", have, want)
		}
	}
}
