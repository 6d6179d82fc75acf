// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

func newContactTrust(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "trust CONTACT NODE",
		Short: "Let a contact in from a new device",
		Long: "Lets a contact in from a device, given by its node key, that nothing else speaks for: no tracker names it. Ask the\n" +
			"contact before whether the device is theirs; mimird contact show lists those that are held or were refused.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] == "" || args[1] == "" {
				return fmt.Errorf("%s takes a CONTACT and a NODE%s", cmd.CommandPath(), seeHelp(cmd))
			}
			return nil
		},
		ValidArgsFunction: f.completeContact,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withContact(cmd, "%s may connect from there\n", func(api *client.Client) (control.Contact, error) {
				return api.TrustDevice(cmd.Context(), f.account, args[0], args[1])
			})
		},
	}
}
