// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
)

// The whole key space. Numbers are big-endian, so keys sort as their meaning
// does; signed numbers have their sign bit flipped for the same reason. Names are
// 1 to 64 bytes without a zero byte. Everything of one account has one prefix:
// it is removed, moved and backed up as one range.
//
//	key                                                value
//	00 "commits"                                       uint: number of the last synced commit
//	00 "nodes"                                         NodeKeys: the node keys of this node
//	00 "schema"                                        schemaRow: version of all this
//	10 account 00                                      Account
//	10 account 10 contact                              Contact
//	10 account 20 contact order:8                      Message
//	10 account 21 contact dir:1 guid:8 variant:2       messageRef: where the message is
//	10 account 22 contact order:8                      uint: payload bytes of an undelivered message
//	10 account 23 source                               sourceRow: the message queued for that source
//	10 account 24 contact target:8 dir:1               Reaction: the one that counts
//	10 account 30 seq:8                                Event
//	10 account 31 conversation seq:8                   empty: the event belongs to the conversation
//	10 account 40 consumer 00 conversation             uint: seq of the last event dealt with
//	10 account 50 contact dir:1 guid:8 variant:2       Media: the file of a message
//	10 account 51 due:8 contact dir:1 guid:8 variant:2 empty: that file is to be transferred
//	20 queue 00 00 seq:8                               JournalEntry, unfinished
//	20 queue 00 01 id                                  uint: seq, of finished entries too
//	20 queue 00 02 n:8                                 doneRow: the n-th entry finished, until its id is forgotten
//	20 queue 00 03                                     uint: the last seq given away
//	30 identity                                        []Address, not synced
//	40 hash                                            HostedFile: what others have put on our file server
const (
	spaceMeta    = 0x00
	spaceAccount = 0x10
	spaceJournal = 0x20
	spaceAddress = 0x30
	spaceHosted  = 0x40

	tableAccount  = 0x00
	tableContact  = 0x10
	tableMessage  = 0x20
	tableRef      = 0x21
	tableOutbox   = 0x22
	tableSource   = 0x23
	tableReaction = 0x24
	tableEvent    = 0x30
	tableConvLog  = 0x31
	tableCursor   = 0x40
	tableMedia    = 0x50
	tableTransfer = 0x51
	tableEntry    = 0x00
	tableEntryID  = 0x01
	tableDone     = 0x02
	tableLastSeq  = 0x03
	signBit       = uint64(1) << 63
	schemaKeyName = "schema"
	countKeyName  = "commits"
	nodesKeyName  = "nodes"
)

// Limits of what callers may use as names and keys.
const (
	// MaxName is the longest name of a consumer or queue, in bytes.
	MaxName = 64
	// MaxSource is the longest idempotency key, in bytes. Matrix event ids have at
	// most 255.
	MaxSource = 512
	// MaxJournalID is the longest id of a journal entry, in bytes.
	MaxJournalID = 1024
)

func validName(name string) bool {
	return len(name) > 0 && len(name) <= MaxName && bytes.IndexByte([]byte(name), 0) < 0
}

func schemaKey() []byte { return append([]byte{spaceMeta}, schemaKeyName...) }

func countKey() []byte { return append([]byte{spaceMeta}, countKeyName...) }

func nodeKeysKey() []byte { return append([]byte{spaceMeta}, nodesKeyName...) }

// accountPrefix starts every key of an account.
// newKey has room for the keys of an account that have a fixed length.
func newKey() []byte { return make([]byte, 0, 96) }

func accountPrefix(account identity.PublicKey) []byte {
	return append(append(newKey(), spaceAccount), account[:]...)
}

func tablePrefix(account identity.PublicKey, table byte) []byte {
	return appendTablePrefix(newKey(), account, table)
}

func appendTablePrefix(key []byte, account identity.PublicKey, table byte) []byte {
	return append(append(append(key, spaceAccount), account[:]...), table)
}

