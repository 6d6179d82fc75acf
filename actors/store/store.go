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

// Store is an open database. Reads are its methods; writes go through the store
// actor, see [NewActor].
type Store struct {
	readOnly bool // see OpenReadOnly
	opts     Options
	log      *slog.Logger
	db       *pebble.DB
	lock     *pebble.Lock
	views    views
	watches  watches
	space    space
	crowders crowders
	floors   floors
	names    nameIndexes

	// slot is taken by the commit that is under way, jobs carries it to the
	// goroutine that commits, and committed is closed when that has ended.
	slot      chan struct{}
	jobs      chan job
	committed chan struct{}

	opening atomic.Bool
	closed  atomic.Bool

	// count is the number of the last commit that was begun with a sync; it belongs
	// to the goroutine that commits. What the marker says is in synced, which is the
	// number of the last one that is synced, logs, and manifest as it was synced last.
	// markerWrite is held while the marker is written, due asks for that; see marker.go.
	count       uint64
	secret      []byte // of the marker; not changed once the database is open for writing
	synced      atomic.Uint64
	logs        liveLogs
	manifest    atomic.Pointer[manifestMark]
	markerWrite sync.Mutex
	markerLate  bool // the disk was too full for the marker; the goroutine that commits uses it
	due         chan struct{}

	failOnce sync.Once
	failErr  error         // set before failed is closed
	failed   chan struct{} // closed when the store has failed
}

// Open opens or creates the store in opts.Dir. It reads the log of a crashed
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
	s := newStore(opts)
	if s.opts.Dir, err = makeDir(s.opts.FS, s.opts.Dir); err != nil {
		return nil, err
	}
	if s.lock, err = lockDir(s.fileSystem(), s.opts.Dir); err != nil {
		return nil, err
	}
	if err := s.guardAside(func() error { return s.begin(steps) }); err != nil {
		// After a fatal error Pebble's goroutines may still write here: the lock then
		// stays until the process ends.
		if s.failure() == nil {
			_ = s.lock.Close()
		}
		return nil, err
	}
	s.opening.Store(false)
	go s.commits()
	return s, nil
}

// newStore returns a store that is being opened.
func newStore(opts Options) *Store {
	s := &Store{
		opts:      opts.withDefaults(),
		slot:      make(chan struct{}, 1),
		jobs:      make(chan job, 1),
		committed: make(chan struct{}),
		due:       make(chan struct{}, 1),
		failed:    make(chan struct{}),
	}
	s.log = s.opts.Logger.With("component", "store")
	s.opening.Store(true)
	return s
}

// begin opens the database. Before it is known to be whole nothing is changed.
func (s *Store) begin(steps []migration) (err error) {
	db, exists, err := s.examine(steps)
	if err != nil {
		return err
	}
	if db != nil {
		if !exists && s.count > 0 {
			s.log.Warn("marker of the store is missing", "path", markerName)
		}
		if err := db.Close(); err != nil {
			return openError(err)
		}
	}
	if s.secret == nil {
		s.secret = newSecret()
	}
	if s.db, err = pebble.Open(s.opts.Dir, s.pebbleOptions(s.lock, exists)); err != nil {
		return openError(err)
	}
	defer func() {
		if err != nil && s.failure() == nil {
			err = errors.Join(err, s.db.Close())
		}
	}()
	if err := migrate(s.db, steps); err != nil {
		return err
	}
	if s.count, err = checkCommits(s.db, marker{commits: s.count}); err != nil {
		return err
	}
	s.synced.Store(s.count) // Pebble has written what it has read into tables
	if err := s.writeMarker(); err != nil {
		return err
	}
	if err := s.failure(); err != nil {
		return err
	}
	s.show()
	return nil
}

// examine opens the database for reading when it may also be opened for writing,
// and reports whether there should be one. db is nil when there is none.
func (s *Store) examine(steps []migration) (db *pebble.DB, exists bool, err error) {
	marked, exists, err := s.readMarker()
	if err != nil {
		return nil, false, err
	}
	s.synced.Store(marked.commits)
	s.secret = marked.secret
	s.manifest.Store(&marked.manifest) // until Pebble begins another one
	for _, log := range marked.logs {
		s.logs.begin(log)
	}
	if db, err = s.look(marked, exists); err != nil || db == nil {
		return nil, exists, err
	}
	if err := checkSchema(db, steps); err != nil {
		return nil, exists, openError(errors.Join(err, db.Close()))
	}
	return db, exists, nil
}

// show makes the database readable.
func (s *Store) show() {
	s.space = space{fs: s.fileSystem(), dir: s.opts.Dir, reserve: s.opts.Reserve, now: time.Now, log: s.log}
	s.views.open(s.db)
}

// Close closes the database. The store actor must have stopped. It waits for
// readers; those that come later get ErrClosed. After a failure it returns
// ErrFailed and leaves everything as it is for the end of the process.
func (s *Store) Close() error {
	if !s.closed.CompareAndSwap(false, true) {
		return ErrClosed
	}
	if err := s.failure(); err != nil {
		return err
	}
	err := s.guardAside(s.shut)
	if s.failure() == nil {
		err = errors.Join(err, s.lock.Close())
	}
	if err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// shut closes what open opened, in the opposite order.
func (s *Store) shut() error {
	if s.readOnly {
		s.watches.close()
		<-s.views.close()
		return s.db.Close()
	}
	s.slot <- struct{}{} // no commit is under way, and none will be
	close(s.jobs)
	<-s.committed
	s.watches.close()
	<-s.views.close()
	if err := s.writeMarker(); err != nil {
		return err
	}
	return s.db.Close()
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
		s.log.Error("store failed, the process must end", "err", cause)
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

// makeDir creates the directory with its parents, so that it survives a power cut,
// and returns its path without symbolic links: the lock is by name within this process.
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
	case errors.As(err, &onPath): // the lock file could not be created
	case errors.As(err, &errno) && errno != syscall.EAGAIN && errno != syscall.EACCES:
	default:
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	return nil, fmt.Errorf("lock %s: %w", dir, err)
}
