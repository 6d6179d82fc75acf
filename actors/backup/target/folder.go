// SPDX-License-Identifier: MPL-2.0

package target

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mimird/mimird/actors/durable"
)

// folder is a directory of this machine, which may be a mounted one.
type folder struct{ dir string }

func openFolder(dir string) (Target, error) {
	if err := durable.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make folder for backups: %w", err)
	}
	return &folder{dir}, nil
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f *folder) names() ([]fs.DirEntry, error) {
	dir, err := os.Open(f.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // only read
	entries, err := dir.ReadDir(maxEntries)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return entries, err
}

// List implements [Target].
func (f *folder) List() ([]Entry, error) {
	entries, err := f.names()
	if err != nil {
		return nil, fmt.Errorf("list backups: %w", err)
	}
	var out []Entry
	for _, e := range entries {
		if _, part := nameOf(e.Name()); part || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list backups: %w", err)
		}
		out = append(out, Entry{e.Name(), info.Size()})
	}
	return out, nil
}

// Create implements [Target].
func (f *folder) Create(name string, write func(io.Writer) error) (err error) {
	if err := plain(name); err != nil {
		return err
	}
	if _, err := os.Lstat(f.path(name)); err == nil {
		return &fs.PathError{Op: "create", Path: f.path(name), Err: fs.ErrExist}
	}
	part := f.path(partOf(name))
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = write(file)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(part, f.path(name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return durable.SyncDir(f.dir)
}

// Open implements [Target].
func (f *folder) Open(name string) (io.ReadCloser, error) {
	if err := plain(name); err != nil {
		return nil, err
	}
	return os.Open(f.path(name))
}

// Remove implements [Target].
func (f *folder) Remove(name string) error {
	if err := plain(name); err != nil {
		return err
	}
	if err := os.Remove(f.path(name)); err != nil {
		return err
	}
	return durable.SyncDir(f.dir)
}

// Sweep implements [Target].
func (f *folder) Sweep(prefix string) error {
	entries, err := f.names()
	if err != nil {
		return fmt.Errorf("list parts of backups: %w", err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() && isPart(e.Name(), prefix) {
			err = errors.Join(err, os.Remove(f.path(e.Name())))
		}
	}
	return err
}

// Close implements [Target].
func (f *folder) Close() error { return nil }
