// SPDX-License-Identifier: MPL-2.0

// Package page is the node's page for browsers: conversations, contacts, groups and the
// state of the node. It is a part of the node, an actor that owns a listener and an HTTP
// server, so that a fault of it restarts nothing else.
//
// The page knows of the node what the control API says, and asks it as a command does,
// through [github.com/mimird/mimird/actors/control/client]: what a page can do any program
// can, and the rules and sentences are in one place. It adds who may come in ([Access]), the
// markup, and bounds on what a browser and a server keep.
//
// Pages are rendered by the server and work without scripts. With scripts they are live:
// a stream of server-sent events replaces what has changed. Nothing is loaded from another
// host and nothing in a message can run: the content policy in server.go forbids it, and
// files are served as what the node has found them to be, or as a download.
//
// Start reading at server.go, which has the routes.
package page
