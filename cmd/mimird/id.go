// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/proto/identity"
)

func newID(f *flags) *cobra.Command {
	var noQR bool
	cmd := &cobra.Command{
		Use:   "id",
		Short: "Show your link and QR code",
		Long:  "Shows the link of every account of this node, and its QR code. It works whether the node runs or not.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			accounts, err := listAccounts(cmd.Context(), f)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			return f.print(out, accounts, func() {
				for _, a := range accounts {
					fmt.Fprintf(out, "account %q\n  key         %s\n", a.Name, a.ID)
					printLink(out, a.Link, !noQR)
				}
			})
		},
	}
	cmd.Flags().BoolVar(&noQR, "no-qr", false, "print the links without the QR codes")
	return cmd
}

// listAccounts asks the running node, or looks into the data directory when none
// runs.
func listAccounts(ctx context.Context, f *flags) ([]control.Account, error) {
	client, err := f.client()
	if err != nil {
		return nil, err
	}
	defer client.Close()
	accounts, err := client.Accounts(ctx)
	if !errors.Is(err, control.ErrNotRunning) {
		return accounts, err
	}
	if _, err := os.Stat(f.dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no data in %s yet: %w", f.dir, control.ErrNotRunning)
	}
	return readAccounts(f)
}

func readAccounts(f *flags) (found []control.Account, err error) {
	node, err := actors.Open(actors.Options{Dir: f.dir, OpenNetwork: func(identity.NodePrivateKey) (actors.Network, error) {
		return nil, actors.ErrNotRunning // nothing is started here
	}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	accounts, err := node.Accounts()
	for _, a := range accounts {
		found = append(found, control.Account{
			ID: a.ID.String(), Name: a.Name, Link: node.Link(a).String(), Strangers: a.Strangers.String(), Created: a.Created.Time(),
		})
	}
	return found, err
}
