// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"errors"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	matrixconfig "github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

const (
	saysRelayed = "people in that room read along, and what they write comes from me"
	saysEnd     = "does not come here any more"
	saysUnbound = "not bridged to a Matrix room any more"
)

// checkSent fails unless the group was sent messages that contain these texts, in their order,
// and no others.
func (v *village) checkSent(group store.ConversationID, want ...string) {
	v.t.Helper()
	sent := v.awaitSent(group, want[len(want)-1])
	if len(sent) != len(want) {
		v.t.Fatalf("sent %q, want %q", sent, want)
	}
	for i, text := range sent {
		if !strings.Contains(text, want[i]) {
			v.t.Errorf("sent %q at %d, want %q", text, i, want[i])
		}
	}
}

// A group is told, once, when the people of its room are not relayed any more, and again when
// they are; the other group of the village hears nothing of it.
func TestBindRoom_RelayUnset_GroupToldOnce(t *testing.T) {
	v := newVillage(t)
	square, hall := v.rooms[0], v.rooms[1]
	v.bind()
	v.write(v.dora, square, "hello from dora")
	v.awaitSent(v.choir, "hello from dora")
	v.say(v.alice, square, "!mimir unset-relay", "are not relayed in this room any more")
	v.say(v.alice, square, "!mimir unset-relay", "Nobody is relayed in this room")
	v.write(v.dora, square, "among ourselves")
	v.write(v.alice, square, "from alice") // who has a login of her own
	v.checkSent(v.choir, saysRelayed, "hello from dora", saysEnd, "from alice")

	v.say(v.alice, square, "!mimir set-relay", "will now be relayed through")
	v.write(v.dora, square, "dora again")
	v.checkSent(v.choir, saysRelayed, "hello from dora", saysEnd, "from alice", saysRelayed, "dora again")
	v.say(v.alice, square, "!mimir unset-relay", "are not relayed in this room any more")
	v.stop()
	v.start()
	v.awaitState("running")
	v.say(v.alice, square, "!mimir unbridge", "are not one any more")
	v.checkSent(v.choir, saysRelayed, "hello from dora", saysEnd, "from alice", saysRelayed, "dora again", saysEnd, saysUnbound)
	v.write(v.egon, hall, "the band plays on")
	v.checkSent(v.band, saysRelayed, "the band plays on")
}

// What a group has to be told is told after a restart when it could not be told before.
func TestBindRoom_EndNotTold_ToldAfterRestart(t *testing.T) {
	v := newVillage(t)
	square, hall := v.rooms[0], v.rooms[1]
	v.bind()
	v.checkSent(v.choir, saysRelayed)
	v.checkSent(v.band, saysRelayed)
	v.node.setErrors(errors.New("disk error"), nil)
	v.say(v.alice, square, "!mimir unset-relay", "could not be told yet")
	v.say(v.alice, hall, "!mimir unbridge", "disk error")
	v.stop()
	v.node.setErrors(nil, nil)
	v.checkSent(v.choir, saysRelayed)
	v.start()
	v.awaitState("running")
	v.checkSent(v.choir, saysRelayed, saysEnd)
	v.checkSent(v.band, saysRelayed, saysUnbound)
	v.stop()
	v.start()
	v.awaitState("running")
	v.write(v.alice, square, "from alice")
	v.checkSent(v.choir, saysRelayed, saysEnd, "from alice")
	v.checkSent(v.band, saysRelayed, saysUnbound)
}

// The binding of a group moves with an upgrade of its room, of which the group is told nothing.
func TestBindRoom_RoomUpgraded_GroupToldOfItsEndAlone(t *testing.T) {
	v := newVillage(t)
	v.bind()
	square := v.upgrade(v.alice, v.rooms[0], v.bot(), v.dora.UserID())
	v.said(v.alice, square, "goes on here")
	v.awaitMembers(square, "join", v.dora.UserID())
	v.write(v.dora, square, "nice and new")
	v.checkSent(v.choir, saysRelayed, "nice and new")
	v.stop()
	v.start()
	v.awaitState("running")
	v.say(v.alice, square, "!mimir unset-relay", "are not relayed in this room any more")
	v.say(v.alice, square, "!mimir unbridge", "are not one any more")
	v.checkSent(v.choir, saysRelayed, "nice and new", saysEnd, saysUnbound)
	v.checkSent(v.band, saysRelayed)
}

// The same in the own room of a group and in that of a contact; of somebody with two logins the
// one that is in the group relays.
func TestRelay_Unset_OtherSideToldOnce(t *testing.T) {
	f := newGroupFixtureWith(t, func(c *matrixconfig.Config) {
		c.Bridge.Relay.Enabled = true
		c.Bridge.Permissions["@dora:mimir.test"] = &bridgeconfig.PermissionLevelRelay
	})
	f.homeserver.CreateUser("dora", "long-secret")
	dora := f.person(f.homeserver.URL(), "dora")
	work := f.node.addAccount("Work")
	f.say(f.alice, f.managementOf(f.alice), "login attach Work", "You use the Mimir identity Work")
	quartet := f.node.addGroup(work, 9, "Quartet")
	f.node.join(work, quartet, "Bob", mediator.PermissionUser)
	f.node.says(work, quartet, f.bob, "do re mi")
	quartetRoom := f.awaitText(f.alice, f.ghost(f.bob), "do re mi")

	for _, c := range []struct {
		account      identity.PublicKey
		conversation store.ConversationID
		room         id.RoomID
	}{
		{f.account, f.band, f.bandRoom},
		{work, quartet, quartetRoom},
		{f.account, store.ContactConversation(f.bob), f.bobAsContact},
	} {
		if _, err := f.alice.Matrix.InviteUser(soon(t), c.room, &mautrix.ReqInviteUser{UserID: dora.UserID()}); err != nil {
			t.Fatal(err)
		}
		f.await("dora has joined", func() bool { return f.joined(c.room, dora.UserID()) })
		f.say(f.alice, c.room, "!mimir set-relay", "will now be relayed through")
		if _, err := dora.SendText(soon(t), c.room, "hello from dora"); err != nil {
			t.Fatal(err)
		}
		f.await("dora is relayed", func() bool { return len(f.outgoing(c.account, c.conversation)) == 2 })
		f.say(f.alice, c.room, "!mimir unset-relay", "are not relayed in this room any more")
		f.say(f.alice, c.room, "!mimir unset-relay", "Nobody is relayed in this room")
		for i, m := range f.outgoing(c.account, c.conversation) {
			if want := []string{saysRelayed, "hello from dora", saysEnd}; i >= len(want) || !strings.Contains(string(m.Payload), want[i]) {
				t.Errorf("sent %q at %d to %s", m.Payload, i, c.conversation)
			}
		}
	}
}
