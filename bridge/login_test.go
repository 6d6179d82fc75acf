// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
)

func (w *world) running() *bridgetest.Homeserver {
	w.t.Helper()
	homeserver := w.withFake()
	w.start()
	w.awaitState(bridge.StateRunning)
	return homeserver
}

func TestLogin_ChoosesIdentity(t *testing.T) {
	w := newWorld(t)
	homeserver := w.running()
	homeserver.CreateUser("alice", "long-secret")
	alice := w.person(homeserver.URL(), "alice")
	room := w.greeted(alice)
	w.say(alice, room, "login attach", "every identity of this node is in use")
	home, work := w.node.addAccount("Home"), w.node.addAccount("Work")
	w.node.addAccount("Other one")
	w.say(alice, room, "login attach", "Please enter your identity")
	w.say(alice, room, "Play", "choose one of: ")
	w.say(alice, room, "cancel", "Login cancelled")
	w.say(alice, room, "Work ("+work.Short()+")", "Unknown command")
	w.say(alice, room, "cancel", "No ongoing command")
	w.say(alice, room, "ping", "you are not logged in")
	w.say(alice, room, "version", "mimird v7")
	w.say(alice, room, "login attach Play", "choose one of: ")
	w.say(alice, room, "login attach other ONE", "You use the Mimir identity Other one")
	w.say(alice, room, "login attach", "Please enter your identity")
	w.say(alice, room, "Work ("+work.Short()+")", "You use the Mimir identity Work")
	// One is left, and it is not the one that is meant.
	w.say(alice, room, "login attach Work", "choose one of: Home ("+home.Short()+")")
	w.say(alice, room, "login attach "+home.String()[:8], "You use the Mimir identity Home")
	w.say(alice, room, "ping", "Work: the bridge and this login work")
	w.await("all are served", func() bool { return w.status().Logins == 3 })

	bob := w.node.addContact(home, "Bob")
	w.node.addContact(work, "Bob")
	w.node.receive(home, bob, "to your home")
	w.node.receive(work, bob, "to your work")
	if w.awaitText(alice, w.ghost(bob), "to your home") == w.awaitText(alice, w.ghost(bob), "to your work") {
		t.Error("two identities share a room")
	}

	w.say(alice, room, "logout "+work.String(), "Logged out")
	w.await("the others are served", func() bool { return w.status().Logins == 2 })
	w.node.receive(work, bob, "while logged out")
	w.say(alice, room, "login attach", "You use the Mimir identity Work")
	w.awaitText(alice, w.ghost(bob), "while logged out")
}

func TestLogin_CreatesIdentity(t *testing.T) {
	w := newWorld(t)
	homeserver := w.running()
	homeserver.CreateUser("bob", "long-secret") // no admin
	bob := w.person(homeserver.URL(), "bob")
	room := w.greeted(bob)
	w.say(bob, room, "login new", "Please enter your name")
	w.say(bob, room, "\u202e\u200f", "a name has at least one letter")
	w.say(bob, room, "Bob of Matrix", "Your Mimir identity Bob of Matrix is created")
	w.said(bob, room, "mimir://mm/u/"+key("created Bob of Matrix").String())
	if _, err := w.node.Account(key("created Bob of Matrix")); err != nil {
		t.Error(err)
	}
	// What was theirs they may take again.
	w.say(bob, room, "logout "+key("created Bob of Matrix").String(), "Logged out")
	w.say(bob, room, "login attach", "You use the Mimir identity Bob of Matrix")
}

func TestLogin_NotAdmin_NoExistingIdentities(t *testing.T) {
	w := newWorld(t)
	homeserver := w.running()
	w.node.addAccount("The operator")
	homeserver.CreateUser("bob", "long-secret")
	bob := w.person(homeserver.URL(), "bob")
	room := w.greeted(bob)
	w.say(bob, room, "login attach", "only admins of the bridge")
	if status := w.status(); status.Logins != 0 {
		t.Errorf("there are %d logins", status.Logins)
	}
}

