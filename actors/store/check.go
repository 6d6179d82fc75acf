// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/mimird/mimird/proto/identity"
)

// maxProblems is how many problems Check reports before it ends.
const maxProblems = 100

// Check reads every row and says, one sentence each, where they are damaged or
// contradict each other. It changes nothing, sees the state as of its call, and
// takes as long as reading the database takes.
func (s *Store) Check() ([]string, error) {
	c := checker{seed: maphash.MakeSeed()}
	err := s.read(func(r rows) error {
		c.rows = r
		for row, err := range scan(r, nil, nil) {
			if err != nil {
				return err
			}
			if err := c.check(row); err != nil {
				return err
			}
			if len(c.problems) >= maxProblems {
				return nil
			}
		}
		return c.endAccount()
	})
	switch {
	case errors.Is(err, ErrCorrupt):
		// It names the table. The rows behind it cannot be reached.
		return append(c.problems, err.Error()), nil
	case err != nil:
		return c.problems, fmt.Errorf("check: %w", err)
	}
	return c.problems, nil
}

// checker checks the rows in the order of their keys. Reading the rows that each row
// names would be a random access for each, so it compares the sums of two tables, and
// reads row by row only in the conversations in which they differ.
type checker struct {
	rows     rows
	problems []string
	seed     maphash.Seed

	account identity.PublicKey // whose rows these are
	seq     uint64             // of the last event row of the account
	sums    map[ConversationID]*sums
	current ConversationID // of the row before
	sum     *sums          // of current, nil for none
	floors  []checkedFloor
}

type checkedFloor struct {
	key parsedKey
	floor
}

// sums are what the rows of a conversation say of each other: one table adds a hash for
// each row that it wants in another, which subtracts one for each that it has. Two
// different sets of rows have the same sum once in 2^64.
type sums struct {
	refs   uint64 // tableMessage and tableRef
	outbox uint64 // tableMessage, what is undelivered, and tableOutbox
	log    uint64 // tableEvent and tableConvLog
}

func (c *checker) problem(k parsedKey, format string, args ...any) {
	where := fmt.Sprintf("row %x", k.encode()[:min(len(k.encode()), 64)])
	c.problems = append(c.problems, where+": "+fmt.Sprintf(format, args...))
}

// check checks one row. An error is one of reading.
func (c *checker) check(row row) error {
	k, err := parseKey(row.key)
	if err != nil {
		c.problems = append(c.problems, err.Error())
		return nil
	}
	switch k.space {
	case spaceMeta:
		switch k.name {
		case countKeyName:
			c.decodes(k, row, new(uint64))
		case nodesKeyName:
			c.decodes(k, row, &NodeKeys{})
		default:
			c.decodes(k, row, &schemaRow{})
		}
	case spaceAddress:
		c.decodes(k, row, &[]Address{})
	case spaceHosted:
		c.decodes(k, row, &HostedFile{})
	case spaceMediator:
		c.checkMediator(k, row)
	case spaceJournal:
		c.checkJournal(k, row)
	case spaceAccount:
		if k.account != c.account {
			if err := c.endAccount(); err != nil {
				return err
			}
			c.account, c.seq = k.account, 0
			c.exists(k, accountKey(k.account), &Account{})
		}
		c.checkAccount(k, row)
	}
	return nil
}

