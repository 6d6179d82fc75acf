// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/mimird/mimird/actors/media"
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
//	10 account 01                                      bytes: the greeting of the answering machine
//	10 account 10 contact                              Contact
//	10 account 20 contact order:8                      Message
//	10 account 21 contact dir:1 guid:8 variant:2       messageRef: where the message is
//	10 account 22 contact order:8                      uint: payload bytes of an undelivered message
//	10 account 23 source                               sourceRow: the message queued for that source
//	10 account 24 contact target:8 dir:1               Reaction: the one that counts
//	10 account 30 seq:8                                Event
//	10 account 31 contact seq:8                        empty: the event belongs to the conversation
//	10 account 40 consumer 00 contact                  uint: seq of the last event dealt with
//	10 account 41 consumer                             floor: up to where it has dealt with all conversations
//	10 account 50 contact dir:1 guid:8 variant:2       Media: the file of a message
//	10 account 52 due:8 message                        empty: the file of the message is to be transferred
//	10 account 53 changed:8 message                    empty: it is in the media store, since then
//	10 account 54 hash message                         empty: it is that file, which is in the media store
//	10 account 90 group                                Group
//	10 account A0 A1 A2 B1 C0 D0 group ...             as 20 21 22 31 40 50, for groups
//	10 account A4 group target:8 dir:1 author          Reaction: the one of that author that counts
//	10 account A5 group server-guid:8                  guidRow: the message that the mediator knows by another guid
//	10 account A6 group member                         Member, without the picture
//	10 account A7 group seq:8                          GroupTask, which the mediator has not answered
//	10 account A8 group                                groupProgress: how far its history was read
//	10 account A9 group member                         bytes: the picture of the member
//	20 queue 00 00 seq:8                               JournalEntry, unfinished
//	20 queue 00 01 id                                  uint: seq, of finished entries too
//	20 queue 00 02 n:8                                 doneRow: the n-th entry finished, until its id is forgotten
//	20 queue 00 03                                     uint: the last seq given away
//	30 identity                                        []Address, not synced
//	40 hash                                            HostedFile: an upload on our file server
//	50 ...                                             groups of the mediator role, see mediator_schema.go
//
// 51 was the queue of transfers until version 3.
//
// contact and group are the 32 bytes of a ConversationID; a contact of zero is the
// account itself, which has events and cursors only. The tables of groups are those of
// contacts with the highest bit set, so rows of two kinds of conversation never meet,
// and a kind can be added without touching what is stored. Tables in another order than
// that of conversations have all kinds; message there is kind:1 contact-or-group dir:1
// guid:8 variant:2.
const (
	spaceMeta    = 0x00
	spaceAccount = 0x10
	spaceJournal = 0x20
	spaceAddress = 0x30
	spaceHosted  = 0x40

	tableAccount  = 0x00
	tableGreeting = 0x01
	tableContact  = 0x10
	tableMessage  = 0x20
	tableRef      = 0x21
	tableOutbox   = 0x22
	tableSource   = 0x23
	tableReaction = 0x24
	tableGUID     = 0x25 // this one and the next four are of groups only
	tableMember   = 0x26
	tableTask     = 0x27
	tableProgress = 0x28
	tablePicture  = 0x29
	tableEvent    = 0x30
	tableConvLog  = 0x31
	tableCursor   = 0x40
	tableFloor    = 0x41
	tableMedia    = 0x50
	tableTransfer = 0x52
	tableStored   = 0x53
	tableFile     = 0x54
	tableEntry    = 0x00
	tableEntryID  = 0x01
	tableDone     = 0x02
	tableLastSeq  = 0x03
	groupBit      = 0x80 // added to a table of contacts

	tableTransfer2 = 0x51 // as tableTransfer, without the kind; until version 3
	signBit        = uint64(1) << 63
	schemaKeyName  = "schema"
	countKeyName   = "commits"
	nodesKeyName   = "nodes"
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

// newKey returns an empty key with the capacity of keys of fixed length.
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

func greetingKey(account identity.PublicKey) []byte { return tablePrefix(account, tableGreeting) }

// conversationTables are the tables that have rows of conversations.
var conversationTables = [...]byte{
	tableContact, tableMessage, tableRef, tableOutbox, tableReaction, tableGUID, tableMember, tableTask, tableProgress, tablePicture,
	tableConvLog, tableCursor, tableMedia,
}

// isOfGroups reports whether contacts do not have the table.
func isOfGroups(table byte) bool { return table >= tableGUID && table <= tablePicture }

// tableFor returns the table of a kind of conversations, given that of contacts.
func tableFor(table byte, kind ConversationKind) byte {
	if kind == KindGroup {
		return table | groupBit
	}
	return table
}

// tableKind is the inverse of tableFor. Of a table that is not of conversations the
// kind is zero.
func tableKind(table byte) (byte, ConversationKind) {
	if bytes.IndexByte(conversationTables[:], table&^groupBit) < 0 || table&groupBit == 0 {
		return table, KindContact
	}
	return table &^ groupBit, KindGroup
}

// conversationPrefix starts the keys of one conversation in a table.
func conversationPrefix(account identity.PublicKey, table byte, conversation ConversationID) []byte {
	return appendConversationPrefix(newKey(), account, table, conversation)
}

func appendConversationPrefix(key []byte, account identity.PublicKey, table byte, conversation ConversationID) []byte {
	key = appendTablePrefix(key, account, tableFor(table, conversation.Kind()))
	return append(key, conversation.name()...)
}

func contactKey(account, contact identity.PublicKey) []byte {
	return ownerKey(account, ContactConversation(contact))
}

// isContactKey reports whether a key of ours is that of a contact's row.
func isContactKey(key string) bool {
	return len(key) == 1+identity.KeySize+1+identity.KeySize && key[0] == spaceAccount && key[1+identity.KeySize] == tableContact
}

// ownerKey is the key of the contact or group whose conversation it is.
func ownerKey(account identity.PublicKey, conversation ConversationID) []byte {
	return conversationPrefix(account, tableContact, conversation)
}

func messageKey(account identity.PublicKey, conversation ConversationID, order uint64) []byte {
	return binary.BigEndian.AppendUint64(conversationPrefix(account, tableMessage, conversation), order)
}

func refKey(account identity.PublicKey, conversation ConversationID, id MessageID) []byte {
	return appendMessageID(conversationPrefix(account, tableRef, conversation), id)
}

func appendMessageID(key []byte, id MessageID) []byte {
	key = binary.BigEndian.AppendUint64(append(key, byte(id.Dir)), uint64(id.GUID)^signBit)
	return binary.BigEndian.AppendUint16(key, id.Variant)
}

func mediaKey(account identity.PublicKey, conversation ConversationID, id MessageID) []byte {
	return appendMessageID(conversationPrefix(account, tableMedia, conversation), id)
}

func transferKey(account identity.PublicKey, due uint64, conversation ConversationID, id MessageID) []byte {
	key := binary.BigEndian.AppendUint64(tablePrefix(account, tableTransfer), due)
	return appendMessage(key, conversation, id)
}

func storedKey(account identity.PublicKey, changed uint64, conversation ConversationID, id MessageID) []byte {
	key := binary.BigEndian.AppendUint64(tablePrefix(account, tableStored), changed)
	return appendMessage(key, conversation, id)
}

func fileKey(account identity.PublicKey, hash media.Hash, conversation ConversationID, id MessageID) []byte {
	return appendMessage(filePrefix(account, hash), conversation, id)
}

// filePrefix starts the keys of the messages that have a file.
func filePrefix(account identity.PublicKey, hash media.Hash) []byte {
	return append(tablePrefix(account, tableFile), hash[:]...)
}

// appendMessage names a message of any conversation.
func appendMessage(key []byte, conversation ConversationID, id MessageID) []byte {
	return appendMessageID(append(key, conversation[:]...), id)
}

func hostedKey(hash files.Hash) []byte { return append([]byte{spaceHosted}, hash[:]...) }

func outboxKey(account identity.PublicKey, conversation ConversationID, order uint64) []byte {
	return binary.BigEndian.AppendUint64(conversationPrefix(account, tableOutbox, conversation), order)
}

func sourceKey(account identity.PublicKey, source string) []byte {
	return append(tablePrefix(account, tableSource), source...)
}

// reactionKey is the place for the reaction of one side (dir) to a message, in a group
// of one author.
func reactionKey(account identity.PublicKey, conversation ConversationID, target int64, dir Direction, author identity.PublicKey) []byte {
	key := append(reactionPrefix(account, conversation, target), byte(dir))
	if conversation.Kind() == KindGroup {
		key = append(key, author[:]...)
	}
	return key
}

// reactionPrefix starts the keys of the reactions to a message.
func reactionPrefix(account identity.PublicKey, conversation ConversationID, target int64) []byte {
	return binary.BigEndian.AppendUint64(conversationPrefix(account, tableReaction, conversation), uint64(target)^signBit)
}

// guidKey is the place of the message that a mediator knows by a guid which is not the
// message's own.
func guidKey(account identity.PublicKey, group ConversationID, guid int64) []byte {
	return binary.BigEndian.AppendUint64(conversationPrefix(account, tableGUID, group), uint64(guid)^signBit)
}

func memberKey(account identity.PublicKey, group ConversationID, member identity.PublicKey) []byte {
	return append(conversationPrefix(account, tableMember, group), member[:]...)
}

func pictureKey(account identity.PublicKey, group ConversationID, member identity.PublicKey) []byte {
	return append(conversationPrefix(account, tablePicture, group), member[:]...)
}

func taskKey(account identity.PublicKey, group ConversationID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(conversationPrefix(account, tableTask, group), seq)
}

func progressKey(account identity.PublicKey, group ConversationID) []byte {
	return conversationPrefix(account, tableProgress, group)
}

func eventKey(account identity.PublicKey, seq uint64) []byte {
	return appendEventKey(newKey(), account, seq)
}

func appendEventKey(key []byte, account identity.PublicKey, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendTablePrefix(key, account, tableEvent), seq)
}

