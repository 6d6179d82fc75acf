// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/retention"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/config"
)

const clearHelp = "Removes the messages of the conversation here, for good, with their files: all, or with --older-than those that were\n" +
	"stored earlier. They are not stored again when they come once more. What is undelivered stays, and what the Matrix\n" +
	"bridge has not shown yet. Others keep what they have, and Matrix rooms stay as they are. It asks before.\n\n" +
	"The node does this by itself when retention in the configuration says so; see docs/retention.md."

// clearing is a conversation that may be cleared.
type clearing struct {
	name string
	do   func(context.Context, retention.Clear) (retention.Cleared, error)
}

// newClear makes the command that clears a contact or group. find finds it.
func newClear(f *flags, what string, complete cobra.CompletionFunc, find func(context.Context, *client.Client, string) (clearing, error)) *cobra.Command {
	var yes bool
	var olderThan time.Duration
	cmd := &cobra.Command{
		Use:               "clear " + what,
		Short:             "Remove messages of a conversation from this node",
		Long:              clearHelp,
		Args:              oneArg(what),
		ValidArgsFunction: complete,
		RunE: func(cmd *cobra.Command, args []string) error {
			if olderThan < 0 {
				return errors.New("--older-than: want a duration such as 720h")
			}
			return answer(f, cmd, func(api *client.Client) (retention.Cleared, error) {
				c, err := find(cmd.Context(), api, args[0])
				if err != nil {
					return retention.Cleared{}, err
				}
				request, which := retention.Clear{}, "all messages"
				if olderThan > 0 {
					request.Before, which = time.Now().Add(-olderThan), "the messages older than "+olderThan.String()
				}
				if err := confirm(cmd, yes, fmt.Sprintf("%s of the conversation %q", which, c.name), c.name); err != nil {
					return retention.Cleared{}, err
				}
				return c.do(cmd.Context(), request)
			}, func(out io.Writer, done retention.Cleared) { fmt.Fprintln(out, printable(done.Text)) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().DurationVar(&olderThan, "older-than", 0, "leave what is newer, such as 720h")
	return cmd
}

func newContactClear(f *flags) *cobra.Command {
	return newClear(f, "CONTACT", f.completeContact, func(ctx context.Context, api *client.Client, name string) (clearing, error) {
		c, err := api.Contact(ctx, f.account, name)
		return clearing{c.Name, func(ctx context.Context, what retention.Clear) (retention.Cleared, error) {
			return api.ClearContact(ctx, f.account, c.ID, what)
		}}, err
	})
}

func newGroupClear(f *flags) *cobra.Command {
	return newClear(f, "GROUP", f.completeGroup, func(ctx context.Context, api *client.Client, name string) (clearing, error) {
		g, err := api.Group(ctx, f.account, name)
		return clearing{g.Name, func(ctx context.Context, what retention.Clear) (retention.Cleared, error) {
			return api.ClearGroup(ctx, f.account, g.ID, what)
		}}, err
	})
}

// retentionPolicy reads what the configuration says about retention.
func retentionPolicy(c config.Config) (retention.Policy, error) {
	r := c.Retention
	p := retention.Policy{
		Contacts: time.Duration(r.Contacts), Groups: time.Duration(r.Groups), Events: time.Duration(r.Events), Ignore: r.Gone,
		Conversations: make(map[store.ConversationID]time.Duration),
	}
	for key, period := range r.Conversations {
		name, err := config.ConversationName(key)
		if err != nil {
			return p, fmt.Errorf("retention.conversations: %w", err)
		}
		id, err := store.ParseConversationID(name)
		if err != nil {
			return p, fmt.Errorf("retention.conversations: %w", err)
		}
		p.Conversations[id] = time.Duration(period)
	}
	return p, nil
}
