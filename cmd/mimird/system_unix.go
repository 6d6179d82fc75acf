// SPDX-License-Identifier: MPL-2.0

//go:build linux || darwin || freebsd

package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/mimird/mimird/cmd/internal/doctor"
)

// diskOf measures the disk that a directory is on, or is going to be on.
func diskOf(dir string) (doctor.Disk, error) {
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	if errors.Is(err, unix.ENOENT) {
		err = unix.Statfs(filepath.Dir(dir), &s)
	}
	if err != nil {
		return doctor.Disk{}, fmt.Errorf("measure the disk of %s: %w", dir, err)
	}
	size := uint64(s.Bsize)
	return doctor.Disk{Free: uint64(s.Bavail) * size, Total: s.Blocks * size}, nil //nolint:unconvert // as above
}
