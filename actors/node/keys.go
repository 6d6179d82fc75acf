// SPDX-License-Identifier: MPL-2.0

package node

import (
	"fmt"

	"github.com/mimird/mimird/actors/contact"

	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// openKeyring opens the key directory and says what must not be signed.
func (n *Node) openKeyring() (err error) {
	n.contactNodes = contact.NewNodes()
	n.keys, err = keyring.Open(keyring.Options{
		Dir: n.opts.Dir, RefusePoints: n.opts.RefusePointChallenges, Others: []identity.Guard{n.contactNodes},
	})
	return err
}

// openKeys opens the key directory and the node keys that the options need.
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
	if err := n.openKeyring(); err != nil {
		return err
	}
	for _, role := range n.roles(known) {
		if !role.used {
			continue
		}
		policy := keyring.Policy{Needed: role.role == keyring.RoleNode && len(accounts) > 0, Replace: n.opts.ReplaceNodeKeys}
		if err := n.keys.OpenRole(role.role, role.known, policy); err != nil {
			return err
		}
	}
	return nil
}

// readKeys opens the key directory and reads the node keys that are there; KeyProblems
// names those that are not.
func (n *Node) readKeys() error {
	if err := n.openKeyring(); err != nil {
		return err
	}
	for _, role := range n.roles(store.NodeKeys{}) {
		if role.used {
			n.keys.ReadRole(role.role)
		}
	}
	return nil
}

// nodeRole is a role that has a node key.
type nodeRole struct {
	role  keyring.Role
	known identity.NodeKey // zero when the store remembers none
	used  bool
}

func (n *Node) roles(known store.NodeKeys) []nodeRole {
	return []nodeRole{
		{keyring.RoleNode, known.Node, true},
		{keyring.RoleTracker, known.Tracker, n.opts.Tracker != nil},
		{keyring.RoleFiles, known.Files, n.opts.Files != nil},
		{keyring.RoleMediator, known.Mediator, n.opts.Mediator != nil},
	}
}

// nodeKeys returns the public node keys in use.
func (n *Node) nodeKeys() store.NodeKeys {
	return store.NodeKeys{
		Node: n.Key(), Tracker: n.keys.RoleKey(keyring.RoleTracker), Files: n.keys.RoleKey(keyring.RoleFiles),
		Mediator: n.keys.RoleKey(keyring.RoleMediator),
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
	for _, role := range n.roles(known) {
		if !role.used {
			continue // given up; its key is of no use
		}
		if role.known.IsZero() && (role.role != keyring.RoleNode || len(accounts) == 0) {
			continue
		}
		if err := n.keys.CheckRole(role.role, role.known); err != nil {
			problems = append(problems, KeyProblem{Err: err})
		}
	}
	for _, a := range accounts {
		if _, err := n.keys.Read(a.ID); err != nil {
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
