// SPDX-License-Identifier: MPL-2.0

package tracker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// Version 1 has two layouts. In one, of gen1, an identity is reached at
// an IPv6 address and a TCP port, and requests are UDP datagrams. In the other,
// of gen2, it is reached at a node key, and a request is a stream of its
// own, or one datagram in the weeks before version 2.

const (
	// Version1 is the first byte of a request of version 1.
	Version1 = 1
	// Port1 is the UDP port of trackers of gen1.
	Port1 uint16 = 5050
	// TTL1 is how long a tracker of gen1 keeps a record.
	TTL1 = time.Hour
	// AnnounceEvery1 is the TTL that it answers an ANNOUNCE with.
	AnnounceEvery1 = 10 * time.Minute
	// SelectorClient is the first byte of a stream to a tracker
	// of gen2 when a client calls.
	SelectorClient byte = 0x00
	// SelectorSync is that byte when another tracker calls.
	SelectorSync byte = 0x01
	// MaxRecords1 is how many records an answer of gen1 has room for.
	MaxRecords1 = 10
	// MaxRecords2 is how many records an app of gen2 reads.
	MaxRecords2 = 9
)

// Layout is one of the two layouts of version 1.
type Layout uint8

// The layouts.
const (
	// LayoutAddress has an IPv6 address and a port.
	LayoutAddress Layout = 1
	// LayoutNode has a node key.
	LayoutNode Layout = 2
)

const (
	head1         = 1 + 4 + 1 + identity.KeySize
	addressRecord = 16 + len(identity.Signature{}) + 2 + 1 + 4 + 8
	nodeRecord    = identity.KeySize + len(identity.Signature{}) + 1 + 4 + 8
	reply1        = 4 + 1
	// announceRest are what follows the head of an ANNOUNCE.
	announceAddressRest = 2 + 1 + 4 + 16 + len(identity.Signature{})
	announceNodeRest    = 1 + 4 + identity.KeySize + len(identity.Signature{})
)

// Record1 says that an identity can be reached at an address (LayoutAddress) or
// at a node (LayoutNode). Only that is signed.
type Record1 struct {
	Layout Layout
	// Address and its port of LayoutAddress. The port is not signed.
	Address netip.AddrPort
	// Node of LayoutNode.
	Node      identity.NodeKey
	Signature identity.Signature
	// Priority orders the devices of an identity: the lowest is dialled first,
	// unlike in version 2. Apps announce 3.
	Priority uint8
	ClientID uint32
	// Life is how long to keep it: in LayoutNode the rest of its life, in
	// LayoutAddress what it was at the beginning. It is not part of a request.
	Life time.Duration
}

// NewAddressRecord signs a record for an address of our own.
func NewAddressRecord(key identity.PrivateKey, address netip.AddrPort, priority uint8, clientID uint32) Record1 {
	return Record1{
		Layout: LayoutAddress, Address: address, Signature: key.SignAnnounceAddress(address.Addr().As16()),
		Priority: priority, ClientID: clientID,
	}
}

// NewNodeRecord signs a record for a node key of our own.
func NewNodeRecord(key identity.PrivateKey, node identity.NodeKey, priority uint8, clientID uint32) Record1 {
	return Record1{Layout: LayoutNode, Node: node, Signature: key.SignAnnounce(node), Priority: priority, ClientID: clientID}
}

// Verify checks the signature.
func (r Record1) Verify(owner identity.PublicKey) error {
	if r.Layout == LayoutAddress {
		return owner.VerifyAnnounceAddress(r.Address.Addr().As16(), r.Signature)
	}
	return owner.VerifyAnnounce(r.Node, r.Signature)
}

// V2 returns a record of LayoutNode as a record of version 2. The priority stays, as in
// the reference, although version 1 dials the lowest first.
func (r Record1) V2() Record {
	return Record{
		Node: r.Node, Signature: r.Signature, Priority: r.Priority, ClientID: r.ClientID,
		ExpiresMS: uint64(r.Life.Milliseconds()),
	}
}

func (r Record1) appendTo(b []byte) []byte {
	if r.Layout == LayoutAddress {
		b = appendAddress(b, r.Address.Addr())
		b = append(b, r.Signature[:]...)
		b = append(b, byte(r.Address.Port()>>8), byte(r.Address.Port()), r.Priority)
		b = wire.AppendUint32(b, r.ClientID)
		return wire.AppendUint64(b, uint64(r.Life/time.Second))
	}
	b = append(b, r.Node[:]...)
	b = append(b, r.Signature[:]...)
	b = wire.AppendUint32(append(b, r.Priority), r.ClientID)
	return wire.AppendUint64(b, uint64(r.Life/time.Millisecond))
}

func appendAddress(b []byte, address netip.Addr) []byte {
	raw := address.As16()
	return append(b, raw[:]...)
}

