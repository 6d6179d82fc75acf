// SPDX-License-Identifier: MPL-2.0

package keyring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mimird/mimird/actors/durable"
)

// keyFileMode is what secret files are created with and must have.
const keyFileMode fs.FileMode = 0o600

// maxKeyFile bounds what is read from a key file; a PEM block has about 120 bytes.
const maxKeyFile = 4 << 10

// writeKeyFile creates a key file, durably. It never replaces one: a lost identity cannot
// be restored.
func writeKeyFile(path string, content []byte) error {
	if err := durable.MkdirAll(filepath.Dir(path)); err != nil {
		return fmt.Errorf("create key directory: %w", err)
	}
	err := durable.Create(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
	if err != nil {
		return fmt.Errorf("write key file %s: %w", filepath.Base(path), err)
	}
	return nil
}

// readKeyFile reads a key file, and refuses one that others can read: with a copied key
// somebody else is the same identity.
func readKeyFile(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("key file %s is not a regular file", path)
	}
	if loose := info.Mode().Perm() &^ keyFileMode; loose != 0 {
		return nil, fmt.Errorf("key file %s %w (mode %04o); make it private with: chmod 600 %s", path, ErrExposed, info.Mode().Perm(), path)
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("key file %s has %d bytes; a key file is smaller", path, info.Size())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	return content, nil
}

// removedEnding is appended to the name of a key file that is out of use.
const removedEnding = ".removed"

// removeKeyFile renames a key file, or deletes it together with a renamed one.
func removeKeyFile(path string, deleteFile bool) error {
	var err error
	if deleteFile {
		err = errors.Join(removeFile(path), removeFile(path+removedEnding))
	} else {
		// A file with that name has the same key.
		if err = os.Rename(path, path+removedEnding); errors.Is(err, fs.ErrNotExist) {
			err = nil // somebody has removed it
		}
	}
	if err != nil {
		return fmt.Errorf("remove key file: %w", err)
	}
	return durable.SyncDir(filepath.Dir(path))
}

// removeFile deletes a file if there is one.
func removeFile(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
