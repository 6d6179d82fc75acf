// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// OpenReadOnly opens a store that no process has open, for reading. It changes
// nothing in the directory, except that it creates the empty lock file when that is
// missing. All reads, Check and Checkpoint work; there must be no actor.
//
// Errors: those of [Open], and [ErrOlderSchema]; fs.ErrNotExist when there is no
// store.
func OpenReadOnly(opts Options) (*Store, error) {
	s, err := openReadOnly(opts, migrations())
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func openReadOnly(opts Options, steps []migration) (_ *Store, err error) {
	if opts.Dir == "" {
		return nil, fmt.Errorf("no directory given: %w", ErrInvalid)
	}
	s := newStore(opts)
	s.readOnly = true
	if s.opts.Dir, err = s.realDir(); err != nil {
		return nil, err
	}
	if s.lock, err = lockDir(s.fileSystem(), s.opts.Dir); err != nil {
		return nil, err
	}
	if err := s.guardAside(func() error { return s.beginReadOnly(steps) }); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	s.opening.Store(false)
	return s, nil
}

// realDir returns the path of an existing directory without symbolic links.
func (s *Store) realDir() (string, error) {
	if s.opts.FS != nil {
		_, err := s.opts.FS.Stat(s.opts.Dir)
		return s.opts.Dir, err
	}
	dir, err := filepath.Abs(s.opts.Dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

func (s *Store) beginReadOnly(steps []migration) (err error) {
	db, exists, err := s.examine(steps)
	if err != nil {
		return err
	}
	if db == nil {
		return fmt.Errorf("%s: no store here: %w", s.opts.Dir, fs.ErrNotExist)
	}
	if !exists {
		s.log.Warn("marker of the store is missing", "path", markerName)
	}
	if version, err := schemaOf(db); err != nil || version != newestOf(steps) {
		if err == nil {
			err = fmt.Errorf("%w: it has version %d, this program reads version %d", ErrOlderSchema, version, newestOf(steps))
		}
		return errors.Join(err, db.Close())
	}
	s.db = db
	s.show()
	return nil
}

// copyFiles copies a store that is open for reading, and so does not change. Tables are
// never written again and may be shared; logs, of which Pebble reuses the files, and
// the rest are copied.
func (s *Store) copyFiles(dir string) error {
	system := s.fileSystem()
	if _, err := system.Stat(dir); err == nil {
		return fmt.Errorf("%s is there already", dir)
	}
	names, err := system.List(s.opts.Dir)
	if err == nil {
		err = system.MkdirAll(dir, 0o700)
	}
	for _, name := range names {
		if err != nil {
			break
		}
		from, to := system.PathJoin(s.opts.Dir, name), system.PathJoin(dir, name)
		switch {
		case name == "LOCK":
		case filepath.Ext(name) == ".sst":
			err = vfs.LinkOrCopy(system, from, to)
		default:
			err = vfs.Copy(system, from, to)
		}
	}
	if err == nil {
		err = syncDir(system, dir)
	}
	return err
}
