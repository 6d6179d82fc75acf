// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

// maxShown is the most messages that show prints at once, a page of the API.
const maxShown = 1000

// shown is what the command prints with --json.
type shown struct {
	Contact  *control.Contact  `json:"contact,omitempty"`
	Group    *control.Group    `json:"group,omitempty"`
	Unread   int               `json:"unread"`
	Messages []control.Message `json:"messages"`
}

func newShow(f *flags) *cobra.Command {
	var limit int
	var unread bool
	cmd := &cobra.Command{
		Use:   "show [CONVERSATION]",
		Short: "Show a conversation, or what is new in all of them",
		Long: "Shows the newest messages of a conversation, oldest first, and marks what came as read; with --keep-unread it\n" +
			"does not. A conversation is " + conversationHelp + "\n" +
			"Without one it lists the conversations, the newest first, with what is unread and undelivered.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && args[0] == "" {
				return fmt.Errorf("%s takes one CONVERSATION or none%s", cmd.CommandPath(), seeHelp(cmd))
			}
			return nil
		},
		ValidArgsFunction: f.completeConversation,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > maxShown {
				return fmt.Errorf("--limit: want a number from 1 to %d, have %d", maxShown, limit)
			}
			if len(args) == 0 {
				return answer(f, cmd, func(api *client.Client) ([]control.Conversation, error) {
					return api.Conversations(cmd.Context(), f.account)
				}, listConversations)
			}
			return showConversation(cmd, f, args[0], limit, unread)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "at most this many messages")
	cmd.Flags().BoolVar(&unread, "keep-unread", false, "do not mark the messages as read")
	return cmd
}

