// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
)

// lateMessages are messages that come after the homeserver was copied.
func (h *household) lateMessages() (aliceBob, daveCarol []string) {
	h.t.Helper()
	aliceBob, daveCarol = numbered("text", 60), numbered("to Dave", 5)
	h.node.receive(h.account, h.bob, aliceBob[:30]...)
	h.awaitText(h.alice, h.ghost(h.bob), "text 29")
	if _, err := h.alice.SendText(soon(h.t), h.aliceBob, "from alice"); err != nil {
		h.t.Fatal(err)
	}
	h.awaitOutgoing(h.account, h.bob, "from alice")
	h.node.receive(h.account, h.bob, aliceBob[30:]...)
	h.node.receive(h.daveAccount, h.carol, daveCarol...)
	h.await("all is delivered", func() bool { return h.status().Conversations == 0 })
	return slices.Insert(aliceBob, 30, "from alice"), daveCarol
}

// checkRestored checks that the rooms have what they have lost, once.
func (h *household) checkRestored(aliceBob, daveCarol []string) {
	h.t.Helper()
	h.awaitShown(h.aliceBob, append([]string{"I am Bob"}, aliceBob...)...)
	h.awaitShown(h.daveCarol, append([]string{"I am Carol, Dave"}, daveCarol...)...)
	h.awaitShown(h.aliceCarol, "I am Carol")
	h.awaitShown(h.daveBob, "I am Bob, Dave")
	h.said(h.alice, h.management, "61 messages of 1 rooms")
	h.said(h.dave, h.daveManagement, "5 messages of 1 rooms")
	h.node.receive(h.account, h.bob, "and on it goes")
	if room := h.awaitText(h.alice, h.ghost(h.bob), "and on it goes"); room != h.aliceBob {
		h.t.Errorf("it goes on in %s", room)
	}
	h.await("all is delivered", func() bool { return h.status().Conversations == 0 })
	h.awaitShown(h.aliceBob, append([]string{"I am Bob"}, append(aliceBob, "and on it goes")...)...)
}

func TestRestoredHomeserver_LostMessagesShown(t *testing.T) {
	h := newHousehold(t)
	backup := h.homeserver.Backup()
	aliceBob, daveCarol := h.lateMessages()
	h.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultError})
	h.await("it is missed", func() bool { return !h.status().Homeserver.OK })
	h.homeserver.Restore(backup)
	h.homeserver.SetFault(bridgetest.Fault{})
	h.checkRestored(aliceBob, daveCarol)
}

func TestRestoredHomeserver_NoticedAtStart(t *testing.T) {
	h := newHousehold(t)
	backup := h.homeserver.Backup()
	aliceBob, daveCarol := h.lateMessages()
	h.stop()
	h.homeserver.Restore(backup)
	h.start()
	h.awaitState(bridge.StateRunning)
	h.checkRestored(aliceBob, daveCarol)
}

// A room that the user has thrown the bridge out of does not mean a restored homeserver.
func TestRestoredHomeserver_LostRoom_NotRestored(t *testing.T) {
	h := newHousehold(t)
	h.node.receive(h.daveAccount, h.carol, "the latest of all")
	h.awaitShown(h.daveCarol, "I am Carol, Dave", "the latest of all")
	h.await("all is delivered", func() bool { return h.status().Conversations == 0 })
	h.stop()
	h.homeserver.Leave(h.daveCarol, h.bot())
	before := h.log.len()
	h.start()
	h.awaitState(bridge.StateRunning)
	h.await("the homeserver is found whole", func() bool { return h.log.containsAfter(before, "homeserver has the latest message") })
	if h.log.contains("restored from an older copy") {
		t.Error("the homeserver counts as restored")
	}
}

// A homeserver, or a proxy, that says of each event that it is not there, while the
// timelines have it.
func TestRestoredHomeserver_WrongAnswers_NotRestored(t *testing.T) {
	h := newHousehold(t)
	h.node.receive(h.daveAccount, h.carol, "the latest of all")
	h.awaitShown(h.daveCarol, "I am Carol, Dave", "the latest of all")
	h.await("all is delivered", func() bool { return h.status().Conversations == 0 })
	h.stop()
	h.homeserver.SetFault(bridgetest.Fault{
		Kind: bridgetest.FaultAnswer, Status: http.StatusNotFound, Body: []byte(`{"errcode":"M_NOT_FOUND","error":"no"}`),
		Only: func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/event/") },
	})
	before := h.log.len()
	h.start()
	h.awaitState(bridge.StateRunning)
	h.await("the homeserver is found whole", func() bool {
		return h.log.containsAfter(before, "homeserver has the latest message") || h.log.contains("restored from an older copy")
	})
	if h.log.contains("restored from an older copy") {
		t.Error("the homeserver counts as restored")
	}
}

// What was shown in a room before it was upgraded is in the old room, and not lost.
func TestRestoredHomeserver_UpgradedRoom_NotRestored(t *testing.T) {
	h := newHousehold(t)
	h.empower(h.aliceBob, h.alice)
	h.node.receive(h.account, h.bob, "the latest of all")
	h.awaitShown(h.aliceBob, "I am Bob", "the latest of all")
	h.await("all is delivered", func() bool { return h.status().Conversations == 0 })
	room := h.upgrade(h.alice, h.aliceBob)
	h.said(h.alice, room, h.aliceBob.URI("mimir.test").MatrixToURL())
	h.stop()
	before := h.log.len()
	h.start()
	h.awaitState(bridge.StateRunning)
	h.await("the homeserver is found whole", func() bool {
		return h.log.containsAfter(before, "homeserver has the latest message") || h.log.contains("restored from an older copy")
	})
	if h.log.contains("restored from an older copy") {
		t.Fatal("the homeserver counts as restored")
	}

	// What the new room loses is missed.
	backup := h.homeserver.Backup()
	h.node.receive(h.account, h.bob, "in the new room")
	h.awaitShown(room, "in the new room")
	h.await("all is delivered", func() bool { return h.status().Conversations == 0 })
	h.stop()
	h.homeserver.Restore(backup)
	h.start()
	h.said(h.alice, h.management, "1 messages of 1 rooms")
	h.awaitShown(room, "in the new room")
	h.awaitShown(h.aliceBob, "I am Bob", "the latest of all")
}
