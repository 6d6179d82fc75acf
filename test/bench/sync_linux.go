// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData brings a file's content to the disk, as Pebble does for its log.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
