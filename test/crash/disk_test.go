// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mimird/mimird/test/process"
)

const (
	// diskSize holds what a node takes at least several times; the reserve of its
	// store is a twentieth.
	diskSize = 64 << 20
	// insideEnv tells this program that it has mounts of its own, and names the
	// program to test. diskEnv names the folder where a disk is to be mounted.
	insideEnv = "MIMIRD_TEST_INSIDE"
	diskEnv   = "MIMIRD_TEST_MOUNT"
	// exitForbidden is its exit code where that cannot be done.
	exitForbidden = 77
	// pretendEnv is read by testdata/smalldisk.go.
	pretendEnv = "MIMIRD_TEST_DISK"
	// insideTime is more than the test inside takes.
	insideTime = 10 * time.Minute
)

// Bar R11: the disk fills up, has room again, and is full to the last byte, when
// the node starts and under way.
//
// The disk is real, a tmpfs in mounts of the test's own, where the system lets
// everybody make those. Where it does not, the disk is small in the eyes of the
// store only: a file more is built into the program, which counts what is in the
// data directory, and everything above the system calls is the same.
func TestDiskFills(t *testing.T) {
	t.Parallel()
	if os.Getenv(insideEnv) != "" {
		newWorldOn(t, &disk{mount: os.Getenv(diskEnv), program: program}).diskFills()
		return
	}
	if !inOwnMounts(t) || long() {
		newWorldOn(t, pretendedDisk(t)).diskFills()
	}
}

// inOwnMounts runs the test in another process, with mounts of its own. It reports
// false when the system forbids that.
func inOwnMounts(t *testing.T) bool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), insideTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-test.run=^TestDiskFills$", "-test.v", "-test.timeout="+insideTime.String())
	cmd.Env = append(os.Environ(), insideEnv+"="+program, diskEnv+"="+shortDir(t))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	ownMounts(cmd)
	err = process.Run(cmd, patience)
	var exit *exec.ExitError
	switch {
	case err == nil:
		t.Logf("on a disk of its own:\n%s", &out)
		return true
	case errors.As(err, &exit) && exit.ExitCode() != exitForbidden:
		t.Errorf("on a disk of its own: %v\n%s", err, &out)
		return true
	}
	t.Logf("no disk of its own: %v\n%s", err, &out)
	return false
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "disk-") //nolint:usetesting // the paths of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// disk is a small disk with nothing on it but a node.
type disk struct {
	mount   string
	program string // for the node
	pretend bool
}

// pretendedDisk is one that only the store believes in.
func pretendedDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{mount: shortDir(t), pretend: true}
	built := buildChanged(t, map[string]string{"smalldisk.go": readTestdata(t, "smalldisk.go")})
	d.program = filepath.Join(t.TempDir(), "mimird")
	script := fmt.Sprintf("#!/bin/sh\n%s=%d exec %s \"$@\"\n", pretendEnv, diskSize, built)
	if err := os.WriteFile(d.program, []byte(script), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	return d
}

// free is how many bytes can be written.
func (d *disk) free() (int64, error) {
	if !d.pretend {
		return freeBytes(d.mount)
	}
	free := int64(diskSize)
	err := filepath.WalkDir(d.mount, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				free -= info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) { // gone meanwhile
			return nil
		}
		return err
	})
	return free, err
}

func (d *disk) ballast() string { return filepath.Join(d.mount, userName, "ballast") }

// fill takes the room until so many bytes are free.
func (d *disk) fill(leave int64) error {
	file, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	free, err := d.free()
	if err == nil && free > leave {
		if d.pretend {
			var info fs.FileInfo
			if info, err = file.Stat(); err == nil {
				err = file.Truncate(info.Size() + free - leave)
			}
		} else {
			_, err = file.Write(make([]byte, free-leave))
		}
		if leave == 0 && errors.Is(err, syscall.ENOSPC) { // the node writes, too
			err = nil
		}
	}
	return errors.Join(err, file.Close())
}

func (d *disk) clear() error { return os.Remove(d.ballast()) }