func accountKey(account identity.PublicKey) []byte { return tablePrefix(account, tableAccount) }

// pairPrefix starts the keys of one conversation in a table.
func pairPrefix(account identity.PublicKey, table byte, contact identity.PublicKey) []byte {
	return append(tablePrefix(account, table), contact[:]...)
}

func contactKey(account, contact identity.PublicKey) []byte {
	return pairPrefix(account, tableContact, contact)
}

func messageKey(account, contact identity.PublicKey, order uint64) []byte {
	return binary.BigEndian.AppendUint64(pairPrefix(account, tableMessage, contact), order)
}

func refKey(account, contact identity.PublicKey, id MessageID) []byte {
	return appendMessageID(pairPrefix(account, tableRef, contact), id)
}

func appendMessageID(key []byte, id MessageID) []byte {
	key = binary.BigEndian.AppendUint64(append(key, byte(id.Dir)), uint64(id.GUID)^signBit)
	return binary.BigEndian.AppendUint16(key, id.Variant)
}

func mediaKey(account, contact identity.PublicKey, id MessageID) []byte {
	return appendMessageID(pairPrefix(account, tableMedia, contact), id)
}

func transferKey(account identity.PublicKey, due uint64, contact identity.PublicKey, id MessageID) []byte {
	key := binary.BigEndian.AppendUint64(tablePrefix(account, tableTransfer), due)
	return appendMessageID(append(key, contact[:]...), id)
}

func hostedKey(hash files.Hash) []byte { return append([]byte{spaceHosted}, hash[:]...) }

func outboxKey(account, contact identity.PublicKey, order uint64) []byte {
	return binary.BigEndian.AppendUint64(pairPrefix(account, tableOutbox, contact), order)
}

func sourceKey(account identity.PublicKey, source string) []byte {
	return append(tablePrefix(account, tableSource), source...)
}

// reactionKey is the place for the reaction of one side (dir) to a message.
func reactionKey(account, contact identity.PublicKey, target int64, dir Direction) []byte {
	key := reactionPrefix(account, contact, target)
	return append(key, byte(dir))
}

// reactionPrefix starts the keys of the reactions to a message.
func reactionPrefix(account, contact identity.PublicKey, target int64) []byte {
	return binary.BigEndian.AppendUint64(pairPrefix(account, tableReaction, contact), uint64(target)^signBit)
}

func eventKey(account identity.PublicKey, seq uint64) []byte {
	return appendEventKey(newKey(), account, seq)
}

func appendEventKey(key []byte, account identity.PublicKey, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendTablePrefix(key, account, tableEvent), seq)
}

func convLogKey(account, conversation identity.PublicKey, seq uint64) []byte {
	return appendConvLogKey(newKey(), account, conversation, seq)
}

func appendConvLogKey(key []byte, account, conversation identity.PublicKey, seq uint64) []byte {
	key = append(appendTablePrefix(key, account, tableConvLog), conversation[:]...)
	return binary.BigEndian.AppendUint64(key, seq)
}

func cursorPrefix(account identity.PublicKey, consumer string) []byte {
	return append(append(tablePrefix(account, tableCursor), consumer...), 0)
}

func cursorKey(account identity.PublicKey, consumer string, conversation identity.PublicKey) []byte {
	return append(cursorPrefix(account, consumer), conversation[:]...)
}

func journalPrefix(queue string, table byte) []byte {
	key := make([]byte, 0, 1+len(queue)+2+8)
	key = append(key, spaceJournal)
	key = append(key, queue...)
	return append(key, 0, table)
}

func entryKey(queue string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(journalPrefix(queue, tableEntry), seq)
}

func entryIDKey(queue, id string) []byte {
	return append(journalPrefix(queue, tableEntryID), id...)
}

func doneKey(queue string, n uint64) []byte {
	return binary.BigEndian.AppendUint64(journalPrefix(queue, tableDone), n)
}

