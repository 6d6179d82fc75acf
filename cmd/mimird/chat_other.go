// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package main

// stopSelf does nothing: there is no shell that would continue the process.
func stopSelf() {}
