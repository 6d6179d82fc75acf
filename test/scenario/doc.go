// SPDX-License-Identifier: MPL-2.0

// Package scenario holds tests of many nodes over real Yggdrasil networks: real
// cores in one process, linked over loopback in chains, stars and meshes. Each
// scenario prints a line with what was lost and what was doubled.
package scenario