func TestLogin_LatestHistoryShown(t *testing.T) {
	w := newWorld(t)
	w.config.Backfill.MaxInitialMessages = 3
	w.config.Backfill.MaxCatchupMessages = 2
	homeserver := w.running()
	account := w.node.addAccount("Alice")
	bob := w.node.addContact(account, "Bob")
	w.node.receive(account, bob, numbered("old", 200)...)
	homeserver.CreateUser("alice", "long-secret")
	alice := w.person(homeserver.URL(), "alice")
	room := w.greeted(alice)
	w.say(alice, room, "login attach", "You use the Mimir identity Alice")
	portal := w.awaitText(alice, w.ghost(bob), "old 199")
	w.node.receive(account, bob, "new")
	w.awaitText(alice, w.ghost(bob), "new")
	want := []string{"old 197", "old 198", "old 199", "new"}
	if have := w.texts(alice, portal, w.ghost(bob)); !slices.Equal(have, want) {
		t.Errorf("shown %q", have)
	}
	w.say(alice, room, "logout "+account.String(), "Logged out")
	w.node.receive(account, bob, numbered("later", 10)...)
	w.say(alice, room, "login attach", "Alice. People reach you")
	w.awaitText(alice, w.ghost(bob), "later 9")
	want = append(want, "later 8", "later 9")
	if have := w.texts(alice, portal, w.ghost(bob)); !slices.Equal(have, want) {
		t.Errorf("shown %q", have)
	}
}

func TestStartChat(t *testing.T) {
	t.Parallel() // waits for roomTime, as the next one
	f := newFixture(t)
	for _, bad := range []string{"bob", "mimir://mm/u/xyz", f.account.String()} {
		f.say(f.alice, f.management, "start-chat "+bad, "Failed to resolve identifier")
	}
	// Any curve point will do as somebody's key.
	link := identity.Link{Key: validKey(t, 1), Name: "Carol"}
	f.say(f.alice, f.management, "start-chat "+link.String(), "Created chat with")
	contact, err := f.node.Contact(f.account, link.Key)
	if err != nil || contact.Nickname != "Carol" {
		t.Errorf("contact %+v, %v", contact, err)
	}
	f.node.receive(f.account, link.Key, "you found me")
	f.awaitText(f.alice, f.ghost(link.Key), "you found me")
	if ghost := f.displayName(f.ghost(link.Key)); ghost != "Carol" {
		t.Errorf("the ghost is called %q", ghost)
	}
}

func (f *fixture) displayName(user id.UserID) string {
	f.t.Helper()
	profile, err := f.alice.Matrix.GetProfile(soon(f.t), user)
	if err != nil {
		f.t.Fatal(err)
	}
	return profile.DisplayName
}

func TestGhostInvitation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	carol := validKey(t, 2)
	room, err := f.alice.OpenDirect(soon(t), f.ghost(carol))
	if err != nil {
		t.Fatal(err)
	}
	f.await("the contact is created", func() bool { _, err := f.node.Contact(f.account, carol); return err == nil })
	if _, err := f.alice.Wait(soon(t), isNotice(room, "Private chat portal created")); err != nil {
		t.Fatal(err)
	}
	f.write(room, "nice to meet you")
	f.awaitOutgoing(f.account, carol, "nice to meet you")
	f.node.receive(f.account, carol, "likewise")
	if answered := f.awaitText(f.alice, f.ghost(carol), "likewise"); answered != room {
		t.Error("the answer is in another room")
	}
}

// The API for other programs is where other bridges have it.
func TestProvisioningAPI(t *testing.T) {
	f := newFixture(t)
	_, room := f.conversation("Bob")
	f.spaceOf(room) // the framework makes it beside, and reads where it is without a lock
	ask := func(token, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(soon(t), http.MethodGet, f.config.AppService.Address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	const query = "?user_id=@alice:mimir.test"
	status, body := ask(f.config.Provisioning.SharedSecret, "/_matrix/provision/v3/whoami"+query)
	var whoami struct {
		Logins []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(body), &whoami); status != http.StatusOK || err != nil || len(whoami.Logins) != 1 || whoami.Logins[0].ID != f.account.String() {
		t.Errorf("whoami: %d %s", status, body)
	}
	if status, body := ask(f.config.Provisioning.SharedSecret, "/_matrix/provision/v3/contacts"+query); status != http.StatusOK || !strings.Contains(body, "Bob") {
		t.Errorf("contacts: %d %s", status, body)
	}
	if status, _ := ask("wrong", "/_matrix/provision/v3/whoami"+query); status != http.StatusUnauthorized {
		t.Errorf("wrong secret: %d", status)
	}
	if status, _ := ask(f.config.AppService.HSToken, "/_matrix/app/v1/users/@nobody:mimir.test"); status != http.StatusNotFound {
		t.Errorf("a user that is not there: %d", status)
	}
}

// validKey returns a key that is a point on the curve, as real ones are.
func validKey(t *testing.T, n int) identity.PublicKey {
	t.Helper()
	for i := range 1000 {
		if k := key(fmt.Sprintf("point %d %d", n, i)); k.Validate() == nil {
			return k
		}
	}
	t.Fatal("no key is valid")
	return identity.PublicKey{}
}
