// SPDX-License-Identifier: MPL-2.0

// Package dendrite builds, configures, starts and stops a real Matrix
// homeserver, for tests and for mimird-demo.
//
// [Dendrite] is licensed under the AGPL and is never linked into anything of
// ours: [Build] compiles it, as its authors published it, into a program of its
// own, and [Start] runs that program as a child process on loopback. Which
// version, and the hashes of everything it consists of, is written in
// dendrite.mod and dendrite.sum, a module file and a sum file under names that
// let this package embed them. To move to another version, copy them to go.mod
// and go.sum in an empty folder, run `go get` and `go mod tidy` there, copy them
// back, and set [Version].
//
// Start reading at [Start].
//
// What to expect of this homeserver: it announces version 1.2 of the
// specification only, it forgets transaction ids when it restarts, and it sends
// application services nothing but room events, without redactions. Between two
// pages of /messages it leaves out events of the same depth, which two people who
// write at the same moment make. When a client goes away in the middle of a request
// its SQLite tables may stay locked, and it answers 500 until it is started again.
// Started again, it may send application services what they do not have yet in
// another order, and for a moment does not list the last events of a room.
//
// [Dendrite]: https://github.com/element-hq/dendrite
package dendrite
