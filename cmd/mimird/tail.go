// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/store"
)

func newTail(f *flags) *cobra.Command {
	var all bool
	var after int64
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Follow what happens",
		Long: "Prints what happens in an account as it happens: messages, deliveries, contacts. With --json one event per\n" +
			"line, each with a sequence number from which --after goes on. Ends with an interrupt or terminate signal, then\n" +
			"with exit code 0, or when the node stops, with exit code 1.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if all {
				after = 0
			}
			client, err := f.client()
			if err != nil {
				return err
			}
			defer client.Close()
			out := cmd.OutOrStdout()
			err = client.Follow(cmd.Context(), f.account, after, func(e control.Event) error { return f.printEvent(out, e) })
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "begin with the first event")
	cmd.Flags().Int64Var(&after, "after", -1, "begin after this sequence number")
	return cmd
}

func (f *flags) printEvent(out io.Writer, e control.Event) error {
	if f.json {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("print event: %w", err)
		}
		_, err = fmt.Fprintf(out, "%s\n", line)
		return err
	}
	_, err := fmt.Fprintf(out, "%s  %s\n", e.Time.Local().Format(time.DateTime), describe(e))
	return err
}

// describe says in one line what happened. The kinds are those of eventlog; one that has
// no sentence of its own is said by its name.
func describe(e control.Event) string {
	who := printable(e.Name)
	text := ""
	if e.Message != nil {
		text = summary(*e.Message)
	}
	var kind store.EventKind
	_ = kind.UnmarshalText([]byte(e.Kind)) // 0 for one of a newer node
	switch kind {
	case store.MessageReceived:
		return who + ": " + text
	case store.MessageEdited:
		return who + " has changed a message: " + text
	case store.MessageQueued:
		return "to " + who + ": " + text
	case store.MessageDelivered:
		return who + " has: " + text
	case store.MessageFailed:
		return "not delivered to " + who + " (" + printable(e.Reason) + "): " + text
	case store.MediaChanged:
		if e.Message != nil && e.Message.File != nil {
			return "the file " + printable(e.Message.File.Name) + " of " + who + " is " + e.Message.File.State
		}
	case store.CallMissed:
		return who + " has called"
	case store.RequestReceived:
		if e.Request != "" {
			return who + " asks to be your contact: " + printable(e.Request)
		}
		return who + " asks to be your contact"
	case store.ContactAnswered:
		if e.Accepted != nil && *e.Accepted {
			return who + " has said yes to your request"
		}
		return who + " has declined your request"
	case store.ForeignNodeAnnounced:
		return "trackers lead to node " + e.Node + ", with your signature; see: mimird status"
	case store.NodeKeyChanged:
		if e.Reason != "" {
			return who + " is connected from a new device, which nothing but their key speaks for, node " + e.Node
		}
		return who + " is connected from a new device, node " + e.Node
	case store.HandshakeRelayed:
		return "node " + e.Node + " tries to be in the middle of a conversation; see: mimird status"
	case store.DeviceRefused:
		return "somebody connected as " + who + " from a device that nothing speaks for, and was turned away, node " + e.Node
	}
	what := strings.ReplaceAll(e.Kind, "_", " ")
	if who != "" {
		what += ": " + who
	}
	return what
}

// summary says in one line what a message is.
func summary(m control.Message) string {
	switch {
	case m.Text != "":
		return printable(m.Text)
	case m.Reaction != nil && m.Reaction.Emoji == "":
		return "[reaction taken back]"
	case m.Reaction != nil:
		return "[reaction " + printable(m.Reaction.Emoji) + "]"
	case m.File != nil:
		what := fmt.Sprintf("[%s %s, %d bytes]", m.TypeName, printable(m.File.Name), m.File.Size)
		if m.File.Caption != "" {
			what += " " + printable(m.File.Caption)
		}
		return what
	case m.TypeName == eventlog.Unknown:
		return fmt.Sprintf("[type %d, %d bytes]", m.Type, len(m.Payload))
	case len(m.Payload) > 0:
		return fmt.Sprintf("[%s, %d bytes]", m.TypeName, len(m.Payload))
	}
	return ""
}

// printable keeps text of others from controlling the terminal: control
// characters and marks that turn the text around become spaces.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, s)
}
