// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/proto/identity"
)

// wovenStore has two accounts with two conversations and a group each, in which there are
// messages both ways, delivered ones, undelivered ones and an edited one.
func wovenStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(Options{Dir: "store", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, store: s, writer: newWriter(s)}
	t.Cleanup(func() {
		b.writer.abandon(errStopping)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, account := range []identity.PublicKey{modelKey(1), modelKey(2)} {
		b.submit(PutAccount{Account: Account{ID: account}})
		b.submit(SetGreeting{Account: account, Greeting: []byte("hello"), Length: 1})
		group := AddGroup{Account: account, Mediator: identity.NodeKey{9}, Chat: 7}
		b.submit(group)
		conversations := []ConversationID{GroupConversation(group.Mediator, group.Chat)}
		for _, contact := range []identity.PublicKey{modelKey(3), modelKey(4)} {
			b.submit(AddContact{Contact: Contact{Account: account, ID: contact}})
			conversations = append(conversations, ContactConversation(contact))
		}
		for _, conversation := range conversations {
			for guid := range int64(3) {
				id := fmt.Sprint("$", conversation.Short(), guid)
				b.submit(AcceptMessage{Account: account, Conversation: conversation, GUID: guid + 1, Payload: []byte("in")})
				b.submit(EnqueueMessage{Account: account, Conversation: conversation, GUID: guid + 10, Payload: []byte("out"), Source: id})
			}
			b.submit(AcceptMessage{Account: account, Conversation: conversation, GUID: 1, EditTime: 5, Payload: []byte("edited")})
			b.submit(MarkDelivered{Account: account, Conversation: conversation, GUID: 10})
		}
	}
	b.commit()
	for _, answer := range b.got {
		if answer.Err != nil {
			t.Fatal(answer.Err)
		}
	}
	return s
}

// change writes rows behind the writer's back; an empty key is none, a nil value removes
// the row.
func (s *Store) change(t *testing.T, changes map[string]*string) {
	t.Helper()
	for key, value := range changes {
		err := s.db.Delete([]byte(key), pebble.NoSync)
		if value != nil {
			err = s.db.Set([]byte(key), []byte(*value), pebble.NoSync)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.views.publish(false)
}

// checked tables are those of which each row is named by another one.
var checkedTables = []byte{tableAccount, tableGreeting, tableContact, tableMessage, tableRef, tableOutbox, tableEvent, tableConvLog}

// TestCheck_EveryRowMissed removes each row in turn, moves it to another number, gives it
// the value of a neighbour, and spoils it: Check names the key, or that of a row which
// contradicts it.
func TestCheck_EveryRowMissed(t *testing.T) {
	s := wovenStore(t)
	if problems, err := s.Check(); err != nil || len(problems) > 0 {
		t.Fatalf("%q, %v", problems, err)
	}
	all, err := allRows(s)
	if err != nil {
		t.Fatal(err)
	}
	tried := make(map[byte]int)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		k, err := parseKey([]byte(key))
		if err != nil || k.space != spaceAccount || !slices.Contains(checkedTables, k.table) {
			continue
		}
		tried[k.table]++
		value, garbage := all[key], "\xff"
		cases := map[string]map[string]*string{"removed": {key: nil}}
		if k.table != tableConvLog && k.table != tableGreeting { // its rows have no value, or any
			cases["garbage"] = map[string]*string{key: &garbage}
		}
		switch k.table {
		case tableMessage, tableOutbox, tableConvLog, tableEvent:
			moved := k
			moved.number += 100
			cases["moved"] = map[string]*string{key: nil, string(moved.encode()): &value}
			cases["twice"] = map[string]*string{string(moved.encode()): &value}
			other := k
			other.number++
			next, found := all[string(other.encode())]
			var here, there Event
			if k.table == tableEvent && found { // within a conversation nothing else names an event
				if err := errors.Join(decode([]byte(value), &here), decode([]byte(next), &there)); err != nil {
					t.Fatal(err)
				}
				found = here.Conversation != there.Conversation
			}
			if found && next != value && k.table != tableOutbox {
				cases["of its neighbour"] = map[string]*string{key: &next}
				cases["exchanged"] = map[string]*string{key: &next, string(other.encode()): &value}
			}
		case tableRef:
			moved := k
			moved.message.GUID += 100
			cases["moved"] = map[string]*string{key: nil, string(moved.encode()): &value}
			cases["twice"] = map[string]*string{string(moved.encode()): &value}
		}
		for name, changes := range cases {
			s.change(t, changes)
			problems, err := s.Check()
			if err != nil || len(problems) == 0 || len(problems) > maxProblems {
				t.Errorf("table %x, row %x %s: %q, %v", k.table, key, name, problems, err)
			}
			short := fmt.Sprintf("%x", key[:min(len(key), 64)])
			if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, short[:2*34]) }) {
				t.Errorf("table %x, row %x %s: none of %q is of its table", k.table, key, name, problems)
			}
			for changed := range changes {
				if before, found := all[changed]; found {
					changes[changed] = &before
				} else {
					changes[changed] = nil
				}
			}
			s.change(t, changes)
		}
	}
	for _, table := range checkedTables {
		if tried[table] < 2 {
			t.Errorf("table %x has %d rows", table, tried[table])
		}
	}
	if problems, err := s.Check(); err != nil || len(problems) > 0 {
		t.Errorf("put back: %q, %v", problems, err)
	}
}

// TestCheck_ManyProblems_Bounded has more problems than are told.
func TestCheck_ManyProblems_Bounded(t *testing.T) {
	s := wovenStore(t)
	wild := make(map[string]*string)
	value := string(must(encode(messageRef{Order: 7})))
	for guid := range int64(2 * maxProblems) {
		id := MessageID{GUID: guid + 1000}
		wild[string(refKey(modelKey(1), ContactConversation(modelKey(3)), id))] = &value
	}
	s.change(t, wild)
	if problems, err := s.Check(); err != nil || len(problems) != maxProblems {
		t.Errorf("%d problems, %v", len(problems), err)
	}
}

func must(raw []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return raw
}
