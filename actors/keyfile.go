// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// keyFileMode is what secret files are created with and must have.
const keyFileMode fs.FileMode = 0o600

// maxKeyFile bounds what is read from a key file; a PEM block has about 120 bytes.
const maxKeyFile = 4 << 10

// errLooseKeyFile says that a key file has a mode that is too open.
var errLooseKeyFile = errors.New("can be read by others")

// writeKeyFile creates path with content. It never overwrites: losing an
// identity is the one mistake that cannot be mended. The content is on the disk,
// under its name, when it returns.
func writeKeyFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	if err := makeDirs(dir, syncDir); err != nil {
		return fmt.Errorf("make key directory: %w", err)
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("write key file %s: %w", filepath.Base(path), fs.ErrExist)
	}
	tmp, err := os.CreateTemp(dir, ".new-*") // mode 0600, O_EXCL
	if err != nil {
		return fmt.Errorf("write key file: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		// Link, unlike rename, fails when the name was taken meanwhile.
		err = os.Link(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write key file %s: %w", filepath.Base(path), err)
	}
	return syncDir(dir)
}

// readKeyFile reads a secret and refuses files that others can read: a copied
// key is an identity that two people have.
func readKeyFile(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("key file %s is not a regular file", path)
	}
	if loose := info.Mode().Perm() &^ keyFileMode; loose != 0 {
		return nil, fmt.Errorf("key file %s %w (mode %04o); make it private with: chmod 600 %s", path, errLooseKeyFile, info.Mode().Perm(), path)
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("key file %s has %d bytes; this is no key file", path, info.Size())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	return content, nil
}

// removedEnding marks the key file of an account that was removed, and one that was
// replaced.
const removedEnding = ".removed"

// removeKeyFile takes a key file out of use, or deletes it with what an earlier
// removal has left.
func removeKeyFile(path string, deleteIt bool) error {
	var err error
	if deleteIt {
		err = errors.Join(removeFile(path), removeFile(path+removedEnding))
	} else {
		// What is there under that name is the same key.
		if err = os.Rename(path, path+removedEnding); errors.Is(err, fs.ErrNotExist) {
			err = nil // somebody has taken it away
		}
	}
	if err != nil {
		return fmt.Errorf("remove key file: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func removeFile(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// makeDirs makes a private directory with its parents and syncs the parent of each that
// it made: a directory that is not in its parent after a power cut takes what is in it
// along.
func makeDirs(dir string, sync func(dir string) error) error {
	var made []string
	for path := dir; ; path = filepath.Dir(path) {
		if _, err := os.Lstat(path); err == nil || path == filepath.Dir(path) {
			break
		}
		made = append(made, path)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, path := range made {
		if err := sync(filepath.Dir(path)); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
