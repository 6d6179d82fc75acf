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

// writeKeyFile creates path with content. It never overwrites: losing an
// identity is the one mistake that cannot be mended. The content is on the disk,
// under its name, when it returns.
func writeKeyFile(path string, content []byte) error {
	if err := durable.MkdirAll(filepath.Dir(path)); err != nil {
		return fmt.Errorf("make key directory: %w", err)
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
		return nil, fmt.Errorf("key file %s %w (mode %04o); make it private with: chmod 600 %s", path, ErrExposed, info.Mode().Perm(), path)
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
	return durable.SyncDir(filepath.Dir(path))
}

func removeFile(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
