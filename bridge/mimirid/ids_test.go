// SPDX-License-Identifier: MPL-2.0

package mimirid_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
	"maunium.net/go/mautrix/bridgev2/networkid"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	account = identity.PublicKey{0xaa, 1}
	contact = identity.PublicKey{0xbb, 2}

	conversations = []store.ConversationID{store.ContactConversation(contact), store.GroupConversation(identity.NodeKey{0xcc}, 3)}
)

func TestIDsReadBack(t *testing.T) {
	if key, err := mimirid.ParseLogin(mimirid.Login(account)); err != nil || key != account {
		t.Errorf("login: %s, %v", key, err)
	}
	if key, err := mimirid.ParseUser(mimirid.User(contact)); err != nil || key != contact {
		t.Errorf("user: %s, %v", key, err)
	}
	for _, conversation := range conversations {
		owner := account
		if conversation.Kind() == store.KindGroup {
			owner = identity.PublicKey{} // of all that are in it
		}
		if a, c, err := mimirid.ParsePortal(mimirid.Portal(account, conversation)); err != nil || a != owner || c != conversation {
			t.Errorf("portal: %s, %s, %v", a, c, err)
		}
		if a, seq, err := mimirid.ParseNotice(mimirid.Notice(account, conversation, 7, 2)); err != nil || seq != 7 || a.IsZero() != (conversation.Kind() == store.KindContact) {
			t.Errorf("notice: %s, %d, %v", a, seq, err)
		}
	}
	for _, id := range []store.MessageID{
		{GUID: 1}, {GUID: -1}, {Dir: store.Out, GUID: 1 << 62}, {GUID: 7, Variant: 3},
	} {
		for i, part := range []int{0, 1, 35} {
			conversation := conversations[i%len(conversations)]
			c, m, p, err := mimirid.ParseMessage(mimirid.Message(conversation, id, part))
			if conversation.Kind() == store.KindGroup {
				id.Dir = store.In
			}
			if err != nil || c != conversation || m != id || p != part {
				t.Errorf("message %s part %d: %s, %s, %d, %v", id, part, c, m, p, err)
			}
		}
	}
}

func TestIDsDiffer(t *testing.T) {
	seen := make(map[networkid.MessageID]bool)
	for _, c := range conversations {
		for _, dir := range []store.Direction{store.In, store.Out} {
			for part := range 3 {
				seen[mimirid.Message(c, store.MessageID{Dir: dir, GUID: 5}, part)] = true
			}
		}
		seen[mimirid.Notice(account, c, 5, 0)] = true
		seen[mimirid.Notice(contact, c, 5, 0)] = true
	}
	if len(seen) != 6+1+3+2 {
		t.Errorf("%d different ids of 12", len(seen))
	}
}

// Two accounts in a group have one portal, and one id for a message of one of them.
func TestIDs_Group_SameForAllAccounts(t *testing.T) {
	group := conversations[1]
	if mimirid.Portal(account, group) != mimirid.Portal(contact, group) {
		t.Error("the portals differ")
	}
	sent, received := store.MessageID{Dir: store.Out, GUID: 5}, store.MessageID{GUID: 5}
	if mimirid.Message(group, sent, 1) != mimirid.Message(group, received, 1) {
		t.Error("the messages differ")
	}
	notice := mimirid.FileNotice(group, sent)
	if notice != mimirid.FileNotice(group, received) {
		t.Error("the notices differ")
	}
	if m, err := mimirid.ParseFileNotice(notice); err != nil || m != received {
		t.Errorf("the notice is about %s, %v", m, err)
	}
	if _, _, _, err := mimirid.ParseMessage(networkid.MessageID(group.String() + "/" + sent.String())); err == nil {
		t.Error("a message with a direction was read")
	}
	key := mimirid.Portal(account, group)
	key.Receiver = mimirid.Login(account)
	if _, _, err := mimirid.ParsePortal(key); err == nil {
		t.Error("a group with a receiver was read")
	}
}

func TestParseRefusesOtherSpellings(t *testing.T) {
	good := string(mimirid.Message(conversations[0], store.MessageID{GUID: 1}, 2))
	for _, id := range []string{
		"", "/", strings.ToUpper(good[:64]) + good[64:], good + "/", good + "/1", good[:len(good)-1] + "0", good[:len(good)-1] + "01",
		good[:len(good)-1] + "-1", good[:len(good)-1] + "99999", strings.Replace(good, "/i", "/x", 1), string(mimirid.Notice(account, conversations[0], 1, 0)),
	} {
		if _, _, _, err := mimirid.ParseMessage(networkid.MessageID(id)); err == nil {
			t.Errorf("%q was read", id)
		}
	}
	for _, id := range []string{"", "mimir", strings.Repeat("A", 64), strings.Repeat("a", 63), strings.Repeat("g", 64)} {
		if _, err := mimirid.ParseUser(networkid.UserID(id)); err == nil {
			t.Errorf("user %q was read", id)
		}
		if _, err := mimirid.ParseLogin(networkid.UserLoginID(id)); err == nil {
			t.Errorf("login %q was read", id)
		}
		if _, _, err := mimirid.ParsePortal(networkid.PortalKey{ID: networkid.PortalID(id), Receiver: mimirid.Login(account)}); err == nil {
			t.Errorf("portal %q was read", id)
		}
	}
}
