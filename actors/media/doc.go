// SPDX-License-Identifier: MPL-2.0

// Package media keeps files on the disk by their content: what is stored twice is
// there once, and a file that can be opened is what its name says.
//
//	<dir>/files/ab/ab34...  a file, named by the SHA-256 of its content
//	<dir>/partial/...       what is being written; see [Store.Create] and [Store.Resume]
//
// A file is written beside the others, synced, and then renamed: after a crash it
// is there whole or not at all. What nobody will finish is removed at the next
// start. Names from outside never become paths, and everything goes through
// [os.Root], which does not leave its directory.
//
// There is a quota for all files together. When it is reached nothing more is
// written ([ErrFull]) until somebody who knows which files are needed removes one:
// this package counts bytes, not references.
package media
