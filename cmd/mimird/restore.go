// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/backup"
	"github.com/mimird/mimird/actors/durable"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
)

func newRestore(f *flags) *cobra.Command {
	var secret passphrase
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Restore a data directory from a backup",
		Long: "Creates the data directory, which must not exist yet, from a backup, and checks it. - reads from standard input.\n\n" +
			"What comes back is the same node with the same keys. If the original still runs somewhere, stop it first: two\n" +
			"nodes with one key take messages and connections from each other.",
		Args: oneArg("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return restore(cmd, f, args[0], &secret)
		},
	}
	secret.flag(cmd)
	return cmd
}

func restore(cmd *cobra.Command, f *flags, path string, secret *passphrase) (err error) {
	if entries, err := os.ReadDir(f.dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is there already; give a new directory with --data", f.dir)
	}
	in := cmd.InOrStdin()
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("read backup: %w", err)
		}
		defer func() { _ = file.Close() }() // only read
		in = file
	}
	plain, err := backup.Decrypt(in, func() (string, error) {
		err := secret.ask(cmd, "Passphrase of the backup", false)
		return secret.text, err
	})
	if err != nil {
		return err
	}
	// Beside its final name, so that it is there whole or not at all.
	parent := filepath.Dir(filepath.Clean(f.dir))
	if err := durable.MkdirAll(parent); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	dir, err := os.MkdirTemp(parent, ".mimird-restore-")
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	about, err := backup.Read(plain, dir)
	if err != nil {
		return err
	}
	if err := checkRestored(dir); err != nil {
		return err
	}
	if err := durable.Replace(filepath.Join(dir, node.RestoredFile), []byte("from a backup\n")); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := os.Remove(f.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("restore: %w", err) // it was empty
	}
	if err := os.Rename(dir, f.dir); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := durable.SyncParent(f.dir); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	out := cmd.OutOrStdout()
	return f.print(out, about, func() { printRestored(out, f.dir, about) })
}

// checkRestored opens the store of a restored directory and reads all of it.
func checkRestored(dir string) error {
	opts := store.Options{Dir: filepath.Join(dir, storeDir)}
	s, err := store.OpenReadOnly(opts)
	if errors.Is(err, store.ErrOlderSchema) {
		s, err = store.Open(opts) // which upgrades it; the directory is ours
	}
	if err != nil {
		return err
	}
	problems, err := s.Check()
	if err == nil && len(problems) > 0 {
		err = fmt.Errorf("%w: %s", store.ErrCorrupt, problems[0])
	}
	return errors.Join(err, s.Close())
}

func printRestored(out io.Writer, dir string, about backup.About) {
	fmt.Fprintf(out, "%s is the node of %s again: %d files, all as they were backed up, and the store is sound.\n",
		dir, about.Created.Local().Format("2 January 2006, 15:04"), len(about.Files))
	for _, link := range about.Accounts {
		fmt.Fprintf(out, "  %s\n", printable(link))
	}
	printLeft(out, about.Left)
	fmt.Fprintf(out, "If the original still runs, stop it before you start this one: both have the same keys.\n")
}
