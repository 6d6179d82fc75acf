// SPDX-License-Identifier: MPL-2.0

package media

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"time"
)

// A file's name is the hash of its content, so damage on the disk can
// be detected. A file is hashed whole before its first byte is given out, once
// per process while its size and time of change stand still, and again while it is
// read from its beginning to its end.

// ErrDamaged says that a file is not what was stored.
var ErrDamaged = errors.New("the file is damaged on the disk")

// damagedEnding is added to the name of a damaged file, which is kept for a person
// to look at, and is not a file of the store any more.
const damagedEnding = ".damaged"

// maxIntact bounds what is remembered of files that were hashed; beyond it all is
// forgotten, and hashed again.
const maxIntact = 1 << 16

// stamp is what a file looked like when it was hashed.
type stamp struct {
	size    int64
	changed time.Time
}

func stampOf(info fs.FileInfo) stamp { return stamp{info.Size(), info.ModTime()} }

// intact reports whether a file with that stamp was hashed already.
func (s *Store) intact(h Hash, at stamp) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.hashed[h]
	return ok && known == at
}

func (s *Store) remember(h Hash, at stamp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.hashed) >= maxIntact {
		clear(s.hashed)
	}
	s.hashed[h] = at
}

func (s *Store) forget(h Hash) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hashed, h)
}

// verify hashes an open file unless that was done already, and leaves it at its
// beginning. Errors: [ErrDamaged], and those of reading it.
func (s *Store) verify(f *os.File, h Hash, info fs.FileInfo) error {
	at := stampOf(info)
	if s.intact(h, at) {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if Hash(sum.Sum(nil)) != h {
		return ErrDamaged
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	s.remember(h, at)
	return nil
}

// Verify hashes a file, also one that was hashed before. It changes nothing; the
// next Open finds a damaged file. Errors: [ErrDamaged], fs.ErrNotExist.
func (s *Store) Verify(h Hash) error {
	s.forget(h)
	if s.root == nil {
		return fs.ErrNotExist
	}
	f, err := s.root.Open(fileName(h))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return s.verify(f, h, info)
}

// setAside takes a damaged file out of the store and tells the owner. damaged is what
// was opened: a whole one may be in its place by now.
func (s *Store) setAside(h Hash, damaged fs.FileInfo) {
	if s.opts.ReadOnly {
		s.forget(h)
		return
	}
	if !s.moveAside(h, damaged) {
		return // another caller has done it, or it was removed
	}
	s.free(damaged.Size())
	if s.opts.OnDamage != nil {
		s.opts.OnDamage(h)
	}
}

func (s *Store) moveAside(h Hash, damaged fs.FileInfo) bool {
	s.naming.Lock()
	defer s.naming.Unlock()
	there, err := s.root.Stat(fileName(h))
	if err != nil || !os.SameFile(there, damaged) {
		return false
	}
	s.forget(h)
	return s.root.Rename(fileName(h), fileName(h)+damagedEnding) == nil
}

// File is an open file of the store. It is for one goroutine.
type File struct {
	Hash Hash
	Size int64

	store  *Store
	file   *os.File
	info   fs.FileInfo
	at     int64 // where Read goes on
	sum    hash.Hash
	summed int64 // how much of the file sum has
}

// Read implements io.Reader. The last bytes of a file that has changed since it was
// opened are not given out: then it fails with [ErrDamaged].
func (f *File) Read(b []byte) (int, error) {
	n, err := f.ReadAt(b, f.at)
	f.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// ReadAt implements io.ReaderAt, with the same errors as Read.
func (f *File) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.file.ReadAt(b, at)
	if at == 0 {
		f.sum.Reset()
		f.summed = 0
	}
	if at != f.summed {
		return n, err // not in a row
	}
	f.sum.Write(b[:n])
	f.summed += int64(n)
	whole := f.summed >= f.Size
	if whole && Hash(f.sum.Sum(nil)) != f.Hash || !whole && errors.Is(err, io.EOF) {
		f.store.setAside(f.Hash, f.info)
		return 0, fmt.Errorf("read media %s: %w", f.Hash.Short(), ErrDamaged)
	}
	return n, err
}

// Seek implements io.Seeker.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.Size
	}
	if offset < 0 {
		return f.at, fs.ErrInvalid
	}
	f.at = offset
	return offset, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }
