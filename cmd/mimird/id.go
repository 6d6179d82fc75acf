// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
)

const (
	// storeDir is where node.Open keeps the store below the data directory.
	storeDir = "store"
	// startTime is how long a node that is starting is waited for.
	startTime = 5 * time.Second
)

func newID(f *flags) *cobra.Command {
	var noQR bool
	cmd := &cobra.Command{
		Use:   "id",
		Short: "Show your link and QR code",
		Long:  "Shows the link of every account of this node, or of the one that --account names, and its QR code. It works whether the node runs or not.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			accounts, err := listAccounts(cmd.Context(), f)
			if err != nil {
				return err
			}
			if len(accounts) == 0 {
				return fmt.Errorf("there is no account in %s; create one with: mimird up", f.dir)
			}
			if f.account != "-" {
				if accounts, err = oneAccount(accounts, f.account); err != nil {
					return err
				}
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

// oneAccount returns the account with a key or a name.
func oneAccount(accounts []control.Account, who string) ([]control.Account, error) {
	found := slices.DeleteFunc(slices.Clone(accounts), func(a control.Account) bool { return a.ID != who && a.Name != who })
	if len(found) != 1 {
		return nil, fmt.Errorf("there is no single account %s on this node; mimird account list shows names and keys", printable(clip(who)))
	}
	return found, nil
}

// listAccounts asks the running node, or reads the data directory when none
// runs.
func listAccounts(ctx context.Context, f *flags) ([]control.Account, error) {
	api, err := f.client()
	if err != nil {
		return nil, err
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var inUse error
	for {
		accounts, err := api.Accounts(ctx)
		if inUse != nil && errors.Is(err, context.DeadlineExceeded) {
			return nil, inUse
		}
		if !errors.Is(err, client.ErrNotRunning) {
			return accounts, err
		}
		if _, err := os.Stat(filepath.Join(f.dir, storeDir)); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		accounts, err = readAccounts(f)
		if !errors.Is(err, store.ErrInUse) {
			return accounts, err
		}
		inUse = err
		// A node that is starting has the store already and no socket yet.
		select {
		case <-ctx.Done():
			return nil, inUse
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func readAccounts(f *flags) (found []control.Account, err error) {
	node, err := node.OpenReadOnly(node.Options{Dir: f.dir})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	accounts, err := node.Accounts()
	for _, a := range accounts {
		found = append(found, control.Account{
			ID: a.ID.String(), Name: a.Name, Link: node.Link(a).String(), Role: a.Role.String(),
			Strangers: a.Strangers.String(), Created: a.Created.Time(),
		})
	}
	return found, err
}
