// SPDX-License-Identifier: MPL-2.0

package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// failStop is the file system that Pebble gets. Some errors fail the store here
// and are not returned, because Pebble does not survive them:
//
//   - a failed sync: nobody knows afterwards what is on the disk;
//   - any error on the write-ahead log: when Pebble cannot begin a new log file it
//     panics with its main lock released, and the deferred unlock ends the process
//     on the spot, with a stack trace instead of an exit code;
//   - any error while the database is being opened: a failed Open can leave a
//     compaction running on a closed cache, which panics.
//
// Others come back as what Pebble calls a background error, which fails the store
// too. In a failed store no file is touched any more. Pebble would repeat what
// failed for ever and without a pause, so its attempts are slowed down.
type failStop struct {
	vfs.FS
	store *Store
}

// retryPause is the delay before an operation in a failed store is refused.
const retryPause = time.Second

// do carries out an operation on a file. It does not return when the operation
// must not fail but did.
func (f failStop) do(doing, path string, operation func() error) error {
	vital := doing == "sync" || isLog(path) || f.store.opening.Load()
	if err := f.store.failure(); err != nil {
		if vital {
			park()
		}
		<-time.After(retryPause)
		return err
	}
	err := operation()
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, vfs.ErrUnsupported) || errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if vital {
		_ = f.store.fail(fmt.Errorf("%s %s: %w", doing, path, err))
		park()
	}
	return err
}

// file opens a file.
func (f failStop) file(doing, path string, open func() (vfs.File, error)) (vfs.File, error) {
	var file vfs.File
	err := f.do(doing, path, func() (err error) {
		file, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return failStopFile{file, f, path}, nil
}

func (f failStop) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.file("create", name, func() (vfs.File, error) { return f.FS.Create(name, category) })
	switch {
	case err != nil:
		return nil, err
	case !f.store.owns(name):
		return file, nil // of a checkpoint
	case isManifest(name):
		return &manifestFile{failStopFile: file.(failStopFile), sum: sha256.New()}, nil
	case isLog(name):
		return f.logFile(file, name), nil
	}
	return file, nil
}

// owns reports whether a file is in the directory of the database.
func (s *Store) owns(path string) bool {
	system := s.fileSystem()
	return system.PathDir(path) == system.PathDir(system.PathJoin(s.opts.Dir, markerName))
}

func (f failStop) logFile(file vfs.File, name string) vfs.File {
	number, _ := logNumberOf(name)
	return &logFile{failStopFile: file.(failStopFile), number: number}
}

// ReuseForWrite creates a new file in place of the old one: after an unclean stop,
// Pebble replays every chunk that fits into what an older log left in a reused file,
// and a contact can write such chunks into messages.
func (f failStop) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.Remove(oldname); err != nil {
		return nil, err
	}
	return f.Create(newname, category)
}

func (f failStop) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.file("open", name, func() (vfs.File, error) { return f.FS.Open(name, opts...) })
}

func (f failStop) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.file("open", name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, category, opts...) })
}

func (f failStop) OpenDir(name string) (vfs.File, error) {
	return f.file("open", name, func() (vfs.File, error) { return f.FS.OpenDir(name) })
}

func (f failStop) Link(oldname, newname string) error {
	return f.do("link", newname, func() error { return f.FS.Link(oldname, newname) })
}

func (f failStop) Rename(oldname, newname string) error {
	return f.do("rename", newname, func() error { return f.FS.Rename(oldname, newname) })
}

func (f failStop) Remove(name string) error {
	return f.do("remove", name, func() error {
		if err := f.store.giveUpLog(name); err != nil {
			return err
		}
		return f.FS.Remove(name)
	})
}

func (f failStop) List(dir string) (names []string, err error) {
	err = f.do("list", dir, func() error {
		names, err = f.FS.List(dir)
		return err
	})
	return names, err
}

func (f failStop) Stat(name string) (info vfs.FileInfo, err error) {
	err = f.do("look at", name, func() error {
		info, err = f.FS.Stat(name)
		return err
	})
	return info, err
}

func (f failStop) Unwrap() vfs.FS { return f.FS }

// failStopFile is a file of failStop.
type failStopFile struct {
	vfs.File
	fs   failStop
	path string
}

func (f failStopFile) Read(p []byte) (n int, err error) {
	err = f.fs.do("read", f.path, func() error {
		n, err = f.File.Read(p)
		return err
	})
	return n, err
}

func (f failStopFile) ReadAt(p []byte, offset int64) (n int, err error) {
	err = f.fs.do("read", f.path, func() error {
		n, err = f.File.ReadAt(p, offset)
		return err
	})
	return n, err
}

func (f failStopFile) Write(p []byte) (n int, err error) {
	err = f.fs.do("write", f.path, func() error {
		n, err = f.File.Write(p)
		return err
	})
	return n, err
}

func (f failStopFile) Stat() (info vfs.FileInfo, err error) {
	err = f.fs.do("look at", f.path, func() error {
		info, err = f.File.Stat()
		return err
	})
	return info, err
}

func (f failStopFile) Sync() error     { return f.fs.do("sync", f.path, f.File.Sync) }
func (f failStopFile) SyncData() error { return f.fs.do("sync", f.path, f.File.SyncData) }

func (f failStopFile) SyncTo(length int64) (full bool, err error) {
	err = f.fs.do("sync", f.path, func() error {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

func (f failStopFile) Close() error { return f.fs.do("close", f.path, f.File.Close) }
