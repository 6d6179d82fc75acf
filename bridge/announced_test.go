// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"testing"

	"github.com/mimird/mimird/bridge/botcrypto"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/proto/identity"
)

func TestForeignDevice_ToldInManagementRoom(t *testing.T) {
	f := newFixture(t)
	foreign := identity.NodeKey(key("somebody's node"))
	f.node.apply(store.NoteForeignNode{Account: f.account, Node: foreign})
	f.botSays(f.management, "your identity Alice to the device "+foreign.String()+", which is none of yours")
	f.await("it is told once", func() bool { return f.status().Conversations == 0 })
	f.stop()
	f.start()
	f.node.apply(store.NoteForeignNode{Account: f.account, Node: identity.NodeKey(key("another"))})
	f.botSays(f.management, identity.NodeKey(key("another")).String())
	count := 0
	for _, text := range f.texts(f.alice, f.management, f.bot()) {
		if contains(text, foreign.String()) {
			count++
		}
	}
	if count != 1 {
		t.Errorf("it is told %d times", count)
	}
}

func TestRelayedHandshake_ToldInManagementRoom(t *testing.T) {
	f := newFixture(t)
	node, who := identity.NodeKey(key("mallory's node")), key("mallory")
	f.node.apply(store.NoteHandshakeRelayed{Account: f.account, Remote: who, Node: node})
	f.botSays(f.management, "the device "+node.String()+", which calls itself "+who.String()+", wanted your identity Alice to sign")
}

// The fake homeserver gives the bot no device.
func TestEncryption_HomeserverLacksIt_Told(t *testing.T) {
	f := newFixtureWith(t, func(config *matrixconfig.Config) { config.Encryption.Allow = true })
	const sentence = "Rooms are not encrypted, though encryption.allow is set"
	if e := f.status().Encryption; e.State != botcrypto.Unavailable || !contains(e.Error, sentence) || !contains(e.Error, "encryption.allow to false") {
		t.Errorf("encryption is %+v", e)
	}
	f.await("the login's state says it", func() bool { return contains(f.provision("GET", "/v3/whoami", ""), sentence) })
	if state := f.status().State; state != bridge.StateRunning {
		t.Errorf("the bridge is %s", state)
	}
}

func TestEncryption_SwitchedOff_NoWarning(t *testing.T) {
	f := newFixture(t)
	if e := f.status().Encryption; e != (botcrypto.Status{State: botcrypto.Off}) {
		t.Errorf("encryption is %+v", e)
	}
}
