// SPDX-License-Identifier: MPL-2.0

// Package phone is a Mimir phone for tests: a second implementation of the peer
// protocol, gen3, and of the client of trackers, version 2. It was written
// from the description of the protocol and its vectors alone and shares no code
// with proto, so that a test in which a node and a phone understand each other
// proves something. A test of this package holds that fence.
//
// A [Phone] behaves as the protocol asks. [Quirks] turn on, one by one, what the
// apps do differently, and what they might. For what no app does there is a [Line],
// one stream byte by byte; a [Handshake] that can be made to lie in any step; and
// [LengthLies], a frame for each length that can be declared wrongly. [Script] is a
// conversation written down in a text file, to be read by people who know the
// protocol and nothing else.
//
// What a phone has received, acknowledged and was told to be acknowledged is on a
// [Page] for each contact. That is what a test compares with the other side.
//
// Start reading at phone.go, for the life of the app, then session.go, for what
// happens to a frame. The layout of every frame is a table in frame.go.
//
// This is test equipment: it keeps everything it has seen, and panics when a test
// misspells a field. Its goroutines live from [Phone.Start] to [Phone.Stop], which
// waits for them, so that it can be used inside testing/synctest.
package phone
