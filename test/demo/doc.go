// SPDX-License-Identifier: MPL-2.0

// Package demo builds a whole Mimir world on one machine and tells what happens
// in it: a Yggdrasil relay, a tracker, a mediator, two nodes that are processes of their
// own, a real Matrix homeserver, the bridge, a Matrix user, phones with old apps, and a
// group.
// mimird-demo runs it for people, and the end-to-end test runs the same story.
//
// Start reading at steps.go, which is the story.
package demo
