// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"maunium.net/go/mautrix/bridgev2"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

// roomTime is what bridgev2 gets for making the room of a contact that the user
// has added from Matrix, or for taking the one into which the user has invited the
// ghost, before we would make one.
const roomTime = 5 * time.Second

// ResolveIdentifier finds whom a link or a key means. With createChat it makes
// them a contact, which asks them.
func (cl *client) ResolveIdentifier(ctx context.Context, identifier string, createChat bool) (*bridgev2.ResolveIdentifierResponse, error) {
	link, err := identity.ParseLink(identifier)
	if err != nil {
		return nil, fmt.Errorf("give a contact link (mimir://mm/u/…) or a public key of 64 hex digits: %w", err)
	}
	if link.Key == cl.account {
		return nil, errors.New("this is your own identity")
	}
	if createChat {
		cl.deliver.hold(store.Conversation{Account: cl.account, Contact: link.Key}, roomTime)
		contact, err := cl.node.AddContact(ctx, cl.account, link)
		if err != nil {
			return nil, fmt.Errorf("add the contact: %w", err)
		}
		return cl.resolved(ctx, contact)
	}
	contact, err := cl.node.Contact(cl.account, link.Key)
	if !isGone(err) {
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
	cl.deliver.hold(store.Conversation{Account: cl.account, Contact: key}, roomTime)
	if _, err := cl.node.AddContact(ctx, cl.account, identity.Link{Key: key}); err != nil {
		return nil, fmt.Errorf("add the contact: %w", err)
	}
	return cl.chat(key), nil
}

// GetContactList returns the contacts one can write to.
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

func (cl *client) resolved(ctx context.Context, contact store.Contact) (*bridgev2.ResolveIdentifierResponse, error) {
	ghost, err := cl.br.GetGhostByID(ctx, mimirid.User(contact.ID))
	if err != nil {
		return nil, err
	}
	return &bridgev2.ResolveIdentifierResponse{
		Ghost: ghost, UserID: ghost.ID, UserInfo: cl.userInfo(contact),
		Chat: cl.chat(contact.ID),
	}, nil
}

func (cl *client) chat(contact identity.PublicKey) *bridgev2.CreateChatResponse {
	return &bridgev2.CreateChatResponse{PortalKey: mimirid.Portal(cl.account, contact)}
}
