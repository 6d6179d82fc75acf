// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

// NodeKeys are the node keys that this node has had, zero for a role that it never
// played. Their secret halves are in files beside the database: this is how a node
// notices that one of them was lost.
type NodeKeys struct {
	Node     identity.NodeKey `cbor:"1,keyasint"`
	Tracker  identity.NodeKey `cbor:"2,keyasint"`
	Files    identity.NodeKey `cbor:"3,keyasint"`
	Mediator identity.NodeKey `cbor:"4,keyasint,omitzero"`
}

// NodeKeys returns what RememberNodeKeys has noted last, all zero when it never has.
func (s *Store) NodeKeys() (keys NodeKeys, err error) {
	err = s.read(func(r rows) error { return loadRow(r, nodeKeysKey(), &keys) })
	if err != nil && !errors.Is(err, ErrNotFound) {
		return NodeKeys{}, fmt.Errorf("node keys: %w", err)
	}
	return keys, nil
}

// RememberNodeKeys notes the node keys. One that is zero stays as it was. The result
// is whether anything changed.
type RememberNodeKeys struct{ Keys NodeKeys }

func (op RememberNodeKeys) size() int { return opOverhead }

func (op RememberNodeKeys) apply(t *txn) (any, error) {
	var known NodeKeys
	if _, err := t.load(nodeKeysKey(), &known); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	keys := known
	for _, k := range []struct{ to, from *identity.NodeKey }{
		{&keys.Node, &op.Keys.Node},
		{&keys.Tracker, &op.Keys.Tracker},
		{&keys.Files, &op.Keys.Files},
		{&keys.Mediator, &op.Keys.Mediator},
	} {
		if !k.from.IsZero() {
			*k.to = *k.from
		}
	}
	if keys == known {
		return false, nil
	}
	return true, t.put(nodeKeysKey(), keys)
}
