// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// groupTexts returns the texts of a group, those that were deleted as "".
func groupTexts(t *testing.T, n *actorstest.Node, group store.ConversationID) (texts []string) {
	t.Helper()
	all, err := n.ConversationMessages(n.Account.ID, group, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.Type == int32(peer.TypeText) {
			texts = append([]string{string(m.Payload)}, texts...)
		}
	}
	return texts
}

// Two nodes live in two groups of our own mediator, from the creation to the end.
func TestGroups_OverOwnMediator_WholeLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		host := w.Node("mediator", func(o *node.Options) { o.Mediator = &mediatorserver.Options{OpenNetwork: w.Open} })
		key, ok := host.MediatorKey()
		if !ok {
			t.Fatal("no mediator")
		}
		with := func(o *node.Options) { o.Mediators = []identity.NodeKey{key} }
		alice, bob := w.Node("alice", with), w.Node("bob", with)
		ctx, a, b := t.Context(), alice.Account.ID, bob.Account.ID
		settled := func(n *actorstest.Node, group store.ConversationID, task uint64, err error) {
			t.Helper()
			if err == nil {
				_, err = n.AwaitGroupTask(ctx, n.Account.ID, group, task)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		var groups []store.ConversationID
		for _, name := range []string{"Choir", "Band"} {
			creation, err := alice.CreateGroup(ctx, node.NewGroup{Account: a, Source: name, Name: name})
			if err != nil {
				t.Fatal(err)
			}
			alice.Eventually("the group is created", func() bool {
				g, err := alice.Group(a, creation.ID)
				return err == nil && g.State == store.GroupCreated
			})
			created, err := alice.Group(a, creation.ID)
			if err != nil {
				t.Fatal(err)
			}
			group := created.Became
			groups = append(groups, group)
			alice.Eventually("it is live", func() bool {
				g, err := alice.Group(a, group)
				return err == nil && node.RoleOf(g.Permissions) == node.RoleOwner
			})
			task, err := alice.InviteToGroup(ctx, a, group, b)
			settled(alice, group, task, err)
			bob.Eventually("the invite is there", func() bool {
				g, err := bob.Group(b, group)
				return err == nil && g.State == store.GroupInvited && g.Name == name
			})
			if err := bob.AcceptInvite(ctx, b, group); err != nil {
				t.Fatal(err)
			}
			bob.Eventually("bob is a member", func() bool {
				g, err := bob.Group(b, group)
				return err == nil && g.State == store.GroupMember
			})
		}
		choir, band := groups[0], groups[1]
		hello, err := alice.Send(ctx, node.Outgoing{Account: a, Group: choir, Payload: []byte("hello")})
		if err != nil {
			t.Fatal(err)
		}
		bob.Eventually("the text is there", func() bool { return slices.Equal(groupTexts(t, bob, choir), []string{"hello"}) })
		if _, err := bob.Send(ctx, node.Outgoing{Account: b, Group: choir, Payload: []byte("welcome"), ReplyTo: peer.GUID(hello.ID.GUID)}); err != nil {
			t.Fatal(err)
		}
		if _, err := bob.React(ctx, node.OutgoingReaction{Account: b, Group: choir, Target: peer.GUID(hello.ID.GUID), Emoji: "x"}); err != nil {
			t.Fatal(err)
		}
		alice.Eventually("answer and reaction are there", func() bool {
			reactions, err := alice.ConversationReactions(a, choir, peer.GUID(hello.ID.GUID))
			return err == nil && len(reactions) == 1 && reactions[0].Author == b && slices.Equal(groupTexts(t, alice, choir), []string{"hello", "welcome"})
		})
		task, err := alice.DeleteGroupMessage(ctx, a, choir, hello.ID)
		settled(alice, choir, task, err)
		bob.Eventually("it is deleted", func() bool { return slices.Equal(groupTexts(t, bob, choir), []string{"", "welcome"}) })

		name := "Quartet"
		task, err = bob.EditGroup(ctx, b, choir, node.GroupEdit{Name: &name})
		if err == nil {
			_, err = bob.AwaitGroupTask(ctx, b, choir, task)
		}
		if !errors.Is(err, node.ErrTaskRefused) {
			t.Errorf("a user has renamed the group: %v", err)
		}
		task, err = alice.SetGroupRole(ctx, a, choir, b, node.RoleAdmin)
		settled(alice, choir, task, err)
		bob.Eventually("bob is an admin", func() bool {
			g, err := bob.Group(b, choir)
			return err == nil && node.RoleOf(g.Permissions) == node.RoleAdmin
		})
		task, err = bob.EditGroup(ctx, b, choir, node.GroupEdit{Name: &name})
		settled(bob, choir, task, err)
		alice.Eventually("the name is there", func() bool {
			g, err := alice.Group(a, choir)
			return err == nil && g.Name == name
		})
		task, err = alice.BanFromGroup(ctx, a, choir, b)
		settled(alice, choir, task, err)
		host.Stop() // our mediator pushes nothing to the banned: bob learns it after the next connect
		host.Start()
		bob.Eventually("bob is out", func() bool {
			g, err := bob.Group(b, choir)
			return err == nil && !g.State.IsActive()
		})
		if _, err := bob.Send(ctx, node.Outgoing{Account: b, Group: choir, Payload: []byte("too late")}); !errors.Is(err, node.ErrNotInGroup) {
			t.Errorf("bob still writes: %v", err)
		}
		if _, err := alice.Send(ctx, node.Outgoing{Account: a, Group: band, Payload: []byte("the other group")}); err != nil {
			t.Fatal(err)
		}
		bob.Eventually("the other group goes on", func() bool { return slices.Equal(groupTexts(t, bob, band), []string{"the other group"}) })
	})
}
