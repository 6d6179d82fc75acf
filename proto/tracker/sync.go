// SPDX-License-Identifier: MPL-2.0

package tracker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// FirstHop is the hop count of a record that was announced here.
const FirstHop = 3

// SyncFrame is one of [SyncPing] and [SyncRecord].
type SyncFrame interface {
	// Command returns the command that the frame has on the wire.
	Command() Command
	// AppendTo appends the whole frame.
	AppendTo(b []byte) []byte
}

// SyncPing keeps a stream between trackers alive. Nothing answers it.
type SyncPing struct{}

// SyncRecord passes an announced record on to another tracker.
type SyncRecord struct {
	// Hop is how many trackers it may still pass, 0 for a record to be ignored.
	Hop      uint8
	Identity identity.PublicKey
	// Record has no ExpiresMS here; its life is TTLSeconds.
	Record Record
	// TTLSeconds is the rest of its life as sent; see [SyncRecord.Life].
	TTLSeconds uint64
	// PrevTTLMinutes is the TTL granted last as sent; see [SyncRecord.PreviousTTL].
	PrevTTLMinutes uint32
}

// Life returns how much longer the record is kept, at most 17 minutes: no tracker
// grants more, and the reference crashes on a huge value.
func (f SyncRecord) Life() time.Duration {
	return time.Duration(min(f.TTLSeconds, uint64((maxTTL+Grace)/time.Second))) * time.Second
}

// PreviousTTL returns the TTL to give to [NextTTL], at most 16 minutes.
func (f SyncRecord) PreviousTTL() time.Duration {
	return time.Duration(min(f.PrevTTLMinutes, uint32(maxTTL/time.Minute))) * time.Minute
}

// Command returns CommandSyncPing.
func (SyncPing) Command() Command { return CommandSyncPing }

// AppendTo appends the frame.
func (SyncPing) AppendTo(b []byte) []byte { return append(b, byte(CommandSyncPing)) }

// Command returns CommandSyncData.
func (SyncRecord) Command() Command { return CommandSyncData }

// syncSize is the length of the fields of a SyncRecord.
const syncSize = (2 + 1) + 2*(2+identity.KeySize) + (2 + len(identity.Signature{})) + (2 + 1) + (2 + 4) + (2 + 8) + (2 + 4)

// AppendTo appends the frame.
func (f SyncRecord) AppendTo(b []byte) []byte {
	b = wire.AppendUint32(append(b, byte(CommandSyncData)), uint32(syncSize))
	b = wire.AppendFieldUint8(b, tagHop, f.Hop)
	b = wire.AppendField(b, tagIdentity, f.Identity[:])
	b = wire.AppendField(b, tagNode, f.Record.Node[:])
	b = wire.AppendField(b, tagSignature, f.Record.Signature[:])
	b = wire.AppendFieldUint8(b, tagPriority, f.Record.Priority)
	b = wire.AppendFieldUint32(b, tagClientID, f.Record.ClientID)
	b = wire.AppendFieldUint64(b, tagTTL, f.TTLSeconds)
	return wire.AppendFieldUint32(b, tagPrevTTL, f.PrevTTLMinutes)
}

// ReadSync reads the next frame of a stream between trackers. A SyncRecord with a
// hop count above 0 has been verified. Any error ends the stream: a violation,
// io.EOF before the frame, or another error of the stream.
func ReadSync(src *bufio.Reader) (SyncFrame, error) {
	r := wire.NewReader(src)
	switch command := Command(r.Uint8()); {
	case r.Err() != nil:
	case command == CommandSyncPing:
		return SyncPing{}, nil
	case command == CommandSyncData:
		payload := r.Bytes("sync data", int64(r.Uint32()), wire.MaxSyncPayload)
		if r.Err() == nil {
			return parseSync(payload)
		}
	default:
		return nil, wire.NewViolation(wire.CodeCommand, "command %d between trackers", command)
	}
	if err := r.Err(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read sync data: %w", err)
	}
	return nil, io.EOF
}

func parseSync(payload []byte) (SyncFrame, error) {
	fields, err := wire.ParseFields(payload)
	if err != nil {
		return nil, fmt.Errorf("parse sync data: %w", err)
	}
	f := SyncRecord{Hop: fields.Uint8(tagHop, "hop")}
	if fields.Err() == nil && f.Hop == 0 {
		return f, nil
	}
	fields.Fixed(tagIdentity, "identity", f.Identity[:])
	fields.Fixed(tagNode, "node key", f.Record.Node[:])
	fields.Fixed(tagSignature, "signature", f.Record.Signature[:])
	f.Record.Priority = fields.Uint8(tagPriority, "priority")
	f.Record.ClientID = fields.Uint32(tagClientID, "client id")
	f.TTLSeconds = fields.Uint64(tagTTL, "ttl")
	f.PrevTTLMinutes = fields.Uint32(tagPrevTTL, "previous ttl")
	if err := fields.Err(); err != nil {
		return nil, fmt.Errorf("parse sync data: %w", err)
	}
	if err := f.Record.Verify(f.Identity); err != nil {
		return nil, wire.NewViolation(wire.CodeSignature, "sync data: %v", err)
	}
	return f, nil
}
