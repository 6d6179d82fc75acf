// SPDX-License-Identifier: MPL-2.0

package tracker

import (
	"cmp"
	"slices"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// Record says that an identity can be reached at a node. Only the node key is
// signed.
type Record struct {
	Node      identity.NodeKey
	Signature identity.Signature
	// Priority orders the devices of an identity: the highest is dialled first.
	// Apps announce 1.
	Priority uint8
	// ClientID tells the devices apart: a tracker keeps one record for each. Apps
	// announce 1, so a node that shares an identity with an app needs another.
	ClientID uint32
	// ExpiresMS is how much longer the tracker keeps the record, in milliseconds.
	ExpiresMS uint64
}

// NewRecord signs a record for a node key of our own.
func NewRecord(key identity.PrivateKey, node identity.NodeKey, priority uint8, clientID uint32) Record {
	return Record{Node: node, Signature: key.SignAnnounce(node), Priority: priority, ClientID: clientID}
}

// Verify checks the signature against the identity that the record is for.
func (r Record) Verify(owner identity.PublicKey) error {
	return owner.VerifyAnnounce(r.Node, r.Signature)
}

// Life returns how long the record may be cached, between [MinTTL] and [MaxTTL].
func (r Record) Life() time.Duration { return clamp(r.ExpiresMS, time.Millisecond) }

// V1 returns the record as a record of version 1, in LayoutNode.
func (r Record) V1() Record1 {
	return Record1{
		Layout: LayoutNode, Node: r.Node, Signature: r.Signature, Priority: r.Priority, ClientID: r.ClientID, Life: r.Life(),
	}
}

// Rank sorts records in the order in which they are dialled: by priority, highest
// first, equal ones as the tracker gave them.
func Rank(records []Record) {
	slices.SortStableFunc(records, func(a, b Record) int { return cmp.Compare(b.Priority, a.Priority) })
}

// recordSize is the length of a record's fields.
const recordSize = (2 + identity.KeySize) + (2 + len(identity.Signature{})) + (2 + 1) + (2 + 4) + (2 + 8)

func (r Record) appendTo(b []byte) []byte {
	b = append(b, tagRecord, byte(recordSize))
	b = wire.AppendField(b, tagNode, r.Node[:])
	b = wire.AppendField(b, tagSignature, r.Signature[:])
	b = wire.AppendFieldUint8(b, tagPriority, r.Priority)
	b = wire.AppendFieldUint32(b, tagClientID, r.ClientID)
	return wire.AppendFieldUint64(b, tagExpires, r.ExpiresMS)
}

func parseRecord(b []byte) (Record, error) {
	fields, err := wire.ParseFields(b)
	if err != nil {
		return Record{}, err
	}
	var r Record
	fields.Fixed(tagNode, "node key", r.Node[:])
	fields.Fixed(tagSignature, "signature", r.Signature[:])
	r.ClientID = fields.Uint32(tagClientID, "client id")
	r.ExpiresMS = fields.Uint64(tagExpires, "expiry")
	if priority, _ := fields.Last(tagPriority); len(priority) == 1 {
		r.Priority = priority[0]
	}
	return r, fields.Err()
}
