// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// markerName is a file that says that here is a store. Without it, a directory
// that has lost the database's own markers would look like a new one, and an
// empty database would take the place of the damaged one.
const markerName = "mimird-store"

// Store is an open database. Reads are its methods; writes go through the store
// actor, see [NewActor].
type Store struct {
	opts    Options
	log     *slog.Logger
	db      *pebble.DB
	lock    *pebble.Lock
	views   views
	watches watches
	space   space

	// slot is taken by the commit that is under way.
	slot    chan struct{}
	opening atomic.Bool
	closed  atomic.Bool

	failOnce sync.Once
	failErr  error         // set before failed is closed
	failed   chan struct{} // closed when the store has failed
}

// Open opens or makes the store in opts.Dir. It reads the log of a crashed
// process, so it may take seconds.
//
// Errors: [ErrInUse], [ErrNewerSchema], [ErrCorrupt], and those of the file
// system.
func Open(opts Options) (*Store, error) {
	s, err := open(opts, migrations())
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func open(opts Options, steps []migration) (_ *Store, err error) {
	if opts.Dir == "" {
		return nil, fmt.Errorf("no directory given: %w", ErrInvalid)
	}
	s := &Store{
		opts:   opts.withDefaults(),
		slot:   make(chan struct{}, 1),
		failed: make(chan struct{}),
	}
	s.log = s.opts.Logger.With("component", "store")
	s.opening.Store(true)
	system := s.fileSystem()
	if s.opts.Dir, err = makeDir(s.opts.FS, s.opts.Dir); err != nil {
		return nil, err
	}
	if s.lock, err = lockDir(system, s.opts.Dir); err != nil {
		return nil, err
	}
	defer func() {
		// After a fatal error Pebble's goroutines may still write here: the lock
		// then stays until the process ends.
		if err != nil && s.failure() == nil {
			_ = s.lock.Close()
		}
	}()
	marker := system.PathJoin(s.opts.Dir, markerName)
	_, statErr := system.Stat(marker)
	if statErr != nil && !errors.Is(statErr, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for %s: %w", markerName, statErr)
	}
	if err := s.openDatabase(statErr == nil); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && s.failure() == nil {
			_ = s.guardAside(s.db.Close)
		}
	}()
	if err := s.guardAside(func() error { return migrate(s.db, steps) }); err != nil {
		return nil, err
	}
	if statErr != nil {
		if err := writeMarker(system, s.opts.Dir, marker); err != nil {
			return nil, fmt.Errorf("write %s: %w", markerName, err)
		}
	}
	if err := s.failure(); err != nil {
		return nil, err
	}
	s.space = space{fs: system, dir: s.opts.Dir, reserve: s.opts.Reserve, now: s.now, log: s.log}
	s.views.open(s.db)
	s.opening.Store(false)
	return s, nil
}

func (s *Store) openDatabase(mustExist bool) error {
	err := s.guardAside(func() (err error) {
		s.db, err = pebble.Open(s.opts.Dir, s.pebbleOptions(s.lock, mustExist))
		return err
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pebble.ErrDBDoesNotExist), errors.Is(err, pebble.ErrDBNotPristine), pebble.IsCorruptionError(err):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	default:
		return err
	}
}

// Close closes the database. The store actor must have stopped. It waits for
// readers; those that come later get ErrClosed. After a failure it returns
// ErrFailed and leaves everything as it is for the end of the process.
func (s *Store) Close() error {
	if !s.closed.CompareAndSwap(false, true) {
		return ErrClosed
	}
	select {
	case s.slot <- struct{}{}: // no commit is under way, and none will be
	case <-s.failed:
		return s.failure()
	}
	s.watches.close()
	select {
	case <-s.views.close():
	case <-s.failed:
		return s.failure()
	}
	if err := s.guardAside(s.db.Close); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("unlock store: %w", err)
	}
	return nil
}

// Failed returns a channel that is closed when the store has failed.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err returns nil, or why the store refuses everything: ErrFailed with its
// cause, or ErrClosed.
func (s *Store) Err() error {
	if err := s.failure(); err != nil {
		return err
	}
	if s.closed.Load() {
		return ErrClosed
	}
	return nil
}

// fail records the first failure and tells the owner. It returns what every call
// gets from now on.
func (s *Store) fail(cause error) error {
	s.failOnce.Do(func() {
		s.failErr = cause
		if !errors.Is(cause, ErrFailed) {
			s.failErr = fmt.Errorf("%w: %w", ErrFailed, cause)
		}
		close(s.failed)
		if s.opening.Load() {
			return // Open returns it
		}
		s.log.Error("Store has failed, the process must end", "err", cause)
		if s.opts.OnFatal != nil {
			s.opts.OnFatal(s.failErr)
		}
	})
	return s.failErr
}

// failure returns what fail recorded, or nil.
func (s *Store) failure() error {
	select {
	case <-s.failed:
		return s.failErr
	default:
		return nil
	}
}

func (s *Store) now() time.Time { return s.opts.Now() }

func (s *Store) fileSystem() vfs.FS {
	if s.opts.FS == nil {
		return vfs.Default
	}
	return s.opts.FS
}

// makeDir makes the directory with its parents, so that it survives a power cut,
// and returns its one true name: the lock is by name within this process.
func makeDir(custom vfs.FS, dir string) (string, error) {
	system := custom
	if system == nil {
		system = vfs.Default
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("make directory: %w", err)
		}
		dir = abs
	}
	var missing []string
	for path := dir; ; path = system.PathDir(path) {
		if _, err := system.Stat(path); err == nil || path == system.PathDir(path) {
			break
		}
		missing = append(missing, path)
	}
	if err := system.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory: %w", err)
	}
	for _, path := range missing {
		if err := syncDir(system, system.PathDir(path)); err != nil {
			return "", fmt.Errorf("make directory: %w", err)
		}
	}
	if custom != nil {
		return dir, nil
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory needs its x bit
		return "", fmt.Errorf("make directory private: %w", err)
	}
	return filepath.EvalSymlinks(dir)
}

func syncDir(system vfs.FS, dir string) error {
	f, err := system.OpenDir(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func writeMarker(system vfs.FS, dir, marker string) error {
	f, err := system.Create(marker, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return syncDir(system, dir)
}

// lockDir takes the lock that keeps a second process, and a second Store of this
// one, away.
func lockDir(system vfs.FS, dir string) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, system)
	if err == nil {
		return lock, nil
	}
	var onPath *fs.PathError
	var errno syscall.Errno
	switch {
	case errors.As(err, &onPath): // the lock file could not be made
	case errors.As(err, &errno) && errno != syscall.EAGAIN && errno != syscall.EACCES:
	default:
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	return nil, fmt.Errorf("lock %s: %w", dir, err)
}