func lastSeqKey(queue string) []byte { return journalPrefix(queue, tableLastSeq) }

func addressKey(id identity.PublicKey) []byte {
	return append([]byte{spaceAddress}, id[:]...)
}

// prefixEnd returns the first key after all keys that start with prefix.
// No prefix in use consists of 0xff bytes only.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// trailingUint64 reads the number at the end of a key of which the table is known.
func trailingUint64(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }

// parsedKey is a key taken apart; fields that the table does not use are zero.
type parsedKey struct {
	space, table byte
	account      identity.PublicKey
	other        identity.PublicKey // contact, conversation, or identity of an address
	number       uint64             // order, seq or n
	message      MessageID
	hash         files.Hash
	name         string // consumer or queue
	text         string // source or journal id
}

// parseKey takes any key apart. It refuses what the functions above cannot have
// made.
func parseKey(key []byte) (parsedKey, error) {
	bad := func() (parsedKey, error) {
		return parsedKey{}, fmt.Errorf("key %.64x: %w", key, ErrCorrupt)
	}
	if len(key) == 0 {
		return bad()
	}
	k := parsedKey{space: key[0]}
	rest := key[1:]
	switch k.space {
	case spaceMeta:
		k.name = string(rest)
		if k.name != schemaKeyName && k.name != countKeyName && k.name != nodesKeyName {
			return bad()
		}
		return k, nil
	case spaceAddress:
		if len(rest) != identity.KeySize {
			return bad()
		}
		k.other = identity.PublicKey(rest)
		return k, nil
	case spaceHosted:
		if len(rest) != len(k.hash) {
			return bad()
		}
		k.hash = files.Hash(rest)
		return k, nil
	case spaceJournal:
		return parseJournalKey(k, rest, bad)
	case spaceAccount:
		return parseAccountKey(k, rest, bad)
	default:
		return bad()
	}
}

func parseJournalKey(k parsedKey, rest []byte, bad func() (parsedKey, error)) (parsedKey, error) {
	name, rest, found := bytes.Cut(rest, []byte{0})
	k.name = string(name)
	if !found || !validName(k.name) || len(rest) == 0 {
		return bad()
	}
	k.table, rest = rest[0], rest[1:]
	switch k.table {
	case tableEntry, tableDone:
		if len(rest) != 8 {
			return bad()
		}
		k.number = binary.BigEndian.Uint64(rest)
	case tableEntryID:
		if len(rest) == 0 || len(rest) > MaxJournalID {
			return bad()
		}
		k.text = string(rest)
	case tableLastSeq:
		if len(rest) != 0 {
			return bad()
		}
	default:
		return bad()
	}
	return k, nil
}

