// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import "syscall"

// keepPrivate makes every file that this process creates one for its user alone,
// also where a library does not care.
func keepPrivate() { syscall.Umask(0o077) }
