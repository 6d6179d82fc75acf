// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/doctor"
	"github.com/mimird/mimird/config"
)

func newMatrixDoctor(f *flags) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Test whether the homeserver and the bridge reach each other",
		Long: "Tests the Matrix bridge in both directions, with mimird running or not, and says for everything that is\n" +
			"wrong what to do. It fails when something is wrong; warnings do not count.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return examineMatrix(cmd, f, wait) },
	}
	cmd.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long the homeserver may take to come to the bridge")
	cmd.Flags().StringVarP(&f.config, "config-file", "c", "", "configuration file, the same as --config")
	return cmd
}

// diagnosis is what the command says with --json.
type diagnosis struct {
	Fine   bool           `json:"fine"`
	Checks []doctor.Check `json:"checks"`
}

var errNotWell = errors.New("the bridge cannot work like this")

func examineMatrix(cmd *cobra.Command, f *flags, wait time.Duration) error {
	out := cmd.OutOrStdout()
	if wait <= 0 {
		return errors.New("--wait: want a duration such as 30s")
	}
	report := func(check doctor.Check) {
		if !f.json {
			printCheck(out, check)
		}
	}
	checks, err := diagnose(cmd, f, wait, report)
	if err != nil {
		return err
	}
	bad := 0
	for _, check := range checks {
		if check.Result == doctor.Failed {
			bad++
		}
	}
	if err := f.print(out, diagnosis{Fine: bad == 0, Checks: checks}, func() {}); err != nil {
		return err
	}
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%w: %d of %d checks failed; do what stands behind the arrows", errNotWell, bad, len(checks))
	}
	return nil
}

// diagnose runs the checks, of which the configuration itself is
// one.
func diagnose(cmd *cobra.Command, f *flags, wait time.Duration, report func(doctor.Check)) ([]doctor.Check, error) {
	c, err := f.load()
	if err != nil {
		return nil, err
	}
	return f.diagnoseBridge(cmd.Context(), c, wait, report)
}

// diagnoseBridge runs the checks of the bridge with a configuration.
func (f *flags) diagnoseBridge(ctx context.Context, c config.Config, wait time.Duration, report func(doctor.Check)) ([]doctor.Check, error) {
	if len(c.Matrix.Content) == 0 {
		return nil, configError{fmt.Errorf("there is no section %s in %s; make it with: mimird matrix init", matrixName, f.configPath())}
	}
	section, err := bridgeConfig(c)
	if err != nil {
		return nil, configError{err}
	}
	return doctor.Diagnose(ctx, doctor.Options{
		Config: section, Dir: filepath.Dir(f.configPath()), Wait: wait, Report: report,
		Node: func(ctx context.Context) doctor.NodeState { return nodeState(ctx, f, c) },
	}), nil
}

// nodeState asks the node of the configuration for its bridge, if it runs.
func nodeState(ctx context.Context, f *flags, c config.Config) doctor.NodeState {
	state := doctor.NodeState{Role: c.Has(config.RoleMatrix)}
	api := client.New(f.socket(c))
	defer api.Close()
	status, err := api.Status(ctx)
	if err != nil {
		state.Runs = !errors.Is(err, client.ErrNotRunning)
		state.Error = err.Error()
		return state
	}
	state.Runs = true
	part, has := status.Parts[matrixName]
	if !has {
		return state
	}
	var failure struct {
		Error string `json:"error"`
		State string `json:"state"`
	}
	if err := json.Unmarshal(part, &failure); err != nil || failure.State == "" {
		state.Error = failure.Error
		if state.Error == "" {
			state.Error = "its status cannot be read"
		}
		return state
	}
	state.Status = new(bridge.Status)
	if err := json.Unmarshal(part, state.Status); err != nil {
		state.Status, state.Error = nil, err.Error()
	}
	return state
}

// printCheck prints a check as one line, with what to do behind an arrow.
func printCheck(out io.Writer, check doctor.Check) {
	remedy := ""
	if check.Remedy != "" {
		remedy = " -> " + check.Remedy
	}
	fmt.Fprintf(out, "%-8s %-14s %s%s\n", check.Result, check.Name, check.Found, remedy)
}
