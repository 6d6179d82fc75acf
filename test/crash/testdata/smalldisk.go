// SPDX-License-Identifier: MPL-2.0

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The build of TestDiskFills puts this file into the program where no small disk
// can be had. The store then believes that its disk has so many bytes as this
// variable says, and that all of them are below the data directory.
const smallDiskEnv = "MIMIRD_TEST_DISK"

func init() {
	size, err := strconv.ParseInt(os.Getenv(smallDiskEnv), 10, 64)
	if err == nil {
		vfs.Default = &smallDisk{FS: vfs.Default, size: size}
	}
}

type smallDisk struct {
	vfs.FS
	size int64

	mu  sync.Mutex
	dir string // the data directory, known when the store has asked for its disk
}

// room is how many bytes are free.
func (d *smallDisk) room() int64 {
	if d.dir == "" {
		return d.size
	}
	free := d.size
	_ = filepath.WalkDir(d.dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return nil // gone meanwhile
		}
		if info, err := entry.Info(); err == nil {
			free -= info.Size()
		}
		return nil
	})
	return free
}

func (d *smallDisk) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	free := uint64(max(0, d.room()))
	return vfs.DiskUsage{AvailBytes: free, TotalBytes: uint64(d.size), UsedBytes: uint64(d.size) - free}, nil
}

func (d *smallDisk) file(f vfs.File, err error, path string) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dir = filepath.Dir(filepath.Dir(path)) // all files of the store are in a folder of the data directory
	return &smallDiskFile{File: f, disk: d}, nil
}

func (d *smallDisk) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, category)
	return d.file(f, err, name)
}

func (d *smallDisk) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(oldname, newname, category)
	return d.file(f, err, newname)
}

func (d *smallDisk) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, category, opts...)
	return d.file(f, err, name)
}

func (d *smallDisk) Unwrap() vfs.FS { return d.FS }

type smallDiskFile struct {
	vfs.File
	disk   *smallDisk
	offset int64
}

// grow carries out what lets the file end here at least, unless there is no room.
func (f *smallDiskFile) grow(end int64, write func() error) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	info, err := f.File.Stat()
	if err != nil {
		return err
	}
	if more := end - info.Size(); more > 0 && more > f.disk.room() {
		return syscall.ENOSPC
	}
	return write()
}

func (f *smallDiskFile) Write(p []byte) (n int, err error) {
	err = f.grow(f.offset+int64(len(p)), func() (err error) {
		n, err = f.File.Write(p)
		return err
	})
	f.offset += int64(n)
	return n, err
}

func (f *smallDiskFile) WriteAt(p []byte, at int64) (n int, err error) {
	err = f.grow(at+int64(len(p)), func() (err error) {
		n, err = f.File.WriteAt(p, at)
		return err
	})
	return n, err
}

func (f *smallDiskFile) Preallocate(at, length int64) error {
	return f.grow(at+length, func() error { return f.File.Preallocate(at, length) })
}
