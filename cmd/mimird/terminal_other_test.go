// SPDX-License-Identifier: MPL-2.0

//go:build unix && !linux

package main

// terminal is not there on other systems than Linux.
type terminal struct{}

func (*terminal) close() {}

// onTerminals returns nothing; the scripts have a condition for it.
func onTerminals() map[string]func(*world, []string) error { return nil }
