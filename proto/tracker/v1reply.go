// SPDX-License-Identifier: MPL-2.0

package tracker

import (
	"bufio"
	"slices"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// Reply1 is an answer of version 1.
type Reply1 struct {
	Command Command
	Nonce   Nonce
	// TTL after which to announce again, in the answer to an ANNOUNCE.
	TTL time.Duration
	// Records in the answer to a GET_ADDRS, newest first. Only as many are written
	// as apps can read; a parsed answer has at most wire.MaxRecords, all verified.
	Records []Record1
}

// AppendTo appends the answer.
func (p Reply1) AppendTo(b []byte) []byte {
	b = appendReply(b, p.Nonce, p.Command)
	switch p.Command {
	case CommandAnnounce:
		return wire.AppendUint64(b, uint64(p.TTL/time.Second))
	case CommandLookup:
		limit := MaxRecords2
		if len(p.Records) > 0 && p.Records[0].Layout == LayoutAddress {
			limit = MaxRecords1
		}
		records := p.Records[:min(len(p.Records), limit)]
		b = append(b, byte(len(records)))
		for _, r := range records {
			b = r.appendTo(b)
		}
	}
	return b
}

// ParseReply1 reads a datagram that answers a request for owner. Records that do
// not verify, that repeat an address or node, or that come after wire.MaxRecords
// good ones are left out. Errors are violations. Nonce and command are the
// caller's to compare.
func ParseReply1(datagram []byte, layout Layout, owner identity.PublicKey) (Reply1, error) {
	c := wire.NewCursor(datagram)
	p := Reply1{Nonce: Nonce(c.Uint32("nonce")), Command: Command(c.Uint8("command"))}
	switch p.Command {
	case CommandAnnounce:
		p.TTL = ClampTTL(c.Uint64("ttl"))
	case CommandLookup:
		for range c.Uint8("count") {
			p.add(readRecord1(c, layout), owner, c.Err())
		}
	case CommandPing:
	default:
		return Reply1{}, wire.NewViolation(wire.CodeCommand, "answer to command %d", p.Command)
	}
	if err := c.Err(); err != nil {
		return Reply1{}, err
	}
	return p, nil
}

// ReadReply1 reads the answer on a stream; see [ParseReply1]. Errors are
// violations and errors of the stream.
func ReadReply1(src *bufio.Reader, owner identity.PublicKey) (Reply1, error) {
	raw := make([]byte, reply1, reply1+8)
	r := wire.NewReader(src)
	r.Fixed(raw)
	rest := 0
	switch Command(raw[reply1-1]) {
	case CommandAnnounce:
		rest = 8
	case CommandLookup:
		count := r.Uint8()
		raw = append(raw, count)
		rest = int(count) * nodeRecord
	}
	raw = append(raw, r.Bytes("answer", int64(rest), maxCount*nodeRecord)...)
	if r.Err() != nil {
		return Reply1{}, streamEnd(r.Err())
	}
	return ParseReply1(raw, LayoutNode, owner)
}

func (p *Reply1) add(r Record1, owner identity.PublicKey, err error) {
	if err != nil || len(p.Records) == wire.MaxRecords || r.Verify(owner) != nil {
		return
	}
	if !slices.ContainsFunc(p.Records, func(o Record1) bool { return o.Address == r.Address && o.Node == r.Node }) {
		p.Records = append(p.Records, r)
	}
}

// AppendSyncHello1 appends what a tracker of gen2 begins a stream to
// another one with: the selector and its own node key, which nobody checks.
func AppendSyncHello1(b []byte, own identity.NodeKey) []byte {
	return append(append(b, SelectorSync), own[:]...)
}

// AppendSync1 appends a frame between trackers of gen2, to be written at
// once: the reference waits no longer than 200 ms for the rest of one.
func AppendSync1(b []byte, f SyncFrame) []byte {
	record, ok := f.(SyncRecord)
	if !ok {
		return f.AppendTo(b)
	}
	r := record.Record
	b = append(b, byte(CommandSyncData), record.Hop)
	b = append(b, record.Identity[:]...)
	b = append(b, r.Node[:]...)
	b = append(b, r.Signature[:]...)
	b = wire.AppendUint32(append(b, r.Priority), r.ClientID)
	b = wire.AppendUint32(b, uint32(min(record.TTLSeconds, 1<<32-1)))
	return wire.AppendUint32(b, record.PrevTTLMinutes)
}

// syncSize1 is the length of a record between trackers of gen2, without
// its command.
const syncSize1 = 1 + 2*identity.KeySize + len(identity.Signature{}) + 1 + 4 + 4 + 4

// ReadSync1 reads the next frame of a stream between trackers of gen2. A
// SyncRecord with a hop count above 0 has been verified. Errors are those of
// [ReadSync].
func ReadSync1(src *bufio.Reader) (SyncFrame, error) {
	r := wire.NewReader(src)
	command := Command(r.Uint8())
	if r.Err() != nil {
		return nil, streamEnd(r.Err())
	}
	switch command {
	case CommandSyncPing:
		return SyncPing{}, nil
	case CommandSyncData:
	default:
		return nil, wire.NewViolation(wire.CodeCommand, "command %d between trackers", command)
	}
	raw := r.Bytes("sync data", int64(syncSize1), syncSize1)
	if r.Err() != nil {
		return nil, streamEnd(r.Err())
	}
	c := wire.NewCursor(raw)
	f := SyncRecord{Hop: c.Uint8("hop")}
	c.Fixed("identity", f.Identity[:])
	c.Fixed("node key", f.Record.Node[:])
	c.Fixed("signature", f.Record.Signature[:])
	f.Record.Priority, f.Record.ClientID = c.Uint8("priority"), c.Uint32("client id")
	f.TTLSeconds, f.PrevTTLMinutes = uint64(c.Uint32("ttl")), c.Uint32("previous ttl")
	if f.Hop == 0 {
		// The rest has been read, unlike in the reference, and does not matter.
		return SyncRecord{}, nil
	}
	if err := f.Record.Verify(f.Identity); err != nil {
		return nil, wire.NewViolation(wire.CodeSignature, "sync data: %v", err)
	}
	return f, nil
}
