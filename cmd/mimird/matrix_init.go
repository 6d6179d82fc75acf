// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	matrixconfig "github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/doctor"
	"github.com/mimird/mimird/config"
)

func newMatrixInit(f *flags) *cobra.Command {
	var o matrixconfig.InitOptions
	cmd := &cobra.Command{
		Use:   "init --homeserver URL --domain NAME",
		Short: "Set up the Matrix bridge in one step",
		Long: "Writes the section \"matrix\" of the configuration, the registration of the bridge and the one for\n" +
			"acting as users, and says what to paste into the homeserver's configuration. It never writes over anything.",
		Example: "  mimird matrix init --homeserver http://localhost:8008 --domain my.domain --admin @me:my.domain",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Homeserver == "" || o.Domain == "" {
				return errors.New("give --homeserver (such as http://localhost:8008) and --domain (what stands after the colon in user ids)")
			}
			return initMatrix(cmd.Context(), f, cmd.OutOrStdout(), o)
		},
	}
	cmd.Flags().StringVar(&o.Homeserver, "homeserver", "", "address of the homeserver, such as http://localhost:8008")
	cmd.Flags().StringVar(&o.Domain, "domain", "", "name of the homeserver: what stands after the colon in user ids")
	cmd.Flags().StringVar(&o.Admin, "admin", "", "your Matrix user id: who may use the identities of this node")
	cmd.Flags().StringVar(&o.Address, "address", "", "address at which the homeserver reaches the bridge (default http://localhost:29399)")
	cmd.Flags().StringVar(&o.Listen, "listen", "", "where the bridge listens, host:port (default 127.0.0.1 and the port of the address)")
	cmd.Flags().StringVarP(&f.config, "config-file", "c", "", "configuration file, the same as --config")
	return cmd
}

// matrixInitialised is what the command says with --json.
type matrixInitialised struct {
	matrixDone
	Paste []paste `json:"paste"`
}

type paste struct {
	Homeserver string `json:"homeserver"`
	Where      string `json:"where"`
	Text       string `json:"text"`
}

// initMatrix checks everything first and writes last, the configuration at the end:
// a user who is interrupted can repeat it after removing what was written.
func initMatrix(ctx context.Context, f *flags, out io.Writer, o matrixconfig.InitOptions) error {
	if _, err := matrixconfig.InitSection(o); err != nil { // before the homeserver is asked
		return configError{err}
	}
	login, asked := doctor.HasLogin(ctx, o.Homeserver)
	o.MSC4190 = asked == nil && !login
	section, err := matrixconfig.InitSection(o)
	if err != nil {
		return configError{err}
	}
	old, err := os.ReadFile(f.configPath())
	if errors.Is(err, fs.ErrNotExist) {
		old, err = config.Example(), nil
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	raw, err := withSection(f, old, section)
	if err != nil {
		return err
	}
	if raw, _, err = matrixconfig.GenerateSecrets(raw, matrixName); err != nil {
		return configError{err}
	}
	c, err := config.Parse(raw)
	if err != nil {
		return configError{fmt.Errorf("%s with a section %s would be wrong; nothing was changed: %w", f.configPath(), matrixName, err)}
	}
	parsed, err := bridgeConfig(c)
	if err != nil {
		return configError{err}
	}
	files, err := parsed.Registrations()
	if err != nil {
		return configError{err}
	}
	done := matrixInitialised{matrixDone: matrixDone{Config: f.configPath(), Role: c.Has(config.RoleMatrix)}}
	var absolute []string
	for _, file := range files {
		path := filepath.Join(filepath.Dir(f.configPath()), file.Name)
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s exists already; nothing was changed: move it away, or renew it with: mimird matrix -g", path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look for an old registration: %w", err)
		}
		whole, err := filepath.Abs(path)
		if err != nil {
			return fmt.Errorf("name the registration: %w", err)
		}
		done.Registrations, absolute = append(done.Registrations, path), append(absolute, whole)
	}
	if err := prepareDir(f); err != nil {
		return err
	}
	for i, file := range files {
		if err := matrixconfig.WriteSecretFile(done.Registrations[i], file.Content); err != nil {
			return err
		}
	}
	if err := matrixconfig.WriteSecretFile(f.configPath(), raw); err != nil {
		return err
	}
	for _, p := range matrixconfig.Pastes(o.Domain, absolute) {
		done.Paste = append(done.Paste, paste(p))
	}
	return f.print(out, done, func() {
		done.say(f, out, o, c)
		switch {
		case asked != nil:
			fmt.Fprintf(out, "The homeserver was not asked how it gives the bridge a device (%v); mimird matrix doctor tells when encryption needs a setting.\n", asked)
		case o.MSC4190:
			fmt.Fprintf(out, "The homeserver has no login for application services, so encryption.msc4190 is on.\n")
		}
	})
}

func (d matrixInitialised) say(f *flags, out io.Writer, o matrixconfig.InitOptions, c config.Config) {
	fmt.Fprintf(out, "Written: %s\n", d.Config)
	for _, path := range d.Registrations {
		fmt.Fprintf(out, "Written: %s\n", path)
	}
	fmt.Fprintf(out, "\nThe homeserver must be able to read the registration files. Paste this line for yours, and restart it:\n")
	for _, p := range d.Paste {
		fmt.Fprintf(out, "\n  %s, in %s:\n    %s\n", p.Homeserver, p.Where, p.Text)
	}
	fmt.Fprintf(out, "\nThen: mimird up, and: mimird matrix doctor\n")
	if o.Admin == "" {
		fmt.Fprintf(out, "Nobody may use the identities of this node from Matrix yet: add yourself as admin to bridge.permissions in %s\n", d.Config)
	}
	f.hintRole(out, c)
}

// withSection returns a configuration with the section of the bridge where it has
// none or an empty one.
func withSection(f *flags, raw, section []byte) ([]byte, error) {
	const empty = "\nmatrix: {}\n"
	if !bytes.Contains(raw, []byte(empty)) {
		if c, err := config.Parse(raw); err != nil {
			return nil, configError{err}
		} else if len(c.Matrix.Content) > 0 {
			return nil, fmt.Errorf("%s has a section %s already; nothing was changed: edit it, then: mimird matrix -g", f.configPath(), matrixName)
		}
		raw = append(bytes.Clone(raw), empty...)
	}
	raw = bytes.Replace(raw, []byte(empty), []byte("\nmatrix:\n"+indent(string(section))), 1)
	return bytes.Replace(raw, []byte("\nroles: [node]\n"), []byte("\nroles: [node, matrix]\n"), 1), nil
}
