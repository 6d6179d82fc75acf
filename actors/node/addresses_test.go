// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

// A node keeps its key: it is the address that others remember.
func TestNodeKeyStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := actorstest.New(t, memnet.Options{}).Node("alice")
		key := alice.Key()
		alice.Stop()
		alice.Start()
		if alice.Key() != key || key == identity.NodeKey(alice.Account.ID) {
			t.Errorf("node key %s, before %s", alice.Key().Short(), key.Short())
		}
	})
}

// When no tracker knows a contact, its identity key itself is tried as a node key.
func TestIdentityKeyIsTriedAsNodeKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n, _ := w.Owner()
		id := phone.IdentityOf("a simple device")
		device := w.Net.NodeAt(identity.NodeKey(id.Key()), overlay.Limits{})
		t.Cleanup(func() { _ = device.Close() })
		port, err := device.Listen(phone.Port)
		if err != nil {
			t.Fatal(err)
		}
		n.AddPhone(id.Key())
		n.SayTo(id.Key(), "are you there?")
		l := phone.NewLine(accept(t, port))
		if role, err := l.ReadBytes(1, time.Second); err != nil || role[0] != phone.RoleControl {
			t.Fatalf("role %x, %v", role, err)
		}
		if err := (&phone.Handshake{Identity: id}).Accept(l); err != nil {
			t.Fatal(err)
		}
		for {
			f, err := l.ReadFrame(time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if f.Type == phone.TypeMessage {
				break
			}
		}
		l.Abort()
	})
}
