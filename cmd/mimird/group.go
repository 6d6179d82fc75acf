// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

// The commands about groups that an account is in; those of group_change.go change groups
// for everybody.

func newGroup(f *flags) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "group",
		Short: "Create, join, show and change group chats",
		Long: "A GROUP is given by its id, the beginning of the id (group- and 8 digits or more), or its name when no other\n" +
			"group of the account has it. See docs/groups.md.",
	})
	cmd.AddCommand(
		newGroupList(f), newGroupShow(f), newGroupMembers(f), newGroupCreate(f), newGroupJoin(f), newGroupAnswer(f, true), newGroupAnswer(f, false),
		newGroupInvite(f), newGroupLeave(f), newGroupDelete(f), newGroupRemove(f), newGroupClear(f), newGroupRole(f), newGroupBan(f, true), newGroupBan(f, false), newGroupSet(f),
	)
	return cmd
}

func newGroupList(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the groups of an account",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return answer(f, cmd, func(api *client.Client) ([]control.Group, error) {
				return api.Groups(cmd.Context(), f.account)
			}, listGroups)
		},
	}
}

func listGroups(out io.Writer, groups []control.Group) {
	if len(groups) == 0 {
		fmt.Fprintln(out, "no groups yet; create one with: mimird group create NAME")
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, g := range groups {
		state := stateOfGroup(g)
		if g.Undelivered > 0 {
			state += fmt.Sprintf(", %d undelivered", g.Undelivered)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", nameOfGroup(g, "(no name)"), groupStart(g.ID), state, doingOfGroup(g))
	}
	_ = w.Flush() // what it writes to reports its own errors
}

// nameOfGroup is the name of a group in one line, or none when nothing of it can be seen.
func nameOfGroup(g control.Group, none string) string {
	return cmp.Or(strings.TrimSpace(printable(g.Name)), none)
}

// groupStart is the beginning of a group's id, with which commands find the group.
func groupStart(id string) string {
	const chars = len("group-") + 16
	return id[:min(len(id), chars)]
}

// groupStates says how an account stands to a group, for each state that is not its own
// name.
var groupStates = map[string]string{
	"member":        "member",
	"invited":       "you are invited",
	"joining":       "you join, the mediator has not answered",
	"creating":      "being created",
	"failed":        "not created or joined",
	"read_only":     "you may only read",
	"banned":        "you are banned",
	"left":          "you have left",
	"declined":      "you have declined the invite",
	"lost":          "you are not a member any more",
	"deleted":       "deleted for everybody",
	"created":       "created",
	"mediator_gone": "its mediator has not been reached for a long time",
}

func stateOfGroup(g control.Group) string {
	state := cmp.Or(groupStates[g.State], printable(g.State))
	if g.State == "member" && g.Role != "" && g.Role != "user" {
		state = g.Role
	}
	if g.Muted {
		state += ", muted"
	}
	return state
}

// doingOfGroup says what the node is doing about a group.
func doingOfGroup(g control.Group) string {
	switch {
	case g.Stage == "not a member" || g.State == "created" || g.State == "failed" || g.State == "invited":
		return ""
	case g.Stage == "proof of work":
		return fmt.Sprintf("proof of work, %d signatures tried of about 65000", g.Tried)
	case g.Stage == "reading history" && g.Last > 0:
		return fmt.Sprintf("reading history, %d of %d", g.Read, g.Last)
	case g.Stage == "offline":
		return "the mediator is not reached"
	}
	return printable(g.Stage)
}

func newGroupShow(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:               "show GROUP",
		Short:             "Show what is known of a group",
		Long:              "Shows what is known of a group, and what its mediator was asked for and has not answered. Its messages are shown by\nmimird tail.",
		Args:              oneArg("GROUP"),
		ValidArgsFunction: f.completeGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			return answer(f, cmd, func(api *client.Client) (control.Group, error) {
				return api.Group(cmd.Context(), f.account, args[0])
			}, printGroup)
		},
	}
}

// taskNames are the kinds of tasks in words.
var taskNames = map[string]string{
	"edit": "change of the group", "invite": "invite", "role": "change of role", "ban": "ban", "unban": "end of a ban", "leave": "leave",
	"delete": "deletion of the group", "delete_message": "deletion of a message",
}