func (c *checker) checkAccount(k parsedKey, row row) {
	switch k.table {
	case tableAccount:
		var a Account
		if c.decodes(k, row, &a) && a.Greeting > 0 {
			c.exists(k, greetingKey(k.account), nil)
		}
	case tableGreeting:
		var a Account
		if c.exists(k, accountKey(k.account), &a) && a.Greeting == 0 {
			c.problem(k, "the account has no greeting")
		}
	case tableContact:
		c.checkOwner(k, row)
	case tableMessage:
		c.checkMessage(k, row)
	case tableRef:
		var ref messageRef
		if c.decodes(k, row, &ref) {
			c.of(k.conversation).refs -= c.hashRef(k.message, ref.Order)
		}
	case tableOutbox:
		var size uint64
		if c.decodes(k, row, &size) {
			c.of(k.conversation).outbox -= c.hash(k.number, size)
		}
	case tableSource:
		c.decodes(k, row, &sourceRow{})
	case tableMedia:
		m := Media{Account: k.account, Conversation: k.conversation, Message: k.message}
		if c.decodes(k, row, &m) && c.exists(k, refKey(k.account, k.conversation, k.message), &messageRef{}) {
			for _, place := range m.places() {
				c.exists(k, place, nil)
			}
		}
	case tableTransfer, tableStored, tableFile:
		m := Media{Account: k.account, Conversation: k.conversation, Message: k.message}
		if c.exists(k, mediaKey(k.account, k.conversation, k.message), &m) &&
			!slices.ContainsFunc(m.places(), func(place []byte) bool { return bytes.Equal(place, row.key) }) {
			c.problem(k, "the file is %s, changed at %d, due at %d", m.State, m.Changed, m.Due)
		}
	case tableTransfer2:
		c.problem(k, "it is of an older version")
	case tableReaction:
		var r Reaction
		if c.decodes(k, row, &r) {
			c.exists(k, refKey(k.account, k.conversation, r.Message), &messageRef{})
		}
	case tableGUID, tableMember, tableTask, tableProgress, tablePicture:
		c.checkGroupRow(k, row)
	case tableEvent:
		if k.number != c.seq+1 && c.seq != 0 { // the oldest may have been trimmed
			c.problem(k, "event %d follows event %d", k.number, c.seq)
		}
		c.seq = k.number
		var ev Event
		if c.decodes(k, row, &ev) {
			c.of(ev.Conversation).log += c.hash(k.number, 0)
		}
	case tableConvLog:
		c.of(k.conversation).log -= c.hash(k.number, 0)
	case tableCursor:
		var seq uint64
		if c.decodes(k, row, &seq) && seq > c.seq {
			c.problem(k, "cursor at %d, log ends at %d", seq, c.seq)
		}
	case tableFloor:
		var f floor
		if c.decodes(k, row, &f) {
			c.floors = append(c.floors, checkedFloor{k, f})
		}
	}
}

// of returns the sums of a conversation.
func (c *checker) of(conversation ConversationID) *sums {
	if c.sum != nil && c.current == conversation {
		return c.sum
	}
	found := c.sums[conversation]
	if found == nil {
		if c.sums == nil {
			c.sums = make(map[ConversationID]*sums)
		}
		found = &sums{}
		c.sums[conversation] = found
	}
	c.current, c.sum = conversation, found
	return found
}

func (c *checker) hash(a, b uint64) uint64 {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:], a)
	binary.BigEndian.PutUint64(raw[8:], b)
	return maphash.Bytes(c.seed, raw[:])
}

func (c *checker) hashRef(id MessageID, order uint64) uint64 {
	var raw [1 + 8 + 2 + 8]byte
	return maphash.Bytes(c.seed, binary.BigEndian.AppendUint64(appendMessageID(raw[:0], id), order))
}

// checkOwner looks at the row of a contact or group.
func (c *checker) checkOwner(k parsedKey, row row) {
	if k.conversation.Kind() != KindGroup {
		c.decodes(k, row, &Contact{})
		return
	}
	var g Group
	if !c.decodes(k, row, &g) {
		return
	}
	created := g.State == GroupCreating || g.State == GroupCreated || g.State == GroupFailed
	if (g.Chat != 0 || !created) && GroupConversation(g.Mediator, g.Chat) != k.conversation {
		c.problem(k, "group %d of mediator %s has another name", g.Chat, g.Mediator.Short())
	}
}

