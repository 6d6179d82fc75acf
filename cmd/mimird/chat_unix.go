// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import "syscall"

// stopSelf stops this process and what it has started, as Ctrl+Z does, until the shell
// continues it.
func stopSelf() {
	_ = syscall.Kill(0, syscall.SIGTSTP) // our own group
}
