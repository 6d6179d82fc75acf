// SPDX-License-Identifier: MPL-2.0

package store

import (
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options say where the store is and how large things may become. Only Dir is
// required.
type Options struct {
	// Dir is the directory of the database. It is created with mode 0700.
	Dir string
	// Logger gets what an operator should know; nil for none.
	Logger *slog.Logger
	// OutboxRows and OutboxBytes bound what is undelivered per account. 0 means
	// 100,000 messages and 2 GiB of payload.
	OutboxRows  uint64
	OutboxBytes uint64
	// JournalRows bounds the unfinished entries of each journal; 0 means 100,000. One
	// budget has an eighth of them.
	JournalRows uint64
	// MemberRows bounds the members of each group; 0 means MaxMembers.
	MemberRows uint64
	// WaitingBytes is how much may wait for the disk, the commit under way included,
	// before further operations are refused with ErrBusy. 0 means 64 MiB.
	WaitingBytes int
	// Reserve is the free disk space below which nothing new is accepted: Pebble
	// cannot go on when a write meets a full disk. 0 means 256 MiB, or a twentieth
	// of the disk when that is less.
	Reserve uint64
	// ContactBytes is what the messages of a contact may always take on the disk;
	// 0 means 1 GiB. See ErrContactFull.
	ContactBytes uint64
	// MemTableBytes is the size that a memtable may grow to, 0 for 8 MiB; it starts
	// small. A second one exists for moments, up to four in a long burst. With twice the
	// size, a burst costs a quarter less processor time for flushes and compactions, and
	// takes twice the memory: Go lets the heap grow to twice of what is in use.
	MemTableBytes uint64

	// OnFatal is called at most once, when the store has failed and the process
	// has to end (see ErrFailed). It may end the process at once: everything that
	// was acknowledged is on the disk. When it is nil or returns, the goroutine of
	// Pebble that met the error stays parked, the store refuses everything, and the
	// store actor fails with a fatal error, which stops the node in order. It is
	// not called during Open, which returns the error.
	OnFatal func(error)
	// Now is the clock that times of rows come from; nil for time.Now. It may jump.
	Now func() time.Time
	// FS is the file system; nil for the operating system's. Tests set it.
	FS vfs.FS
}

func (o Options) withDefaults() Options {
	setDefault(&o.OutboxRows, 100_000)
	setDefault(&o.OutboxBytes, 2<<30)
	setDefault(&o.JournalRows, 100_000)
	setDefault(&o.MemberRows, MaxMembers)
	setDefault(&o.WaitingBytes, 64<<20)
	setDefault(&o.ContactBytes, 1<<30)
	setDefault(&o.MemTableBytes, 8<<20)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
