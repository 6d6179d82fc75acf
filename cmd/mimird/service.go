// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

// serviceLog is the log file of a service whose manager keeps no log, in the data directory.
const serviceLog = "mimird.log"

// serviceSystem is the system whose services are managed. Tests set another one.
var serviceSystem = runtime.GOOS

// service is where the service is kept and whom it runs as.
type service struct {
	user bool
	as   string // the user of launchd's service of the system
	path string // of the unit file
	data string
}

// serviceManager is systemd, launchd, or the service manager of Windows. Its methods run in
// the command's goroutine and wait for its answer.
type serviceManager interface {
	// place fills in path and data, the latter when it is empty.
	place(s *service) error
	install(ctx context.Context, s service, program string) (serviceDone, error)
	uninstall(ctx context.Context, s service) (serviceDone, error)
	status(ctx context.Context, s service) (serviceDone, error)
}

func managerOf(system string) (serviceManager, error) {
	switch {
	case system == "darwin":
		return launchd{}, nil
	case system == "windows":
		return windowsServices()
	case system == "linux" || os.Getenv("MIMIRD_UNIT_DIR") != "":
		return systemd{}, nil
	}
	return nil, errors.New("there is no systemd, launchd or Windows here; have the system start: mimird up --no-qr")
}

// serviceDone is what the commands print with --json.
type serviceDone struct {
	Unit  string   `json:"unit" doc:"Path of the unit file; the name of the service on Windows"`
	Data  string   `json:"data" doc:"The data directory of the service"`
	State string   `json:"state" doc:"What the service manager says of it, such as active or inactive"`
	Next  []string `json:"next,omitempty" doc:"Commands to run next"`
}

func newService(f *flags) *cobra.Command {
	cmd := group(&cobra.Command{
		Use: "service", Short: "Run the node always, as a service",
		Long: "Runs the node as a service of systemd (Linux), launchd (macOS) or Windows: of the system, or with --user as a\n" +
			"service of yours. With systemd the system's service has a user of its own and a sandbox, on Windows an account of\n" +
			"its own; on macOS --as says whose it is. Elsewhere, start mimird up by what the system has; it ends in order when it\n" +
			"is told to.",
	})
	for _, verb := range []struct {
		use, short, long string
		run              func(context.Context, serviceManager, service) (serviceDone, error)
	}{
		{
			"install", "Install the service",
			"Writes the unit file, or creates the service on Windows, and prints the commands that start it. The data directory of\n" +
				"the system's service is " + systemData + ", on macOS " + launchdData + " and on Windows mimird in\n" +
				"ProgramData, unless --data gives another one that its user can write to.", installService,
		},
		{"uninstall", "Remove the service", "Removes the service, which must be stopped. The data stays.", uninstallService},
		{
			"status", "Say whether the service is installed and runs",
			"Asks the service manager about the service. What the node does is in mimird status.", serviceStatus,
		},
	} {
		var s service
		sub := &cobra.Command{
			Use: verb.use, Short: verb.short, Long: verb.long, Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				manager, err := managerOf(serviceSystem)
				if err != nil {
					return err
				}
				if s.user || cmd.Flags().Changed("data") || os.Getenv("MIMIRD_DATA") != "" {
					if s.data, err = filepath.Abs(f.dir); err != nil {
						return fmt.Errorf("find data directory: %w", err)
					}
				}
				if err := manager.place(&s); err != nil {
					return err
				}
				done, err := verb.run(cmd.Context(), manager, s)
				if err != nil {
					return err
				}
				return f.print(cmd.OutOrStdout(), done, func() { printService(cmd.OutOrStdout(), done) })
			},
		}
		sub.Flags().BoolVar(&s.user, "user", false, "as a service of yours, not of the system")
		if verb.use == "install" {
			sub.Flags().StringVar(&s.as, "as", os.Getenv("SUDO_USER"), "on macOS, the `user` whom the system's service runs as")
			sub.Flags().Lookup("as").DefValue = "" // in help and manual, also under sudo
		}
		cmd.AddCommand(sub)
	}
	return cmd
}

func printService(out io.Writer, s serviceDone) {
	fmt.Fprintf(out, "unit  %s  %s\ndata  %s\n", s.Unit, s.State, s.Data)
	for _, command := range s.Next {
		fmt.Fprintf(out, "next: %s\n", command)
	}
}

// installService installs this program, which must be where it stays.
func installService(ctx context.Context, m serviceManager, s service) (serviceDone, error) {
	program, err := os.Executable()
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		return serviceDone{}, fmt.Errorf("find this program: %w", err)
	}
	if strings.HasPrefix(program, os.TempDir()) && os.Getenv("MIMIRD_UNIT_DIR") == "" {
		return serviceDone{}, fmt.Errorf("%s is temporary; build the program first (make build) and install it, for example to /usr/local/bin", program)
	}
	return m.install(ctx, s, program)
}

func uninstallService(ctx context.Context, m serviceManager, s service) (serviceDone, error) {
	return m.uninstall(ctx, s)
}

func serviceStatus(ctx context.Context, m serviceManager, s service) (serviceDone, error) {
	return m.status(ctx, s)
}

// unitPath is the path of a unit file in the manager's directory, or in that of
// MIMIRD_UNIT_DIR, which packages and tests set.
func unitPath(dir, name string) string {
	return filepath.Join(cmp.Or(os.Getenv("MIMIRD_UNIT_DIR"), dir), name)
}
