// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package process

import (
	"os"
	"os/exec"
)

func ownGroup(*exec.Cmd) {}

func killGroup(process *os.Process) error { return process.Kill() }

// stopGroup kills: there is no polite signal to send.
func stopGroup(process *os.Process) error { return process.Kill() }
