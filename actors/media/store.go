// SPDX-License-Identifier: MPL-2.0

package media

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/mimird/mimird/actors/durable"
)

const (
	filesDir   = "files"
	partialDir = "partial"
	newPrefix  = "new-"
	partPrefix = "part-"

	// defaultQuota is the quota for all files when Options has none.
	defaultQuota = 4 << 30
)

var (
	// ErrFull says that the quota is reached and nothing can be evicted.
	ErrFull = errors.New("the media store is full")
	// ErrDiskFull says that the disk has no more space for files.
	ErrDiskFull = errors.New("the disk is too full for files")
	// ErrBusy says that another caller writes to the same piece.
	ErrBusy = errors.New("the file is being written already")
)

// Options say where the store is and how large it may become. Only Dir is
// required.
type Options struct {
	// Dir is created with mode 0700.
	Dir string
	// Quota is the limit of all files together, in bytes; 0 means defaultQuota.
	Quota int64
	// Evict is asked to remove files of at least that many bytes; it may block,
	// and calls Remove. nil: nothing is evicted. It runs once at a time.
	Evict func(bytes int64) error
	// DiskLow reports that the disk is needed for more important things. nil: never.
	DiskLow func() bool
	// OnDamage is told of a file that is damaged and not in the store any more. It may
	// block; it is called in the goroutine that has opened or read the file. May be
	// nil.
	OnDamage func(Hash)
	// ReadOnly changes nothing in the directory, which may be missing. Methods that
	// write must not be called.
	ReadOnly bool
}

// Store is a directory of files. It is safe for concurrent use; its methods touch
// the disk and may block, so actors call them in goroutines.
type Store struct {
	opts Options
	root *os.Root

	making  sync.Mutex // held while files are evicted
	placing sync.Mutex // held while a file is placed
	naming  sync.Mutex // held while a name comes to lead to another file; after placing

	mu      sync.Mutex
	used    int64
	writing map[string]struct{} // partial files in use
	hashed  map[Hash]stamp      // files that are what their name says
	serial  uint64
}

// Open opens or creates the store, counts what is there, and removes what was being
// written when the process ended.
func Open(opts Options) (_ *Store, err error) {
	if opts.Quota <= 0 {
		opts.Quota = defaultQuota
	}
	if opts.ReadOnly {
		return openReadOnly(opts)
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make media directory: %w", err)
	}
	root, err := os.OpenRoot(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("open media directory: %w", err)
	}
	s := &Store{opts: opts, root: root, writing: make(map[string]struct{}), hashed: make(map[Hash]stamp)}
	defer func() {
		if err != nil {
			_ = root.Close()
		}
	}()
	for _, dir := range []string{filesDir, partialDir} {
		if err := root.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make media directory: %w", err)
		}
	}
	if err := durable.SyncDirIn(s.root, "."); err != nil {
		return nil, fmt.Errorf("make media directory: %w", err)
	}
	if err := s.count(); err != nil {
		return nil, fmt.Errorf("look at the media directory: %w", err)
	}
	return s, nil
}

// openReadOnly opens the store without a change. A directory that is missing is an
// empty one.
func openReadOnly(opts Options) (*Store, error) {
	root, err := os.OpenRoot(opts.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open media directory: %w", err)
	}
	s := &Store{opts: opts, root: root, writing: make(map[string]struct{}), hashed: make(map[Hash]stamp)}
	if root == nil {
		return s, nil
	}
	if err := s.count(); err != nil {
		return nil, errors.Join(fmt.Errorf("look at the media directory: %w", err), root.Close())
	}
	return s, nil
}

// count sums up what is there. Files that are not ours are left alone.
func (s *Store) count() error {
	return fs.WalkDir(s.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		dir, base := path.Split(name)
		switch {
		case dir == partialDir+"/" && strings.HasPrefix(base, newPrefix):
			if s.opts.ReadOnly {
				return nil
			}
			return s.root.Remove(name)
		case dir == partialDir+"/" && strings.HasPrefix(base, partPrefix):
		default:
			if h, err := ParseHash(base); err != nil || name != fileName(h) {
				return nil //nolint:nilerr // not a file of ours
			}
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		s.used += info.Size()
		return nil
	})
}

