// SPDX-License-Identifier: MPL-2.0

//go:build !(linux || darwin || freebsd)

package main

import (
	"errors"

	"github.com/mimird/mimird/cmd/internal/doctor"
)

// diskOf measures the disk that a directory is on.
func diskOf(string) (doctor.Disk, error) {
	return doctor.Disk{}, errors.New("not possible on this system")
}
