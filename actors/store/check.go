// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/mimird/mimird/proto/identity"
)

// maxProblems is how many problems Check reports before it ends.
const maxProblems = 100

// Check reads every row and says, one sentence each, where they are damaged or
// contradict each other. It changes nothing, sees the state as of its call, and
// takes as long as reading the database takes.
func (s *Store) Check() ([]string, error) {
	var c checker
	err := s.read(func(r rows) error {
		c.rows = r
		for row, err := range scan(r, nil, nil) {
			if err != nil {
				return err
			}
			c.check(row)
			if len(c.problems) >= maxProblems {
				return nil
			}
		}
		return nil
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

// checker checks the rows in the order of their keys.
type checker struct {
	rows     rows
	problems []string

	account identity.PublicKey // whose rows these are
	seq     uint64             // of the last event row of the account
}

func (c *checker) problem(k parsedKey, format string, args ...any) {
	where := fmt.Sprintf("row %x", k.encode()[:min(len(k.encode()), 64)])
	c.problems = append(c.problems, where+": "+fmt.Sprintf(format, args...))
}

// check checks one row and the rows that it names.
func (c *checker) check(row row) {
	k, err := parseKey(row.key)
	if err != nil {
		c.problems = append(c.problems, err.Error())
		return
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
	case spaceJournal:
		c.checkJournal(k, row)
	case spaceAccount:
		if k.account != c.account {
			c.account, c.seq = k.account, 0
			c.exists(k, accountKey(k.account), &Account{})
		}
		c.checkAccount(k, row)
	}
}

func (c *checker) checkAccount(k parsedKey, row row) {
	switch k.table {
	case tableAccount:
		c.decodes(k, row, &Account{})
	case tableContact:
		c.checkOwner(k, row)
	case tableMessage:
		c.checkMessage(k, row)
	case tableRef:
		var ref messageRef
		var msg Message
		if c.decodes(k, row, &ref) && c.exists(k, messageKey(k.account, k.conversation, ref.Order), &msg) && msg.ID != k.message {
			c.problem(k, "names message %s, which is %s", k.message, msg.ID)
		}
	case tableOutbox:
		var size uint64
		var msg Message
		if c.decodes(k, row, &size) && c.exists(k, messageKey(k.account, k.conversation, k.number), &msg) &&
			(msg.State != StatePending || uint64(len(msg.Payload)) != size) {
			c.problem(k, "message %s is %s with %d bytes", msg.ID, msg.State, len(msg.Payload))
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
	case tableGUID, tableMember, tableTask, tableProgress:
		c.checkGroupRow(k, row)
	case tableEvent:
		if k.number != c.seq+1 {
			c.problem(k, "event %d follows event %d", k.number, c.seq)
		}
		c.seq = k.number
		var ev Event
		if c.decodes(k, row, &ev) {
			c.exists(k, convLogKey(k.account, ev.Conversation, k.number), nil)
		}
	case tableConvLog:
		var ev Event
		if c.exists(k, eventKey(k.account, k.number), &ev) && ev.Conversation != k.conversation {
			c.problem(k, "event %d is of another conversation", k.number)
		}
	case tableCursor:
		var seq uint64
		if c.decodes(k, row, &seq) && seq > c.seq {
			c.problem(k, "cursor at %d, log ends at %d", seq, c.seq)
		}
	}
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
		c.decodes(k, row, &Member{})
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
	var msg Message
	var ref messageRef
	if !c.decodes(k, row, &msg) {
		return
	}
	c.exists(k, ownerKey(k.account, k.conversation), nil)
	if c.exists(k, refKey(k.account, k.conversation, msg.ID), &ref) && ref.Order != k.number {
		c.problem(k, "message %s is at %d too", msg.ID, ref.Order)
	}
	if msg.State == StatePending {
		c.exists(k, outboxKey(k.account, k.conversation, k.number), nil)
	}
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