func printGroup(out io.Writer, g control.Group) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	line := func(what, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", what, printable(value))
		}
	}
	line("name", nameOfGroup(g, ""))
	line("description", g.Description)
	line("id", g.ID)
	state := stateOfGroup(g)
	if g.Reason != "" {
		state += ": " + g.Reason
	}
	line("state", state)
	line("role", g.Role)
	line("now", doingOfGroup(g))
	line("incomplete", g.Incomplete)
	if g.State == "invited" {
		line("invited by", g.Inviter)
		line("answer with", "mimird group accept "+groupStart(g.ID)+", or decline")
	}
	line("became", g.Became)
	if g.NoKey {
		line("key", "missing: nothing can be read or written; ask a member to invite you again")
	}
	line("mediator", g.Mediator)
	line("chat", g.Chat)
	switch {
	case g.AutoDownload > 0:
		line("auto-download", sizeText(g.AutoDownload))
	case g.AutoDownload < 0:
		line("auto-download", "never")
	}
	if g.Undelivered > 0 {
		line("undelivered", plural(g.Undelivered, "message", "messages"))
	}
	for _, t := range g.Tasks {
		text := fmt.Sprintf("%s, asked for at %s", cmp.Or(taskNames[t.Kind], t.Kind), t.Created.Local().Format(time.DateTime))
		if t.Member != "" {
			text = cmp.Or(taskNames[t.Kind], t.Kind) + " of " + t.Member + text[len(cmp.Or(taskNames[t.Kind], t.Kind)):]
		}
		line("not answered", text)
	}
	_ = w.Flush() // what it writes to reports its own errors
}

func newGroupMembers(f *flags) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:               "members GROUP",
		Short:             "List the members of a group",
		Long:              "Lists the members with their names, which they have chosen themselves, keys and roles. With --all also those who have\nleft or are banned.",
		Args:              oneArg("GROUP"),
		ValidArgsFunction: f.completeGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			return answer(f, cmd, func(api *client.Client) ([]control.GroupMember, error) {
				members, err := api.GroupMembers(cmd.Context(), f.account, args[0])
				shown := []control.GroupMember{}
				for _, m := range members {
					if all || m.Standing == "member" {
						shown = append(shown, m)
					}
				}
				return shown, err
			}, listMembers)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also those who have left or are banned")
	return cmd
}

func listMembers(out io.Writer, members []control.GroupMember) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, m := range members {
		state := m.Role
		if m.Standing == "left" {
			state = "left"
		}
		seen := ""
		switch {
		case m.Online:
			seen = "online"
		case !m.LastSeen.IsZero():
			seen = "last seen " + m.LastSeen.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable(cmp.Or(m.Name, "(no name yet)")), m.ID, state, seen)
	}
	_ = w.Flush() // what it writes to reports its own errors
	if len(members) == 0 {
		fmt.Fprintln(out, "no members are known yet; the mediator has to be reached once")
	}
}

func newGroupCreate(f *flags) *cobra.Command {
	var g control.NewGroup
	var picture string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a group",
		Long: "Creates a group at a mediator, which carries its messages and cannot read them. The mediator demands some seconds\n" +
			"of work, which happen in the background as soon as it can be reached; mimird group list shows how far that is.\n" +
			"With --wait the command waits for it and prints the group; when the time runs out it ends with exit code 7.",
		Args: oneArg("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			g.Name = args[0]
			if err := checkGroupTexts(&g.Name, &g.Description); err != nil {
				return err
			}
			if picture != "" {
				var err error
				if g.Avatar, err = readGroupPicture(picture); err != nil {
					return err
				}
			}
			api, err := f.client()
			if err != nil {
				return err
			}
			defer api.Close()
			created, err := api.CreateGroup(cmd.Context(), f.account, g)
			if err != nil {
				return err
			}
			if wait > 0 {
				created, err = groupCreated(cmd.Context(), f, api, created, wait)
			}
			if err != nil && !errors.Is(err, errTaskWaiting) {
				return err
			}
			out := cmd.OutOrStdout()
			return errors.Join(f.print(out, created, func() { printCreated(out, created) }), err)
		},
	}
	cmd.Flags().StringVar(&g.Description, "description", "", "what the group is about, at most 200 characters")
	cmd.Flags().StringVar(&picture, "picture", "", "image `file` of at most 200 KiB")
	cmd.Flags().StringVar(&g.Mediator, "mediator", "", "node `key` of the mediator (default: the first of groups.mediators)")
	cmd.Flags().StringVar(&g.Source, "source", "", "makes repeating safe: the same source creates one group")
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait that long for the group")
	return cmd
}

func printCreated(out io.Writer, g control.Group) {
	if g.State == "creating" {
		fmt.Fprintf(out, "%s is being created %s\n", printable(g.Name), groupStart(g.ID))
		return
	}
	fmt.Fprintf(out, "%s is created %s\n", printable(g.Name), groupStart(g.ID))
}

