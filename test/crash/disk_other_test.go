// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package crash_test

import (
	"errors"
	"os/exec"
)

func ownMounts(*exec.Cmd) {}

func mountDisk(string, int64) error { return errors.ErrUnsupported }

func freeBytes(string) (int64, error) { return 0, errors.ErrUnsupported }
