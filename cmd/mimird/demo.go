// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/test/demo"
)

func newDemo(f *flags) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a whole Mimir world on this machine",
		Long: "Starts, on loopback and in a temporary directory, a Yggdrasil relay, a tracker, two nodes, a Matrix homeserver\n" +
			"and the bridge, and tells what happens between them. The first time it compiles the homeserver, which takes\n" +
			"some minutes and needs the go command.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			program, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			story := cmd.OutOrStdout()
			if f.json {
				story = io.Discard
			}
			told, err := demo.Run(cmd.Context(), demo.Options{Program: program, Out: story, Keep: keep})
			if f.json {
				_ = f.print(cmd.OutOrStdout(), told, nil) // the outcome of the demo counts
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave everything running at the end")
	return cmd
}
