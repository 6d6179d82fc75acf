// SPDX-License-Identifier: MPL-2.0

// Package homeserver is what the bridge knows about homeservers: how they fail, what
// they forget, and what to do about it. Little of it would exist if homeservers kept
// their promises, so each part says which one, and when the part may go:
//
//	transport.go      every request passes the [Transport]: time limits, retries, the
//	                  last check that nothing is sent unencrypted into an encrypted room
//	scope.go          transaction ids that depend on the entry of the event log alone,
//	                  because bridgev2 draws a random one for each attempt
//	roundtrip.go      a request that was written finishes although its caller has left:
//	                  Dendrite v0.15.2 with SQLite may be unable to write after a cut
//	createroom.go     a room is created once: the answer may be lost, and a second room
//	                  cannot be taken back
//	registrations.go  registers users again that a restored homeserver does not know
//	search.go         finds events whose transaction ids the homeserver has forgotten, behind
//	                  a barrier: a homeserver may accept an event before it lists it
//	once.go           one attempt of a request, and a state event as the homeserver has it
//	deduper.go        takes back the second event of a message: Dendrite processes late
//	                  what it was processing when it was killed
//	backlog.go        lets requests that can wait yield to a backlog
//	answer.go         what an error answer says about the event, the room or the server
//	health.go         whether something outside works, as last seen
//	probe.go          single requests, for diagnosis
//
// It sees requests and events, and neither converts messages nor knows the configuration
// or the connector. The bridge, the connector, the deliverer and the doctor call it.
package homeserver
