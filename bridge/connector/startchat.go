// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/people"

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
	link, err := people.Find(cl.node, cl.account, identifier, node.NameContact)
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
	contacts, err := people.Named(cl.node, cl.account, func(name string) bool { return strings.Contains(name, people.Fold(query)) }, query)
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
