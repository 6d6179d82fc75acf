// SPDX-License-Identifier: MPL-2.0

//go:build !linux

package main

import "os"

// syncData brings a file's content to the disk.
func syncData(f *os.File) error { return f.Sync() }