func listConversations(out io.Writer, conversations []control.Conversation) {
	if len(conversations) == 0 {
		fmt.Fprintln(out, "no conversations yet; add a contact with: mimird contact add LINK, or create a group with: mimird group create NAME")
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range conversations {
		var notes []string
		if c.Unread > 0 {
			notes = append(notes, countText(c.Unread)+" unread")
		}
		if c.Undelivered > 0 {
			notes = append(notes, fmt.Sprintf("%d undelivered", c.Undelivered))
		}
		switch {
		case c.Contact != nil && c.Contact.State != "accepted":
			notes = append(notes, c.Contact.State)
		case c.Group != nil && c.Group.State != "member":
			notes = append(notes, "group, "+stateOfGroup(*c.Group))
		case c.Group != nil:
			notes = append(notes, "group")
		}
		when, last := "", ""
		if c.Last != nil {
			when = c.Last.Stored.Local().Format(time.DateTime)
			last = summary(*c.Last)
			if who := authorOf(*c.Last); who != "" {
				last = who + ": " + last
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", conversationName(c.Contact, c.Group), strings.Join(notes, ", "), when, cut(last))
	}
	_ = w.Flush() // what it writes to reports its own errors
}

// countText writes a number that is counted up to 1000.
func countText(n int) string {
	if n >= 1000 {
		return "1000 or more"
	}
	return strconv.Itoa(n)
}

// cut keeps a line short.
func cut(text string) string {
	const most = 60
	runes := []rune(text)
	if len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

func showConversation(cmd *cobra.Command, f *flags, name string, limit int, keepUnread bool) error {
	api, err := f.client()
	if err != nil {
		return err
	}
	defer api.Close()
	ctx := cmd.Context()
	found, err := api.Conversation(ctx, f.account, name)
	if err != nil {
		return err
	}
	id := conversationID(found.Contact, found.Group)
	answer := shown{Contact: found.Contact, Group: found.Group, Unread: found.Unread, Messages: []control.Message{}}
	for before := uint64(0); len(answer.Messages) < limit; {
		page, err := api.Messages(ctx, f.account, id, before, limit-len(answer.Messages))
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		answer.Messages = append(answer.Messages, page...)
		before = page[len(page)-1].Order
	}
	slices.Reverse(answer.Messages)
	out := cmd.OutOrStdout()
	if err := f.print(out, answer, func() { printConversation(out, answer) }); err != nil || keepUnread || len(answer.Messages) == 0 {
		return err
	}
	_, err = api.MarkRead(ctx, f.account, id, answer.Messages[len(answer.Messages)-1].Order)
	return err
}

func printConversation(out io.Writer, s shown) {
	firstUnread := unreadFrom(s)
	for i, m := range s.Messages {
		if i == firstUnread {
			fmt.Fprintf(out, "-- %s unread --\n", countText(s.Unread))
		}
		who := authorOf(m)
		if who == "" && s.Contact != nil {
			who = printable(s.Contact.Name)
		}
		if who != "" {
			who += ": "
		}
		state := ""
		switch m.State {
		case "pending":
			state = "  (not delivered yet)"
		case "failed":
			state = "  (not delivered: " + printable(m.Reason) + ")"
		}
		fmt.Fprintf(out, "%s  %-*s  %s%s%s\n", m.Stored.Local().Format(time.DateTime), idWidth, m.ID, who, summary(m), state)
	}
	switch {
	case s.Contact != nil && s.Contact.State == "requested":
		fmt.Fprintf(out, "%s\n", requestLine(*s.Contact))
	case s.Group != nil && s.Group.State == "invited":
		fmt.Fprintf(out, "you are invited to this group; answer with: mimird group accept %s, or decline\n", groupStart(s.Group.ID))
	case len(s.Messages) == 0:
		fmt.Fprintf(out, "no messages yet; write one with: mimird send %s TEXT\n", conversationStart(conversationID(s.Contact, s.Group)))
	}
}

// unreadFrom returns the index of the first unread message, or -1. Reactions, and what the
// mediator of a group reports, are not counted.
func unreadFrom(s shown) int {
	left := s.Unread
	if left == 0 {
		return -1
	}
	for i, m := range slices.Backward(s.Messages) {
		if m.Direction != "in" || m.TypeName == "reaction" || m.TypeName == "system" {
			continue
		}
		if left--; left == 0 || i == 0 {
			return i
		}
	}
	return 0
}

// requestLine says that a contact asks to be one, and how to answer.
func requestLine(c control.Contact) string {
	text := printable(c.Name) + " asks to be your contact"
	if c.Request != "" {
		text += ": " + printable(c.Request)
	}
	return text + " (answer with: mimird contact accept " + keyStart(c.ID) + ", or decline)"
}

func newReply(f *flags) *cobra.Command {
	var wait time.Duration
	var source, conversation string
	cmd := &cobra.Command{
		Use:   "reply MESSAGE [TEXT...]",
		Short: "Answer a message, with a quote of it",
		Long: "Sends a text that quotes a message, given by the id that mimird tail and mimird show print, in the\n" +
			"conversation that it is in. Without a text it is read from standard input.",
		Args: atLeastOne("MESSAGE and a text"),
		RunE: func(cmd *cobra.Command, args []string) error {
			text := strings.Join(args[1:], " ")
			if len(args) == 1 {
				var err error
				if text, err = readText(cmd.InOrStdin()); err != nil {
					return err
				}
			}
			if err := checkText(text); err != nil {
				return err
			}
			api, err := f.client()
			if err != nil {
				return err
			}
			defer api.Close()
			m, err := findMessage(cmd, f, api, args[0], conversation)
			if err != nil {
				return err
			}
			return send(cmd.Context(), f, cmd.OutOrStdout(), conversationOf(m), control.Text{Text: text, ReplyTo: m.GUID, Source: source}, wait)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait that long for it to be delivered")
	cmd.Flags().StringVar(&source, "source", "", "makes repeating safe: the same source queues one message")
	conversationFlag(f, cmd, &conversation)
	return cmd
}

func newReact(f *flags) *cobra.Command {
	var conversation, source string
	var remove bool
	cmd := &cobra.Command{
		Use:   "react MESSAGE [EMOJI]",
		Short: "React to a message",
		Long: "Reacts to a message, given by its id, with an emoji, which replaces an earlier one. With --remove the reaction\n" +
			"is taken back.",
		Args: func(cmd *cobra.Command, args []string) error {
			if few := remove && len(args) == 1; !few && len(args) != 2 || args[0] == "" {
				return fmt.Errorf("%s takes a MESSAGE and an EMOJI, or a MESSAGE and --remove%s", cmd.CommandPath(), seeHelp(cmd))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			emoji := ""
			switch {
			case !remove && strings.TrimSpace(args[1]) == "":
				return errors.New("the emoji is empty; to take a reaction back, give --remove")
			case !remove:
				emoji = args[1]
			case len(args) > 1:
				return errors.New("give an emoji or --remove, not both")
			}
			return f.withMessage(cmd, args[0], conversation, "%s %s\n", func(api *client.Client, m control.Message) (control.Message, error) {
				return api.React(cmd.Context(), f.account, conversationOf(m), control.Reaction{Message: m.GUID, Emoji: emoji, Source: source})
			})
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "take the reaction back")
	cmd.Flags().StringVar(&source, "source", "", "makes repeating safe: the same source queues one reaction")
	conversationFlag(f, cmd, &conversation)
	return cmd
}

func newCancel(f *flags) *cobra.Command {
	var conversation string
	cmd := &cobra.Command{
		Use:   "cancel MESSAGE",
		Short: "Do not send a message that was not delivered yet",
		Long: "Takes a message, given by its id, out of the outbox. It fails when the contact, or the mediator of the group, has it\n" +
			"already; one that is on its way at this moment may arrive all the same, and counts as delivered then.",
		Args: oneArg("MESSAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withMessage(cmd, args[0], conversation, "cancelled %[2]s\n", func(api *client.Client, m control.Message) (control.Message, error) {
				return api.CancelMessage(cmd.Context(), f.account, conversationOf(m), m.ID)
			})
		},
	}
	conversationFlag(f, cmd, &conversation)
	return cmd
}

// conversationFlag adds the flag that tells messages of one id apart.
func conversationFlag(f *flags, cmd *cobra.Command, conversation *string) {
	cmd.Flags().StringVar(conversation, "in", "", "the conversation that the message is in, when several have one of that id")
	_ = cmd.RegisterFlagCompletionFunc("in", func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return f.completeConversation(cmd, nil, typed)
	}) // fails only for a flag that is not there
}

// withMessage does something with a message, given by its id, and prints the state and
// the id of what the node answers.
func (f *flags) withMessage(cmd *cobra.Command, id, conversation, sentence string, do func(*client.Client, control.Message) (control.Message, error)) error {
	return answer(f, cmd, func(api *client.Client) (control.Message, error) {
		m, err := findMessage(cmd, f, api, id, conversation)
		if err != nil {
			return m, err
		}
		return do(api, m)
	}, func(w io.Writer, m control.Message) { fmt.Fprintf(w, sentence, m.State, m.ID) })
}

// findMessage finds a message by its id or guid, in the conversation of a name, or in all of
// them.
func findMessage(cmd *cobra.Command, f *flags, api *client.Client, id, conversation string) (control.Message, error) {
	found, err := api.FindMessage(cmd.Context(), f.account, id)
	if err != nil {
		return control.Message{}, err
	}
	if conversation != "" {
		c, err := api.Conversation(cmd.Context(), f.account, conversation)
		if err != nil {
			return control.Message{}, err
		}
		found = slices.DeleteFunc(found, func(t control.Trace) bool {
			return conversationOf(t.Message) != conversationID(c.Contact, c.Group)
		})
	}
	switch len(found) {
	case 0:
		return control.Message{}, fmt.Errorf("there is no message %s in that conversation; mimird show lists its messages", printable(clip(id)))
	case 1:
		return found[0].Message, nil
	}
	var names []string
	for _, t := range found {
		names = append(names, fmt.Sprintf("%s (%s)", conversationName(t.Contact, t.Group), conversationStart(conversationOf(t.Message))))
	}
	return control.Message{}, fmt.Errorf("several messages have that id, in the conversations %s; say which with --in", strings.Join(names, ", "))
}
