// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncFileSystem syncs the file system that a directory is in. Linux reports errors of
// earlier writes since 5.8. It returns false when there is no such call.
func syncFileSystem(dir string) (done bool, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	err = unix.Syncfs(int(d.Fd()))
	if errors.Is(err, unix.ENOSYS) {
		return false, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return true, nil
}
