// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

const (
	keyDirName     = "keys"
	nodeKeyName    = "node.pem"
	trackerKeyName = "tracker.pem"
	filesKeyName   = "files.pem"

	// challengeMemory is how long a challenge of ours is remembered at least, so
	// that we never answer our own, and maxIssued how many within that time.
	challengeMemory = 10 * time.Minute
	maxIssued       = 16_384
)

// keyring holds the secrets of a node: its node key and the key of every account.
// They live in files of their own beside the database, so that a person can copy
// an identity to a safe place with the tools they know. It is safe for concurrent
// use.
type keyring struct {
	dir    string
	issued *identity.Issued
	// node, tracker and files are the node keys, those of roles zero without the role.
	node, tracker, files identity.NodePrivateKey

	mu       sync.RWMutex
	accounts map[identity.PublicKey]identity.PrivateKey
	// nodes are node keys that the configuration, the store or our user names: a
	// signature over one of them would be an announcement. contacts has those of
	// contacts, seen those of strangers.
	nodes    map[identity.NodeKey]struct{}
	contacts *contactNodes
	seen     *seenNodes
}

// openKeyring opens a key directory, which may be missing. It reads no key.
func openKeyring(dir string) (*keyring, error) {
	k := &keyring{
		dir:      filepath.Join(dir, keyDirName),
		issued:   identity.NewIssued(maxIssued),
		accounts: make(map[identity.PublicKey]identity.PrivateKey),
		nodes:    make(map[identity.NodeKey]struct{}),
		contacts: newContactNodes(),
		seen:     newSeenNodes(),
	}
	return k, checkKeyDir(k.dir)
}

// checkKeyDir refuses a key directory that others can list or write.
func checkKeyDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("open key directory: %w", err)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("key directory %s can be opened by others (mode %04o); make it private with: chmod 700 %s", dir, info.Mode().Perm(), dir)
	}
	return nil
}

func (k *keyring) accountFile(id identity.PublicKey) string {
	return filepath.Join(k.dir, id.String()+".pem")
}

// create makes a new identity and stores its key. The account is not served
// before load is called.
func (k *keyring) create() (identity.PublicKey, error) {
	key, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		return identity.PublicKey{}, fmt.Errorf("make identity: %w", err)
	}
	id := key.Public()
	if err := writeKeyFile(k.accountFile(id), key.MarshalPEM()); err != nil {
		return identity.PublicKey{}, fmt.Errorf("make identity: %w", err)
	}
	return id, nil
}

// put stores the key of an identity that exists already. A file that holds it
// already is as good.
func (k *keyring) put(key identity.PrivateKey) error {
	id := key.Public()
	if there, err := k.read(id); err == nil && there.Equal(key) {
		return nil
	}
	return writeKeyFile(k.accountFile(id), key.MarshalPEM())
}

// remove takes the key of an account out of use: its file gets another ending, or
// is deleted.
func (k *keyring) remove(id identity.PublicKey, deleteIt bool) error {
	k.mu.Lock()
	delete(k.accounts, id)
	k.mu.Unlock()
	return removeKeyFile(k.accountFile(id), deleteIt)
}

// read reads the key of an account from its file.
func (k *keyring) read(id identity.PublicKey) (identity.PrivateKey, error) {
	pem, err := readKeyFile(k.accountFile(id))
	if err != nil {
		return identity.PrivateKey{}, fmt.Errorf("key of account %s: %w", id.Short(), err)
	}
	key, err := identity.ParsePEM(pem)
	if err != nil {
		return identity.PrivateKey{}, fmt.Errorf("key of account %s: %w", id.Short(), err)
	}
	if key.Public() != id {
		return identity.PrivateKey{}, fmt.Errorf("key of account %s: the file holds another key, %s", id.Short(), key.Public().Short())
	}
	return key, nil
}

// load reads the key of an account, which is served from then on.
func (k *keyring) load(id identity.PublicKey) error {
	key, err := k.read(id)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.accounts[id] = key
	k.mu.Unlock()
	return nil
}

// account returns the key of an account that is served here.
func (k *keyring) account(id identity.PublicKey) (identity.PrivateKey, bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	key, ok := k.accounts[id]
	return key, ok
}

// know adds node keys to those that are never signed as a challenge.
func (k *keyring) know(nodes ...identity.NodeKey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range nodes {
		k.nodes[n] = struct{}{}
	}
}

// Refuses implements identity.Guard.
func (k *keyring) Refuses(value [32]byte) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	_, node := k.nodes[value]
	_, account := k.accounts[value]
	return node || account || k.contacts.has(value) || k.seen.has(value)
}
