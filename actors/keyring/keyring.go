// SPDX-License-Identifier: MPL-2.0

// Package keyring holds the secrets of a node, in files beside the database, and knows
// what must never be signed with them: node keys, because the signature would announce a
// node as ours, and challenges that are our own. The node opens the [Ring], which is the
// only code that reads and writes key files; accounts load their keys from it, sessions
// take the guards of their handshakes, the resolver signs announcements. It imports
// durable, lru, the overlay for one comparison of addresses, proto/identity and
// proto/peer.
package keyring

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/lru"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

var (
	// ErrNodeKey says that a node key is missing, cannot be read, or is another one than
	// the store remembers. Policy.Replace goes on with another key.
	ErrNodeKey = errors.New("a node key is lost")
	// ErrExposed says that the mode of a key file or of the key directory lets others
	// in. The message has the command that mends it.
	ErrExposed = errors.New("can be read by others")
	// ErrUnknownAccount says that this node does not have that identity.
	ErrUnknownAccount = errors.New("no such account on this node")
)

// DirName is the folder of the data directory that has the key files.
const DirName = "keys"

const (
	// ChallengeRotation is how often the node calls Rotate. A challenge of ours is
	// remembered for at least that long, so that we never answer our own.
	ChallengeRotation = 10 * time.Minute
	// maxIssued is how many challenges are remembered within ChallengeRotation.
	maxIssued = 16_384
	// maxStrangers bounds the node keys of KnowStranger. Keys cost nothing, so an attacker
	// can have theirs evicted; they could as well use one that we have never seen.
	maxStrangers = 4096
)

// Options says where the keys are and what else must not be signed.
type Options struct {
	// Dir is the data directory; the keys are in its folder [DirName].
	Dir string
	// RefusePoints refuses every challenge that could be a public key, known or not; see
	// identity.CurvePoints.
	RefusePoints bool
	// Others know further values that must not be signed, such as the node keys of
	// contacts.
	Others []identity.Guard
}

// Ring holds the secrets of a node, its node keys and the keys of its accounts, and
// knows what must not be signed with them. The keys are in files beside the database, so
// that a person can copy an identity to a safe place with the tools they know. Its
// methods are safe for concurrent use, but for those of roles.
type Ring struct {
	opts   Options
	dir    string
	issued *identity.Issued
	// roles are the node keys in use.
	roles map[Role]identity.NodePrivateKey

	mu       sync.RWMutex
	accounts map[identity.PublicKey]identity.PrivateKey
	// nodes are the keys of Know, strangers those of KnowStranger.
	nodes     map[identity.NodeKey]struct{}
	strangers *lru.Table[identity.NodeKey, struct{}]
}

// Open opens a key directory, which may be missing. It reads no key.
//
// Errors: [ErrExposed].
func Open(opts Options) (*Ring, error) {
	r := &Ring{
		opts:      opts,
		dir:       filepath.Join(opts.Dir, DirName),
		issued:    identity.NewIssued(maxIssued),
		roles:     make(map[Role]identity.NodePrivateKey),
		accounts:  make(map[identity.PublicKey]identity.PrivateKey),
		nodes:     make(map[identity.NodeKey]struct{}),
		strangers: lru.New[identity.NodeKey, struct{}](maxStrangers),
	}
	return r, checkKeyDir(r.dir)
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
		return fmt.Errorf("key directory %s %w (mode %04o); make it private with: chmod 700 %s", dir, ErrExposed, info.Mode().Perm(), dir)
	}
	return nil
}

func (r *Ring) path(name string) string { return filepath.Join(r.dir, name) }

func (r *Ring) accountFile(id identity.PublicKey) string { return r.path(id.String() + ".pem") }

// Create creates an identity and stores its key, durably. The account is not served
// before Load.
func (r *Ring) Create() (identity.PublicKey, error) {
	key, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		return identity.PublicKey{}, fmt.Errorf("create identity: %w", err)
	}
	id := key.Public()
	if err := writeKeyFile(r.accountFile(id), key.MarshalPEM()); err != nil {
		return identity.PublicKey{}, fmt.Errorf("create identity: %w", err)
	}
	return id, nil
}

