// SPDX-License-Identifier: MPL-2.0

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/store"
)

// snapshotPrefix begins the names of directories in the data directory in which a
// snapshot is taken. What a crash leaves of them is removed by the next Open.
const snapshotPrefix = ".snapshot-"

// maxSnapshotFiles bounds the files of messages in a snapshot: what waits to be
// sent first, then the newest.
const maxSnapshotFiles = 50_000

// SnapshotOptions select what is in a snapshot.
type SnapshotOptions struct {
	// WithoutHosted leaves out what others have put on our file server, which may be
	// much.
	WithoutHosted bool
}

// Snapshot is a copy of a node.
type Snapshot struct {
	// Dir is the copy; it is the caller's, who removes it.
	Dir string
	// Left are things of the node that are not in it, one phrase each.
	Left []string
}

// Snapshot copies what the node must not lose, store, keys, the files of messages
// and those of the file server, into a new directory. It has everything that was
// accepted before the call. The node goes on meanwhile, and may also not be
// started. Store tables and files are shared by hard links where the file system
// allows it.
func (n *Node) Snapshot(opts SnapshotOptions) (made Snapshot, err error) {
	dir, err := os.MkdirTemp(n.opts.Dir, snapshotPrefix)
	if err != nil {
		return Snapshot{}, fmt.Errorf("snapshot: %w", err)
	}
	defer func() {
		if err != nil {
			made, err = Snapshot{}, errors.Join(fmt.Errorf("snapshot: %w", err), os.RemoveAll(dir))
		}
	}()
	made.Dir = dir
	// Meanwhile no file is removed that a row of the copy names.
	defer n.files.Hold()()
	// Keys come after the store: an account never lacks its key.
	if err := n.store.Checkpoint(filepath.Join(dir, storeDirName)); err != nil {
		return made, err
	}
	if err := n.keys.CopyTo(filepath.Join(dir, keyring.DirName)); err != nil {
		return made, err
	}
	lost, err := n.KeyProblems()
	if err != nil {
		return made, err
	}
	if made.Left, err = n.files.LinkTo(filepath.Join(dir, mediaDirName), maxSnapshotFiles); err != nil {
		return made, err
	}
	var left []string
	if opts.WithoutHosted {
		left, err = fileserver.Omitted(n.store)
	} else {
		left, err = fileserver.Link(n.store, n.filesDir(), filepath.Join(dir, filesDirName))
	}
	made.Left = append(made.Left, left...)
	if calls, waiting := n.Calls(); calls+waiting > 0 {
		made.Left = append(made.Left, fmt.Sprintf("%d recorded calls without a message yet", calls+waiting))
	}
	for _, p := range lost {
		made.Left = append(made.Left, "a key: "+p.String())
	}
	return made, err
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

// Check reads every row of the store, all keys, the files of messages, and what others
// have put on our file server, and says, one sentence each, where they are damaged or contradict each
// other. It changes nothing.
func (n *Node) Check() ([]string, error) {
	problems, err := n.store.Check()
	if err != nil {
		return problems, err
	}
	keys, err := n.KeyProblems()
	if err != nil && !errors.Is(err, store.ErrCorrupt) {
		return problems, err
	}
	for _, p := range keys {
		problems = append(problems, p.String())
	}
	for _, check := range []func() ([]string, error){n.files.Check, func() ([]string, error) { return fileserver.Check(n.store, n.filesDir()) }} {
		found, err := check()
		problems = append(problems, found...)
		if err != nil && !errors.Is(err, store.ErrCorrupt) { // which the check of the store has said
			return problems, err
		}
	}
	return problems, nil
}
