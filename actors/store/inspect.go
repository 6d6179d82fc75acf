// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Opening a database for writing changes it before it is known to be whole: Pebble
// writes what the logs have into tables, removes the logs, and begins a new
// manifest. A file that was missing is useless then, even when it is
// found. So a database is opened for reading first, on a file system that refuses
// every change, and is compared with its marker.

// lookOnly is a file system on which the directory of a database cannot be changed.
// It remembers the log that was opened last, because Pebble does not name the log
// that it finds damaged.
type lookOnly struct {
	vfs.FS
	log *atomic.Pointer[string]
}

var errLookOnly = errors.New("opened for reading only")

func (f lookOnly) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, errLookOnly }
func (f lookOnly) Link(string, string) error                              { return errLookOnly }
func (f lookOnly) Remove(string) error                                    { return errLookOnly }
func (f lookOnly) RemoveAll(string) error                                 { return errLookOnly }
func (f lookOnly) Rename(string, string) error                            { return errLookOnly }
func (f lookOnly) Unwrap() vfs.FS                                         { return f.FS }

func (f lookOnly) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errLookOnly
}

func (f lookOnly) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errLookOnly
}

func (f lookOnly) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if isLog(name) {
		base := filepath.Base(name)
		f.log.Store(&base)
	}
	return f.FS.Open(name, opts...)
}

// look opens the database for reading. Without a marker it may be one whose creation
// was never finished: then there may be no database, and db is nil.
func (s *Store) look(marked marker, exists bool) (db *pebble.DB, err error) {
	if exists {
		if err := errors.Join(s.checkLogs(marked), s.checkManifest(marked)); err != nil {
			return nil, err
		}
	}
	opts := s.pebbleOptions(s.lock, true)
	opts.ReadOnly = true
	opts.DisableAutomaticCompactions = true
	guarded := lookOnly{s.fileSystem(), new(atomic.Pointer[string])}
	opts.FS = guarded
	// Errors reach the caller. The default would be to end the process.
	opts.EventListener = &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}, BackgroundError: func(error) {}}
	db, err = pebble.Open(s.opts.Dir, opts)
	if errors.Is(err, pebble.ErrDBDoesNotExist) && !exists {
		return nil, nil
	}
	if err != nil {
		if name := guarded.log.Load(); name != nil && strings.Contains(err.Error(), "WAL") {
			err = fmt.Errorf("%s: %w", *name, err)
		}
		return nil, openError(err)
	}
	if err := s.inspect(db, marked); err != nil {
		return nil, errors.Join(openError(err), db.Close())
	}
	return db, nil
}

// inspect checks that an open database is complete.
func (s *Store) inspect(db *pebble.DB, marked marker) (err error) {
	if s.count, err = checkCommits(db, marked); err != nil {
		return err
	}
	system := s.fileSystem()
	names, err := system.List(s.opts.Dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", s.opts.Dir, err)
	}
	var newest uint64
	var path string
	for _, name := range names {
		if number, isLog := logNumberOf(name); isLog && number >= newest {
			newest, path = number, system.PathJoin(s.opts.Dir, name)
		}
	}
	if path == "" || marked.secret == nil {
		return nil
	}
	return checkTail(system, path, s.count, marked.secret)
}

// openError marks an error of opening a database as [ErrCorrupt] when it means
// damage. An error of the operating system does not, except for a missing file.
func openError(err error) error {
	var errno syscall.Errno
	switch {
	case err == nil, errors.Is(err, ErrCorrupt), errors.Is(err, ErrNewerSchema):
		return err
	case strings.Contains(err.Error(), "unknown format major version"):
		return fmt.Errorf("%w: %w", ErrNewerSchema, err)
	case errors.Is(err, fs.ErrNotExist), pebble.IsCorruptionError(err):
	case errors.As(err, &errno):
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}
