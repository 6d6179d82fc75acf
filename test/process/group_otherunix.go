// SPDX-License-Identifier: MPL-2.0

//go:build unix && !linux

package process

import "syscall"

// dieWithParent does nothing: only Linux ends a process together with the one
// that started it.
func dieWithParent(*syscall.SysProcAttr) {}
