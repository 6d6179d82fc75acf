// SPDX-License-Identifier: MPL-2.0

// Package transfer has the files of messages: it keeps them in the media store within
// a quota, and moves them to and from file servers and contacts.
//
// The door is [Service], which the node opens: Send, State, Open, Fetch and Usage are
// its part of the API; Connected to OpenOffered in arrival.go are what a session needs
// (session.Files). [NewActor] returns the actor that moves files; its children are
// attempts to move one file each.
//
// What is to be moved is a queue in the store (queue.go), ordered by when the next
// attempt is due. An attempt (attempt.go) writes to the store what has become of its
// file, so a restart loses nothing but an attempt. A file never has to be in memory,
// and no name from the wire is a path.
//
// The package reads the store, and writes to it through its actor. It uses the media
// store, the protocol of file servers (proto/files) and the network that runs at the
// moment. It knows neither sessions nor contacts nor the node.
package transfer
