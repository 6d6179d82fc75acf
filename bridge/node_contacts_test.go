// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// ask stores a contact request.
func (n *testNode) ask(account identity.PublicKey, name, text string) identity.PublicKey {
	n.t.Helper()
	id := key(name)
	_, err := store.Do[store.Requested](context.Background(), n.actor, store.ReceiveRequest{Contact: store.Contact{
		Account: account, ID: id, Nickname: name, Request: text, State: store.ContactRequested,
	}})
	if err != nil {
		n.t.Fatal(err)
	}
	return id
}

// apply carries out an operation on the store.
func (n *testNode) apply(op store.Op) {
	n.t.Helper()
	if _, err := store.Do[any](context.Background(), n.actor, op); err != nil {
		n.t.Fatal(err)
	}
}

func (n *testNode) change(ctx context.Context, account, contact identity.PublicKey, op store.Op) (store.Contact, error) {
	if _, err := store.Do[bool](ctx, n.actor, op); err != nil {
		return store.Contact{}, err
	}
	return n.Contact(account, contact)
}

func (n *testNode) RequestContact(ctx context.Context, account identity.PublicKey, link identity.Link, text string) (store.Contact, error) {
	if _, err := n.AddContact(ctx, account, link); err != nil {
		return store.Contact{}, err
	}
	return n.change(ctx, account, link.Key, store.AskContact{Account: account, Contact: link.Key, Text: text})
}

func (n *testNode) AcceptContact(ctx context.Context, account, contact identity.PublicKey) (store.Contact, error) {
	return n.change(ctx, account, contact, store.DecideRequest{Account: account, Contact: contact, Accept: true})
}

func (n *testNode) DeclineContact(ctx context.Context, account, contact identity.PublicKey) (store.Contact, error) {
	return n.change(ctx, account, contact, store.DecideRequest{Account: account, Contact: contact})
}

func (n *testNode) BlockContact(ctx context.Context, account, contact identity.PublicKey) (store.Contact, error) {
	return n.change(ctx, account, contact, store.SetContactState{Account: account, Contact: contact, State: store.ContactBlocked})
}

func (n *testNode) UnblockContact(ctx context.Context, account, contact identity.PublicKey) (store.Contact, error) {
	return n.change(ctx, account, contact, store.UnblockContact{Account: account, Contact: contact})
}

func (n *testNode) MuteContact(ctx context.Context, account, contact identity.PublicKey, muted bool) (store.Contact, error) {
	return n.change(ctx, account, contact, store.UpdateContact{
		Account: account, Contact: contact, Fields: store.FieldMuted, Muted: muted,
	})
}

func (n *testNode) RenameContact(ctx context.Context, account, contact identity.PublicKey, name string) (store.Contact, error) {
	return n.change(ctx, account, contact, store.UpdateContact{
		Account: account, Contact: contact, Fields: store.FieldLocalName, LocalName: name,
	})
}

func (n *testNode) ImportAccount(ctx context.Context, in node.Import) (node.Imported, error) {
	account := store.Account{ID: in.Key.Public(), Name: in.Name}
	_, err := store.Do[bool](ctx, n.actor, store.PutAccount{Account: account})
	return node.Imported{Account: account, Asked: true}, err
}

func (n *testNode) React(ctx context.Context, r node.OutgoingReaction) (store.Message, error) {
	return n.Send(ctx, node.Outgoing{
		Account: r.Account, Contact: r.Contact, Group: r.Group, Source: r.Source, Type: peer.TypeReaction, ReplyTo: r.Target,
		Payload: peer.Reaction{Emoji: r.Emoji, Target: r.Target}.AppendTo(nil), SendTime: r.SendTime,
	})
}

func (n *testNode) Reactions(account, contact identity.PublicKey, target peer.GUID) ([]store.Reaction, error) {
	return n.Store.Reactions(account, store.ContactConversation(contact), int64(target))
}
