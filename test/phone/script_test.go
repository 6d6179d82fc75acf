// SPDX-License-Identifier: MPL-2.0

package phone

import (
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
			synctest.Test(t, func(t *testing.T) { Run(t, script, phoneEnv(t)) })
		})
	}
}

// phoneEnv makes a world in which the node is a phone.
func phoneEnv(t *testing.T) Env {
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
	}
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
