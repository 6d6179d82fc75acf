// SPDX-License-Identifier: MPL-2.0

// Command screenshots takes the pictures in docs/pictures: conversations of the
// bridge as somebody sees them in a Matrix client in a browser.
//
// It brings up a world on this machine (a Yggdrasil relay, a node that is tracker
// and file server, the nodes of three people, one of them with the bridge, and a
// homeserver), has the people talk, logs one of them in to gomuks web, and opens
// that in Chromium. Nothing is drawn or edited: what is in the pictures has gone
// through all of it. Last it runs mimird chat in tmux, and puts what the terminal shows into
// docs/chat.md.
//
//	make screenshots
package main
