// SPDX-License-Identifier: MPL-2.0

package node

import (
	"errors"
	"path/filepath"

	"github.com/mimird/mimird/actors/store"
)

// OpenReadOnly opens the data directory of a node that does not run, for looking at
// it: what reads works as with a node of [Open] that is not started, also Check and
// Snapshot. It changes nothing in the store, the keys and the files. Keys that are
// missing do not keep it from opening; Check names them.
//
// Errors: those of store.OpenReadOnly.
func OpenReadOnly(opts Options) (*Node, error) {
	opts = opts.withDefaults()
	if opts.Dir == "" {
		return nil, errors.New("open node: Dir is required")
	}
	n := &Node{opts: opts, readOnly: true, failed: make(chan struct{})}
	s, err := store.OpenReadOnly(store.Options{Dir: filepath.Join(opts.Dir, storeDirName), Logger: opts.Logger, Now: opts.Now, OnFatal: n.fail})
	if err != nil {
		return nil, err
	}
	if err = n.readKeys(); err == nil {
		err = n.openParts(s)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return n, nil
}
