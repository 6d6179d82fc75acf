// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"net/http"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/bridgetest"
)

// requestsIn selects the requests that do something in a room.
func requestsIn(room id.RoomID, what string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, string(room)) && strings.Contains(r.URL.Path, what)
	}
}

// The messages of a room that the tables do not know are answered. Where the
// homeserver does not take the answer, they do not fill the journal, which is one for
// all rooms.
func TestLostTables_NoticeRefused_OthersHandled(t *testing.T) {
	h := newHousehold(t)
	h.loseTables()
	h.homeserver.SetFaults(
		bridgetest.Fault{Kind: bridgetest.FaultAnswer, Status: http.StatusForbidden, Body: []byte(`{"errcode":"M_FORBIDDEN"}`), Only: func(r *http.Request) bool {
			return r.URL.Query().Get("user_id") == string(h.bot()) && requestsIn(h.aliceBob, "/send/")(r)
		}},
		bridgetest.Fault{Kind: bridgetest.FaultError, Only: func(r *http.Request) bool {
			return r.URL.Query().Get("user_id") == string(h.bot()) && requestsIn(h.daveBob, "/send/")(r)
		}},
	)
	for _, text := range []string{"first", "second"} {
		if _, err := h.alice.SendText(soon(t), h.aliceBob, text); err != nil {
			t.Fatal(err)
		}
		if _, err := h.dave.SendText(soon(t), h.daveBob, text); err != nil {
			t.Fatal(err)
		}
	}
	h.await("the messages were tried", func() bool { return h.log.contains("sender not told") })
	h.await("nothing is kept", func() bool { return h.status().Transactions == 0 })
	h.homeserver.SetFaults()
	h.told(h.alice, h.aliceBob, "third", "login attach")
	h.told(h.dave, h.daveBob, "third", "login attach")
}

// A tombstone that names a room which nobody can enter does not hold up what is
// written in the old one, and neither does a room in which that cannot be said.
func TestUpgradedRoom_NotJoinable_OthersHandled(t *testing.T) {
	h := newHousehold(t)
	h.empower(h.aliceBob, h.alice)
	h.empower(h.daveBob, h.dave)
	h.homeserver.SetFaults(
		bridgetest.Fault{Kind: bridgetest.FaultError, Only: func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/join/") }},
		bridgetest.Fault{Kind: bridgetest.FaultError, Only: requestsIn(h.daveBob, "/send/m.room.message"), Content: "was replaced"},
	)
	h.upgrade(h.alice, h.aliceBob)
	h.upgrade(h.dave, h.daveBob)
	h.said(h.alice, h.aliceBob, "when you are in it")
	for _, c := range []struct {
		who  *bridgetest.Client
		room id.RoomID
	}{{h.alice, h.aliceBob}, {h.dave, h.daveBob}} {
		if _, err := c.who.SendText(soon(t), c.room, "after it"); err != nil {
			t.Fatal(err)
		}
	}
	h.awaitOutgoing(h.account, h.bob, "after it")
	h.awaitOutgoing(h.daveAccount, h.bob, "after it")
}
