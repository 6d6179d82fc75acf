// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"
	"maps"

	"github.com/fxamacker/cbor/v2"
)

// codec is how records are written and read. The encoding is deterministic, so equal
// records have equal bytes, also those that are written by hand (encode.go).
var codec = newCodec()

type cborCodec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

func newCodec() cborCodec {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // constant options
	}
	dec, err := cbor.DecOptions{
		DupMapKey:       cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels: 8,
		UTF8:            cbor.UTF8DecodeInvalid, // names come from peers: what was stored must be readable
	}.DecMode()
	if err != nil {
		panic(err) // constant options
	}
	return cborCodec{enc, dec}
}

// record is a row value whose highest field number this version knows.
type record interface{ lastField() uint64 }

func (Account) lastField() uint64       { return 24 }
func (Contact) lastField() uint64       { return 29 }
func (Group) lastField() uint64         { return 20 }
func (Member) lastField() uint64        { return 7 }
func (GroupTask) lastField() uint64     { return 9 }
func (groupProgress) lastField() uint64 { return 3 }
func (Message) lastField() uint64       { return 26 }
func (Event) lastField() uint64         { return 22 }
func (JournalEntry) lastField() uint64  { return 5 }
func (Media) lastField() uint64         { return 15 }
func (Reaction) lastField() uint64      { return 3 }

func encode(v any) ([]byte, error) {
	if rec, byHand := v.(selfEncoder); byHand {
		return rec.appendTo(make([]byte, 0, rec.room())), nil
	}
	raw, err := codec.enc.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return raw, nil
}

func decode(raw []byte, v any) error {
	if rec, byHand := v.(selfDecoder); byHand && rec.readFrom(raw) {
		return nil
	}
	if err := codec.dec.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("decode %T: %w: %w", v, ErrCorrupt, err)
	}
	return nil
}

// mergeUnknown encodes a record that replaces old and carries over the fields of
// old that this version does not know. So going back one version and forward
// again loses nothing.
func mergeUnknown(old []byte, rec record) ([]byte, error) {
	fresh, err := encode(rec)
	if err != nil || len(old) == 0 {
		return fresh, err
	}
	var before map[uint64]cbor.RawMessage
	if err := decode(old, &before); err != nil {
		return nil, err
	}
	for field := range before {
		if field <= rec.lastField() {
			delete(before, field)
		}
	}
	if len(before) == 0 {
		return fresh, nil
	}
	var fields map[uint64]cbor.RawMessage
	if err := decode(fresh, &fields); err != nil {
		return nil, err
	}
	maps.Copy(fields, before)
	return encode(fields)
}
