// SPDX-License-Identifier: MPL-2.0

//go:build !unix

package main

// keepPrivate does nothing: there are no modes to keep others out.
func keepPrivate() {}
