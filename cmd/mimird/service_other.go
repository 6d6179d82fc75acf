// SPDX-License-Identifier: MPL-2.0

//go:build !windows

package main

import "errors"

// windowsServices returns the services of Windows, which are there only.
func windowsServices() (serviceManager, error) {
	return nil, errors.New("this is not Windows")
}

// asService runs the program as the system wants it.
func asService(run func() int) int { return run() }
