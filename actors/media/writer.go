// SPDX-License-Identifier: MPL-2.0

package media

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"os"
	"path"
	"strconv"
	"syscall"

	"github.com/mimird/mimird/actors/durable"
)

// sniffed is how much of a file is looked at to tell what it is.
const sniffed = 3072

// Writer writes a new file. Exactly one of Commit and Discard ends it; Discard
// after Commit does nothing. It is for one goroutine.
type Writer struct {
	store *Store
	name  string
	file  *os.File // nil once it is over
	hash  hash.Hash
	head  []byte
	size  int64
}

// Info is what is known of a stored file.
type Info struct {
	Hash Hash
	Size int64
	// MIMEType goes by the first bytes, without parameters.
	MIMEType string
}

// Create begins a new file.
func (s *Store) Create() (*Writer, error) {
	s.mu.Lock()
	s.serial++
	name := path.Join(partialDir, newPrefix+strconv.FormatUint(s.serial, 10))
	s.mu.Unlock()
	file, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create media: %w", full(err))
	}
	return &Writer{store: s, name: name, file: file, hash: sha256.New()}, nil
}

// Write implements io.Writer. It fails with [ErrFull] or [ErrDiskFull] when there
// is no space.
func (w *Writer) Write(b []byte) (int, error) {
	if w.file == nil {
		return 0, os.ErrClosed
	}
	if err := w.store.take(int64(len(b))); err != nil {
		return 0, err
	}
	n, err := w.file.Write(b)
	w.hash.Write(b[:n])
	w.size += int64(n)
	w.head = append(w.head, b[:min(n, max(sniffed-len(w.head), 0))]...)
	if n < len(b) {
		w.store.free(int64(len(b) - n))
	}
	if err != nil {
		return n, fmt.Errorf("write media: %w", full(err))
	}
	return n, nil
}

// Sum returns the hash of what was written.
func (w *Writer) Sum() Hash { return Hash(w.hash.Sum(nil)) }

// Size returns how much was written.
func (w *Writer) Size() int64 { return w.size }

// Commit puts the file into the store. When it returns without an error the file
// survives a power cut. A file with the same content that is there already stays
// as it is.
func (w *Writer) Commit() (Info, error) {
	if w.file == nil {
		return Info{}, os.ErrClosed
	}
	info := Info{Hash: w.Sum(), Size: w.size, MIMEType: sniff(w.head)}
	err := w.file.Sync()
	err = errors.Join(err, w.file.Close())
	w.file = nil
	placed := false
	if err == nil {
		placed, err = w.place(info)
	}
	if !placed {
		_ = w.store.remove(w.name) // or found at the next start
	}
	if err != nil {
		return Info{}, fmt.Errorf("store media: %w", full(err))
	}
	return info, nil
}

// place gives the file its name, unless it is there already. One file is placed at a
// time: of two with the same content one is counted.
func (w *Writer) place(info Info) (placed bool, err error) {
	s, name := w.store, fileName(info.Hash)
	s.placing.Lock()
	defer s.placing.Unlock()
	if there, err := s.Open(info.Hash); err == nil { // and it is not damaged
		return false, there.Close()
	}
	if err := s.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return false, err
	}
	stat, err := s.root.Stat(w.name)
	if err == nil {
		err = s.rename(w.name, name)
	}
	if err != nil {
		return false, err
	}
	s.remember(info.Hash, stampOf(stat))
	return true, errors.Join(durable.SyncDirIn(s.root, path.Dir(name)), durable.SyncDirIn(s.root, filesDir))
}

func (s *Store) rename(from, to string) error {
	s.naming.Lock()
	defer s.naming.Unlock()
	return s.root.Rename(from, to)
}

// Discard forgets what was written.
func (w *Writer) Discard() {
	if w.file == nil {
		return
	}
	_ = w.file.Close() // nobody wants what is in it
	w.file = nil
	_ = w.store.remove(w.name) // or found at the next start
}

// full marks the errors of a full disk.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return err
}
