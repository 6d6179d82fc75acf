// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/proto/identity"
)

func newContact(f *flags) *cobra.Command {
	cmd := group(&cobra.Command{Use: "contact", Short: "Add, ask, answer and change contacts"})
	cmd.AddCommand(newContactAdd(f), newContactRequest(f), newContactList(f), newContactShow(f), newContactRename(f), newContactRemove(f), newContactClear(f), newContactTrust(f))
	type call = func(*client.Client, context.Context, string, string) (control.Contact, error)
	muted := func(muted bool) call {
		return func(api *client.Client, ctx context.Context, account, contact string) (control.Contact, error) {
			return api.ChangeContact(ctx, account, contact, control.ContactChange{Muted: &muted})
		}
	}
	for _, v := range []struct {
		use, short, long, done string
		do                     call
	}{
		{
			"accept", "Say yes to a contact request",
			"Makes somebody who has asked a contact, and tells them as soon as they can be reached.",
			"%s is a contact\n", (*client.Client).AcceptContact,
		},
		{
			"decline", "Say no to a contact request",
			"Declines a contact request. They are told when they are connected, and may ask again after a day.",
			"%s is declined\n", (*client.Client).DeclineContact,
		},
		{
			"block", "Block a contact",
			"Ends what is going on with a contact and takes nothing from them any more, until they are unblocked.",
			"%s is blocked\n", (*client.Client).BlockContact,
		},
		{
			"unblock", "Make a blocked contact what they were before", "Undoes mimird contact block.",
			"%s is not blocked any more\n", (*client.Client).UnblockContact,
		},
		{"mute", "Show a contact's messages quietly", "Tells programs that show the messages, such as the Matrix bridge, not to notify about them.", "%s is muted\n", muted(true)},
		{"unmute", "Undo mute", "Undoes mimird contact mute.", "%s is not muted any more\n", muted(false)},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: v.use + " CONTACT", Short: v.short, Long: v.long,
			Args: oneArg("CONTACT"), ValidArgsFunction: f.completeContact,
			RunE: func(cmd *cobra.Command, args []string) error {
				return f.withContact(cmd, v.done, func(api *client.Client) (control.Contact, error) {
					return v.do(api, cmd.Context(), f.account, args[0])
				})
			},
		})
	}
	return cmd
}

// withContact runs a request whose answer is a contact, and prints a
// sentence with its name.
func (f *flags) withContact(cmd *cobra.Command, sentence string, do func(*client.Client) (control.Contact, error)) error {
	return answer(f, cmd, do, func(w io.Writer, c control.Contact) { fmt.Fprintf(w, sentence, printable(c.Name)) })
}

func newContactAdd(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "add LINK",
		Short: "Add a contact by link or key",
		Long: "Adds a contact: they may write to you from then on, and you to them. The other side has to add you too, or\n" +
			"accept messages from everybody, which is what the apps do unless told otherwise. To ask them: mimird contact\n" +
			"request.",
		Args: oneArg("LINK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return answer(f, cmd, func(api *client.Client) (control.Contact, error) {
				return api.AddContact(cmd.Context(), f.account, args[0])
			}, func(w io.Writer, c control.Contact) {
				fmt.Fprintf(w, "%s is a contact (%s)\n", printable(c.Name), c.ID)
			})
		},
	}
}

func newContactRequest(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "request LINK [TEXT...]",
		Short: "Add a contact and ask them to add you",
		Long: "Adds a contact and sends them a contact request with a text, as soon as they can be reached. There is one at a\n" +
			"time until they answer. Messages can be sent meanwhile. Instead of the link of somebody who is a contact already\n" +
			"their name will do.",
		Args:              atLeastOne("LINK and a text"),
		ValidArgsFunction: f.completeContact,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withContact(cmd, "%s is asked\n", func(api *client.Client) (control.Contact, error) {
				link := args[0]
				if _, err := identity.ParseLink(link); err != nil {
					if c, err := api.Contact(cmd.Context(), f.account, link); err == nil {
						link = c.ID
					}
				}
				return api.RequestContact(cmd.Context(), f.account, link, strings.Join(args[1:], " "))
			})
		},
	}
}

