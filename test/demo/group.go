// SPDX-License-Identifier: MPL-2.0

package demo

import (
	"context"
	"fmt"
	"slices"

	"github.com/mimird/mimird/actors/control"
)

const (
	groupName      = "Choir"
	groupText      = "Rehearsal at eight?"
	groupReplyText = "I bring the scores."
)

// talkInGroup has Bob create a group on our mediator and invite Alice, who accepts; both
// write.
func (w *world) talkInGroup(ctx context.Context) (string, error) {
	creation, err := w.bob.Client.CreateGroup(ctx, "-", control.NewGroup{Name: groupName, Source: "demo"})
	if err != nil {
		return "", err
	}
	var group string
	err = until(ctx, "the mediator has created the group", func() (bool, error) {
		g, err := w.bob.Client.Group(ctx, "-", creation.ID)
		group = g.Became
		return group != "", err
	})
	if err != nil {
		return "", err
	}
	if _, err := w.bob.Client.InviteToGroup(ctx, "-", group, w.alice.Account.ID, 0); err != nil {
		return "", err
	}
	err = until(ctx, "the invite has reached Alice's node", func() (bool, error) {
		groups, err := w.alice.Client.Groups(ctx, "-")
		return slices.ContainsFunc(groups, func(g control.Group) bool { return g.ID == group && g.State == "invited" }), err
	})
	if err != nil {
		return "", err
	}
	if _, err := w.alice.Client.AcceptInvite(ctx, "-", group); err != nil {
		return "", err
	}
	err = until(ctx, "Alice is a member", func() (bool, error) {
		g, err := w.alice.Client.Group(ctx, "-", group)
		return g.State == "member", err
	})
	if err != nil {
		return "", err
	}
	for _, one := range []struct {
		from, to *Node
		text     string
	}{{w.bob, w.alice, groupText}, {w.alice, w.bob, groupReplyText}} {
		if _, err := one.from.Client.Send(ctx, "-", group, control.Text{Text: one.text, Source: one.text}); err != nil {
			return "", err
		}
		err := until(ctx, one.to.Name+"'s node has the text", func() (bool, error) {
			texts, err := w.groupTexts(ctx, one.to, group, one.from.Account.ID)
			return slices.Equal(texts, []string{one.text}), err
		})
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%s at mediator %s, 2 members", groupName, w.mediator.Short()), nil
}

// groupTexts are the texts of a member that a node has, newest first.
func (w *world) groupTexts(ctx context.Context, n *Node, group, author string) ([]string, error) {
	messages, err := n.Client.Messages(ctx, "-", group, 0, 100)
	var texts []string
	for _, m := range messages {
		if m.TypeName == "text" && m.Author == author {
			texts = append(texts, m.Text)
		}
	}
	return texts, err
}
