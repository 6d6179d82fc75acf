// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newDemo(_ *flags) *cobra.Command {
	return &cobra.Command{Use: "demo", RunE: func(*cobra.Command, []string) error { return errors.New("later") }}
}
