// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Checkpoint makes a copy of the store in dir, which must not exist, while the
// store is in use. The copy has everything that was acknowledged before the call,
// may have some of what came later, and is opened like any store. Where the file
// system allows it, tables are shared by hard links, so it takes little time and
// space; dir has to be on the same one for that.
//
// It is for goroutines outside actors. When it fails, the caller removes what
// is in dir.
func (s *Store) Checkpoint(dir string) error {
	if s.closed.Load() {
		return ErrClosed
	}
	if err := s.failure(); err != nil {
		return err
	}
	if s.readOnly {
		if err := s.guard(func() error { return s.copyFiles(dir) }); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
		return nil
	}
	var commits uint64
	err := s.read(func(r rows) error { return loadRow(r, countKey(), &commits) })
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("checkpoint: read number of commits: %w", err)
	}
	if err := s.guard(func() error { return s.db.Checkpoint(dir, pebble.WithFlushedWAL()) }); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	// The copy has logs and a manifest of its own.
	marked := marker{commits: commits, manifest: noManifest()}
	if marked.logs, err = logsIn(s.fileSystem(), dir); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := marked.write(s.fileSystem(), dir); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// logsIn returns the logs in a directory that nobody writes to.
func logsIn(system vfs.FS, dir string) (logs []liveLog, err error) {
	names, err := system.List(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		number, isLog := logNumberOf(name)
		if !isLog {
			continue
		}
		info, err := system.Stat(system.PathJoin(dir, name))
		if err != nil {
			return nil, err
		}
		logs = append(logs, liveLog{number, info.Size()})
	}
	return logs, nil
}
