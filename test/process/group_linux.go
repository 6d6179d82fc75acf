// SPDX-License-Identifier: MPL-2.0

package process

import "syscall"

// dieWithParent makes the kernel kill the process when the thread that started it
// ends: that is why the goroutine that starts it keeps its thread.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