func parseAccountKey(k parsedKey, rest []byte, bad func() (parsedKey, error)) (parsedKey, error) {
	if len(rest) < identity.KeySize+1 {
		return bad()
	}
	k.account = identity.PublicKey(rest[:identity.KeySize])
	k.table, rest = rest[identity.KeySize], rest[identity.KeySize+1:]
	want := -1 // bytes left; -1 for a variable length
	switch k.table {
	case tableAccount:
		want = 0
	case tableContact:
		want = identity.KeySize
	case tableMessage, tableOutbox, tableConvLog:
		want = identity.KeySize + 8
	case tableRef, tableMedia:
		want = identity.KeySize + 1 + 8 + 2
	case tableTransfer:
		want = 8 + identity.KeySize + 1 + 8 + 2
	case tableReaction:
		want = identity.KeySize + 8 + 1
	case tableEvent:
		want = 8
	case tableSource, tableCursor:
	default:
		return bad()
	}
	if want >= 0 && len(rest) != want {
		return bad()
	}
	switch k.table {
	case tableTransfer:
		k.number, rest = binary.BigEndian.Uint64(rest), rest[8:]
		fallthrough
	case tableContact, tableMessage, tableOutbox, tableConvLog, tableRef, tableReaction, tableMedia:
		k.other, rest = identity.PublicKey(rest[:identity.KeySize]), rest[identity.KeySize:]
	}
	switch k.table {
	case tableMessage, tableOutbox, tableConvLog, tableEvent:
		k.number = binary.BigEndian.Uint64(rest)
	case tableRef, tableMedia, tableTransfer:
		k.message = MessageID{
			Dir:     Direction(rest[0]),
			GUID:    int64(binary.BigEndian.Uint64(rest[1:9]) ^ signBit),
			Variant: binary.BigEndian.Uint16(rest[9:]),
		}
		if k.message.Dir > Out || k.message.GUID == 0 {
			return bad()
		}
	case tableReaction:
		k.message = MessageID{Dir: Direction(rest[8]), GUID: int64(binary.BigEndian.Uint64(rest) ^ signBit)}
		if k.message.Dir > Out || k.message.GUID == 0 {
			return bad()
		}
	case tableSource:
		if len(rest) == 0 || len(rest) > MaxSource {
			return bad()
		}
		k.text = string(rest)
	case tableCursor:
		name, conversation, found := bytes.Cut(rest, []byte{0})
		k.name = string(name)
		if !found || !validName(k.name) || len(conversation) != identity.KeySize {
			return bad()
		}
		k.other = identity.PublicKey(conversation)
	}
	return k, nil
}

// encode makes the key again: parseKey(k.encode()) == k.
func (k parsedKey) encode() []byte {
	switch k.space {
	case spaceMeta:
		return append([]byte{spaceMeta}, k.name...)
	case spaceAddress:
		return addressKey(k.other)
	case spaceHosted:
		return hostedKey(k.hash)
	case spaceJournal:
		switch k.table {
		case tableEntry:
			return entryKey(k.name, k.number)
		case tableDone:
			return doneKey(k.name, k.number)
		case tableLastSeq:
			return lastSeqKey(k.name)
		default:
			return entryIDKey(k.name, k.text)
		}
	}
	switch k.table {
	case tableContact:
		return contactKey(k.account, k.other)
	case tableMessage:
		return messageKey(k.account, k.other, k.number)
	case tableRef:
		return refKey(k.account, k.other, k.message)
	case tableOutbox:
		return outboxKey(k.account, k.other, k.number)
	case tableSource:
		return sourceKey(k.account, k.text)
	case tableReaction:
		return reactionKey(k.account, k.other, k.message.GUID, k.message.Dir)
	case tableMedia:
		return mediaKey(k.account, k.other, k.message)
	case tableTransfer:
		return transferKey(k.account, k.number, k.other, k.message)
	case tableEvent:
		return eventKey(k.account, k.number)
	case tableConvLog:
		return convLogKey(k.account, k.other, k.number)
	case tableCursor:
		return cursorKey(k.account, k.name, k.other)
	default:
		return accountKey(k.account)
	}
}

// schemaRow is the value under the schema key.
type schemaRow struct {
	Version uint64 `cbor:"1,keyasint"`
}

// messageRef says where a message is, and what its guid stood for at first.
type messageRef struct {
	Order uint64 `cbor:"1,keyasint"`
	// First is the contentHash of the content that an edit has replaced for the
	// first time: a late repeat of it is still a duplicate.
	First []byte `cbor:"2,keyasint,omitempty"`
}

func (messageRef) lastField() uint64 { return 2 }

// sourceRow says which message was queued for a source. It may outlive the
// message: then the source is as good as new.
type sourceRow struct {
	Contact identity.PublicKey `cbor:"1,keyasint"`
	Order   uint64             `cbor:"2,keyasint"`
}

// doneRow remembers the id of a finished journal entry.
type doneRow struct {
	ID   string `cbor:"1,keyasint"`
	Time Millis `cbor:"2,keyasint"`
}
