// SPDX-License-Identifier: MPL-2.0

package tracker

import (
	"fmt"
	"slices"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// replyHeader is nonce and command.
const replyHeader = 5

// maxCount is the largest COUNT, which has one byte.
const maxCount = 255

// AnnounceReply says how long a record is kept.
type AnnounceReply struct {
	Nonce Nonce
	// TTLSeconds as sent; [AnnounceReply.TTL] is what to work with.
	TTLSeconds uint64
}

// TTL returns when to announce again at the latest, between [MinTTL] and
// [MaxTTL].
func (p AnnounceReply) TTL() time.Duration { return ClampTTL(p.TTLSeconds) }

// LookupReply is the answer to a Lookup.
type LookupReply struct {
	Nonce Nonce
	// Records, newest first. None says that the tracker does not know the
	// identity. Only the first 255 are written; a parsed reply has at most
	// wire.MaxRecords, all verified.
	Records []Record
}

// PingReply is the answer to a Ping.
type PingReply struct{ Nonce Nonce }

// AppendTo appends the datagram.
func (p AnnounceReply) AppendTo(b []byte) []byte {
	return wire.AppendFieldUint64(appendReply(b, p.Nonce, CommandAnnounce), tagTTL, p.TTLSeconds)
}

// AppendTo appends the datagram. 255 records take less than half of what fits.
func (p LookupReply) AppendTo(b []byte) []byte {
	records := p.Records[:min(len(p.Records), maxCount)]
	b = slices.Grow(b, replyHeader+3+len(records)*(2+recordSize))
	b = appendReply(b, p.Nonce, CommandLookup)
	b = wire.AppendFieldUint8(b, tagCount, byte(len(records)))
	for _, r := range records {
		b = r.appendTo(b)
	}
	return b
}

// AppendTo appends the datagram.
func (p PingReply) AppendTo(b []byte) []byte { return appendReply(b, p.Nonce, CommandPing) }

func appendReply(b []byte, nonce Nonce, command Command) []byte {
	return append(wire.AppendUint32(b, uint32(nonce)), byte(command))
}

// Reply is an answer whose nonce and command have been read and whose fields have
// not.
type Reply struct {
	Nonce   Nonce
	Command Command
	// fields points into the datagram.
	fields []byte
}

// SplitReply reads the head of a datagram that a client received. It costs
// nothing, so that what nobody asked for can be dropped at any rate. Go on with
// the method for the command that was asked for. An answer to a Ping has nothing
// more to it.
func SplitReply(datagram []byte) (Reply, bool) {
	if len(datagram) < replyHeader || len(datagram) > wire.MaxTrackerDatagram {
		return Reply{}, false
	}
	c := wire.NewCursor(datagram)
	return Reply{Nonce: Nonce(c.Uint32("nonce")), Command: Command(c.Uint8("command")), fields: c.Rest()}, true
}

// Announce reads the answer to an Announce. Errors are violations.
func (p Reply) Announce() (AnnounceReply, error) {
	if p.Command != CommandAnnounce {
		return AnnounceReply{}, p.otherCommand()
	}
	fields, err := wire.ParseFields(p.fields)
	if err != nil {
		return AnnounceReply{}, fmt.Errorf("parse announce reply: %w", err)
	}
	reply := AnnounceReply{Nonce: p.Nonce, TTLSeconds: fields.Uint64(tagTTL, "ttl")}
	if err := fields.Err(); err != nil {
		return AnnounceReply{}, fmt.Errorf("parse announce reply: %w", err)
	}
	return reply, nil
}

// Lookup reads the answer to a Lookup for owner, and verifies every record. Those
// that do not parse or verify, that repeat a node key, or that come after
// wire.MaxRecords good ones are left out. Errors are violations and spoil the
// whole answer.
func (p Reply) Lookup(owner identity.PublicKey) (LookupReply, error) {
	reply := LookupReply{Nonce: p.Nonce}
	if p.Command != CommandLookup {
		return LookupReply{}, p.otherCommand()
	}
	fields, err := wire.ParseFields(p.fields)
	if err != nil {
		return LookupReply{}, fmt.Errorf("parse lookup reply: %w", err)
	}
	countField, ok := fields.First(tagCount)
	if !ok {
		return reply, nil
	}
	if len(countField) != 1 {
		return LookupReply{}, wire.NewViolation(wire.CodeLength, "count of %d bytes, must be 1", len(countField))
	}
	count, present := int(countField[0]), 0
	for range fields.Each(tagRecord) {
		present++
	}
	if count > present {
		return LookupReply{}, wire.NewViolation(wire.CodeValue, "count %d with %d records", count, present)
	}
	for body := range fields.Each(tagRecord) {
		if count == 0 || len(reply.Records) == wire.MaxRecords {
			break
		}
		count--
		if r, ok := goodRecord(body, owner); ok && !reply.has(r.Node) {
			reply.Records = append(reply.Records, r)
		}
	}
	return reply, nil
}

// goodRecord drops the reason: trackers are not told, and one bad record says
// nothing about the others.
func goodRecord(body []byte, owner identity.PublicKey) (Record, bool) {
	r, err := parseRecord(body)
	if err != nil || r.Verify(owner) != nil {
		return Record{}, false
	}
	return r, true
}

func (p LookupReply) has(node identity.NodeKey) bool {
	return slices.ContainsFunc(p.Records, func(r Record) bool { return r.Node == node })
}

func (p Reply) otherCommand() error {
	return wire.NewViolation(wire.CodeCommand, "answer to another command, %d", p.Command)
}
