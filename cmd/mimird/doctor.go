// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/node"
	bridgedoctor "github.com/mimird/mimird/bridge/doctor"
	"github.com/mimird/mimird/cmd/internal/doctor"
	"github.com/mimird/mimird/config"
)

// peerTime is how long the address of a peer may take to answer.
const peerTime = 5 * time.Second

// examined is what the command prints with --json.
type examined struct {
	Fine   bool           `json:"fine"`
	Checks []doctor.Check `json:"checks"`
	Bundle string         `json:"bundle,omitempty"`
}

var errUnwell = errors.New("something is wrong")

func newDoctor(f *flags) *cobra.Command {
	var bundle string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at everything, and say what is wrong and what to do",
		Long: "Looks at the configuration, clock, disk, store, keys, Yggdrasil peers, trackers, file server, contacts and the\n" +
			"Matrix bridge, with the node running or not. For a moment it starts a second node, which looks for this one as\n" +
			"others do. It says what was seen, what it means and what to do. It fails when something is wrong; warnings do\n" +
			"not count.\n\n" +
			"With --bundle it writes what helps with a bug report into a file: the checks, the status, the configuration and\n" +
			"what the node does at this moment, without keys, tokens, passwords, names, addresses of peers and messages.\n" +
			"Look into it before you give it away.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return examine(cmd, f, bundle, wait) },
	}
	cmd.Flags().StringVar(&bundle, "bundle", "", "also write this `file`, a zip archive, for a bug report")
	cmd.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long the homeserver may take to come to the bridge")
	return cmd
}

func examine(cmd *cobra.Command, f *flags, bundle string, wait time.Duration) error {
	out := cmd.OutOrStdout()
	o, done := f.doctorOptions(wait)
	defer done()
	if !f.json {
		o.Report = func(c doctor.Check) { printFinding(out, c) }
	}
	checks := doctor.Diagnose(cmd.Context(), o)
	if err := cmd.Context().Err(); err != nil {
		return err
	}
	bad := 0
	for _, c := range checks {
		if c.Result == doctor.Failed {
			bad++
		}
	}
	if bundle != "" {
		if err := writeBundle(cmd.Context(), f, bundle, checks); err != nil {
			return err
		}
	}
	err := f.print(out, examined{Fine: bad == 0, Checks: checks, Bundle: bundle}, func() {
		if bundle != "" {
			fmt.Fprintf(out, "written %s; look into it before you give it away\n", printable(bundle))
		}
	})
	if err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%w: %d of %d checks failed; do what stands behind the arrows", errUnwell, bad, len(checks))
	}
	return nil
}

// printFinding prints a check: what was seen on one line, what it means and what to do
// below.
func printFinding(out io.Writer, c doctor.Check) {
	fmt.Fprintf(out, "%-8s %-15s %s\n", c.Result, printable(c.Name), printable(c.Found))
	if c.Means != "" {
		fmt.Fprintf(out, "%24s %s\n", "", printable(c.Means))
	}
	if c.Remedy != "" {
		fmt.Fprintf(out, "%24s -> %s\n", "", printable(c.Remedy))
	}
}

// doctorOptions says how the doctor looks at this machine. The caller calls done when the
// doctor has ended.
func (f *flags) doctorOptions(wait time.Duration) (o doctor.Options, done func()) {
	c, err := f.load()
	api := client.New(f.socket(c))
	return doctor.Options{
		Dir: f.dir, Config: c, ConfigErr: err,
		Status:   api.Status,
		Contacts: api.Contacts,
		Store:    func() ([]string, error) { return f.openStore(c) },
		Disk:     func() (doctor.Disk, error) { return diskOf(f.dir) },
		Clock:    readClock,
		DialPeer: dialPeer,
		Outside:  doctor.Look,
		Bridge:   func(ctx context.Context) []doctor.Check { return f.bridgeChecks(ctx, c, wait) },
	}, api.Close
}

// openStore opens the store of a node that does not run, and reads its keys.
func (f *flags) openStore(c config.Config) (lost []string, err error) {
	opts, err := nodeOptions(f, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	n, err := node.OpenReadOnly(opts)
	if err != nil {
		return nil, err
	}
	problems, err := n.KeyProblems()
	for _, p := range problems {
		lost = append(lost, p.String())
	}
	return lost, errors.Join(err, n.Close())
}

// dialPeer connects to the address of a peer. Of a peer over UDP only the name is looked
// up.
func dialPeer(ctx context.Context, uri string) error {
	u, err := url.Parse(uri)
	if err != nil {
		return errors.New("not a URI")
	}
	ctx, cancel := context.WithTimeout(ctx, peerTime)
	defer cancel()
	switch u.Scheme {
	case "quic":
		_, err = net.DefaultResolver.LookupHost(ctx, u.Hostname())
		return err
	case "unix":
		return dialAndClose(ctx, "unix", u.Path)
	}
	return dialAndClose(ctx, "tcp", u.Host)
}

func dialAndClose(ctx context.Context, network, address string) error {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// bridgeChecks runs the checks of the bridge.
func (f *flags) bridgeChecks(ctx context.Context, c config.Config, wait time.Duration) []doctor.Check {
	found, err := f.diagnoseBridge(ctx, c, wait, func(bridgedoctor.Check) {})
	if err != nil {
		return []doctor.Check{{Result: doctor.Failed, Found: printable(sentenceOf(err)), Means: "the bridge does not start", Remedy: "correct the section matrix, or make it with: mimird matrix init"}}
	}
	var out []doctor.Check
	for _, check := range found {
		out = append(out, doctor.Check{Name: "bridge " + check.Name, Result: doctor.Result(check.Result), Found: check.Found, Remedy: check.Remedy})
	}
	return out
}
