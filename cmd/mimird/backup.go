// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/backup"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/durable"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/config"
)

func newBackup(f *flags) *cobra.Command {
	var secret passphrase
	var plain bool
	var request control.BackupRequest
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write everything into one encrypted file",
		Long: "Writes keys, messages, files, the bridge's tables and the configuration into one file, also while the node runs. The\n" +
			"file is encrypted with a passphrase: anyone who can read it can act as you. - writes to standard output. Any tool for age\n" +
			"(https://age-encryption.org) and zstd opens it too; to get it back: mimird restore FILE --data NEW-DIRECTORY\n\n" +
			"The running node makes backups by itself when backup.target in the configuration says where to; see docs/backups.md.",
		Args: oneArg("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !plain {
				if err := secret.ask(cmd, "Passphrase for the backup", true); err != nil {
					return err
				}
			}
			return makeBackup(cmd, f, args[0], secret.text, request)
		},
	}
	secret.flag(cmd)
	cmd.Flags().BoolVar(&plain, "plain", false, "do not encrypt: the file has your secret keys as they are")
	cmd.Flags().BoolVar(&request.WithoutHosted, "without-hosted", false, "leave out the uploads on this file server")
	cmd.MarkFlagsMutuallyExclusive("plain", passphraseFlag)
	return cmd
}

// made is what backup prints when it is done.
type made struct {
	File      string   `json:"file"`
	Bytes     int64    `json:"bytes"`
	Encrypted bool     `json:"encrypted"`
	Left      []string `json:"left_out,omitempty"`
}

func makeBackup(cmd *cobra.Command, f *flags, path, secret string, request control.BackupRequest) (err error) {
	api, done, err := f.anyClient(cmd.Context())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	var left []string
	write := func(out io.Writer) error {
		return encrypted(out, secret, func(w io.Writer) (err error) {
			left, err = api.Backup(cmd.Context(), w, request)
			return err
		})
	}
	if path == "-" {
		if err := write(cmd.OutOrStdout()); err != nil {
			return err
		}
		printLeft(cmd.ErrOrStderr(), left)
		return nil
	}
	n, err := writeNew(path, write)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	return f.print(out, made{path, n, secret != "", left}, func() {
		printLeft(out, left)
		fmt.Fprintf(out, "%s: %d bytes. Try once whether it works: mimird restore %s --data some-other-directory\n", path, n, path)
	})
}

// printLeft says what a backup lacks.
func printLeft(out io.Writer, left []string) {
	for _, l := range left {
		fmt.Fprintf(out, "Not in the backup: %s\n", printable(l))
	}
}

// encrypted calls write with w, or with an encryption to w when there is a secret.
func encrypted(w io.Writer, secret string, write func(io.Writer) error) error {
	if secret == "" {
		return write(w)
	}
	sealed, err := backup.Encrypt(w, secret)
	if err != nil {
		return err
	}
	if err := write(sealed); err != nil {
		return err // not closed: what was written is not a backup
	}
	return sealed.Close()
}

// writeNew creates a private file that is complete and synced, or not
// there. It never overwrites a file.
func writeNew(path string, write func(io.Writer) error) (size int64, err error) {
	err = durable.Create(path, func(w io.Writer) error {
		counter := &countingWriter{Writer: w}
		defer func() { size = counter.n }()
		return write(counter)
	})
	if errors.Is(err, fs.ErrExist) {
		return 0, fmt.Errorf("%s is there already; choose another name", path)
	}
	return size, err
}

// countingWriter counts what is written.
type countingWriter struct {
	io.Writer
	n int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.n += int64(n)
	return n, err
}

// backupOf returns what writes a backup of a node that has a configuration.
func backupOf(f *flags, c config.Config) func(context.Context, *node.Node, io.Writer, control.BackupRequest) ([]string, error) {
	return func(ctx context.Context, n *node.Node, w io.Writer, request control.BackupRequest) ([]string, error) {
		return writeBackup(ctx, f, c, n, w, request, func(string) error { return nil })
	}
}

// writeBackup writes a backup of a node that has a configuration. When check refuses the
// directory that was written, the backup fails.
func writeBackup(ctx context.Context, f *flags, c config.Config, n *node.Node, w io.Writer, request control.BackupRequest, check func(dir string) error) (left []string, err error) {
	snapshot, err := n.Snapshot(node.SnapshotOptions{WithoutHosted: request.WithoutHosted})
	if err != nil {
		return nil, err
	}
	dir := snapshot.Dir
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	about := backup.About{
		Created: time.Now().UTC().Truncate(time.Second), Version: version().String(), Node: n.Key().String(), Left: snapshot.Left,
	}
	accounts, err := n.Accounts()
	if err != nil {
		return nil, err
	}
	for _, a := range accounts {
		about.Accounts = append(about.Accounts, n.Link(a).String())
	}
	raw, err := os.ReadFile(f.configPath())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, config.FileName), raw, 0o600)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("back up configuration: %w", err)
	}
	if c.Has(config.RoleMatrix) {
		section, err := bridgeConfig(c)
		if err == nil {
			err = section.CopyDatabase(ctx, f.dir, dir)
		}
		if errors.Is(err, matrixconfig.ErrNotAFile) {
			about.Left, err = append(about.Left, err.Error()), nil
		}
		if err != nil {
			return nil, err
		}
	}
	if about, err = backup.Write(w, dir, about); err != nil {
		return nil, err
	}
	return about.Left, check(dir)
}

// anyClient returns a client of the running node; when none runs, of the node in
// the data directory, opened for reading. The caller calls done.
func (f *flags) anyClient(ctx context.Context) (api *client.Client, done func() error, err error) {
	c, err := f.load()
	if err != nil {
		return nil, nil, err
	}
	api = client.New(f.socket(c))
	_, err = api.Accounts(ctx)
	if !errors.Is(err, client.ErrNotRunning) {
		return api, func() error { api.Close(); return nil }, err
	}
	if _, err := os.Stat(filepath.Join(f.dir, storeDir)); err != nil {
		return nil, nil, fmt.Errorf("there is no node in %s; give its directory with --data", f.dir)
	}
	opts, err := nodeOptions(f, c, newLogger(io.Discard, c.Log))
	if err != nil {
		return nil, nil, err
	}
	node, err := node.OpenReadOnly(opts)
	if err != nil {
		return nil, nil, err
	}
	local := client.NewLocal(node, controlOptions(f, c))
	return &local.Client, func() error { return errors.Join(local.Close(), node.Close()) }, nil
}
