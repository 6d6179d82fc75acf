// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/test/demo"
)

// The groups: the choir is in the pictures, the other one in the lists of conversations. The
// last message of the choir is that of Alice.
const (
	choirName  = "Choir"
	hikeName   = "Hut in June"
	choirLast  = "Then until Thursday, I bring the tea."
	hikeText   = "Six beds are booked. Who has a map?"
	scoreName  = "summer-evening.png"
	scoreWords = "The new song, first page"
)

// groups is what is said in two groups of three people at our own mediator.
func (w *world) groups(ctx context.Context) (err error) {
	w.hike, err = w.createGroup(ctx, w.carol, control.NewGroup{Name: hikeName}, w.alice, w.bob)
	if err != nil {
		return fmt.Errorf("group %s: %w", hikeName, err)
	}
	if _, err := w.carol.Client.Send(ctx, "-", w.hike, control.Text{Text: hikeText}); err != nil {
		return err
	}
	if _, err := w.user.WaitText(ctx, "", "", hikeText); err != nil {
		return fmt.Errorf("wait for the text in %s: %w", hikeName, err)
	}
	choir := control.NewGroup{Name: choirName, Description: "Thursdays at seven, in the old school", Avatar: score(160, 160)}
	if w.choir, err = w.createGroup(ctx, w.bob, choir, w.alice, w.carol); err != nil {
		return fmt.Errorf("group %s: %w", choirName, err)
	}
	if err := w.giveRole(ctx, w.alice, "moderator"); err != nil {
		return err
	}
	if err := w.giveRole(ctx, w.carol, "admin"); err != nil {
		return err
	}
	return w.sing(ctx)
}

// createGroup has somebody create a group with others in it, and returns its id.
func (w *world) createGroup(ctx context.Context, owner *demo.Node, g control.NewGroup, others ...*demo.Node) (id string, err error) {
	creation, err := owner.Client.CreateGroup(ctx, "-", g)
	if err != nil {
		return "", err
	}
	if err := until(ctx, "the mediator has created the group", func() (bool, error) {
		g, err := owner.Client.Group(ctx, "-", creation.ID)
		id = g.Became
		return id != "", err
	}); err != nil {
		return "", err
	}
	for _, n := range others {
		if _, err := owner.Client.InviteToGroup(ctx, "-", id, n.Account.ID, 0); err != nil {
			return "", err
		}
		if err := until(ctx, "the invite has reached "+n.Name+"'s node", func() (bool, error) {
			groups, err := n.Client.Groups(ctx, "-")
			return slices.ContainsFunc(groups, func(g control.Group) bool { return g.ID == id && g.State == "invited" }), err
		}); err != nil {
			return "", err
		}
		if _, err := n.Client.AcceptInvite(ctx, "-", id); err != nil {
			return "", err
		}
		if err := until(ctx, n.Name+" is a member", func() (bool, error) {
			g, err := n.Client.Group(ctx, "-", id)
			return g.State == "member" && g.Stage == "live", err
		}); err != nil {
			return "", err
		}
	}
	// Everybody's name is in the profile that their own node encrypts for the group.
	for _, n := range []*demo.Node{w.alice, w.bob, w.carol} {
		if err := until(ctx, n.Name+"'s node has the names of all members", func() (bool, error) {
			members, err := n.Client.GroupMembers(ctx, "-", id)
			named := func(m control.GroupMember) bool { return m.Name != "" && m.Standing == "member" }
			return len(members) == 1+len(others) && !slices.ContainsFunc(members, func(m control.GroupMember) bool { return !named(m) }), err
		}); err != nil {
			return "", err
		}
	}
	return id, nil
}

// giveRole has Bob give a role in the choir, and waits until Alice's node knows of it.
func (w *world) giveRole(ctx context.Context, member *demo.Node, role string) error {
	if _, err := w.bob.Client.SetGroupRole(ctx, "-", w.choir, member.Account.ID, role, 0); err != nil {
		return err
	}
	return until(ctx, member.Name+" is "+role, func() (bool, error) {
		members, err := w.alice.Client.GroupMembers(ctx, "-", w.choir)
		return slices.ContainsFunc(members, func(m control.GroupMember) bool { return m.ID == member.Account.ID && m.Role == role }), err
	})
}

// sing is what is said in the choir. Every line waits for the one before, as in talk.
func (w *world) sing(ctx context.Context) error {
	const (
		first  = "Welcome, both of you! Here is what we sing on Thursday."
		answer = "Lovely! I can take the second voice."
	)
	if _, err := w.bob.Client.Send(ctx, "-", w.choir, control.Text{Text: first}); err != nil {
		return err
	}
	e, err := w.user.WaitText(ctx, "", "", first)
	if err != nil {
		return err
	}
	w.choirRoom = e.RoomID
	file := client.NewFile{Body: bytes.NewReader(score(640, 250)), Name: scoreName, Caption: scoreWords}
	if _, err := w.bob.Client.SendFile(ctx, "-", w.choir, file); err != nil {
		return fmt.Errorf("send the score: %w", err)
	}
	shown, err := w.user.Wait(ctx, func(e *event.Event) bool {
		return e.RoomID == w.choirRoom && e.Type == event.EventMessage && e.Content.AsMessage().MsgType == event.MsgImage
	})
	if err != nil {
		return fmt.Errorf("wait for the score: %w", err)
	}
	heard, err := w.inChoir(ctx, w.carol, func(m control.Message) bool { return m.File != nil && m.File.State == "stored" })
	if err != nil {
		return err
	}
	if _, err := w.carol.Client.Send(ctx, "-", w.choir, control.Text{Text: answer, ReplyTo: heard.GUID}); err != nil {
		return err
	}
	if _, err := w.user.Wait(ctx, func(e *event.Event) bool {
		return e.RoomID == w.choirRoom && e.Type == event.EventMessage && strings.HasSuffix(e.Content.AsMessage().Body, answer)
	}); err != nil {
		return fmt.Errorf("wait for Carol's answer: %w", err)
	}
	if _, err := w.user.Matrix.SendReaction(ctx, w.choirRoom, shown.ID, "😍"); err != nil {
		return err
	}
	if _, err := w.user.SendText(ctx, w.choirRoom, choirLast); err != nil {
		return err
	}
	heard, err = w.inChoir(ctx, w.bob, func(m control.Message) bool { return m.Text == choirLast })
	if err != nil {
		return err
	}
	if _, err := w.bob.Client.React(ctx, "-", w.choir, control.Reaction{Message: heard.GUID, Emoji: "😊"}); err != nil {
		return fmt.Errorf("react: %w", err)
	}
	if _, err := w.user.Wait(ctx, func(e *event.Event) bool {
		return e.RoomID == w.choirRoom && e.Type == event.EventReaction && e.Sender != w.user.UserID()
	}); err != nil {
		return fmt.Errorf("wait for the reaction: %w", err)
	}
	_, err = w.inChoir(ctx, w.alice, func(m control.Message) bool {
		return m.Text == choirLast && m.State == "delivered" && len(m.Reactions) == 1
	})
	return err
}

// inChoir waits until a node has a message of the choir.
func (w *world) inChoir(ctx context.Context, n *demo.Node, wanted func(control.Message) bool) (found control.Message, err error) {
	return found, until(ctx, n.Name+"'s node has the message", func() (bool, error) {
		page, err := n.Client.Messages(ctx, "-", w.choir, 0, 50)
		if i := slices.IndexFunc(page, wanted); i >= 0 {
			found = page[i]
			return true, err
		}
		return false, err
	})
}
