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

// describe says in one line what happened.
func describe(e control.Event) string {
	who := printable(e.Name)
	text := ""
	if e.Message != nil {
		text = printable(e.Message.Text)
		if e.Message.Type != 0 {
			text = fmt.Sprintf("[type %d, %d bytes]", e.Message.Type, len(e.Message.Payload))
		}
	}
	switch e.Kind {
	case "message_received":
		return who + ": " + text
	case "message_queued":
		return "to " + who + ": " + text
	case "message_delivered":
		return who + " has: " + text
	case "message_failed":
		return "not delivered to " + who + " (" + printable(e.Reason) + "): " + text
	case "call_missed":
		return who + " has called"
	case "contact_answered":
		if e.Accepted != nil && *e.Accepted {
			return who + " has said yes to your request"
		}
		return who + " has declined your request"
	case "announced_elsewhere":
		return "trackers lead to node " + e.Node + ", with your signature; see: mimird status"
	case "node_key_changed":
		if e.Reason != "" {
			return who + " is connected from a new device, which nothing but their key speaks for, node " + e.Node
		}
		return who + " is connected from a new device, node " + e.Node
	case "handshake_relayed":
		return "node " + e.Node + " tries to be in the middle of a conversation; see: mimird status"
	case "device_refused":
		return "somebody connected as " + who + " from a device that nothing speaks for, and was turned away, node " + e.Node
	}
	what := strings.ReplaceAll(e.Kind, "_", " ")
	if who != "" {
		what += ": " + who
	}
	return what
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
