// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/durable"
)

//go:embed mimird.service
var unitTemplate string

// unitName is the name of the service.
const unitName = "mimird.service"

// systemOptions are those of the unit that only the system's manager can carry out: a
// user of its own, and a view of the machine in which there is little.
const systemOptions = `DynamicUser=yes
StateDirectory=mimird
StateDirectoryMode=0700
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RemoveIPC=yes
CapabilityBoundingSet=
AmbientCapabilities=`

// systemData is the data directory of the system's service.
const systemData = "/var/lib/mimird"

// service is where the service is kept and who manages it.
type service struct {
	user bool
	path string // of the unit file
	data string
}

// serviceDone is what the commands print with --json.
type serviceDone struct {
	Unit  string   `json:"unit" doc:"Path of the unit file"`
	Data  string   `json:"data" doc:"The data directory of the service"`
	State string   `json:"state" doc:"What systemd says of it, such as active or inactive"`
	Next  []string `json:"next,omitempty" doc:"Commands to run next"`
}

func newService(f *flags) *cobra.Command {
	cmd := group(&cobra.Command{
		Use: "service", Short: "Run the node always, as a service of systemd",
		Long: "Runs the node as a service of systemd: of the system, with a user of its own and in a sandbox, or with --user as\n" +
			"a service of yours. Elsewhere, start mimird up by what the system has; it ends in order when it\n" +
			"is told to.",
	})
	for _, verb := range []struct {
		use, short, long string
		run              func(context.Context, *flags, service) (serviceDone, error)
	}{
		{
			"install", "Write the unit file of the service",
			"Writes the unit file and prints the commands that start the service. The data directory of the system's service\n" +
				"is " + systemData + ", unless --data gives another one that its user can write to.", installService,
		},
		{"uninstall", "Remove the unit file of the service", "Removes the unit file, which must not be in use. The data stays.", uninstallService},
		{"status", "Say whether the service is installed and runs", "Asks systemd about the service. What the node does is in mimird status.", serviceStatus},
	} {
		var user bool
		sub := &cobra.Command{
			Use: verb.use, Short: verb.short, Long: verb.long, Args: noArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				s, err := serviceOf(cmd, f, user)
				if err != nil {
					return err
				}
				done, err := verb.run(cmd.Context(), f, s)
				if err != nil {
					return err
				}
				return f.print(cmd.OutOrStdout(), done, func() { printService(cmd.OutOrStdout(), done) })
			},
		}
		sub.Flags().BoolVar(&user, "user", false, "as a service of yours, not of the system")
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

// serviceOf says where the service is kept. MIMIRD_UNIT_DIR overrides the directory, for
// packages and tests.
func serviceOf(cmd *cobra.Command, f *flags, user bool) (service, error) {
	dir := os.Getenv("MIMIRD_UNIT_DIR")
	if runtime.GOOS != "linux" && dir == "" {
		return service{}, errors.New("this system has no systemd; have it start: mimird up --no-qr")
	}
	s := service{user: user, data: systemData}
	if user {
		home, err := os.UserConfigDir()
		if err != nil {
			return s, fmt.Errorf("find your configuration directory: %w", err)
		}
		s.path = filepath.Join(home, "systemd", "user", unitName)
		s.data = ""
	} else {
		s.path = filepath.Join("/etc/systemd/system", unitName)
	}
	if dir != "" {
		s.path = filepath.Join(dir, unitName)
	}
	if user || cmd.Flags().Changed("data") || os.Getenv("MIMIRD_DATA") != "" {
		data, err := filepath.Abs(f.dir)
		if err != nil {
			return s, fmt.Errorf("find data directory: %w", err)
		}
		s.data = data
	}
	return s, nil
}

// unit is the unit file of a service.
func unit(s service, program string) string {
	system, target := systemOptions, "multi-user.target"
	if s.user {
		system, target = "PrivateTmp=yes", "default.target"
	} else if s.data != systemData {
		system += "\nReadWritePaths=" + escapeUnit(s.data)
	}
	return strings.NewReplacer("@PROGRAM@", escapeUnit(program), "@DATA@", escapeUnit(s.data), "@SYSTEM@", system, "@TARGET@", target).Replace(unitTemplate)
}

// escapeUnit writes a path as one word of a unit file.
func escapeUnit(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(path) + `"`
}

func (s service) systemctl(args ...string) []string {
	if s.user {
		return append([]string{"systemctl", "--user"}, args...)
	}
	return append([]string{"sudo", "systemctl"}, args...)
}

func installService(ctx context.Context, f *flags, s service) (serviceDone, error) {
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
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil { //nolint:gosec // units are for everybody to read
		return serviceDone{}, fmt.Errorf("make the directory of units: %w", err)
	}
	if err := durable.Replace(s.path, []byte(unit(s, program))); err != nil {
		return serviceDone{}, fmt.Errorf("write unit: %w; the system's service needs root, yours takes --user", err)
	}
	if err := os.Chmod(s.path, 0o644); err != nil { //nolint:gosec // as above
		return serviceDone{}, fmt.Errorf("write unit: %w", err)
	}
	done, err := serviceStatus(ctx, f, s)
	done.Next = []string{strings.Join(s.systemctl("daemon-reload"), " "), strings.Join(s.systemctl("enable", "--now", "mimird"), " ")}
	if s.user {
		done.Next = append(done.Next, "loginctl enable-linger   # so that it runs while you are not logged in")
	}
	return done, err
}

func uninstallService(ctx context.Context, f *flags, s service) (serviceDone, error) {
	done, err := serviceStatus(ctx, f, s)
	if err != nil {
		return done, err
	}
	if done.State == "active" || done.State == "activating" {
		return done, fmt.Errorf("the service is %s; stop it first: %s", done.State, strings.Join(s.systemctl("disable", "--now", "mimird"), " "))
	}
	if err := os.Remove(s.path); err != nil {
		return done, fmt.Errorf("remove unit: %w", err)
	}
	done.State = "removed"
	done.Next = []string{strings.Join(s.systemctl("daemon-reload"), " ")}
	return done, nil
}

func serviceStatus(ctx context.Context, _ *flags, s service) (serviceDone, error) {
	done := serviceDone{Unit: s.path, Data: s.data, State: "not installed"}
	raw, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return done, fmt.Errorf("there is no service (%s); make one with: mimird service install", s.path)
	}
	if err != nil {
		return done, fmt.Errorf("read unit: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		if data, ok := strings.CutPrefix(strings.TrimSpace(line), "Environment=MIMIRD_DATA="); ok {
			done.Data = strings.Trim(data, `"`)
		}
	}
	args := []string{"is-active", "mimird"}
	if s.user {
		args = append([]string{"--user"}, args...)
	}
	answer, err := exec.CommandContext(ctx, "systemctl", args...).Output()
	done.State = strings.TrimSpace(string(answer))
	if done.State == "" {
		done.State = "installed, and systemd does not answer here"
		var failed *exec.ExitError
		if err != nil && !errors.As(err, &failed) && !errors.Is(err, exec.ErrNotFound) {
			return done, fmt.Errorf("ask systemd: %w", err)
		}
	}
	return done, nil
}
