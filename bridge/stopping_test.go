// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"slices"
	"testing"

	"github.com/mimird/mimird/bridge/bridgetest"
)

// The homeserver is in the middle of a send when the bridge is to stop, and takes
// longer than the bridge waits for it. It is not left alone with it.
//
// Bar R06
func TestStop_RequestsFinish(t *testing.T) {
	f := newFixture(t)
	bob, room := f.conversation("Bob")
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHang, Only: bridgetest.MessagesOnly})
	f.node.receive(f.account, bob, "at the end")
	f.await("the homeserver works on it", func() bool {
		return slices.ContainsFunc(f.homeserver.Sends(), func(s bridgetest.Send) bool { return s.Fault == bridgetest.FaultHang })
	})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		f.stop()
	}()
	f.await("the bridge has given it up", func() bool { return f.log.contains("Request canceled") })
	f.homeserver.SetFault(bridgetest.Fault{})
	<-stopped
	if have := f.shown(room); !slices.Equal(have, []string{"I am Bob", "at the end"}) {
		t.Errorf("after the stop the room shows %q", have)
	}
	f.start()
	f.node.receive(f.account, bob, "and again")
	f.awaitShown(room, "I am Bob", "at the end", "and again")
}