func newContactRename(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "rename CONTACT [NAME]",
		Short: "Give a contact a name of your own",
		Long:  "Gives a contact a name that stays when they change theirs. Without a name, theirs is shown again.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 || args[0] == "" {
				return fmt.Errorf("%s takes a CONTACT and a name%s", cmd.CommandPath(), seeHelp(cmd))
			}
			return nil
		},
		ValidArgsFunction: f.completeContact,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := strings.Join(args[1:], " ")
			return f.withContact(cmd, "%s is the name now\n", func(api *client.Client) (control.Contact, error) {
				return api.ChangeContact(cmd.Context(), f.account, args[0], control.ContactChange{Name: &name})
			})
		},
	}
}

func newContactRemove(f *flags) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "remove CONTACT",
		Short:             "Remove a contact with all messages",
		Long:              "Removes a contact and the whole conversation, also what was not delivered yet, for good. It asks before.",
		Args:              oneArg("CONTACT"),
		ValidArgsFunction: f.completeContact,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withContact(cmd, "%s is removed\n", func(api *client.Client) (control.Contact, error) {
				c, err := api.Contact(cmd.Context(), f.account, args[0])
				if err != nil {
					return c, err
				}
				if err := confirm(cmd, yes, fmt.Sprintf("the contact %q with all messages", c.Name), c.Name); err != nil {
					return c, err
				}
				return c, api.RemoveContact(cmd.Context(), f.account, c.ID)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func newContactShow(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:               "show CONTACT",
		Short:             "Show what is known of a contact",
		Args:              oneArg("CONTACT"),
		ValidArgsFunction: f.completeContact,
		RunE: func(cmd *cobra.Command, args []string) error {
			return answer(f, cmd, func(api *client.Client) (control.Contact, error) {
				return api.Contact(cmd.Context(), f.account, args[0])
			}, printContact)
		},
	}
}

func printContact(out io.Writer, c control.Contact) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	line := func(what, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", what, printable(value))
		}
	}
	line("name", c.Name)
	if c.Nickname != c.Name {
		line("nickname", c.Nickname)
	}
	line("key", c.ID)
	line("state", c.State)
	if c.Muted {
		line("muted", "yes")
	}
	line("info", c.Info)
	line("request", c.Request)
	line("our request", c.Asked)
	line("reach", reach(c))
	line("node", c.Node)
	for _, h := range c.Held {
		what := "held since "
		if h.Refused {
			what = "refused at "
		}
		line("new device", h.Node+", "+what+h.Since.Local().Format(time.DateTime)+"; if it is theirs: mimird contact trust "+c.ID+" "+h.Node)
	}
	_ = w.Flush() // what it writes to reports its own errors
}

func newContactList(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the contacts of an account",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := f.client()
			if err != nil {
				return err
			}
			defer api.Close()
			each := func(handle func(control.Contact) error) error {
				return api.EachContact(cmd.Context(), f.account, handle)
			}
			asks := false
			n, err := printList(f, cmd.OutOrStdout(), each, func(contacts []control.Contact) {
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
				for _, c := range contacts {
					asks = asks || c.State == "requested"
					row := printable(c.Name) + "\t" + c.ID + "\t" + c.State
					if c.Muted {
						row += ", muted"
					}
					if r := reach(c); r != "" {
						row += "\t" + r
					}
					fmt.Fprintln(w, row)
				}
				_ = w.Flush() // what it writes to reports its own errors
			})
			if err == nil && asks {
				fmt.Fprintln(cmd.OutOrStdout(), "answer who is requested with: mimird contact accept NAME, or decline, or block")
			}
			if err == nil && n == 0 && !f.json {
				fmt.Fprintln(cmd.OutOrStdout(), "no contacts yet; add one with: mimird contact add LINK")
			}
			return err
		},
	}
}

// completeContact offers the names of contacts when the shell asks for them.
func (f *flags) completeContact(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return complete(f, args, func(api *client.Client) ([]control.Contact, error) { return api.Contacts(cmd.Context(), f.account) },
		func(c control.Contact) cobra.Completion { return cobra.CompletionWithDesc(printable(c.Name), c.ID) })
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
