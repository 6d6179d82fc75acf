// SPDX-License-Identifier: MPL-2.0

// Package control is the node's API for programs on the same machine: HTTP over
// a unix socket, with an OpenAPI description at /openapi.json and the event log
// as server-sent events. Every mimird command that talks to a running node uses its
// client, the package below this one; a bot in another language uses curl.
//
// A process that can open the socket can read and write as the node's accounts. It is
// mode 0600 in a directory of mode 0700, and there is no other authentication.
//
// Start reading at api.go, which has every request and answer.
package control
