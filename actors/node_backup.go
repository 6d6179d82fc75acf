// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// snapshotPrefix begins the names of directories in the data directory in which a
// snapshot is made. What a crash leaves of them is removed by the next Open.
const snapshotPrefix = ".snapshot-"

// maxSnapshotFiles bounds the files of messages in a snapshot: what waits to be
// sent first, then the newest.
const maxSnapshotFiles = 50_000

// Snapshot copies what the node must not lose, store, keys and the files of
// messages, into a new directory and returns its path; the caller removes it. It
// has everything that was accepted before the call. The node goes on meanwhile,
// and may also not be started. Store tables and files are shared by hard links
// where the file system allows it.
func (n *Node) Snapshot() (dir string, err error) {
	if dir, err = os.MkdirTemp(n.opts.Dir, snapshotPrefix); err != nil {
		return "", fmt.Errorf("snapshot: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("snapshot: %w", err), os.RemoveAll(dir))
		}
	}()
	// While the lock is held no file is removed that a row of the copy names.
	n.env.placing.RLock()
	defer n.env.placing.RUnlock()
	// Keys come after the store: an account never lacks its key.
	if err := n.store.Checkpoint(filepath.Join(dir, storeDirName)); err != nil {
		return "", err
	}
	if err := n.keys.copyTo(filepath.Join(dir, keyDirName)); err != nil {
		return "", err
	}
	return dir, n.linkMedia(filepath.Join(dir, mediaDirName))
}

// linkMedia shares the files of messages with a snapshot.
func (n *Node) linkMedia(dir string) error {
	found, err := n.env.mediaInUse()
	if err != nil {
		return err
	}
	slices.Reverse(found) // newest first
	slices.SortStableFunc(found, func(a, b *candidate) int {
		switch {
		case a.needed == b.needed:
			return 0
		case a.needed:
			return -1
		}
		return 1
	})
	for _, file := range found[:min(len(found), maxSnapshotFiles)] {
		if err := n.env.media.LinkTo(dir, file.hash); err != nil {
			return err
		}
	}
	return nil
}

// copyTo copies all key files.
func (k *keyring) copyTo(dir string) error {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return fmt.Errorf("list keys: %w", err)
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		content, err := readKeyFile(filepath.Join(k.dir, entry.Name()))
		if err == nil {
			err = writeKeyFile(filepath.Join(dir, entry.Name()), content)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// removeSnapshots removes what a crash has left.
func removeSnapshots(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for old snapshots: %w", err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), snapshotPrefix) {
			if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
				return fmt.Errorf("remove old snapshot: %w", err)
			}
		}
	}
	return nil
}

// Check reads every row of the store and says, one sentence each, where they are
// damaged or contradict each other. It changes nothing.
func (n *Node) Check() ([]string, error) { return n.store.Check() }
