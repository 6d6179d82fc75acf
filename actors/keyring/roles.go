// SPDX-License-Identifier: MPL-2.0

package keyring

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/mimird/mimird/proto/identity"
)

// Role says what a node key is for; its value is the name of the key's file.
type Role string

// The roles that have a node key of their own. RoleNode is that of the accounts.
const (
	RoleNode     Role = "node.pem"
	RoleTracker  Role = "tracker.pem"
	RoleFiles    Role = "files.pem"
	RoleMediator Role = "mediator.pem"
)

// A node key that is lost is not replaced silently: contacts, users of the tracker, of
// the file server and of the mediator would look for the old one. The store remembers which keys there
// were.

// Policy says what happens when a node key is missing, or is not the one that the
// store remembers.
type Policy struct {
	// Needed forbids creating a key, because there must be one.
	Needed bool
	// Replace uses the key that is there instead of the remembered one, or creates one.
	// It renames a file that cannot be read.
	Replace bool
}

// OpenRole reads the node key of a role, or creates it when there never was one. known
// is the key that the store remembers, or zero. It is called before the ring is shared
// between goroutines.
//
// Errors: [ErrNodeKey].
func (r *Ring) OpenRole(role Role, known identity.NodeKey, policy Policy) error {
	key, err := r.openRole(role, known, policy)
	if err == nil {
		r.roles[role] = key
	}
	return err
}

// ReadRole is OpenRole that creates no key: without a key that can be read, the ring has
// none for the role.
func (r *Ring) ReadRole(role Role) {
	if key, err := r.readRole(role); err == nil {
		r.roles[role] = key
	}
}

// CheckRole reads the file of a role and returns what is wrong with it. known is the key
// that the store remembers, or zero.
//
// Errors: [ErrNodeKey].
func (r *Ring) CheckRole(role Role, known identity.NodeKey) error {
	_, err := r.openRole(role, known, Policy{Needed: true})
	return err
}

// Node is Role(RoleNode).
func (r *Ring) Node() identity.NodePrivateKey { return r.Role(RoleNode) }

// Role returns the key of a role; zero when the node does not have it.
func (r *Ring) Role(role Role) identity.NodePrivateKey { return r.roles[role] }

// RoleKey returns the public key of a role; zero when the node does not have it.
func (r *Ring) RoleKey(role Role) identity.NodeKey {
	if key := r.roles[role]; !key.IsZero() {
		return key.Key()
	}
	return identity.NodeKey{}
}

// openRole does the work of OpenRole. The key is one that must never be signed as a
// challenge.
func (r *Ring) openRole(role Role, known identity.NodeKey, policy Policy) (identity.NodePrivateKey, error) {
	key, err := r.readRole(role)
	path := r.path(string(role))
	switch {
	case err == nil && (known.IsZero() || known == key.Key() || policy.Replace):
		r.Know(key.Key())
		return key, nil
	case err == nil:
		err = fmt.Errorf("%w: %s holds another key than this node had, %s instead of %s", ErrNodeKey, path, key.Key().Short(), known.Short())
		return identity.NodePrivateKey{}, err
	case errors.Is(err, ErrExposed):
		return identity.NodePrivateKey{}, fmt.Errorf("node key: %w", err)
	case policy.Replace, errors.Is(err, fs.ErrNotExist) && known.IsZero() && !policy.Needed:
		return r.createRole(role)
	case errors.Is(err, fs.ErrNotExist):
		return identity.NodePrivateKey{}, fmt.Errorf("%w: %s is missing", ErrNodeKey, path)
	}
	return identity.NodePrivateKey{}, fmt.Errorf("%w: %s: %w", ErrNodeKey, path, err)
}

func (r *Ring) readRole(role Role) (identity.NodePrivateKey, error) {
	pem, err := readKeyFile(r.path(string(role)))
	if err != nil {
		return identity.NodePrivateKey{}, err
	}
	return identity.ParseNodePEM(pem)
}

// createRole writes a new key. A file with its name gets a free one.
func (r *Ring) createRole(role Role) (identity.NodePrivateKey, error) {
	path := r.path(string(role))
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
	r.Know(key.Key())
	return key, nil
}
