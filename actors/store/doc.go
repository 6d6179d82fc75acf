// SPDX-License-Identifier: MPL-2.0

// Package store keeps what the node must not lose: accounts, contacts, messages,
// the outbox, the event log of each account with the cursors of its consumers,
// and the journals in which a bridge keeps what it has acknowledged. It is the
// only package that imports Pebble.
//
// # Reading
//
// Reads are methods of [Store]. They may be called from any goroutine, also
// inside actors: they are short, and bounded by a page size. What they see is
// exactly what is synced to the disk. Pebble shows a write before it is synced,
// so they read through a snapshot that is replaced at the end of each commit;
// nobody can act on a row that a power cut would take back.
//
// # Writing
//
// Every write is an [Op], sent to the store actor ([NewActor]) inside a [Write]
// and answered with [Written] after the commit that contains it is synced. One
// actor is the only writer, so an operation sees a consistent state: what is in
// the database, below what is being committed, below what earlier operations of
// the waiting batch have done. Operations that arrive during a commit share the
// next one; that is what makes hundreds of callers cost one sync.
//
// Goroutines outside actors use [Do].
//
// # Failing
//
// A failed commit is final: nobody knows what is on the disk until the log has
// been read again. From then on every call returns [ErrFailed], the store actor
// fails with a fatal error so that the node stops in order, and the process has
// to end; the next start recovers. The same holds when Pebble meets damage while
// it runs. Nothing is ever repaired by deletion.
//
// # Where to start reading
//
// records.go says what is kept, schema.go under which keys, message_ops.go has
// the rules that make twice once, writer.go the group commit.
package store
