// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
)

func newContact(f *flags) *cobra.Command {
	cmd := group(&cobra.Command{Use: "contact", Short: "Add, list and block contacts"})
	cmd.AddCommand(newContactAdd(f), newContactList(f), newContactBlock(f))
	return cmd
}

func newContactAdd(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "add LINK",
		Short: "Add somebody by their link or key",
		Long: "Adds a contact: they may write to you from then on, and you to them. The other side has to add you too, or\n" +
			"accept messages from everybody, which is what the apps do unless told otherwise.",
		Args: oneArg("LINK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			defer client.Close()
			c, err := client.AddContact(cmd.Context(), f.account, args[0])
			if err != nil {
				return err
			}
			return f.print(cmd.OutOrStdout(), c, func() {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is a contact (%s)\n", printable(c.Name), c.ID)
			})
		},
	}
}

func newContactBlock(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:               "block CONTACT",
		Short:             "Take nothing from a contact any more",
		Long:              "Ends what is going on with a contact and takes nothing from them any more. Adding them again undoes it.",
		Args:              oneArg("CONTACT"),
		ValidArgsFunction: f.completeContact,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			defer client.Close()
			c, err := client.BlockContact(cmd.Context(), f.account, args[0])
			if err != nil {
				return err
			}
			return f.print(cmd.OutOrStdout(), c, func() {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is blocked\n", printable(c.Name))
			})
		},
	}
}

func newContactList(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the contacts of an account",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			defer client.Close()
			contacts, err := client.Contacts(cmd.Context(), f.account)
			if err != nil {
				return err
			}
			return f.print(cmd.OutOrStdout(), contacts, func() {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
				for _, c := range contacts {
					row := printable(c.Name) + "\t" + c.ID + "\t" + c.State
					if r := reach(c); r != "" {
						row += "\t" + r
					}
					fmt.Fprintln(w, row)
				}
				_ = w.Flush() // what it writes to reports its own errors
				if len(contacts) == 0 {
					fmt.Fprintln(cmd.OutOrStdout(), "no contacts yet; add one with: mimird contact add LINK")
				}
			})
		},
	}
}

// completeContact offers the names of contacts when the shell asks for them.
func (f *flags) completeContact(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	client, err := f.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer client.Close()
	contacts, err := client.Contacts(cmd.Context(), f.account)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, c := range contacts {
		names = append(names, cobra.CompletionWithDesc(printable(c.Name), c.ID))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// reach says in a few words whether a contact can be reached.
func reach(c control.Contact) string {
	switch {
	case c.Online:
		return "online"
	case !c.NextAttempt.IsZero() && c.NextAttempt.After(time.Now()):
		text := "waiting, next attempt in " + time.Until(c.NextAttempt).Round(time.Second).String()
		if c.LastError != "" {
			text += ": " + printable(c.LastError)
		}
		return text
	case !c.LastSeen.IsZero():
		return "last seen " + c.LastSeen.Local().Format(time.DateTime)
	}
	return ""
}
