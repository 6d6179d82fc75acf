// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/node"
	matrixconfig "github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/postgres"
)

// maxURI bounds an address that is read from standard input.
const maxURI = 4096

func newMatrixToPostgres(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "to-postgres URI",
		Short: "Copy the bridge's tables from its file to PostgreSQL",
		Long: "Copies everything that the bridge knows from the file matrix.db into a new, empty database of PostgreSQL, such as\n" +
			"postgres://mimird:PASSWORD@localhost/mimird. mimird must not run. - reads the address from standard input, so that\n" +
			"no other user of this machine sees the password. The file stays as it is; after an error the command may be repeated.\n\n" +
			"Then change the section \"matrix\" of the configuration as the command says, and start mimird.",
		Args: oneArg("URI"),
		RunE: func(cmd *cobra.Command, args []string) error { return toPostgres(cmd, f, args[0]) },
	}
	cmd.Flags().StringVarP(&f.config, "config-file", "c", "", "configuration file, the same as --config")
	return cmd
}

// copiedTables is what the command says with --json.
type copiedTables struct {
	Rows   int64            `json:"rows"`
	Tables []postgres.Table `json:"tables"`
}

func toPostgres(cmd *cobra.Command, f *flags, uri string) (err error) {
	if uri, err = readURI(cmd, uri); err != nil {
		return err
	}
	c, err := f.load()
	if err != nil {
		return err
	}
	section, err := bridgeConfig(c)
	if err != nil {
		return configError{err}
	}
	target, err := section.InPostgres(uri)
	if err != nil {
		return configError{fmt.Errorf("nothing to copy: %w", err)}
	}
	if !section.HasDatabase(f.dir) {
		return fmt.Errorf("the bridge has no tables in %s yet; change the configuration, and start mimird", f.dir)
	}
	// It keeps mimird from starting meanwhile.
	opts, err := nodeOptions(f, c, newLogger(io.Discard, c.Log))
	if err != nil {
		return err
	}
	stopped, err := node.OpenReadOnly(opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopped.Close()) }()
	done, err := copyToPostgres(cmd.Context(), f.dir, section, target)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	return f.print(out, done, func() {
		fmt.Fprintf(out, "Copied %d rows of %d tables. Now change the section \"matrix\" of %s:\n\n", done.Rows, len(done.Tables), f.configPath())
		fmt.Fprintf(out, "  database:\n    type: postgres\n    uri: %s\n\n", withoutPassword(uri))
		fmt.Fprintln(out, "and start mimird. The file stays as it is; remove it when everything works.")
	})
}

// readURI returns the address of the database.
func readURI(cmd *cobra.Command, uri string) (string, error) {
	if uri == "-" {
		data, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxURI)) //nolint:forbidigo // through a limit
		if err != nil {
			return "", fmt.Errorf("read the address: %w", err)
		}
		uri = strings.TrimSpace(string(data))
	}
	if parsed, err := url.Parse(uri); err != nil || parsed.Scheme != "postgres" && parsed.Scheme != "postgresql" || parsed.Host == "" && parsed.RawQuery == "" {
		return "", errors.New("want an address such as postgres://mimird:PASSWORD@localhost/mimird")
	}
	return uri, nil
}

// withoutPassword returns an address to be shown.
func withoutPassword(uri string) string {
	parsed, err := url.Parse(uri)
	if err != nil {
		return "postgres://…"
	}
	if _, has := parsed.User.Password(); has {
		parsed.User = url.UserPassword(parsed.User.Username(), "PASSWORD")
	}
	return parsed.String()
}

func copyToPostgres(ctx context.Context, dir string, section, target *matrixconfig.Config) (done copiedTables, err error) {
	from, err := section.OpenDatabase(ctx, dir, zerolog.Nop())
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := target.OpenDatabase(ctx, dir, zerolog.Nop())
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if done.Tables, err = postgres.Copy(ctx, from, to); err != nil {
		return done, err
	}
	for _, table := range done.Tables {
		done.Rows += table.Rows
	}
	return done, nil
}
