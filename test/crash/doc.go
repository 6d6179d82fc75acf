// SPDX-License-Identifier: MPL-2.0

// Package crash kills mimird and looks whether it keeps its promise: what was
// accepted is never lost, and is shown once.
//
// The program is the real one, in processes of its own, over real Yggdrasil links
// on loopback. The node that dies has a bridge; the homeserver is the fake one of
// bridgetest, in the test's process, so that its memory survives, and in one test
// a real Dendrite. Two contacts talk to the node: another mimird, and a phone of
// test/phone, which notes what it was acknowledged and what it has received twice.
//
// Each test prints, for each direction, how often the node was killed and what
// became of what had been accepted, and the package prints it for all of them.
//
// The node dies at every named point of actors/crashpoint (points_test.go), at
// random moments under load (moments_test.go), at the same moment as its homeserver
// (dendrite_test.go), it is stopped in order (stop_test.go), its disk fills up
// (disk_test.go, full_test.go), its parts panic (panic_test.go), and it is backed up
// meanwhile (backup_test.go). Members of groups and mediators die in members_test.go and
// mediator_test.go. Start reading at check.go, which says what is compared,
// then world_test.go, talks_test.go and verdict_test.go.
//
//	go test -tags goolm ./test/crash                      the short form
//	go test -tags goolm ./test/crash -v -kills 20         20 random kills in each direction
//	go test -tags goolm ./test/crash -v -together 30      30 ends of node and Dendrite at once
//	go test -tags goolm ./test/crash -seed 17 -run Moment a run again that has failed
package crash
