// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"

	"golang.org/x/text/unicode/norm"
	"maunium.net/go/mautrix/bridgev2"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

// roomTime is how long bridgev2 has to create the room of a contact that the user has
// added from Matrix, or to take the room into which the user has invited the ghost,
// before the bridge creates one.
const roomTime = 5 * time.Second

// ResolveIdentifier finds the identity of a link, a key or the name of a contact. With
// createChat it sends them a contact request.
func (cl *client) ResolveIdentifier(ctx context.Context, identifier string, createChat bool) (*bridgev2.ResolveIdentifierResponse, error) {
	link, err := cl.find(identifier, node.NameContact)
	if err != nil {
		return nil, err
	}
	if link.Key == cl.account {
		return nil, errors.New("this is your own identity")
	}
	if createChat {
		cl.deliver.Hold(store.ConversationWith(cl.account, link.Key), roomTime)
		contact, err := cl.node.RequestContact(ctx, cl.account, link, "")
		if err != nil {
			return nil, fmt.Errorf("add the contact: %w", err)
		}
		return cl.resolved(ctx, contact)
	}
	contact, err := cl.node.Contact(cl.account, link.Key)
	if !nodeapi.IsGone(err) {
		if err != nil {
			return nil, err
		}
		return cl.resolved(ctx, contact)
	}
	resp, err := cl.resolved(ctx, store.Contact{Account: cl.account, ID: link.Key, Nickname: link.Name})
	if err == nil && resp.Ghost.Name != "" {
		resp.UserInfo = nil // a link names nobody whom others know already
	}
	return resp, err
}

// CreateChatWithGhost is called when a ghost is invited into a direct room.
func (cl *client) CreateChatWithGhost(ctx context.Context, ghost *bridgev2.Ghost) (*bridgev2.CreateChatResponse, error) {
	key, err := mimirid.ParseUser(ghost.ID)
	if err != nil {
		return nil, err
	}
	cl.deliver.Hold(store.ConversationWith(cl.account, key), roomTime)
	if _, err := cl.node.RequestContact(ctx, cl.account, identity.Link{Key: key}, ""); err != nil {
		return nil, fmt.Errorf("add the contact: %w", err)
	}
	return cl.chat(key), nil
}

// GetContactList returns the contacts.
func (cl *client) GetContactList(ctx context.Context) ([]*bridgev2.ResolveIdentifierResponse, error) {
	contacts, err := cl.node.Contacts(cl.account)
	if err != nil {
		return nil, err
	}
	var list []*bridgev2.ResolveIdentifierResponse
	for _, contact := range contacts {
		if contact.State != store.ContactAccepted {
			continue
		}
		resp, err := cl.resolved(ctx, contact)
		if err != nil {
			return nil, err
		}
		list = append(list, resp)
	}
	return list, nil
}

// SearchUsers finds the contacts whose name contains a text, or whose key begins with it.
func (cl *client) SearchUsers(ctx context.Context, query string) ([]*bridgev2.ResolveIdentifierResponse, error) {
	contacts, err := cl.named(func(name string) bool { return strings.Contains(name, fold(query)) }, query)
	if err != nil {
		return nil, err
	}
	var found []*bridgev2.ResolveIdentifierResponse
	for _, contact := range contacts {
		resp, err := cl.resolved(ctx, contact)
		if err != nil {
			return nil, err
		}
		found = append(found, resp)
	}
	return found, nil
}

// find returns the identity that a link, a key or a name stands for.
func (cl *client) find(identifier string, purpose node.NamePurpose) (identity.Link, error) {
	identifier = strings.TrimSpace(identifier)
	link, err := identity.ParseLink(identifier)
	if err == nil {
		return link, nil
	}
	contacts, readErr := cl.node.ContactsNamed(cl.account, identifier, store.Folding{Name: "bridge", Fold: fold})
	if readErr != nil {
		return identity.Link{}, readErr
	}
	found, nameErr := node.FindContact(contacts, identifier, purpose, fold)
	switch {
	case nameErr == nil:
		return identity.Link{Key: found}, nil
	case errors.Is(nameErr, node.ErrAmbiguousName):
		return identity.Link{}, errors.New("several contacts are called that, or were before: say which one by the beginning of the key, as `contacts` shows it")
	}
	return identity.Link{}, fmt.Errorf("give a contact link (mimir://mm/u/…), a public key of 64 hex digits, or the name of a contact: %w", err)
}

// named returns the contacts with a name that matches, folded, or with a key that begins
// with prefix.
func (cl *client) named(matches func(name string) bool, prefix string) ([]store.Contact, error) {
	contacts, err := cl.node.Contacts(cl.account)
	if err != nil {
		return nil, err
	}
	prefix = strings.ToLower(strings.TrimSpace(prefix))
	return slices.DeleteFunc(contacts, func(c store.Contact) bool {
		byKey := len(prefix) >= node.MinKeyPrefix && strings.HasPrefix(c.ID.String(), prefix)
		byName := prefix != "" && (matches(fold(c.LocalName)) && c.LocalName != "" || matches(fold(c.Nickname)))
		return !byKey && !byName
	}), nil
}

// fold makes names comparable, without case and compatibility forms.
func fold(name string) string { return strings.ToLower(norm.NFKC.String(msgconv.CleanName(name))) }

func (cl *client) resolved(ctx context.Context, contact store.Contact) (*bridgev2.ResolveIdentifierResponse, error) {
	ghost, err := cl.br.GetGhostByID(ctx, mimirid.User(contact.ID))
	if err != nil {
		return nil, err
	}
	return &bridgev2.ResolveIdentifierResponse{
		Ghost: ghost, UserID: ghost.ID, UserInfo: cl.names.Info(contact),
		Chat: cl.chat(contact.ID),
	}, nil
}

func (cl *client) chat(contact identity.PublicKey) *bridgev2.CreateChatResponse {
	return &bridgev2.CreateChatResponse{PortalKey: mimirid.Portal(cl.account, store.ContactConversation(contact))}
}
