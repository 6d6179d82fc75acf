// SPDX-License-Identifier: MPL-2.0

// Package mediatorlink is the connection of one account to one mediator, the server
// that carries groups. Its actor connects, logs in, keeps the connection alive and
// connects again when it has ended; it sends requests for others and passes on what
// the mediator pushes.
//
// The parent spawns one link for each account and mediator ([NewSpec]) and gets
// [Connected], [Disconnected], [Pushed] and [Missed]. Everybody with its address may
// ask a [Request]. A link knows nothing of groups: what is subscribed to, which
// messages are missing and what is sent again are the business of those who ask. A
// subscription ends with the connection, so they subscribe after each Connected.
//
// A mediator is not trusted. Answers and pushes have a bound, a mediator that does not
// answer is disconnected from, and pushes that nobody has handled yet have a bound too:
// beyond it they are dropped and reported by one Missed, after which groups fetch what
// they lack. Pushes are hints in any case: they are not ordered, and only a fetch
// proves that nothing is missing.
//
// It imports the kernel, the overlay, proto/identity, proto/mediator and proto/wire.
// Start reading at link.go, the state machine, then connection.go, its goroutines.
package mediatorlink
