// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
)

// A well-behaved phone is a node like any other: every script holds for it. That
// shows that the scripts ask for what the protocol says, and not for what the node
// happens to do.
func TestScriptsHoldForAPhone(t *testing.T) {
	scripts, err := Scripts()
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		t.Run(script.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				env, _ := phoneEnv(t)
				Run(t, script, env)
			})
		})
	}
}

// phoneEnv makes a world in which the node is a phone.
func phoneEnv(t *testing.T) (Env, *Phone) {
	t.Helper()
	net := memnet.New(memnet.Options{})
	t.Cleanup(net.Close)
	tracker := startTracker(t, net)
	owner := InMemory(t, net, Options{Name: "owner", ContactsOnly: true, Trackers: []identity.NodeKey{tracker}, Log: t.Logf})
	carrier := net.Node(overlay.Limits{})
	t.Cleanup(func() { _ = carrier.Close() })
	owner.Eventually(t, time.Minute, "the owner is announced", func() bool { return owner.Announced() > 0 })
	return Env{
		Carrier: carrier, Node: owner.Node(), Owner: owner.Key(), Trackers: []identity.NodeKey{tracker},
		Contact: owner.AddContact,
		Say:     func(to Key, text string) { owner.Write(to, text) },
		Heard:   func(from Key) []string { return once(owner.Page(from).Received) },
	}, owner
}

// once are the texts of messages, each guid once: what the app shows twice.
func once(messages []Message) []string {
	var texts []string
	seen := make(map[GUID]bool)
	for _, m := range messages {
		if !seen[m.GUID] {
			texts = append(texts, string(m.Payload))
		}
		seen[m.GUID] = true
	}
	return texts
}

// A script notices a node that does otherwise.
func TestScriptsFail(t *testing.T) {
	all, err := Scripts()
	if err != nil {
		t.Fatal(err)
	}
	for name, quirks := range map[string]Quirks{
		"message":                        {NoOK: true},
		"message-json/white-space":       {OKZero: true},
		"message-without-ok":             {Duplicates: true},
		"handshake-accept":               {DuplicateLater: true},
		"duplicate":                      {OKTwice: true},
		"data-stream":                    {NoOK: true},
		"data-stream-of-node":            {NoDataStream: true},
		"early-data-stream":              {DropsEarlyData: true},
		"ping":                           {NoPong: true},
		"info":                           {UnaskedInfo: true},
		"second-session":                 {Unarbitrated: true},
		"wrong-receiver/somebody-else":   {Silent: true},
		"early-message/instead-of-HELLO": {Silent: true},
		"lengths-before-authentication/own-key-2^31-1": {Silent: true},
		"handshake-dial": {PingAtOnce: true},
		"sizes/0":        {WrongSize: true},
		"unknown-frames": {UnknownFrames: true},
	} {
		i := slices.IndexFunc(all, func(s Script) bool { return s.Name == name })
		if i < 0 {
			t.Errorf("no script %s", name)
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			env, owner := phoneEnv(t)
			owner.SetQuirks(quirks)
			err := runScript(t.Context(), all[i], env, t.Logf)
			if err == nil {
				t.Errorf("%s holds for a phone with %+v", name, quirks)
			} else {
				t.Log(err)
			}
		})
	}
}

// What is wrong in a script itself is said with its line.
func TestScriptMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"dance":                                      "no such step",
		"dial a\na dance":                            "no such step",
		"dial a\na > HELLO owl=$phone":               "no field",
		"dial a\na > $nothing":                       "nothing is called",
		"dial a\na > 7":                              "",
		"dial a\na > x\"0\"":                         "odd length",
		"dial a\na > HELLO size=\"x\"":               "want a number",
		"dial a\na > PING + ":                        "nothing beside +",
		"dial a\na > OK id='a":                       "quote",
		"dial a\nhandshake a\na > PING\na < PONG id": "field=value",
		"let x = dance 1 2":                          "no function",
		"let x = repeat zz 3":                        "encoding/hex",
		"let x = flip 3 \"abc\"":                     "beyond",
		"signed \"a\" node \"b\"":                    "it is not",
		"heard \"something\"":                        "it has 0",
		"handshake a":                                "no such step",
		"pause soon":                                 "invalid duration",
		"dial a\na ends later":                       "invalid duration",
		"accept a":                                   "deadline exceeded",
		"-- cases --\ncase | x\none":                 "columns",
		"-- cases --\n":                              "no cases",
		"-- something --\n":                          "unknown section",
		"dial a\na ignores DANCE":                    "is not a type",
		"dial a\na > x\"00\"\na < CHALLENGE":         "wait for CHALLENGE",
	} {
		synctest.Test(t, func(t *testing.T) {
			scripts, err := ParseScript("mistake.txtar", []byte(text))
			if err == nil {
				env, _ := phoneEnv(t)
				err = runScript(t.Context(), scripts[0], env, func(string, ...any) {})
			}
			if want == "" {
				if err != nil {
					t.Errorf("%q: %v", text, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "mistake.txtar") {
				t.Errorf("%q: %v, want %q", text, err, want)
			}
		})
	}
}
