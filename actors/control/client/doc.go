// SPDX-License-Identifier: MPL-2.0

// Package client asks a running node through its control API: over the node's unix socket
// with [New], or in the process that has opened the node with [NewLocal]. The commands of
// mimird use it, and so may any Go program on the same machine.
//
// Requests and answers are the types of package control. A refusal of the node is an
// [Error], whose text is one sentence for a person; [ErrNotRunning] means that nobody
// listens on the socket. Each call ends when its context does, and an answer is read up
// to a bound. An account is named by its key, its name, or "-" for the only one.
//
// Start reading at client.go; the other files have the calls by their subject.
package client
