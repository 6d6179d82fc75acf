// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/store"
)

func newCheck(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Read the whole store and look for damage",
		Long: "Reads every row of the store, the keys, the files of messages, and what others have put on this file server, also\n" +
			"while the node runs, and says what is damaged, missing or contradicts itself. It changes nothing. Exit code 3 when something was found.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			client, done, err := f.anyClient(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			health, err := client.Check(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			err = f.print(out, health, func() {
				for _, problem := range health.Problems {
					fmt.Fprintln(out, printable(problem))
				}
				if len(health.Problems) == 0 {
					fmt.Fprintln(out, "The store is sound.")
				}
			})
			if err == nil && len(health.Problems) > 0 {
				err = fmt.Errorf("%w: %d problems", store.ErrCorrupt, len(health.Problems))
			}
			return err
		},
	}
}