// checkGroupRow looks at a row of a table that only groups have.
func (c *checker) checkGroupRow(k parsedKey, row row) {
	c.exists(k, ownerKey(k.account, k.conversation), nil)
	switch k.table {
	case tableGUID:
		var at guidRow
		var ref messageRef
		var msg Message
		if c.decodes(k, row, &at) && c.exists(k, refKey(k.account, k.conversation, at.Message), &ref) &&
			c.exists(k, messageKey(k.account, k.conversation, ref.Order), &msg) && msg.ServerGUID != k.message.GUID {
			c.problem(k, "the mediator knows message %s by %d", at.Message, msg.ServerGUID)
		}
	case tableMember:
		var m Member
		if c.decodes(k, row, &m) && m.HasAvatar {
			c.exists(k, pictureKey(k.account, k.conversation, k.other), nil)
		}
	case tablePicture:
		var m Member
		if c.exists(k, memberKey(k.account, k.conversation, k.other), &m) && !m.HasAvatar {
			c.problem(k, "member %s has no picture", k.other.Short())
		}
	case tableTask:
		var progress groupProgress
		if c.decodes(k, row, &GroupTask{}) && c.exists(k, progressKey(k.account, k.conversation), &progress) && progress.LastTask < k.number {
			c.problem(k, "last task is %d", progress.LastTask)
		}
	case tableProgress:
		c.decodes(k, row, &groupProgress{})
	}
}

func (c *checker) checkMessage(k parsedKey, row row) {
	raw, err := row.value()
	var msg Message
	if err == nil && !msg.readInPlace(raw) {
		msg = Message{}
		err = decode(raw, &msg)
	}
	if err != nil {
		c.problem(k, "%v", err)
		return
	}
	if c.sum == nil || c.current != k.conversation {
		c.exists(k, ownerKey(k.account, k.conversation), nil)
	}
	sum := c.of(k.conversation)
	sum.refs += c.hashRef(msg.ID, k.number)
	if msg.State == StatePending {
		sum.outbox += c.hash(k.number, uint64(len(msg.Payload)))
	}
}

// endAccount reports what is behind the sums of the account that are not zero.
func (c *checker) endAccount() error {
	found := c.sums
	c.sums, c.sum = nil, nil
	byName := func(a, b ConversationID) int { return bytes.Compare(a[:], b[:]) }
	logs := make(map[ConversationID]bool)
	for _, conversation := range slices.SortedFunc(maps.Keys(found), byName) {
		sum := found[conversation]
		if sum.refs != 0 || sum.outbox != 0 {
			if err := c.compareMessages(conversation); err != nil {
				return err
			}
		}
		if sum.log != 0 {
			logs[conversation] = true
		}
	}
	if len(logs) > 0 {
		if err := c.compareLogs(logs); err != nil {
			return err
		}
	}
	floors := c.floors
	c.floors = nil
	for _, f := range floors {
		if err := c.checkFloor(f); err != nil {
			return err
		}
	}
	return nil
}

// checkFloor looks for events that a floor passes over: the consumer would not get them
// before the next event of their conversation.
func (c *checker) checkFloor(f checkedFloor) error {
	p := pending{rows: c.rows, of: floorOf{f.key.account, f.key.name}}
	if err := p.visit(); err != nil {
		return err
	}
	if f.Seq > p.last || len(f.Except) > maxFloorExcept {
		c.problem(f.key, "floor at %d with %d conversations behind it, log ends at %d", f.Seq, len(f.Except), p.last)
	}
	for _, at := range p.found {
		if at.first <= f.Seq && !slices.Contains(f.Except, at.Conversation) {
			c.problem(f.key, "floor at %d, event %d of %s is pending", f.Seq, at.first, at.Conversation.Short())
		}
	}
	return nil
}

