// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
)

func newTrace(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "trace MESSAGE",
		Short: "Show what has become of a message",
		Long: "Shows the life of a message, given by its id (mimird send and mimird tail print it) or its guid: when it came or\n" +
			"was queued, when the contact or the mediator of the group had it or why not yet, and whether it is shown in Matrix.",
		Args: oneArg("MESSAGE"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			client, done, err := f.anyClient(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			lives, err := client.Trace(cmd.Context(), f.account, args[0])
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			return f.print(out, lives, func() {
				for _, life := range lives {
					printTrace(out, life)
				}
			})
		},
	}
}

func printTrace(out io.Writer, t control.Trace) {
	way := "from"
	if t.Message.Direction == "out" {
		way = "to"
	}
	fmt.Fprintf(out, "%s  %s %s  %s since %s\n", t.Message.ID, way, conversationName(t.Contact, t.Group), t.Message.State, moment(t.Message.Since))
	for _, step := range t.Steps {
		fmt.Fprintf(out, "  %s  %-18s %s\n", moment(step.Time), step.Kind, printable(step.Reason))
	}
	for _, consumer := range slices.Sorted(maps.Keys(t.Shown)) {
		state := "waits for it"
		if t.Shown[consumer] {
			state = "has it"
		}
		fmt.Fprintf(out, "  %s %s\n", consumer, state)
	}
	if t.Message.State != "pending" {
		return
	}
	if file := t.Message.File; file != nil && file.State == "uploading" {
		fmt.Fprintf(out, "  the file is being uploaded%s\n", afterFailure(*file))
		return
	}
	if t.Contact == nil {
		fmt.Fprintf(out, "  the mediator of the group does not have it; mimird status says why\n")
		return
	}
	switch {
	case t.Contact.Online:
		fmt.Fprintf(out, "  the contact is connected; no acknowledgment yet\n")
	case t.Contact.LastError != "" && t.Contact.NextAttempt.After(time.Now()):
		fmt.Fprintf(out, "  not reached: %s; next attempt %s\n", printable(t.Contact.LastError), moment(t.Contact.NextAttempt))
	case t.Contact.LastError != "":
		fmt.Fprintf(out, "  not reached: %s; trying now, or as soon as there is a network\n", printable(t.Contact.LastError))
	default:
		fmt.Fprintf(out, "  the contact is not connected\n")
	}
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05.000")
}
