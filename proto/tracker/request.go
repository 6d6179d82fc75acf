// SPDX-License-Identifier: MPL-2.0

package tracker

import (
	"fmt"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// Request is one of [Announce], [Lookup] and [Ping].
type Request interface {
	// Command returns the command that the request has on the wire.
	Command() Command
	// AppendTo appends the whole datagram.
	AppendTo(b []byte) []byte
}

// Announce asks the tracker to keep a record. The answer is an [AnnounceReply].
type Announce struct {
	Nonce    Nonce
	Identity identity.PublicKey
	// Record is what to keep; its ExpiresMS is not part of the request.
	Record Record
}

// Lookup asks for the records of an identity. The answer is a [LookupReply].
type Lookup struct {
	Nonce    Nonce
	Identity identity.PublicKey
}

// Ping asks whether the tracker is there. The answer is a [PingReply].
type Ping struct{ Nonce Nonce }

// Command returns CommandAnnounce.
func (Announce) Command() Command { return CommandAnnounce }

// Command returns CommandLookup.
func (Lookup) Command() Command { return CommandLookup }

// Command returns CommandPing.
func (Ping) Command() Command { return CommandPing }

// AppendTo appends the datagram.
func (q Announce) AppendTo(b []byte) []byte {
	b = appendRequest(b, q.Nonce, CommandAnnounce)
	b = wire.AppendField(b, tagIdentity, q.Identity[:])
	b = wire.AppendField(b, tagNode, q.Record.Node[:])
	b = wire.AppendField(b, tagSignature, q.Record.Signature[:])
	b = wire.AppendFieldUint8(b, tagPriority, q.Record.Priority)
	return wire.AppendFieldUint32(b, tagClientID, q.Record.ClientID)
}

// AppendTo appends the datagram.
func (q Lookup) AppendTo(b []byte) []byte {
	b = appendRequest(b, q.Nonce, CommandLookup)
	return wire.AppendField(b, tagIdentity, q.Identity[:])
}

// AppendTo appends the datagram.
func (q Ping) AppendTo(b []byte) []byte { return appendRequest(b, q.Nonce, CommandPing) }

func appendRequest(b []byte, nonce Nonce, command Command) []byte {
	b = wire.AppendUint32(append(b, Version), uint32(nonce))
	return append(b, byte(command))
}

// ParseRequest reads a datagram that a tracker received. Errors are violations;
// the datagram is dropped without an answer. The signature of an [Announce] has
// not been verified: do so with Record.Verify before keeping anything.
//
// A tracker that is also a client of others looks for an open nonce of the sender
// first: an answer may look like a request.
func ParseRequest(datagram []byte) (Request, error) {
	c := wire.NewCursor(datagram)
	version := c.Uint8("version")
	nonce := Nonce(c.Uint32("nonce"))
	command := Command(c.Uint8("command"))
	payload := c.Rest()
	// The version is asked first: other versions are shorter.
	switch {
	case len(datagram) > wire.MaxTrackerDatagram:
		return nil, wire.NewViolation(wire.CodeLength, "request of %d bytes", len(datagram))
	case len(datagram) > 0 && version != Version:
		return nil, wire.NewViolation(wire.CodeVersion, "request of version %d", version)
	case c.Err() != nil:
		return nil, c.Err()
	case command == CommandPing:
		// The reference does not look at what follows.
		return Ping{Nonce: nonce}, nil
	}
	fields, err := wire.ParseFields(payload)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", command, err)
	}
	var q Request
	switch command {
	case CommandAnnounce:
		q = parseAnnounce(fields, nonce)
	case CommandLookup:
		lookup := Lookup{Nonce: nonce}
		fields.Fixed(tagIdentity, "identity", lookup.Identity[:])
		q = lookup
	default:
		return nil, wire.NewViolation(wire.CodeCommand, "command %d in a datagram", command)
	}
	if err := fields.Err(); err != nil {
		return nil, fmt.Errorf("parse %s: %w", command, err)
	}
	return q, nil
}

func parseAnnounce(fields *wire.Fields, nonce Nonce) Announce {
	q := Announce{Nonce: nonce}
	fields.Fixed(tagIdentity, "identity", q.Identity[:])
	fields.Fixed(tagNode, "node key", q.Record.Node[:])
	fields.Fixed(tagSignature, "signature", q.Record.Signature[:])
	q.Record.Priority = fields.Uint8(tagPriority, "priority")
	q.Record.ClientID = fields.Uint32(tagClientID, "client id")
	return q
}
