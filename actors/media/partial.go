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
	"path"
	"slices"
	"strings"
)

// Partial is a piece of something that arrives from its beginning on, such as an
// encrypted file, and is kept until it is whole, also over a restart. It is not
// a file of the store. It is for one goroutine.
type Partial struct {
	store *Store
	name  string
	file  *os.File
	hash  hash.Hash
	size  int64
}

// Resume opens the piece of that name, which is the hash of the whole, or begins
// it. One caller at a time has it, others get [ErrBusy]. What is there is read
// once to go on with its hash.
func (s *Store) Resume(name Hash) (*Partial, error) {
	p := &Partial{store: s, name: partialName(name), hash: sha256.New()}
	if !s.claim(p.name) {
		return nil, ErrBusy
	}
	err := p.open()
	if err != nil {
		s.unclaim(p.name)
		return nil, fmt.Errorf("open piece: %w", full(err))
	}
	return p, nil
}

func partialName(h Hash) string { return path.Join(partialDir, partPrefix+h.String()) }

func (p *Partial) open() (err error) {
	if p.file, err = p.store.root.OpenFile(p.name, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if p.size, err = io.Copy(p.hash, p.file); err != nil {
		_ = p.file.Close()
	}
	return err
}

// Size returns how much there is.
func (p *Partial) Size() int64 { return p.size }

// Sum returns the hash of what there is.
func (p *Partial) Sum() Hash { return Hash(p.hash.Sum(nil)) }

// Write adds to the end. Its errors are those of [Writer.Write].
func (p *Partial) Write(b []byte) (int, error) {
	if err := p.store.take(int64(len(b))); err != nil {
		return 0, err
	}
	n, err := p.file.WriteAt(b, p.size)
	p.hash.Write(b[:n])
	p.size += int64(n)
	if n < len(b) {
		p.store.free(int64(len(b) - n))
	}
	if err != nil {
		return n, fmt.Errorf("write piece: %w", full(err))
	}
	return n, nil
}

// Reader reads from the beginning.
func (p *Partial) Reader() io.Reader { return io.NewSectionReader(p.file, 0, p.size) }

// Reset forgets what there is.
func (p *Partial) Reset() error {
	if err := p.file.Truncate(0); err != nil {
		return fmt.Errorf("empty piece: %w", err)
	}
	p.store.free(p.size)
	p.size = 0
	p.hash.Reset()
	return nil
}

// Close keeps the piece for later.
func (p *Partial) Close() error {
	defer p.store.unclaim(p.name)
	return p.file.Close()
}

// Remove closes the piece and removes it.
func (p *Partial) Remove() error {
	defer p.store.unclaim(p.name)
	err := p.file.Close()
	return errors.Join(err, p.store.remove(p.name))
}

// EvictPartials removes pieces that nobody has open, those first that were written
// longest ago, until at least that many bytes are free, and returns how many are.
func (s *Store) EvictPartials(bytes int64) (freed int64, err error) {
	entries, err := fs.ReadDir(s.root.FS(), partialDir)
	if err != nil {
		return 0, fmt.Errorf("look at pieces: %w", err)
	}
	var pieces []fs.FileInfo
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && strings.HasPrefix(entry.Name(), partPrefix) {
			pieces = append(pieces, info)
		}
	}
	slices.SortFunc(pieces, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, piece := range pieces {
		name := path.Join(partialDir, piece.Name())
		if freed >= bytes {
			break
		}
		if !s.claim(name) {
			continue
		}
		err := s.remove(name)
		s.unclaim(name)
		if err != nil {
			return freed, err
		}
		freed += piece.Size()
	}
	return freed, nil
}

// RemovePartials removes the pieces that nobody wants and nobody has open.
func (s *Store) RemovePartials(wanted func(name Hash) bool) error {
	entries, err := fs.ReadDir(s.root.FS(), partialDir)
	if err != nil {
		return fmt.Errorf("look at pieces: %w", err)
	}
	var failed []error
	for _, entry := range entries {
		text, ok := strings.CutPrefix(entry.Name(), partPrefix)
		h, err := ParseHash(text)
		name := partialName(h)
		if !ok || err != nil || wanted(h) || !s.claim(name) {
			continue
		}
		failed = append(failed, s.remove(name))
		s.unclaim(name)
	}
	return errors.Join(failed...)
}
