// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"
	"runtime/debug"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// formatVersion is the file format of Pebble. It is pinned: a newer one is a
// decision, because a program with an older Pebble cannot open it. This one has
// checksums over the footers of tables and marks in the write-ahead log up to
// where it was synced, which tells a torn end from damage.
const formatVersion = pebble.FormatTableFormatV6

// cacheBytes is the size of Pebble's block cache.
const cacheBytes = 16 << 20

// pebbleOptions returns the settings of the database. They are chosen for a node
// at home: little memory, few files, every table with a filter because most
// look-ups are for guids that are not there.
func (s *Store) pebbleOptions(lock *pebble.Lock, mustExist bool) *pebble.Options {
	opts := &pebble.Options{
		FS:                 failStop{s.fileSystem(), s},
		Lock:               lock,
		ErrorIfNotExists:   mustExist,
		FormatMajorVersion: formatVersion,
		Logger:             pebbleLogger{s},
		// Pebble takes the memory of its memtables out of the cache.
		CacheSize:    cacheBytes + 2*int64(s.opts.MemTableBytes),
		MemTableSize: s.opts.MemTableBytes,
		// Two tables may wait while one is filled: a burst does not stall commits.
		MemTableStopWritesThreshold: 4,
		// Merging tables is half of what is written to them. Merging late is cheaper: a
		// scan has at most sixteen tables to look into, new messages none (see
		// guidSet).
		L0CompactionThreshold:      32,
		L0StopWritesThreshold:      48,
		MaxOpenFiles:               256,
		CompactionConcurrencyRange: func() (lower, upper int) { return 1, 1 },
		EventListener: &pebble.EventListener{
			// Pebble would retry at once and without a pause: on a full disk
			// or a damaged table it would keep a core busy.
			BackgroundError: func(err error) { _ = s.fail(damageOr(err)) },
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				_ = s.fail(fmt.Errorf("%w: file %s: %w", ErrCorrupt, info.Path, info.Details))
			},
			FlushEnd: func(pebble.FlushInfo) { s.markerDue() },
			WALCreated: func(info pebble.WALCreateInfo) {
				// Before the first commit goes there: a log that the marker does not name is not
				// missed.
				if info.Err == nil {
					s.logs.begin(liveLog{number: uint64(info.FileNum)})
					_ = s.writeMarker() // an error fails the store
				}
			},
			WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
				s.log.Warn("pebble write stall", "reason", info.Reason)
			},
			WriteStallEnd: func() { s.log.Info("pebble write stall over") },
		},
	}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return opts
}

// damageOr marks damage as such.
func damageOr(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// pebbleLogger carries what Pebble reports into our log. Pebble's chatter is for
// people who debug Pebble.
type pebbleLogger struct{ s *Store }

func (l pebbleLogger) Infof(format string, args ...any) {
	l.s.log.Debug("report of Pebble", "text", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.s.log.Error("error reported by Pebble", "text", fmt.Sprintf(format, args...))
}

// commitFatal is the text with which Pebble reports a failed commit: from
// DB.Apply, in the goroutine that called it, with none of its locks held.
const commitFatal = "pebble: fatal commit error: %v"

// Fatalf is what Pebble calls when it cannot go on: the log or the manifest could
// not be written. It must not return: after a failed commit Apply would report
// success. For a failed commit it unwinds the stack to our own caller of Apply.
// Everywhere else the caller may hold Pebble's locks, and its deferred calls are
// not made for unwinding, so the goroutine is parked for the rest of the process's
// life, which is short.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	err := l.s.fail(newPebbleError(format, args))
	if format == commitFatal {
		panic(err)
	}
	park()
}

// park blocks for ever.
func park() { select {} }

// pebbleError is a Fatalf as an error. It keeps the errors among the arguments,
// so that a full disk can be recognised.
type pebbleError struct {
	text   string
	causes []error
}

func newPebbleError(format string, args []any) error {
	e := &pebbleError{text: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			e.causes = append(e.causes, err)
		}
	}
	return e
}

func (e *pebbleError) Error() string   { return e.text }
func (e *pebbleError) Unwrap() []error { return e.causes }

// guard runs a call into Pebble and turns a panic into a failure of the store.
func (s *Store) guard(call func() error) (err error) {
	finished := false
	defer func() {
		if finished {
			return
		}
		reason := recover()
		if err = s.failure(); err == nil {
			err = s.fail(fmt.Errorf("panic in the database: %v\n%s", reason, debug.Stack()))
		}
	}()
	err = call()
	finished = true
	return err
}

// guardAside is guard for calls that may be parked: it returns when the call has
// returned or the store has failed, whichever is first. What it leaves behind
// after a failure ends with the process.
func (s *Store) guardAside(call func() error) error {
	done := make(chan error, 1)
	go func() { done <- s.guard(call) }()
	select {
	case err := <-done:
		return err
	case <-s.failed:
		return s.failure()
	}
}
