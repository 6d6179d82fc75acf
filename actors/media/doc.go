// SPDX-License-Identifier: MPL-2.0

// Package media keeps files on the disk by their content: what is stored twice is
// there once.
//
//	<dir>/files/ab/ab34...  a file, named by the SHA-256 of its content
//	<dir>/partial/new-...   a file that is being written, see [Store.Create]
//	<dir>/partial/part-...  a piece of a file that goes on later, see [Store.Resume]
//
// A file is written beside the others, synced, and then renamed: after a crash it
// is there whole or not at all. What nobody will finish is removed at the next
// start. Names from outside never become paths, and everything goes through
// [os.Root], which does not leave its directory.
//
// There is a quota for all files together, pieces included. When it is reached the
// store has files evicted (Options.Evict) and, when that frees nothing, writes nothing
// more ([ErrFull]). Which files are needed is not known here: this package counts
// bytes, its user references.
//
// The type of a file is told by its first bytes, not by what its sender says. No
// picture is decoded.
package media