func readRecord1(c *wire.Cursor, layout Layout) Record1 {
	r := Record1{Layout: layout}
	if layout == LayoutAddress {
		var raw [16]byte
		c.Fixed("address", raw[:])
		c.Fixed("signature", r.Signature[:])
		r.Address = netip.AddrPortFrom(netip.AddrFrom16(raw), readPort(c))
		r.Priority, r.ClientID = c.Uint8("priority"), c.Uint32("client id")
		r.Life = clamp(c.Uint64("ttl"), time.Second)
		return r
	}
	c.Fixed("node key", r.Node[:])
	c.Fixed("signature", r.Signature[:])
	r.Priority, r.ClientID = c.Uint8("priority"), c.Uint32("client id")
	r.Life = clamp(c.Uint64("ttl"), time.Millisecond)
	return r
}

func readPort(c *wire.Cursor) uint16 {
	high := c.Uint8("port")
	return uint16(high)<<8 | uint16(c.Uint8("port"))
}

// Request1 is a request of version 1: an ANNOUNCE when it has a record, else a
// GET_ADDRS or, in a datagram of LayoutNode, a PING.
type Request1 struct {
	Command  Command
	Nonce    Nonce
	Identity identity.PublicKey
	// Record of an ANNOUNCE. Its Life is not part of the request.
	Record Record1
}

// AppendTo appends the request; on a stream [SelectorClient] goes in front of it.
func (q Request1) AppendTo(b []byte) []byte {
	b = wire.AppendUint32(append(b, Version1), uint32(q.Nonce))
	b = append(append(b, byte(q.Command)), q.Identity[:]...)
	if q.Command != CommandAnnounce {
		return b
	}
	r := q.Record
	if r.Layout == LayoutAddress {
		b = append(b, byte(r.Address.Port()>>8), byte(r.Address.Port()), r.Priority)
		b = appendAddress(wire.AppendUint32(b, r.ClientID), r.Address.Addr())
		return append(b, r.Signature[:]...)
	}
	b = wire.AppendUint32(append(b, r.Priority), r.ClientID)
	b = append(b, r.Node[:]...)
	return append(b, r.Signature[:]...)
}

// ParseRequest1 reads a datagram that a tracker received. What follows the
// request is ignored. Errors are violations; the datagram is dropped. The
// signature of an ANNOUNCE has not been verified.
func ParseRequest1(datagram []byte, layout Layout) (Request1, error) {
	c := wire.NewCursor(datagram)
	q, err := readHead1(c, layout)
	if err != nil {
		return Request1{}, err
	}
	if q.Command == CommandAnnounce {
		q.Record = readAnnounced(c, layout)
	}
	return q, c.Err()
}

// ReadRequest1 reads the request of a stream, behind its selector. Errors are
// violations and errors of the stream.
func ReadRequest1(src *bufio.Reader) (Request1, error) {
	raw := make([]byte, head1, head1+announceNodeRest)
	r := wire.NewReader(src)
	r.Fixed(raw)
	if r.Err() != nil {
		return Request1{}, streamEnd(r.Err())
	}
	q, err := readHead1(wire.NewCursor(raw), LayoutNode)
	if err != nil || q.Command != CommandAnnounce {
		return q, err
	}
	rest := raw[head1:cap(raw)]
	if r.Fixed(rest); r.Err() != nil {
		return Request1{}, streamEnd(r.Err())
	}
	q.Record = readAnnounced(wire.NewCursor(rest), LayoutNode)
	return q, nil
}

func streamEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return fmt.Errorf("read request: %w", err)
}

func readHead1(c *wire.Cursor, layout Layout) (Request1, error) {
	version := c.Uint8("version")
	q := Request1{Nonce: Nonce(c.Uint32("nonce")), Command: Command(c.Uint8("command"))}
	c.Fixed("identity", q.Identity[:])
	switch {
	case c.Err() != nil:
		return Request1{}, c.Err()
	case version != Version1:
		return Request1{}, wire.NewViolation(wire.CodeVersion, "request of version %d", version)
	case q.Command > CommandPing, q.Command == CommandPing && layout == LayoutAddress:
		return Request1{}, wire.NewViolation(wire.CodeCommand, "command %d in version 1", q.Command)
	}
	return q, nil
}

func readAnnounced(c *wire.Cursor, layout Layout) Record1 {
	r := Record1{Layout: layout}
	if layout == LayoutAddress {
		var raw [16]byte
		port := readPort(c)
		r.Priority, r.ClientID = c.Uint8("priority"), c.Uint32("client id")
		c.Fixed("address", raw[:])
		r.Address = netip.AddrPortFrom(netip.AddrFrom16(raw), port)
	} else {
		r.Priority, r.ClientID = c.Uint8("priority"), c.Uint32("client id")
		c.Fixed("node key", r.Node[:])
	}
	c.Fixed("signature", r.Signature[:])
	return r
}
