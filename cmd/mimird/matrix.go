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
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
	oldyaml "gopkg.in/yaml.v3"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/search"
	"github.com/mimird/mimird/bridge"
	matrixconfig "github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/config"
)

// matrixName is the bridge's name among the parts of the node, and its section in
// the configuration.
const matrixName = "matrix"

func newMatrix(f *flags) *cobra.Command {
	var example, generate, keep, showVersion bool
	var registration string
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Set up the Matrix bridge",
		Long: "Sets up the bridge that shows your conversations in Matrix. The short way:\n\n" +
			"  mimird matrix init --homeserver URL --domain NAME --admin @you:NAME\n" +
			"  mimird up\n" +
			"  mimird matrix doctor\n\n" +
			"Or step by step, with the flags every mautrix bridge has:\n\n" +
			"  1. mimird matrix -e    writes the section \"matrix\" into the configuration\n" +
			"  2. edit homeserver, domain and permissions there\n" +
			"  3. mimird matrix -g    creates the tokens and the registration file\n" +
			"  4. give the registration file to the homeserver, and start it again\n" +
			"  5. mimird up",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case showVersion:
				return printVersion(f, cmd.OutOrStdout())
			case example == generate:
				return errors.New("give one of -e (write the example section) and -g (make tokens and registration); see: mimird matrix --help")
			case example && keep:
				return errors.New("give one of -e and -n: with -n the configuration is not written; see: mimird matrix --help")
			case example:
				return writeExample(f, cmd.OutOrStdout())
			default:
				return generateRegistration(f, cmd.OutOrStdout(), registration, keep)
			}
		},
	}
	cmd.Flags().BoolVarP(&example, "example", "e", false, "write the example section into the configuration")
	cmd.Flags().BoolVarP(&generate, "generate-registration", "g", false, "create the tokens and the registration file")
	cmd.Flags().StringVarP(&f.config, "config-file", "c", "", "configuration file, the same as --config")
	cmd.Flags().StringVarP(&registration, "registration", "r", "", "registration file (default: registration.yaml beside the configuration)")
	cmd.Flags().BoolVarP(&keep, "no-update", "n", false, "do not write the configuration: with -g, the tokens must be there")
	cmd.Flags().BoolVarP(&showVersion, "version", "v", false, "print the version")
	cmd.AddCommand(newMatrixInit(f), newMatrixDoctor(f), newMatrixToPostgres(f))
	return cmd
}

// matrixPart makes the bridge of a configuration, and what asks it for its status.
func matrixPart(f *flags, c config.Config, index *search.Service) (node.Part, func(context.Context) (any, error), error) {
	section, err := bridgeConfig(c)
	if err != nil {
		return node.Part{}, nil, err
	}
	opts := bridge.Options{Config: section, Version: version().String(), Dir: f.dir, Registrations: filepath.Dir(f.configPath())}
	if index != nil {
		opts.Search = index
	}
	make, err := bridge.New(opts)
	if err != nil {
		return node.Part{}, nil, err
	}
	var running *node.Node
	part := node.Part{Name: matrixName, New: func(n *node.Node) kernel.Actor {
		running = n // before the control API, which asks it, is started
		return make(n)
	}}
	ask := func(ctx context.Context) (any, error) {
		ref, err := running.Part(ctx, matrixName)
		if err != nil {
			return nil, err
		}
		return kernel.Ask[bridge.Status](ctx, ref, bridge.StatusRequest{})
	}
	return part, ask, nil
}

// bridgeConfig reads the section of the bridge.
func bridgeConfig(c config.Config) (*matrixconfig.Config, error) {
	if len(c.Matrix.Content) == 0 {
		return nil, fmt.Errorf("there is the role %s and no section %s; make it with: mimird matrix -e", config.RoleMatrix, matrixName)
	}
	err := config.UnknownKeys(&c.Matrix, reflect.TypeFor[matrixconfig.Config](), matrixName+".")
	var parsed *matrixconfig.Config
	if err == nil {
		parsed, err = matrixconfig.Decode(make(nodes).of(&c.Matrix))
	}
	if wrong := new(oldyaml.TypeError); errors.As(err, &wrong) {
		err = config.Readable(wrong.Errors)
	}
	if err != nil {
		return nil, fmt.Errorf("section %s is wrong:\n%w", matrixName, err)
	}
	return parsed, nil
}

// nodes converts nodes to those of the YAML library of mautrix, an older one by the same
// authors. One that several aliases stand for stays one node.
type nodes map[*yaml.Node]*oldyaml.Node

func (known nodes) of(n *yaml.Node) *oldyaml.Node {
	if n == nil {
		return nil
	}
	if out, ok := known[n]; ok {
		return out
	}
	out := &oldyaml.Node{
		Kind: oldyaml.Kind(n.Kind), Style: oldyaml.Style(n.Style), Tag: n.Tag, Value: n.Value, Anchor: n.Anchor, Line: n.Line, Column: n.Column,
	}
	known[n] = out
	out.Alias = known.of(n.Alias)
	for _, child := range n.Content {
		out.Content = append(out.Content, known.of(child))
	}
	return out
}

