// SPDX-License-Identifier: MPL-2.0

package warnings

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/contact"

	"github.com/mimird/mimird/actors/group"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/proto/identity"
)

// What a person should look at is said in one sentence, with what to do.
func TestWarnings(t *testing.T) {
	since := time.Unix(1e9, 0)
	up := overlay.Status{Peers: []overlay.PeerStatus{{Up: true}}}
	taken := up
	taken.ListenErrors = map[string]error{"tcp://127.0.0.1:1": errors.New("address already in use")}
	for code, test := range map[string]struct {
		state node.Status
		says  []string
	}{
		"announced_elsewhere": {
			node.Status{Overlay: up, ForeignNodes: []resolver.ForeignNode{{Account: identity.PublicKey{1}, Node: identity.NodeKey{2}, Since: since}}},
			[]string{identity.NodeKey{2}.String(), identity.PublicKey{1}.Short(), "security.own_devices"},
		},
		"handshake_relayed": {
			node.Status{Overlay: up, Suspicions: []contact.Suspicion{{Kind: contact.SuspicionRelay, Account: identity.PublicKey{1}, Remote: identity.PublicKey{3}, Node: identity.NodeKey{2}, Count: 5}}},
			[]string{identity.NodeKey{2}.String(), identity.PublicKey{1}.Short(), identity.PublicKey{3}.String(), "5 times"},
		},
		"device_refused": {
			node.Status{Overlay: up, Suspicions: []contact.Suspicion{{Kind: contact.SuspicionDevice, Account: identity.PublicKey{1}, Remote: identity.PublicKey{3}, Node: identity.NodeKey{2}, Count: 1}}},
			[]string{identity.NodeKey{2}.String(), identity.PublicKey{1}.Short(), identity.PublicKey{3}.String(), "mimird contact trust"},
		},
		"part_failing":   {node.Status{Overlay: up, Alarms: []node.Alarm{{Part: "matrix", Since: since, Err: errors.New("no way")}}}, []string{"matrix", "no way"}},
		"disk_low":       {node.Status{Overlay: up, DiskLow: true}, []string{"disk"}},
		"not_listening":  {node.Status{Overlay: taken}, []string{"tcp://127.0.0.1:1", "already in use", "yggdrasil.listen"}},
		"offline":        {node.Status{Mediators: []group.MediatorStatus{{Groups: 1, Since: since}}}, []string{"No Yggdrasil peer"}},
		"invites_missed": {node.Status{Overlay: up, MissedInvites: 3}, []string{"3 invites", "do it again"}},
		"mediator_unreachable": {
			node.Status{Overlay: up, Mediators: []group.MediatorStatus{
				{Account: identity.PublicKey{1}, Mediator: identity.NodeKey{2}, Groups: 4, Since: since, LastError: "no answer"},
				{Account: identity.PublicKey{3}, Mediator: identity.NodeKey{4}, Groups: 1, Since: since, Connected: true},
				{Account: identity.PublicKey{3}, Mediator: identity.NodeKey{5}, Groups: 1, Since: time.Now(), LastError: "no answer"},
				{Account: identity.PublicKey{3}, Mediator: identity.NodeKey{6}, Since: since, LastError: "no answer"},
			}},
			[]string{identity.NodeKey{2}.Short(), identity.PublicKey{1}.Short(), "no answer", "4 of its groups"},
		},
	} {
		warnings := Of(test.state)
		if len(warnings) != 1 || warnings[0].Code != code {
			t.Errorf("%s: %+v", code, warnings)
			continue
		}
		for _, want := range test.says {
			if !strings.Contains(warnings[0].Text, want) {
				t.Errorf("%s does not say %q: %s", code, want, warnings[0].Text)
			}
		}
	}
}
