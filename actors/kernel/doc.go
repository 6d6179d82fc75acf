// SPDX-License-Identifier: MPL-2.0

// Package kernel is the actor library of the project: protoactor-go behind the
// few calls that are safe. It is the only package that imports protoactor, and
// a test holds that fence.
//
// # An actor
//
// An actor is a value with a Receive method and a mailbox. Its messages are
// handled one at a time, in the order in which they came: that is its turn.
// Nothing blocks inside a turn; blocking work runs in goroutines the actor owns
// ([Context.Go]), which report back by message. Actors form a tree: the actor
// that spawns another one is its parent, and no actor outlives its parent.
//
// One life of an actor between New and the end of its goroutines is an
// incarnation. Its [Context] belongs to it alone, and so does everything made
// from that Context: goroutines, timers, inbox, children. What they still send
// when the incarnation is over is dropped here, so an actor never has to compare
// epochs.
//
// # When something fails
//
// A panic in a turn, [Context.Fail], an error from Started and a panicking New
// are all the same: a supervised failure. The incarnation ends at once: its
// lifetime is cancelled, Stopping is called, its children are stopped, its
// goroutines are waited for. Then follows the back-off of the actor's [Spec],
// and a new incarnation starts. The mailbox is kept, in its order; only the
// message that failed is dropped. An error wrapped with [Fatal] stops the actor
// instead, and so do too many restarts in a short time ([ErrRestartStorm]). The
// parent learns of every restart by [ChildFailed] and of every end that is for
// good by [ChildStopped].
//
// What is in a mailbox is lost when the actor stops: whatever must not be lost
// is in the store first. A mailbox has no bound; the bound is at the source,
// see [Credits].
//
// # What is taken from protoactor, and what is not
//
// Taken: spawning, addresses and the registry, the per-actor context, the order
// of turns, the tracking of children and the last step of every stop. Through
// its public Mailbox interface the kernel brings its own mailbox, which has a
// lane for the kernel's events, gives its memory back, and survives
// runtime.Goexit.
//
// Not taken: its supervision and restart. A failure never leaves the actor's
// own turn as a panic, so none of the library's rules for panicking lifecycle
// handlers, restarts that overtake stops, or suspended children apply. What the
// library does in these cases is recorded by the TestTrap tests, each beside a
// test of what the kernel does instead: after an upgrade they show what
// changed.
//
// Start reading at [Spec] and [Context], then cell.go, which is the life of an
// actor as a small state machine.
package kernel
