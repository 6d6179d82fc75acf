// SPDX-License-Identifier: MPL-2.0

package store

import "fmt"

func (op NoteHandshakeRelayed) size() int { return opOverhead }

func (op NoteHandshakeRelayed) apply(t *txn) (any, error) {
	if op.Node.IsZero() || op.Remote.IsZero() {
		return nil, fmt.Errorf("relayed handshake without node or identity: %w", ErrInvalid)
	}
	if err := t.needAccount(op.Account); err != nil {
		return nil, err
	}
	return true, t.event(Event{Account: op.Account, Kind: HandshakeRelayed, NodeKey: op.Node, Reason: op.Remote.String()})
}

func (op NoteDeviceRefused) size() int { return opOverhead }

func (op NoteDeviceRefused) apply(t *txn) (any, error) {
	if op.Node.IsZero() {
		return nil, fmt.Errorf("node key is zero: %w", ErrInvalid)
	}
	if _, _, err := t.contact(op.Account, op.Contact); err != nil {
		return nil, err
	}
	return true, t.event(Event{Account: op.Account, Conversation: ContactConversation(op.Contact), Kind: DeviceRefused, NodeKey: op.Node})
}
