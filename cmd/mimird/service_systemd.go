// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

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

// systemd keeps the service on Linux.
type systemd struct{}

func (systemd) place(s *service) error {
	dir := "/etc/systemd/system"
	if s.user {
		home, err := os.UserConfigDir()
		if err != nil {
			return fmt.Errorf("find your configuration directory: %w", err)
		}
		dir = filepath.Join(home, "systemd", "user")
	} else if s.data == "" {
		s.data = systemData
	}
	s.path = unitPath(dir, unitName)
	return nil
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

// systemctl is a command of systemd about the service.
func (s service) systemctl(args ...string) []string {
	if s.user {
		return append([]string{"systemctl", "--user"}, args...)
	}
	return append([]string{"sudo", "systemctl"}, args...)
}

func (m systemd) install(ctx context.Context, s service, program string) (serviceDone, error) {
	if err := writeUnit(s.path, unit(s, program)); err != nil {
		return serviceDone{}, err
	}
	done, err := m.status(ctx, s)
	done.Next = []string{strings.Join(s.systemctl("daemon-reload"), " "), strings.Join(s.systemctl("enable", "--now", "mimird"), " ")}
	if s.user {
		done.Next = append(done.Next, "loginctl enable-linger   # so that it runs while you are not logged in")
	}
	return done, err
}

// writeUnit writes a unit file, which everybody may read.
func writeUnit(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // units are for everybody to read
		return fmt.Errorf("make the directory of units: %w", err)
	}
	if err := durable.Replace(path, []byte(content)); err != nil {
		return fmt.Errorf("write unit: %w; the system's service needs root, yours takes --user", err)
	}
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // as above
		return fmt.Errorf("write unit: %w", err)
	}
	return nil
}

func (m systemd) uninstall(ctx context.Context, s service) (serviceDone, error) {
	done, err := m.status(ctx, s)
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

// readUnit reads a unit file.
func readUnit(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no service (%s); make one with: mimird service install", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read unit: %w", err)
	}
	return raw, nil
}

func (systemd) status(ctx context.Context, s service) (serviceDone, error) {
	done := serviceDone{Unit: s.path, Data: s.data, State: "not installed"}
	raw, err := readUnit(s.path)
	if err != nil {
		return done, err
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
