// SPDX-License-Identifier: MPL-2.0

// Package publicmedia gives out files of messages by links, to people who have no account
// on the homeserver or whose homeserver refuses files of that size. A link names one file
// of one message, ends at a time, and cannot be guessed or changed. The public media of
// bridgev2 cannot do it: they serve what was uploaded to the homeserver.
//
//	links.go   makes links, and reads them
//	serve.go   answers the requests of those who follow one
//
// The connector makes links; the listener for the homeserver calls [Files.Serve] for
// everything below [Path]. Nothing is stored: a link is good as long as its message is on
// the node with its file, and the key is the same. It knows no homeserver and no room.
package publicmedia