// compareMessages compares messages, references and outbox of a conversation row by
// row.
func (c *checker) compareMessages(conversation ConversationID) error {
	for _, table := range []byte{tableMessage, tableRef, tableOutbox} {
		err := c.each(conversationPrefix(c.account, table, conversation), func(k parsedKey, row row) {
			switch table {
			case tableMessage:
				var msg Message
				var ref messageRef
				if row.load(&msg) != nil {
					return // that was reported
				}
				if c.exists(k, refKey(k.account, k.conversation, msg.ID), &ref) && ref.Order != k.number {
					c.problem(k, "message %s is at %d too", msg.ID, ref.Order)
				}
				if msg.State == StatePending {
					c.exists(k, outboxKey(k.account, k.conversation, k.number), nil)
				}
			case tableRef:
				var ref messageRef
				var msg Message
				if row.load(&ref) == nil && c.exists(k, messageKey(k.account, k.conversation, ref.Order), &msg) && msg.ID != k.message {
					c.problem(k, "names message %s, which is %s", k.message, msg.ID)
				}
			case tableOutbox:
				var size uint64
				var msg Message
				if row.load(&size) == nil && c.exists(k, messageKey(k.account, k.conversation, k.number), &msg) &&
					(msg.State != StatePending || uint64(len(msg.Payload)) != size) {
					c.problem(k, "message %s is %s with %d bytes", msg.ID, msg.State, len(msg.Payload))
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// compareLogs compares the log of the account with those of some conversations row by
// row.
func (c *checker) compareLogs(conversations map[ConversationID]bool) error {
	err := c.each(tablePrefix(c.account, tableEvent), func(k parsedKey, row row) {
		var ev Event
		if row.load(&ev) == nil && conversations[ev.Conversation] {
			c.exists(k, convLogKey(k.account, ev.Conversation, k.number), nil)
		}
	})
	for conversation := range conversations {
		if err != nil {
			break
		}
		err = c.each(conversationPrefix(c.account, tableConvLog, conversation), func(k parsedKey, _ row) {
			var ev Event
			if c.exists(k, eventKey(k.account, k.number), &ev) && ev.Conversation != k.conversation {
				c.problem(k, "event %d is of another conversation", k.number)
			}
		})
	}
	return err
}

// each calls f for the rows under a prefix until there are too many problems. Keys that
// cannot be parsed were reported before.
func (c *checker) each(prefix []byte, f func(parsedKey, row)) error {
	for row, err := range scanPrefix(c.rows, prefix) {
		if err != nil {
			return err
		}
		if len(c.problems) >= maxProblems {
			return nil
		}
		if k, err := parseKey(row.key); err == nil {
			f(k, row)
		}
	}
	return nil
}

func (c *checker) checkJournal(k parsedKey, row row) {
	var seq uint64
	switch k.table {
	case tableEntry:
		var entry JournalEntry
		if c.decodes(k, row, &entry) && c.exists(k, entryIDKey(k.name, entry.ID), &seq) && seq != k.number {
			c.problem(k, "id belongs to entry %d", seq)
		}
		if c.exists(k, lastSeqKey(k.name), &seq) && seq < k.number {
			c.problem(k, "last entry is %d", seq)
		}
	case tableDone:
		var done doneRow
		if c.decodes(k, row, &done) {
			c.exists(k, entryIDKey(k.name, done.ID), &seq)
		}
	case tableEntryID, tableLastSeq:
		c.decodes(k, row, &seq)
	}
}

// decodes reads the row's value into v and reports whether it could.
func (c *checker) decodes(k parsedKey, row row, v any) bool {
	if err := row.load(v); err != nil {
		c.problem(k, "%v", err)
		return false
	}
	return true
}

// exists reads a row that this one names into v, which may be nil, and reports
// whether it could.
func (c *checker) exists(k parsedKey, key []byte, v any) bool {
	raw, err := getRow(c.rows, key)
	if err == nil && v != nil {
		err = decode(raw, v)
	}
	switch {
	case err == nil:
		return true
	case errors.Is(err, ErrNotFound):
		c.problem(k, "row %.64x is missing", key)
	default:
		c.problem(k, "%v", err)
	}
	return false
}
