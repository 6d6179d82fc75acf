// SPDX-License-Identifier: MPL-2.0

// Package search finds messages, contacts and groups of an account by words. It keeps an
// index beside the store, in an SQLite file of its own with FTS5, as a consumer of the
// event logs: what is received, sent, edited, deleted or renamed is in the index, or has
// left it, moments later.
//
// The index is derived. Its cursors are in the file itself, so one transaction moves both
// and what is repeated after a crash changes nothing. A file that is missing, damaged or
// of another version is removed and built again from the logs; no message depends on it.
// It is never the answer either: every message that it finds is read from the store and
// compared with the query, so that an index that is damaged or behind cannot show what
// was deleted, edited or is another account's.
//
// [Service] is made by cmd/mimird and used by the control API and the bridge; its actor
// ([Service.NewActor]) is a part of the node. Start reading at [Query], then index.go for
// the tables, service.go for who does what when.
package search