// matrixDone is what the command says with --json.
type matrixDone struct {
	Config        string   `json:"config"`
	Registrations []string `json:"registrations,omitempty"`
	// Role says whether the configuration has the role already.
	Role bool `json:"role"`
}

// writeExample puts the commented section where the configuration has an empty
// one.
func writeExample(f *flags, out io.Writer) error {
	if err := prepareDir(f); err != nil {
		return err
	}
	raw, err := os.ReadFile(f.configPath())
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if raw, err = withSection(f, raw, matrixconfig.Example()); err != nil {
		return err
	}
	c, err := config.Parse(raw)
	if err != nil { // such as an empty section written in another way
		return configError{fmt.Errorf("%s with a section %s would be wrong; nothing was changed: %w", f.configPath(), matrixName, err)}
	}
	if err := matrixconfig.WriteSecretFile(f.configPath(), raw); err != nil {
		return err
	}
	return f.print(out, matrixDone{Config: f.configPath(), Role: c.Has(config.RoleMatrix)}, func() {
		fmt.Fprintf(out, "The section %q is in %s now. Edit homeserver and permissions there, then: mimird matrix -g\n", matrixName, f.configPath())
		f.hintRole(out, c)
	})
}

// hintRole says what is missing before the bridge is started.
func (f *flags) hintRole(out io.Writer, c config.Config) {
	if !c.Has(config.RoleMatrix) {
		roles := slices.Clone(c.Roles)
		if !c.Has(config.RoleNode) { // which the bridge needs
			roles = slices.Insert(roles, 0, config.RoleNode)
		}
		fmt.Fprintf(out, "Add the role: roles: %s in %s\n", yamlList(append(roles, config.RoleMatrix)), f.configPath())
	}
}

// yamlList writes roles as the configuration has them.
func yamlList(roles []config.Role) string {
	var names []string
	for _, r := range roles {
		names = append(names, string(r))
	}
	return "[" + strings.Join(names, ", ") + "]"
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	return b.String()
}

// generateRegistration fills in missing tokens and writes what the homeserver has
// to be given.
func generateRegistration(f *flags, out io.Writer, path string, keep bool) error {
	raw, err := os.ReadFile(f.configPath())
	if errors.Is(err, fs.ErrNotExist) {
		return configError{fmt.Errorf("there is no configuration %s; make it with: mimird matrix -e", f.configPath())}
	}
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	c, err := config.Parse(raw)
	if err != nil {
		return configError{err}
	}
	if len(c.Matrix.Content) == 0 {
		return configError{fmt.Errorf("%s has no section %s; make it with: mimird matrix -e", f.configPath(), matrixName)}
	}
	filled, changed, err := matrixconfig.GenerateSecrets(raw, matrixName)
	if err != nil {
		return configError{err}
	}
	if c, err = config.ParseWith(filled, os.Environ()); err != nil {
		return configError{err}
	}
	section, err := bridgeConfig(c)
	if err != nil {
		return configError{err}
	}
	if err := section.CheckFilledIn(); err != nil {
		return configError{fmt.Errorf("%s: %w", f.configPath(), err)}
	}
	if changed && keep {
		return configError{fmt.Errorf("%s has no tokens yet; leave out -n to create them", f.configPath())}
	}
	files, err := section.Registrations()
	if err != nil {
		return configError{err}
	}
	done := matrixDone{Config: f.configPath(), Role: c.Has(config.RoleMatrix)}
	for i, file := range files {
		target := filepath.Join(filepath.Dir(f.configPath()), file.Name)
		if i == 0 && path != "" {
			target = path
		}
		if err := mayReplace(target, file.Content); err != nil {
			return err
		}
		done.Registrations = append(done.Registrations, target)
	}
	if changed {
		if err := matrixconfig.WriteSecretFile(f.configPath(), filled); err != nil {
			return err
		}
	}
	for i, file := range files {
		if err := matrixconfig.WriteSecretFile(done.Registrations[i], file.Content); err != nil {
			return err
		}
	}
	return f.print(out, done, func() {
		for _, target := range done.Registrations {
			fmt.Fprintf(out, "%s: give this to the homeserver as an application service, and start it again\n", target)
		}
		f.hintRole(out, c)
	})
}

// mayReplace refuses to write a registration over anything but an older one of
// the same bridge.
func mayReplace(path string, content []byte) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the old registration: %w", err)
	}
	var old []byte
	if info.Mode().IsRegular() {
		if old, err = os.ReadFile(path); err != nil {
			return fmt.Errorf("look at the old registration: %w", err)
		}
	}
	if id := registrationID(old); id == "" || id != registrationID(content) {
		return fmt.Errorf("%s is not a registration of this bridge; nothing was changed: move it away, or choose another file with -r", path)
	}
	return nil
}

// registrationID returns the id of a registration, "" for any other file.
func registrationID(content []byte) string {
	var r struct {
		ID    string `yaml:"id"`
		Token string `yaml:"as_token"`
	}
	if yaml.Unmarshal(content, &r) != nil || r.Token == "" {
		return ""
	}
	return r.ID
}
