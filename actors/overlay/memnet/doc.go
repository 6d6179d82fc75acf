// SPDX-License-Identifier: MPL-2.0

// Package memnet is a network in memory for tests: nodes in one process, and
// links between them that can be slow, lossy or cut. A [Node] runs the real
// carrier code of actors/overlay over packets that never leave the process; an
// [Endpoint] sends and receives such packets by hand.
//
// It starts goroutines and timers only in New and Node, so that it works inside
// testing/synctest, in virtual time. Everything random follows from a seed: the
// n-th packet from one node to another always has the same fate.
package memnet
