// SPDX-License-Identifier: MPL-2.0

package people

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

// Find returns the identity that a link, a key or the name of a contact stands for. Its errors
// are for the user.
func Find(n nodeapi.Node, account identity.PublicKey, identifier string, purpose node.NamePurpose) (identity.Link, error) {
	identifier = strings.TrimSpace(identifier)
	link, err := identity.ParseLink(identifier)
	if err == nil {
		return link, nil
	}
	contacts, readErr := n.ContactsNamed(account, identifier, store.Folding{Name: "bridge", Fold: Fold})
	if readErr != nil {
		return identity.Link{}, readErr
	}
	found, nameErr := node.FindContact(contacts, identifier, purpose, Fold)
	switch {
	case nameErr == nil:
		return identity.Link{Key: found}, nil
	case errors.Is(nameErr, node.ErrAmbiguousName):
		return identity.Link{}, errors.New("several contacts are called that, or were before: say which one by the beginning of the key, as `contacts` shows it")
	}
	return identity.Link{}, fmt.Errorf("give a contact link (mimir://mm/u/…), a public key of 64 hex digits, or the name of a contact: %w", err)
}

// Named returns the contacts of an account with a name that matches, folded, or with a key that begins
// with prefix.
func Named(n nodeapi.Node, account identity.PublicKey, matches func(name string) bool, prefix string) ([]store.Contact, error) {
	contacts, err := n.Contacts(account)
	if err != nil {
		return nil, err
	}
	prefix = strings.ToLower(strings.TrimSpace(prefix))
	return slices.DeleteFunc(contacts, func(c store.Contact) bool {
		byKey := len(prefix) >= node.MinKeyPrefix && strings.HasPrefix(c.ID.String(), prefix)
		byName := prefix != "" && (matches(Fold(c.LocalName)) && c.LocalName != "" || matches(Fold(c.Nickname)))
		return !byKey && !byName
	}), nil
}

// Fold makes names comparable, without case and compatibility forms.
func Fold(name string) string { return strings.ToLower(norm.NFKC.String(msgconv.CleanName(name))) }