// Close ends the use of the directory. Open files stay open.
func (s *Store) Close() error {
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}

// Used returns how many bytes are in use, and how many may be.
func (s *Store) Used() (used, quota int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used, s.opts.Quota
}

func fileName(h Hash) string {
	name := h.String()
	return path.Join(filesDir, name[:2], name)
}

// Open opens a file. The first time it reads all of it. Errors: fs.ErrNotExist when
// it is not there; [ErrDamaged], after which it is not there.
func (s *Store) Open(h Hash) (*File, error) {
	if s.root == nil {
		return nil, fmt.Errorf("open media %s: %w", h.Short(), fs.ErrNotExist)
	}
	f, err := s.root.Open(fileName(h))
	if err != nil {
		return nil, fmt.Errorf("open media %s: %w", h.Short(), err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open media %s: %w", h.Short(), err)
	}
	if err := s.verify(f, h, info); err != nil {
		_ = f.Close()
		if errors.Is(err, ErrDamaged) {
			s.setAside(h, info)
		}
		return nil, fmt.Errorf("open media %s: %w", h.Short(), err)
	}
	return &File{Hash: h, Size: info.Size(), store: s, file: f, info: info, sum: sha256.New()}, nil
}

// Has reports whether a file is there.
func (s *Store) Has(h Hash) bool {
	if s.root == nil {
		return false
	}
	_, err := s.root.Stat(fileName(h))
	return err == nil
}

// Remove removes a file. Readers that have it open can go on. A file that is not
// there is removed already.
func (s *Store) Remove(h Hash) error { return s.remove(fileName(h)) }

func (s *Store) remove(name string) error {
	info, err := s.root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = s.root.Remove(name)
	}
	if err != nil {
		return fmt.Errorf("remove media: %w", err)
	}
	s.free(info.Size())
	return nil
}

// LinkTo makes a file also one of the store in another directory, which nobody has
// open: by a hard link where the file system allows it, else by a copy.
func (s *Store) LinkTo(dir string, h Hash) error {
	to := filepath.Join(dir, filepath.FromSlash(fileName(h)))
	open := func() (io.ReadCloser, error) { return s.Open(h) } // which checks the content
	if err := durable.LinkOrCopy(filepath.Join(s.opts.Dir, filepath.FromSlash(fileName(h))), to, open); err != nil {
		return fmt.Errorf("share media %s: %w", h.Short(), err)
	}
	return nil
}

// Each calls f with every file until it returns an error, which it returns.
func (s *Store) Each(f func(h Hash, size int64) error) error {
	if s.root == nil {
		return nil
	}
	return fs.WalkDir(s.root.FS(), filesDir, func(name string, entry fs.DirEntry, err error) error {
		if s.opts.ReadOnly && name == filesDir && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		h, err := ParseHash(path.Base(name))
		if err != nil || name != fileName(h) {
			return nil //nolint:nilerr // not a file of ours
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		return f(h, info.Size())
	})
}

// take reserves space for n bytes.
func (s *Store) take(n int64) error {
	if s.opts.DiskLow != nil && s.opts.DiskLow() {
		return ErrDiskFull
	}
	if s.tryTake(n) {
		return nil
	}
	if s.opts.Evict == nil {
		return ErrFull
	}
	s.making.Lock()
	defer s.making.Unlock()
	if s.tryTake(n) {
		return nil // another caller has evicted files
	}
	// More than is needed now: the next piece comes soon.
	if err := s.opts.Evict(max(n, s.opts.Quota/20)); err != nil {
		return err
	}
	if !s.tryTake(n) {
		return ErrFull
	}
	return nil
}

func (s *Store) tryTake(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used+n > s.opts.Quota {
		return false
	}
	s.used += n
	return true
}

func (s *Store) free(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= n
}

// claim makes the caller the only one who writes to a partial file.
func (s *Store) claim(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.writing[name]; taken {
		return false
	}
	s.writing[name] = struct{}{}
	return true
}

func (s *Store) unclaim(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.writing, name)
}
