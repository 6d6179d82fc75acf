// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"

	"github.com/mimird/mimird/proto/identity"
)

// MinKeyPrefix is how many digits of a key are taken for its beginning.
const MinKeyPrefix = 8

// Folding makes names comparable. Two foldings with the same name are the same.
type Folding struct {
	Name string
	Fold func(string) string // nil compares names as they are
}

func (f Folding) fold(name string) string {
	if f.Fold == nil {
		return name
	}
	return f.Fold(name)
}

// ContactsNamed returns the contacts of an account that have a name, or have had it, and
// those whose key begins with it, in the order of their ids. It may return others too:
// the caller compares. The first call for an account and a folding reads all contacts,
// later ones only what they return.
func (s *Store) ContactsNamed(account identity.PublicKey, name string, folding Folding) ([]Contact, error) {
	ids, known, err := s.named(account, name, folding)
	if err == nil && !known {
		return s.Contacts(account)
	}
	var found []Contact
	if err == nil {
		err = s.read(func(r rows) error {
			byKey, err := keysWithPrefix(r, account, name)
			if err != nil {
				return err
			}
			ids = append(ids, byKey...)
			slices.SortFunc(ids, func(a, b identity.PublicKey) int { return bytes.Compare(a[:], b[:]) })
			for _, id := range slices.Compact(ids) {
				contact := Contact{Account: account, ID: id}
				switch err := loadRow(r, contactKey(account, id), &contact); {
				case err == nil:
					found = append(found, contact)
				case !errors.Is(err, ErrNotFound): // else it was removed
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("contacts of account %s: %w", account.Short(), err)
	}
	return found, nil
}

// keysWithPrefix returns the contacts whose keys begin with the digits that a name is.
func keysWithPrefix(r rows, account identity.PublicKey, name string) (ids []identity.PublicKey, err error) {
	digits := strings.ToLower(strings.TrimSpace(name))
	if len(digits) < MinKeyPrefix {
		return nil, nil
	}
	begin, err := hex.DecodeString(digits[:len(digits)&^1])
	if err != nil || len(begin) > identity.KeySize {
		return nil, nil
	}
	for row, err := range scanPrefix(r, append(tablePrefix(account, tableContact), begin...)) {
		if err != nil {
			return nil, err
		}
		k, err := parseKey(row.key)
		if err != nil {
			return nil, err
		}
		if id := k.conversation.Contact(); strings.HasPrefix(id.String(), digits) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// nameIndexes finds contacts by name. It only ever learns names, so that it has those of
// every state of the store from the first one on; what it finds too much is compared by
// the caller.
type nameIndexes struct {
	mu      sync.Mutex
	seed    maphash.Seed
	entries int // of all indexes
	known   map[indexOf]*nameIndex
}

// maxNames bounds the entries of all indexes together: some 100 bytes each. When there
// are more all are forgotten.
const maxNames = 500_000

type indexOf struct {
	account identity.PublicKey
	folding string
}

type nameIndex struct {
	folding Folding
	ready   bool // else it is being read, and has only what was committed since
	byName  map[uint64][]identity.PublicKey
}

// learn adds the names of a contact. It is called under mu.
func (n *nameIndexes) learn(index *nameIndex, c *Contact) {
	add := func(name string) {
		if name == "" {
			return
		}
		hash := maphash.String(n.seed, index.folding.fold(name))
		if ids := index.byName[hash]; !slices.Contains(ids, c.ID) {
			index.byName[hash] = append(ids, c.ID)
			n.entries++
		}
	}
	add(c.LocalName)
	add(c.Nickname)
	for _, former := range c.FormerNames {
		add(former.Name)
	}
}

// publish makes a commit visible that wrote rows of contacts, or removed an account:
// nobody sees a state of which an index does not know the names.
func (n *nameIndexes) publish(b *batch, publish func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if b.removal || n.entries > maxNames {
		n.known, n.entries = nil, 0
	}
	for _, name := range b.contacts {
		k, err := parseKey([]byte(name))
		if err != nil {
			continue // never: we wrote it
		}
		var contact *Contact
		for of, index := range n.known {
			if of.account != k.account {
				continue
			}
			if contact == nil {
				contact = &Contact{ID: k.conversation.Contact()}
				if err := decode(b.layer.rows[name], contact); err != nil {
					break // it was removed again
				}
			}
			n.learn(index, contact)
		}
	}
	publish()
}

// named returns the contacts that may have a name. It returns false while another
// caller builds the index.
func (s *Store) named(account identity.PublicKey, name string, folding Folding) (ids []identity.PublicKey, known bool, err error) {
	n, of := &s.names, indexOf{account, folding.Name}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known[of] == nil {
		if err := s.buildNames(of, folding); err != nil {
			return nil, false, err
		}
	}
	index := n.known[of]
	if index == nil || !index.ready {
		return nil, false, nil
	}
	return slices.Clone(index.byName[maphash.String(n.seed, folding.fold(name))]), true, nil
}

// buildNames reads the names of all contacts. It is called under mu, which it releases
// meanwhile: what is built may be forgotten again when it returns.
func (s *Store) buildNames(of indexOf, folding Folding) error {
	n := &s.names
	index := &nameIndex{folding: folding, byName: make(map[uint64][]identity.PublicKey)}
	if n.known == nil {
		n.known, n.seed = make(map[indexOf]*nameIndex), maphash.MakeSeed()
	}
	n.known[of] = index
	err := s.read(func(r rows) error { // the state after all commits that index has not learned
		n.mu.Unlock()
		defer n.mu.Lock()
		return eachContact(r, of.account, func(c Contact) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.learn(index, &c)
			return nil
		})
	})
	if err != nil {
		if n.known[of] == index {
			delete(n.known, of)
		}
		return err
	}
	index.ready = true
	return nil
}
