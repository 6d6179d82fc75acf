// SPDX-License-Identifier: MPL-2.0

// Command screenshots takes the pictures in docs/pictures: conversations of the
// bridge as somebody sees them in a Matrix client in a browser, and a group on the
// page of the node.
//
// It brings up a world on this machine (a Yggdrasil relay, a node that is tracker,
// file server and mediator, the nodes of three people, one of them with the bridge,
// and a homeserver), has the people talk, also in two groups, logs one of them in to
// gomuks web and to the page, and opens both in Chromium. Nothing is drawn or edited:
// what is in the pictures has gone through all of it. Last it runs mimird chat in tmux, and puts what the terminal shows into
// docs/chat.md.
//
//	make screenshots
package main