// groupCreated waits until a creation has become a group, and returns that.
func groupCreated(ctx context.Context, f *flags, api *client.Client, creation control.Group, wait time.Duration) (control.Group, error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	settled := errors.New("settled")
	look := func() error {
		g, err := api.Group(waiting, f.account, creation.ID)
		if err != nil {
			return err
		}
		creation = g
		if g.State != "creating" {
			return settled
		}
		return nil
	}
	// The event log is followed from its beginning: the group may exist by now.
	err := look()
	if err == nil {
		err = api.Follow(waiting, f.account, 0, func(e control.Event) error {
			if e.Group != creation.ID {
				return nil
			}
			return look()
		})
	}
	switch {
	case errors.Is(err, settled) && creation.State == "failed":
		return creation, fmt.Errorf("the group was not created: %s", printable(creation.Reason))
	case errors.Is(err, settled) && creation.Became != "":
		return api.Group(ctx, f.account, creation.Became)
	case errors.Is(err, settled):
		return creation, nil
	case errors.Is(err, context.DeadlineExceeded):
		return creation, fmt.Errorf("not created within %v: %w", wait, errTaskWaiting)
	}
	return creation, err
}

func newGroupJoin(f *flags) *cobra.Command {
	var g control.JoinedGroup
	cmd := &cobra.Command{
		Use:   "join MEDIATOR CHAT",
		Short: "Add a group that another device of the account is in",
		Long: "Adds a group that the account is a member of already, such as on another device, by the node key of its mediator and\n" +
			"its id there, and reads its whole history. The key of the group, 64 hex digits, is read from standard input. To\n" +
			"join a group that you are invited to: mimird group accept.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] == "" || args[1] == "" {
				return fmt.Errorf("%s takes a MEDIATOR and a CHAT%s", cmd.CommandPath(), seeHelp(cmd))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := readText(cmd.InOrStdin())
			if err != nil {
				return err
			}
			if key = strings.TrimSpace(key); key == "" {
				return errors.New("the key of the group is missing; give it on standard input")
			}
			g.Mediator, g.Chat, g.Key = args[0], args[1], key
			return f.withGroup(cmd, "%s is added %s\n", func(api *client.Client) (control.Group, error) {
				return api.JoinGroup(cmd.Context(), f.account, g)
			})
		},
	}
	cmd.Flags().StringVar(&g.Name, "name", "", "what to call it until the mediator has told its name")
	return cmd
}

// withGroup runs a request whose answer is a group, and prints a sentence with its name and
// id.
func (f *flags) withGroup(cmd *cobra.Command, sentence string, do func(*client.Client) (control.Group, error)) error {
	return answer(f, cmd, do, func(w io.Writer, g control.Group) {
		fmt.Fprintf(w, sentence, nameOfGroup(g, "the group"), groupStart(g.ID))
	})
}

func newGroupAnswer(f *flags, accept bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "accept GROUP",
		Short:             "Join a group that you are invited to",
		Long:              "Accepts the invite to a group. You are a member when the mediator has confirmed it.",
		Args:              oneArg("GROUP"),
		ValidArgsFunction: f.completeGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			sentence := "%s is being joined %s\n"
			if !accept {
				sentence = "%s is declined %s\n"
			}
			return f.withGroup(cmd, sentence, func(api *client.Client) (control.Group, error) {
				if accept {
					return api.AcceptInvite(cmd.Context(), f.account, args[0])
				}
				return api.DeclineInvite(cmd.Context(), f.account, args[0])
			})
		},
	}
	if !accept {
		cmd.Use, cmd.Short, cmd.Long = "decline GROUP", "Decline an invite to a group", "Declines the invite to a group. You may be invited again."
	}
	return cmd
}

func newGroupRemove(f *flags) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "remove GROUP",
		Short:             "Remove a group that you are not in, with all messages",
		Long:              "Removes from this node a group that you have left, declined or been banned from, with all messages, for good. It asks\nbefore. The other members keep theirs.",
		Args:              oneArg("GROUP"),
		ValidArgsFunction: f.completeGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withGroup(cmd, "%s is removed %s\n", func(api *client.Client) (control.Group, error) {
				g, err := api.Group(cmd.Context(), f.account, args[0])
				if err != nil {
					return g, err
				}
				if err := confirm(cmd, yes, fmt.Sprintf("the group %q with all messages", g.Name), g.Name); err != nil {
					return g, err
				}
				return g, api.RemoveGroup(cmd.Context(), f.account, g.ID)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// completeGroup offers the names of groups when the shell asks for them.
func (f *flags) completeGroup(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return complete(f, args, func(api *client.Client) ([]control.Group, error) { return api.Groups(cmd.Context(), f.account) },
		func(g control.Group) cobra.Completion { return cobra.CompletionWithDesc(printable(g.Name), g.ID) })
}
