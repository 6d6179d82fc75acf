// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
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
	n.keys, err = openKeyring(opts.Dir)
	if err == nil {
		n.readKeys()
		err = n.openParts(s)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return n, nil
}

// readKeys reads the node keys that are there.
func (n *Node) readKeys() {
	// What is missing is zero; checkKeys says so.
	n.keys.node, _ = n.keys.readNodeKey(nodeKeyName)
	if n.opts.Tracker != nil {
		n.keys.tracker, _ = n.keys.readNodeKey(trackerKeyName)
		n.trackerKey = publicOf(n.keys.tracker)
	}
	if n.opts.Files != nil {
		n.keys.files, _ = n.keys.readNodeKey(filesKeyName)
		n.filesKey = publicOf(n.keys.files)
	}
}

// KeyProblem is an account or a role whose key is lost.
type KeyProblem struct {
	// Account is the account, zero for a key of the node itself.
	Account store.Account
	Err     error
}

// KeyProblems reads all key files and returns what is wrong with them.
func (n *Node) KeyProblems() ([]KeyProblem, error) {
	known, err := n.store.NodeKeys()
	if err != nil {
		return nil, err
	}
	accounts, err := n.store.Accounts()
	if err != nil {
		return nil, err
	}
	var problems []KeyProblem
	for _, role := range []struct {
		name   string
		known  identity.NodeKey
		needed bool
	}{
		{nodeKeyName, known.Node, !known.Node.IsZero() || len(accounts) > 0},
		{trackerKeyName, known.Tracker, !known.Tracker.IsZero()},
		{filesKeyName, known.Files, !known.Files.IsZero()},
	} {
		if !role.needed {
			continue
		}
		if _, err := n.keys.roleKey(role.name, role.known, keyPolicy{needed: true}); err != nil {
			problems = append(problems, KeyProblem{Err: err})
		}
	}
	for _, a := range accounts {
		if _, err := n.keys.read(a.ID); err != nil {
			problems = append(problems, KeyProblem{Account: a, Err: err})
		}
	}
	return problems, nil
}

// String is a sentence for a person.
func (p KeyProblem) String() string {
	if p.Account.ID.IsZero() {
		return p.Err.Error()
	}
	return fmt.Sprintf("account %s is not served: %v; bring its file back from a backup, or from where it was exported with: mimird account import", p.Account.ID.Short(), p.Err)
}
