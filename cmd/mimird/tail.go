// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
)

func newTail(f *flags) *cobra.Command {
	var all bool
	var after int64
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Follow what happens",
		Long: "Prints what happens in an account as it happens: messages, deliveries, contacts. A line about a message\n" +
			"has its id, which reply, react, cancel, trace and file get take. With --json one event per line, each with a\n" +
			"sequence number from which --after goes on; docs/events.md lists what there is. Ends with an interrupt or\n" +
			"terminate signal, then with exit code 0, or when the node stops, with exit code 1.",
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
	_, err := fmt.Fprintln(out, eventLine(e))
	return err
}
