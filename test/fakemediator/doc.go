// SPDX-License-Identifier: MPL-2.0

// Package fakemediator is a mediator in memory for tests, written from the description of
// the protocol with bytes of its own: it shares no code with proto/mediator and proto/group.
// It keeps groups, members, messages and invites, pushes what the reference pushes, and
// plays the quirks that tests ask for: swapped or lost pushes, lost answers, refusals by text,
// answers of one byte, lists that have to be scanned, gaps, requests that are never answered,
// a history that shrinks. [Secret] encrypts and decrypts as members do.
package fakemediator
