// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

func newMediator(f *flags) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "mediator",
		Short: "Moderate the groups that this node keeps for others",
		Long: "For nodes with the role mediator: shows the groups that it keeps and their members, and moderates them. It cannot\n" +
			"read the messages. See docs/mediator.md.",
	})
	cmd.AddCommand(newMediatorGroups(f), newMediatorMembers(f), newMediatorBan(f, true), newMediatorBan(f, false), newMediatorBans(f), newMediatorQuota(f), newMediatorDelete(f))
	return cmd
}

func newMediatorGroups(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "groups",
		Short: "List the groups, the largest first",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return answer(f, cmd, func(api *client.Client) ([]control.HostedGroup, error) {
				return api.HostedGroups(cmd.Context())
			}, func(out io.Writer, groups []control.HostedGroup) {
				w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
				fmt.Fprintf(w, "GROUP\tNAME\tMEMBERS\tMESSAGES\tSPACE\tQUOTA\tOWNER\n")
				for _, g := range groups {
					fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%s\t%s\n", g.ID, printable(g.Name), g.Members, g.Messages,
						humanize.IBytes(g.Bytes), humanize.IBytes(g.Quota), g.Owner)
				}
				_ = w.Flush() // what it writes to reports its own errors
			})
		},
	}
}

func newMediatorMembers(f *flags) *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "members GROUP",
		Short: "List the members of a group, and who is banned",
		Args:  oneArg("GROUP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return answer(f, cmd, func(api *client.Client) (control.HostedMembers, error) {
				return api.HostedMembers(cmd.Context(), args[0], limit)
			}, func(out io.Writer, list control.HostedMembers) {
				w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
				fmt.Fprintf(w, "IDENTITY\tROLE\tLAST SEEN\n")
				for _, m := range list.Members {
					seen := ""
					if !m.LastSeen.IsZero() {
						seen = m.LastSeen.Local().Format(time.DateTime)
					}
					fmt.Fprintf(w, "%s\t%s\t%s\n", m.ID, m.Role, seen)
				}
				_ = w.Flush() // what it writes to reports its own errors
				fmt.Fprintf(out, "%d members\n", list.Total)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 1000, "how many to list at most, up to 100000")
	return cmd
}

// done is the answer of a command that changes something.
type done struct {
	Done string `json:"done"`
}

// changes runs a request without an answer and prints a sentence.
func (f *flags) changes(cmd *cobra.Command, sentence string, do func(*client.Client) error) error {
	return answer(f, cmd, func(api *client.Client) (done, error) { return done{sentence}, do(api) },
		func(out io.Writer, d done) { fmt.Fprintln(out, d.Done) })
}

func newMediatorBan(f *flags, banned bool) *cobra.Command {
	var group string
	cmd := &cobra.Command{
		Use:   "ban IDENTITY",
		Short: "Ban an identity from the mediator, or from one group",
		Long: "Bans an identity, given by its key or link. Without --group it may not log in any more and is disconnected; its\n" +
			"groups and messages stay. With --group it is banned from that group, whose members see that the mediator did it.",
		Args: oneArg("IDENTITY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			sentence := "It may not log in any more."
			switch {
			case group != "" && banned:
				sentence = "It is banned from the group."
			case group != "":
				sentence = "It is a member of the group again."
			case !banned:
				sentence = "It may log in again."
			}
			return f.changes(cmd, sentence, func(api *client.Client) error {
				if group != "" {
					return api.BanHostedMember(cmd.Context(), group, args[0], banned)
				}
				return api.BanFromMediator(cmd.Context(), args[0], banned)
			})
		},
	}
	if !banned {
		cmd.Use, cmd.Short = "unban IDENTITY", "Undo ban"
		cmd.Long = "Undoes mimird mediator ban. With --group it gives somebody who is banned from that group the role they had\nbefore."
	}
	cmd.Flags().StringVar(&group, "group", "", "only for this group")
	return cmd
}

func newMediatorBans(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "bans",
		Short: "List the identities that may not log in",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return answer(f, cmd, func(api *client.Client) ([]control.MediatorBan, error) {
				return api.MediatorBans(cmd.Context())
			}, func(out io.Writer, bans []control.MediatorBan) {
				for _, b := range bans {
					fmt.Fprintf(out, "%s   since %s\n", b.ID, b.Since.Local().Format(time.DateTime))
				}
			})
		},
	}
}

func newMediatorQuota(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "quota GROUP SIZE",
		Short: "Give a group more or less space than others",
		Long:  "Sets what the messages of a group may take, such as 500MiB or 2GiB. default makes it mediator.per_group of the\nconfiguration again.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] == "" || args[1] == "" {
				return fmt.Errorf("%s takes a GROUP and a SIZE%s", cmd.CommandPath(), seeHelp(cmd))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			quota, sentence := uint64(0), "The group has the space that is usual."
			if args[1] != "default" {
				size, err := humanize.ParseBytes(args[1])
				if err != nil || size == 0 {
					return fmt.Errorf("%q is not a size; give one such as 500MiB or 2GiB, or default", clip(args[1]))
				}
				quota, sentence = size, "The group may take "+humanize.IBytes(size)+"."
			}
			return f.changes(cmd, sentence, func(api *client.Client) error {
				return api.SetHostedQuota(cmd.Context(), args[0], quota)
			})
		},
	}
}

func newMediatorDelete(f *flags) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete GROUP",
		Short: "Delete a group with all messages",
		Long:  "Deletes a group for all its members, for good. It asks before.",
		Args:  oneArg("GROUP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := confirm(cmd, yes, "group "+printable(args[0])+" with all messages", args[0]); err != nil {
				return err
			}
			return f.changes(cmd, "The group is deleted.", func(api *client.Client) error {
				return api.DeleteHostedGroup(cmd.Context(), args[0])
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