func convLogKey(account identity.PublicKey, conversation ConversationID, seq uint64) []byte {
	return appendConvLogKey(newKey(), account, conversation, seq)
}

func appendConvLogKey(key []byte, account identity.PublicKey, conversation ConversationID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendConversationPrefix(key, account, tableConvLog, conversation), seq)
}

func cursorKey(account identity.PublicKey, consumer string, conversation ConversationID) []byte {
	key := append(tablePrefix(account, tableFor(tableCursor, conversation.Kind())), consumer...)
	return append(append(key, 0), conversation.name()...)
}

func floorKey(account identity.PublicKey, consumer string) []byte {
	return append(tablePrefix(account, tableFloor), consumer...)
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
	conversation ConversationID     // of the rows of one: its kind is part of the table
	other        identity.PublicKey // identity of an address, member, author of a reaction in a group, user of the mediator
	group        uint64             // of the mediator
	number       uint64             // order, seq, n, or of the mediator the id or encoded guid
	message      MessageID
	hash         files.Hash // of a hosted file, or of a message's plain file
	name         string     // consumer or queue
	text         string     // source or journal id
}

// parseKey takes any key apart. It rejects keys that the functions above cannot
// make.
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
	case spaceMediator:
		return parseMediatorKey(k, rest, bad)
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
	table, kind := tableKind(rest[identity.KeySize])
	k.table, k.conversation[0] = table, byte(kind)
	rest = rest[identity.KeySize+1:]
	want := -1 // bytes left; -1 for a variable length
	if isOfGroups(k.table) && kind != KindGroup {
		return bad()
	}
	switch k.table {
	case tableAccount, tableGreeting:
		want = 0
	case tableContact, tableProgress:
		want = conversationSize
	case tableMessage, tableOutbox, tableConvLog, tableGUID, tableTask:
		want = conversationSize + 8
	case tableMember, tablePicture:
		want = conversationSize + identity.KeySize
	case tableRef, tableMedia:
		want = identity.KeySize + 1 + 8 + 2
	case tableTransfer, tableStored:
		want = 8 + 1 + conversationSize + 1 + 8 + 2
	case tableTransfer2:
		want = 8 + conversationSize + 1 + 8 + 2
	case tableFile:
		want = len(media.Hash{}) + 1 + conversationSize + 1 + 8 + 2
	case tableReaction:
		want = conversationSize + 8 + 1
		if kind == KindGroup {
			want += identity.KeySize
		}
	case tableEvent:
		want = 8
	case tableSource, tableCursor, tableFloor:
	default:
		return bad()
	}
	if want >= 0 && len(rest) != want {
		return bad()
	}
	switch k.table {
	case tableTransfer, tableTransfer2, tableStored:
		k.number, rest = binary.BigEndian.Uint64(rest), rest[8:]
	case tableFile:
		k.hash = files.Hash(rest[:len(k.hash)])
		rest = rest[len(k.hash):]
	}
	switch k.table {
	case tableTransfer, tableStored, tableFile:
		k.conversation, rest = ConversationID(rest[:len(k.conversation)]), rest[len(k.conversation):]
		if k.conversation.Kind() > KindGroup {
			return bad()
		}
	case tableContact, tableMessage, tableOutbox, tableConvLog, tableRef, tableReaction, tableMedia, tableTransfer2,
		tableGUID, tableMember, tableTask, tableProgress, tablePicture:
		copy(k.conversation[1:], rest)
		rest = rest[conversationSize:]
	}
	switch k.table {
	case tableMessage, tableOutbox, tableConvLog, tableEvent, tableTask:
		k.number = binary.BigEndian.Uint64(rest)
	case tableGUID:
		k.message.GUID = int64(binary.BigEndian.Uint64(rest) ^ signBit)
	case tableMember, tablePicture:
		k.other = identity.PublicKey(rest)
	case tableRef, tableMedia, tableTransfer, tableTransfer2, tableStored, tableFile:
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
		copy(k.other[:], rest[9:])
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
		copy(k.conversation[1:], conversation)
	case tableFloor:
		if k.name = string(rest); !validName(k.name) {
			return bad()
		}
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
	case spaceMediator:
		return k.encodeMediator()
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
	case tableGreeting:
		return greetingKey(k.account)
	case tableContact:
		return ownerKey(k.account, k.conversation)
	case tableMessage:
		return messageKey(k.account, k.conversation, k.number)
	case tableRef:
		return refKey(k.account, k.conversation, k.message)
	case tableOutbox:
		return outboxKey(k.account, k.conversation, k.number)
	case tableSource:
		return sourceKey(k.account, k.text)
	case tableReaction:
		return reactionKey(k.account, k.conversation, k.message.GUID, k.message.Dir, k.other)
	case tableGUID:
		return guidKey(k.account, k.conversation, k.message.GUID)
	case tableMember:
		return memberKey(k.account, k.conversation, k.other)
	case tablePicture:
		return pictureKey(k.account, k.conversation, k.other)
	case tableTask:
		return taskKey(k.account, k.conversation, k.number)
	case tableProgress:
		return progressKey(k.account, k.conversation)
	case tableMedia:
		return mediaKey(k.account, k.conversation, k.message)
	case tableTransfer:
		return transferKey(k.account, k.number, k.conversation, k.message)
	case tableTransfer2:
		key := binary.BigEndian.AppendUint64(tablePrefix(k.account, tableTransfer2), k.number)
		return appendMessageID(append(key, k.conversation.name()...), k.message)
	case tableStored:
		return storedKey(k.account, k.number, k.conversation, k.message)
	case tableFile:
		return fileKey(k.account, media.Hash(k.hash), k.conversation, k.message)
	case tableEvent:
		return eventKey(k.account, k.number)
	case tableConvLog:
		return convLogKey(k.account, k.conversation, k.number)
	case tableCursor:
		return cursorKey(k.account, k.name, k.conversation)
	case tableFloor:
		return floorKey(k.account, k.name)
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
	Conversation ConversationID `cbor:"1,keyasint"`
	Order        uint64         `cbor:"2,keyasint"`
}

// doneRow remembers the id of a finished journal entry.
type doneRow struct {
	ID   string `cbor:"1,keyasint"`
	Time Millis `cbor:"2,keyasint"`
}
