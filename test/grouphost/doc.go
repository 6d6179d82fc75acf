// SPDX-License-Identifier: MPL-2.0

// Package grouphost is a mediator with groups, members and their history in a process
// of its own, so that a program that measures a node in those groups does not measure
// the mediator too. The process is a second one of that program: its main function calls
// [Serve] first.
package grouphost
