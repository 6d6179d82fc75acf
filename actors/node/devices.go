// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"fmt"

	"github.com/mimird/mimird/actors/contact"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// HeldDevices returns the nodes that authenticated as a contact and that nothing
// else speaks for, the oldest first. They are turned away or wait to be.
func (n *Node) HeldDevices(account, contact identity.PublicKey) []contact.HeldDevice {
	return n.contacts.HeldDevices(store.ConversationWith(account, contact))
}

// TrustDevice lets a contact in from a node, whatever else speaks for it. Our user
// has asked the contact.
//
// Errors: [ErrUnknownContact], store.ErrInvalid for a key that is zero.
func (n *Node) TrustDevice(ctx context.Context, account, contact identity.PublicKey, node identity.NodeKey) (store.Contact, error) {
	_, err := do[store.NodeKeyRecorded](ctx, n, store.RecordNodeKey{Account: account, Contact: contact, Key: node, Time: n.nowMillis()})
	if err != nil {
		return store.Contact{}, fmt.Errorf("trust device: %w", known(err, ErrUnknownContact))
	}
	n.keys.Know(node)
	return n.Contact(account, contact)
}
