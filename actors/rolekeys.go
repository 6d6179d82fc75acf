// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// A node key that is lost is not replaced in silence: contacts, users of the tracker
// and of the file server would look for the old one. The store remembers which keys
// there were.

// keyPolicy says what becomes of a node key that is missing, or is not the one that
// the store remembers.
type keyPolicy struct {
	// needed refuses to create a key, because there must be one.
	needed bool
	// replace takes the key that is there for the new one, or creates one, and moves
	// a file that cannot be read out of the way.
	replace bool
}

// roleKey reads a node key by its file name, and creates it when there never was one.
// The key is one of those that must never be signed as a challenge.
//
// Errors: [ErrNodeKey].
func (k *keyring) roleKey(name string, known identity.NodeKey, policy keyPolicy) (identity.NodePrivateKey, error) {
	key, err := k.readNodeKey(name)
	switch {
	case err == nil && (known.IsZero() || known == key.Key() || policy.replace):
		k.know(key.Key())
		return key, nil
	case err == nil:
		err = fmt.Errorf("%w: %s holds another key than this node had, %s instead of %s", ErrNodeKey, k.path(name), key.Key().Short(), known.Short())
		return identity.NodePrivateKey{}, err
	case errors.Is(err, errLooseKeyFile):
		return identity.NodePrivateKey{}, fmt.Errorf("node key: %w", err)
	case policy.replace, errors.Is(err, fs.ErrNotExist) && known.IsZero() && !policy.needed:
		return k.createNodeKey(name)
	case errors.Is(err, fs.ErrNotExist):
		return identity.NodePrivateKey{}, fmt.Errorf("%w: %s is missing", ErrNodeKey, k.path(name))
	}
	return identity.NodePrivateKey{}, fmt.Errorf("%w: %s: %w", ErrNodeKey, k.path(name), err)
}

func (k *keyring) path(name string) string { return filepath.Join(k.dir, name) }

func (k *keyring) readNodeKey(name string) (identity.NodePrivateKey, error) {
	pem, err := readKeyFile(k.path(name))
	if err != nil {
		return identity.NodePrivateKey{}, err
	}
	return identity.ParseNodePEM(pem)
}

// createNodeKey writes a new key. What is under its name is kept under a free one.
func (k *keyring) createNodeKey(name string) (identity.NodePrivateKey, error) {
	path := k.path(name)
	aside := path + removedEnding
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); err != nil {
			break
		}
		aside = fmt.Sprintf("%s%s-%d", path, removedEnding, n)
	}
	if err := os.Rename(path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return identity.NodePrivateKey{}, fmt.Errorf("replace node key: %w", err)
	}
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err == nil {
		err = writeKeyFile(path, key.MarshalPEM())
	}
	if err != nil {
		return identity.NodePrivateKey{}, fmt.Errorf("create node key: %w", err)
	}
	k.know(key.Key())
	return key, nil
}

// openKeys reads the node keys that the options need.
func (n *Node) openKeys(s *store.Store) error {
	known, err := s.NodeKeys()
	if err != nil {
		return err
	}
	// A store that is older than its memory of keys has accounts.
	accounts, err := s.Accounts()
	if err != nil {
		return err
	}
	if n.keys, err = openKeyring(n.opts.Dir); err != nil {
		return err
	}
	policy := keyPolicy{replace: n.opts.ReplaceNodeKeys}
	if n.keys.node, err = n.keys.roleKey(nodeKeyName, known.Node, keyPolicy{len(accounts) > 0, policy.replace}); err != nil {
		return err
	}
	if n.opts.Tracker != nil {
		if n.keys.tracker, err = n.keys.roleKey(trackerKeyName, known.Tracker, policy); err != nil {
			return err
		}
		n.trackerKey = n.keys.tracker.Key()
	}
	if n.opts.Files != nil {
		if n.keys.files, err = n.keys.roleKey(filesKeyName, known.Files, policy); err != nil {
			return err
		}
		n.filesKey = n.keys.files.Key()
	}
	return nil
}

// nodeKeys returns the public node keys in use.
func (n *Node) nodeKeys() store.NodeKeys {
	return store.NodeKeys{Node: n.Key(), Tracker: n.trackerKey, Files: n.filesKey}
}

// publicOf returns the key of a secret that may be zero.
func publicOf(key identity.NodePrivateKey) identity.NodeKey {
	if key.IsZero() {
		return identity.NodeKey{}
	}
	return key.Key()
}