// Put stores the key of an existing identity, durably. It does nothing when a file has
// that key, and never replaces one.
//
// Errors: fs.ErrExist when there is a file that cannot be read or has another key.
func (r *Ring) Put(key identity.PrivateKey) error {
	id := key.Public()
	if there, err := r.Read(id); err == nil && there.Equal(key) {
		return nil
	}
	return writeKeyFile(r.accountFile(id), key.MarshalPEM())
}

// Remove ends serving an account: its key file gets another ending, or is deleted.
func (r *Ring) Remove(id identity.PublicKey, deleteFile bool) error {
	r.mu.Lock()
	delete(r.accounts, id)
	r.mu.Unlock()
	return removeKeyFile(r.accountFile(id), deleteFile)
}

// Read reads the key of an account from its file, whether it is served or not.
//
// Errors: fs.ErrNotExist when there is no file.
func (r *Ring) Read(id identity.PublicKey) (identity.PrivateKey, error) {
	pem, err := readKeyFile(r.accountFile(id))
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

// Load reads the key of an account and begins to serve it: Account returns its key.
func (r *Ring) Load(id identity.PublicKey) error {
	key, err := r.Read(id)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.accounts[id] = key
	r.mu.Unlock()
	return nil
}

// Account returns the key of an account that is served; false for any other.
func (r *Ring) Account(id identity.PublicKey) (identity.PrivateKey, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	key, ok := r.accounts[id]
	return key, ok
}

// CopyTo copies all key files into a new directory, also those out of use.
func (r *Ring) CopyTo(dir string) error {
	entries, err := os.ReadDir(r.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // then there is nothing to copy
		return fmt.Errorf("list keys: %w", err)
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		content, err := readKeyFile(r.path(entry.Name()))
		if err == nil {
			err = writeKeyFile(filepath.Join(dir, entry.Name()), content)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Know adds node keys to those that are never signed as a challenge, because the
// signature would be an announcement: those that the configuration, the store or the
// user names.
func (r *Ring) Know(nodes ...identity.NodeKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range nodes {
		r.nodes[n] = struct{}{}
	}
}

// KnowStranger does for a node from which a stranger authenticated what Know does for
// others. When there are too many, the one that came least recently is evicted.
func (r *Ring) KnowStranger(node identity.NodeKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strangers.Put(node, struct{}{})
}

// KnownForTest counts the nodes of Know and those of KnowStranger.
func (r *Ring) KnownForTest() (known, strangers int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.nodes), r.strangers.Len()
}

// Refuses implements [identity.Guard]: it refuses the keys of Know and KnowStranger, of
// roles and of accounts, and what the guards of the options refuse.
func (r *Ring) Refuses(value [32]byte) bool {
	r.mu.RLock()
	_, node := r.nodes[value]
	_, account := r.accounts[value]
	_, stranger := r.strangers.Peek(value)
	r.mu.RUnlock()
	if node || account || stranger {
		return true
	}
	for _, g := range r.opts.Others {
		if g.Refuses(value) {
			return true
		}
	}
	return false
}

// Security returns what a handshake with a node needs to sign with care: the guards and
// the challenges of ours. The caller adds the names for the seals.
func (r *Ring) Security(remote identity.NodeKey) peer.Security {
	guard := identity.GuardSet{r, addressGuard(remote)}
	if r.opts.RefusePoints {
		guard = append(guard, identity.CurvePoints{})
	}
	return peer.Security{Guard: guard, Issued: r.issued, RemoteNode: remote, Random: rand.Reader}
}

// Rotate forgets the challenges of ours that are older than two calls of it; see
// [identity.Issued]. The node calls it every [ChallengeRotation].
func (r *Ring) Rotate() { r.issued.Rotate() }

// addressGuard refuses to sign the key of the node that we talk with, also when its
// address is all that is known of it.
type addressGuard identity.NodeKey

// Refuses implements [identity.Guard].
func (g addressGuard) Refuses(value [32]byte) bool {
	return overlay.SameAddress(identity.NodeKey(g), value)
}
