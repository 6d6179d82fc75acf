// SPDX-License-Identifier: MPL-2.0

//go:build unix

package process

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// ownGroup makes the command the leader of a process group, so that a signal for
// it reaches what it starts, and a Ctrl-C for us does not reach it.
func ownGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr)
}

func killGroup(process *os.Process) error { return signalGroup(process, syscall.SIGKILL) }

func stopGroup(process *os.Process) error { return signalGroup(process, syscall.SIGTERM) }

func signalGroup(process *os.Process, signal syscall.Signal) error {
	err := syscall.Kill(-process.Pid, signal)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}
