// SPDX-License-Identifier: MPL-2.0

// Package durable creates files and directories that survive a power cut: it syncs their
// content and the directory that has their name. Everything it creates is private, mode
// 0600 or 0700. Every package that writes outside of the store uses it; it imports the
// standard library, and for Linux golang.org/x/sys.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// SyncDir makes the names in a directory durable. A file system that cannot sync a
// directory is not an error: there is nothing that could be done about it.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := syncOpened(d); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

// SyncDirIn is [SyncDir] for a directory inside a root.
func SyncDirIn(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := syncOpened(d); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

func syncOpened(d *os.File) error {
	err := d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

// SyncParent makes the name of a file or directory durable. A parent that one may write
// to and not read is left to the file system.
func SyncParent(path string) error {
	if err := SyncDir(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// SyncTree is [SyncDir] for a directory and all below it.
func SyncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return SyncDir(path)
	})
}

// MkdirAll creates a directory with its parents, and syncs the parent of each that it
// created: a directory whose name is lost in a power cut takes its content along.
func MkdirAll(dir string) error { return mkdirAll(dir, SyncParent) }

func mkdirAll(dir string, syncParent func(path string) error) error {
	var created []string
	for path := dir; ; path = filepath.Dir(path) {
		if _, err := os.Lstat(path); err == nil || path == filepath.Dir(path) {
			break
		}
		created = append(created, path)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, path := range created {
		if err := syncParent(path); err != nil {
			return err
		}
	}
	return nil
}

// Create creates a file with what write writes. When it returns without an error, the
// file is durable; when write or the disk fails, there is none. It never replaces a file.
// On a file system without hard links (FAT) of a system other than Linux a power cut can
// leave an empty file.
//
// Errors: fs.ErrExist, and those of write.
func Create(path string, write func(io.Writer) error) error {
	return create(path, write, namings{os.Link, renameNew})
}

// namings are the ways to give a file a name that must be free. os.Link leaves the old
// name, renameNew does not.
type namings struct{ link, renameNew func(from, to string) error }

func create(path string, write func(io.Writer) error, by namings) error {
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return writeAside(path, write, func(from, to string) error { // each fails when the name was taken meanwhile
		err := by.link(from, to)
		if isUnsupported(err) {
			err = by.renameNew(from, to)
		}
		if isUnsupported(err) {
			err = reserve(from, to)
		}
		return err
	})
}

// isUnsupported reports whether a file system cannot do what was asked for. FAT answers
// EPERM to a hard link.
func isUnsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL)
}

// reserve renames a file to a name that must be free, by taking the name first.
func reserve(from, to string) error {
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Close(), os.Rename(from, to)); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

// Replace creates a file with this content, or replaces one: until the new content is
// on the disk the file has the old one, also after a power cut.
func Replace(path string, content []byte) error {
	write := func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	}
	return writeAside(path, write, os.Rename)
}

// writeAside writes a file beside its path, syncs it and gives it its name.
func writeAside(path string, write func(io.Writer) error, name func(from, to string) error) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".mimird-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // gone already when it was renamed
	err = write(file)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = name(file.Name(), path)
	}
	if err != nil {
		return err
	}
	return SyncParent(path)
}

// LinkOrCopy gives a file that does not change a second name, which must be free: by a
// hard link where the file system allows it, else by a copy of what open returns; nil
// opens from. It creates the directory of the second name. Nothing is synced.
func LinkOrCopy(from, to string, open func() (io.ReadCloser, error)) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	if open == nil {
		open = func() (io.ReadCloser, error) { return os.Open(from) }
	}
	in, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // only read
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
