// SPDX-License-Identifier: MPL-2.0

// Package bridgetest holds the two ends that tests of the bridge need: a fake
// homeserver that can be told to misbehave, and a Matrix client for a person
// that is simulated.
//
// [Homeserver] speaks the part of the client-server API that a bridge and a
// plain client use, and pushes transactions to application services as the
// specification says: in order, one at a time, the same transaction again until
// it was answered with 200. It keeps everything in memory, records every event
// that somebody tried to send, and has switches for what homeservers do on bad
// days: [Homeserver.SetFault], [Homeserver.ForgetTransactions]. It knows nothing
// of the code it tests. What it leaves out: federation, encryption, power levels
// (everybody who has joined may do everything).
//
// [Client] is a person: it logs in, accepts invitations, waits for events and
// writes. It works with any homeserver, and is used by mimird-demo too.
package bridgetest
