// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/mimird/mimird/proto/identity"
)

// trackerPort is the datagram port of trackers and of their clients.
const trackerPort = 69

// Commands of trackers.
const (
	commandAnnounce byte = 0
	commandGetAddrs byte = 1
	commandPing     byte = 2
)

// Tags of what requests and answers are made of.
const (
	tagUserPub   byte = 0x01
	tagNodePub   byte = 0x02
	tagSignature byte = 0x03
	tagPriority  byte = 0x05
	tagClientID  byte = 0x06
	tagTTLSecs   byte = 0x07
	tagExpiresMS byte = 0x08
	tagCount     byte = 0x0B
	tagRecord    byte = 0x0C
)

// trackerVersion begins every request.
const trackerVersion = 2

// nonce ties an answer to its request.
type nonce [4]byte

// record is where a device of an identity can be reached.
type record struct {
	Node      identity.NodeKey
	Signature []byte
	Priority  byte
	ClientID  uint32
	ExpiresMS uint64
}

// signedBy reports whether the identity itself has named the node.
func (r record) signedBy(id Key) bool { return id.Verify(r.Node[:], r.Signature) }

// appendTLV appends tag, length and value.
func appendTLV(b []byte, tag byte, value []byte) []byte {
	b = binary.AppendUvarint(append(b, tag), uint64(len(value)))
	return append(b, value...)
}

func uint32Bytes(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func request(n nonce, command byte) []byte {
	return append(append([]byte{trackerVersion}, n[:]...), command)
}

func pingRequest(n nonce) []byte { return request(n, commandPing) }

func getAddrsRequest(n nonce, id Key) []byte {
	return appendTLV(request(n, commandGetAddrs), tagUserPub, id[:])
}

func announceRequest(n nonce, id Identity, node identity.NodeKey, priority byte, clientID uint32) []byte {
	key := id.Key()
	b := request(n, commandAnnounce)
	b = appendTLV(b, tagUserPub, key[:])
	b = appendTLV(b, tagNodePub, node[:])
	b = appendTLV(b, tagSignature, id.Sign(node[:]))
	b = appendTLV(b, tagPriority, []byte{priority})
	return appendTLV(b, tagClientID, uint32Bytes(clientID))
}

// reply is a tracker's answer, taken apart.
type reply struct {
	nonce   nonce
	command byte
	fields  map[byte][]byte // the last of each tag
	count   []byte          // the first COUNT
	records [][]byte
}

// splitReply takes an answer apart. It does not look into the values.
func splitReply(b []byte) (reply, error) {
	if len(b) < 5 {
		return reply{}, fmt.Errorf("%w: an answer of %d bytes", errProtocol, len(b))
	}
	r := reply{nonce: nonce(b[:4]), command: b[4], fields: make(map[byte][]byte)}
	err := eachTLV(b[5:], func(tag byte, value []byte) {
		switch {
		case tag == tagRecord:
			r.records = append(r.records, value)
		case tag == tagCount && r.count == nil:
			r.count = value
		default:
			r.fields[tag] = value
		}
	})
	return r, err
}

func eachTLV(b []byte, do func(tag byte, value []byte)) error {
	for len(b) > 0 {
		tag := b[0]
		length, n := varint(b[1:])
		if n == 0 || length > len(b)-1-n {
			return fmt.Errorf("%w: TLV %02x does not fit", errProtocol, tag)
		}
		b = b[1+n:]
		do(tag, b[:length])
		b = b[length:]
	}
	return nil
}

// varint reads a number of at most 4 bytes, 7 bits in each, the lowest first. n is
// 0 for what is none.
func varint(b []byte) (value, n int) {
	for n < min(len(b), 4) {
		value |= int(b[n]&0x7f) << (7 * n)
		n++
		if b[n-1] < 0x80 {
			return value, n
		}
	}
	return 0, 0
}

// ttl is how many seconds an announcement counts.
func (r reply) ttl() (uint64, error) {
	v := r.fields[tagTTLSecs]
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: TTL of %d bytes", errProtocol, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

// addresses are the records that the identity has signed, highest priority first.
func (r reply) addresses(id Key) ([]record, error) {
	if r.count == nil {
		return nil, nil
	}
	if len(r.count) != 1 || int(r.count[0]) > len(r.records) {
		return nil, fmt.Errorf("%w: COUNT %x with %d records", errProtocol, r.count, len(r.records))
	}
	var good []record
	for _, b := range r.records[:r.count[0]] {
		if rec, ok := parseRecord(b); ok && rec.signedBy(id) {
			good = append(good, rec)
		}
	}
	slices.SortStableFunc(good, func(a, b record) int { return int(b.Priority) - int(a.Priority) })
	return good, nil
}

func parseRecord(b []byte) (record, bool) {
	fields := make(map[byte][]byte)
	if eachTLV(b, func(tag byte, value []byte) { fields[tag] = value }) != nil {
		return record{}, false
	}
	node, client, expires := fields[tagNodePub], fields[tagClientID], fields[tagExpiresMS]
	if len(node) != 32 || len(client) != 4 || len(expires) != 8 || len(fields[tagSignature]) != 64 {
		return record{}, false
	}
	r := record{
		Node: identity.NodeKey(node), Signature: bytes.Clone(fields[tagSignature]),
		ClientID: binary.BigEndian.Uint32(client), ExpiresMS: binary.BigEndian.Uint64(expires),
	}
	if p := fields[tagPriority]; len(p) == 1 {
		r.Priority = p[0]
	}
	return r, true
}
