// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
)

// keyParts draws a key as its parts, in the order in which they count.
func keyParts(t *rapid.T) parsedKey {
	k := parsedKey{
		space: rapid.SampledFrom([]byte{spaceMeta, spaceAccount, spaceJournal, spaceAddress, spaceHosted, spaceMediator}).Draw(t, "space"),
	}
	draw := func(label string) (id identity.PublicKey) {
		// Few values, so that parts are often equal and the next one decides.
		id[rapid.IntRange(0, 31).Draw(t, label+" at")] = rapid.SampledFrom([]byte{0, 1, 0xff}).Draw(t, label)
		return id
	}
	number := rapid.OneOf(rapid.Uint64Range(0, 300), rapid.Uint64())
	name := rapid.StringOfN(rapid.RuneFrom([]rune("\x01ab\u00ff")), 1, 8, MaxName)
	switch k.space {
	case spaceMeta:
		k.name = rapid.SampledFrom([]string{schemaKeyName, countKeyName, nodesKeyName}).Draw(t, "name")
	case spaceAddress:
		k.other = draw("identity")
	case spaceHosted:
		k.hash = files.Hash(draw("hash"))
	case spaceMediator:
		k.table = rapid.SampledFrom(slices.Sorted(maps.Keys(mediatorTables))).Draw(t, "table")
		fields := mediatorTables[k.table]
		if fields&(mediatorUserFirst|mediatorUser) != 0 {
			k.other = draw("user")
		}
		if fields&mediatorGroupID != 0 {
			k.group = number.Draw(t, "group")
		}
		if fields&mediatorNumber != 0 {
			k.number = number.Draw(t, "number")
		}
	case spaceJournal:
		k.table = rapid.SampledFrom([]byte{tableEntry, tableEntryID, tableDone, tableLastSeq}).Draw(t, "table")
		k.name = name.Draw(t, "queue")
		switch k.table {
		case tableEntry, tableDone:
			k.number = number.Draw(t, "number")
		case tableEntryID:
			k.text = rapid.StringN(1, 8, MaxJournalID).Draw(t, "id")
		}
	case spaceAccount:
		k.table = rapid.SampledFrom([]byte{
			tableAccount, tableGreeting, tableContact, tableMessage, tableRef, tableOutbox, tableSource, tableReaction,
			tableEvent, tableConvLog, tableCursor, tableFloor, tableMedia, tableTransfer2, tableTransfer, tableStored, tableFile,
			tableGUID, tableMember, tableTask, tableProgress, tablePicture,
		}).Draw(t, "table")
		k.account = draw("account")
		switch k.table {
		case tableContact, tableMessage, tableRef, tableOutbox, tableReaction, tableConvLog, tableCursor, tableMedia,
			tableTransfer, tableStored, tableFile:
			k.conversation = newConversationID(rapid.SampledFrom(conversationKinds[:]).Draw(t, "kind"), draw("conversation"))
		case tableTransfer2:
			k.conversation = ContactConversation(draw("contact"))
		case tableGUID, tableMember, tableTask, tableProgress, tablePicture:
			k.conversation = newConversationID(KindGroup, draw("group"))
		}
		switch k.table {
		case tableMessage, tableOutbox, tableConvLog, tableEvent, tableTransfer, tableTransfer2, tableStored, tableTask:
			k.number = number.Draw(t, "number")
		}
		switch k.table {
		case tableRef, tableMedia, tableTransfer, tableTransfer2, tableStored, tableFile:
			k.message = MessageID{
				Dir:     rapid.SampledFrom([]Direction{In, Out}).Draw(t, "dir"),
				GUID:    rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64()).Filter(func(g int64) bool { return g != 0 }).Draw(t, "guid"),
				Variant: uint16(rapid.IntRange(0, 300).Draw(t, "variant")),
			}
		case tableReaction:
			k.message = MessageID{
				Dir:  rapid.SampledFrom([]Direction{In, Out}).Draw(t, "dir"),
				GUID: rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64()).Filter(func(g int64) bool { return g != 0 }).Draw(t, "guid"),
			}
			if k.conversation.Kind() == KindGroup {
				k.other = draw("author")
			}
		case tableGUID:
			k.message.GUID = rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64()).Draw(t, "guid")
		case tableMember, tablePicture:
			k.other = draw("member")
		}
		switch k.table {
		case tableFile:
			k.hash = files.Hash(draw("hash"))
		case tableSource:
			k.text = rapid.StringN(1, 8, MaxSource).Draw(t, "source")
		case tableCursor, tableFloor:
			k.name = name.Draw(t, "consumer")
		}
	}
	return k
}

// isIndex reports whether the table has messages of all conversations in another order.
func (k parsedKey) isIndex() bool {
	return k.space == spaceAccount && k.table >= tableTransfer2 && k.table <= tableFile
}

// compareKeys compares by meaning, without the encoding.
func compareKeys(a, b parsedKey) int {
	ids := func(a, b identity.PublicKey) int { return slices.Compare(a[:], b[:]) }
	table := func(k parsedKey) byte {
		if k.isIndex() {
			return k.table
		}
		return tableFor(k.table, k.conversation.Kind())
	}
	if c := cmp.Compare(a.space, b.space); c != 0 {
		return c
	}
	switch a.space {
	case spaceMeta:
		return strings.Compare(a.name, b.name)
	case spaceAddress:
		return ids(a.other, b.other)
	case spaceHosted:
		return slices.Compare(a.hash[:], b.hash[:])
	case spaceMediator:
		if c := cmp.Compare(a.table, b.table); c != 0 {
			return c
		}
		if mediatorTables[a.table]&mediatorUserFirst != 0 {
			return cmp.Or(ids(a.other, b.other), cmp.Compare(a.group, b.group))
		}
		return cmp.Or(cmp.Compare(a.group, b.group), ids(a.other, b.other), cmp.Compare(a.number, b.number))
	case spaceJournal:
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.table, b.table),
			cmp.Compare(a.number, b.number), strings.Compare(a.text, b.text))
	default:
		if a.isIndex() && a.account == b.account && a.table == b.table {
			if c := cmp.Or(cmp.Compare(a.number, b.number), bytes.Compare(a.hash[:], b.hash[:])); c != 0 {
				return c
			}
			return cmp.Or(bytes.Compare(a.conversation[:], b.conversation[:]), cmp.Compare(a.message.Dir, b.message.Dir),
				cmp.Compare(a.message.GUID, b.message.GUID), cmp.Compare(a.message.Variant, b.message.Variant))
		}
		return cmp.Or(ids(a.account, b.account), cmp.Compare(table(a), table(b)), strings.Compare(a.name, b.name),
			bytes.Compare(a.conversation.name(), b.conversation.name()),
			cmp.Compare(a.number, b.number), compareMessages(a, b),
			cmp.Compare(a.message.Variant, b.message.Variant), ids(a.other, b.other), strings.Compare(a.text, b.text))
	}
}

// compareMessages compares the guids, and before them the directions unless the table is
// one of reactions.
func compareMessages(a, b parsedKey) int {
	dir, guid := cmp.Compare(a.message.Dir, b.message.Dir), cmp.Compare(a.message.GUID, b.message.GUID)
	if a.table == tableReaction {
		return cmp.Or(guid, dir)
	}
	return cmp.Or(dir, guid)
}

func TestModelKeysKeepOrder(t *testing.T) {
	sequences(t, 10_000)
	rapid.Check(t, func(t *rapid.T) {
		a, b := keyParts(t), keyParts(t)
		rawA, rawB := a.encode(), b.encode()
		if got, want := bytes.Compare(rawA, rawB), compareKeys(a, b); got != want {
			t.Fatalf("%+v and %+v: keys %x and %x compare %d, want %d", a, b, rawA, rawB, got, want)
		}
		for key, raw := range map[parsedKey][]byte{a: rawA, b: rawB} {
			if back, err := parseKey(raw); err != nil || back != key {
				t.Fatalf("%+v is read %+v, %v", key, back, err)
			}
		}
	})
}

func TestKeysBelongToTheirPrefix(t *testing.T) {
	account, other := identity.PublicKey{1}, identity.PublicKey{0xff}
	for i := range other {
		other[i] = 0xff
	}
	for _, test := range []struct{ prefix, key []byte }{
		{accountPrefix(other), cursorKey(other, "c", ContactConversation(other))},
		{tablePrefix(account, tableEvent), eventKey(account, math.MaxUint64)},
		{conversationPrefix(account, tableMessage, ContactConversation(other)), messageKey(account, ContactConversation(other), math.MaxUint64)},
		{tablePrefix(account, tableCursor), cursorKey(account, "c", ContactConversation(other))},
		{journalPrefix("q", tableDone), doneKey("q", math.MaxUint64)},
	} {
		if !bytes.HasPrefix(test.key, test.prefix) || bytes.Compare(test.key, prefixEnd(test.prefix)) >= 0 {
			t.Errorf("key %x, prefix %x, end %x", test.key, test.prefix, prefixEnd(test.prefix))
		}
	}
	if end := prefixEnd([]byte{0xff, 0xff}); end != nil {
		t.Errorf("%x", end)
	}
}

// TestSchemaIsStable pins the bytes of every kind of key. A change here is a new
// schema version with a migration.
func TestSchemaIsStable(t *testing.T) {
	a, b := identity.PublicKey{0xaa}, identity.PublicKey{0xbb}
	id := func(first string) string { return first + strings.Repeat("00", 31) }
	group := GroupConversation(identity.NodeKey{0xdd}, 7)
	const groupID = "97ee54aa5ff9ef270839686235cb16288d15abe804deee03de8aa212478b3624"
	for _, test := range []struct {
		key  []byte
		want string
	}{
		{countKey(), "00636f6d6d697473"},
		{schemaKey(), "00736368656d61"},
		{accountKey(a), "10" + id("aa") + "00"},
		{greetingKey(a), "10" + id("aa") + "01"},
		{contactKey(a, b), "10" + id("aa") + "10" + id("bb")},
		{mediaKey(a, ContactConversation(b), MessageID{Dir: Out, GUID: 1, Variant: 2}), "10" + id("aa") + "50" + id("bb") + "0180000000000000010002"},
		{
			transferKey(a, 5, ContactConversation(b), MessageID{GUID: -1}),
			"10" + id("aa") + "52" + "0000000000000005" + "00" + id("bb") + "007fffffffffffffff0000",
		},
		{transferKey(a, 5, group, MessageID{GUID: -1}), "10" + id("aa") + "52" + "0000000000000005" + "01" + groupID + "007fffffffffffffff0000"},
		{storedKey(a, 5, group, MessageID{GUID: -1}), "10" + id("aa") + "53" + "0000000000000005" + "01" + groupID + "007fffffffffffffff0000"},
		{fileKey(a, media.Hash{0xcc}, group, MessageID{GUID: -1}), "10" + id("aa") + "54" + id("cc") + "01" + groupID + "007fffffffffffffff0000"},
		{hostedKey(files.Hash{0xcc}), "40" + id("cc")},
		{mediatorTotalsKey(), "5000"},
		{mediatorOwnerKey(a), "5001" + id("aa")},
		{mediatorBanKey(a), "5002" + id("aa")},
		{mediatorPrefix(tableMediatorDeleted, 5), "50030000000000000005"},
		{mediatorPrefix(tableMediatorGroup, 5), "50100000000000000005"},
		{mediatorPrefix(tableMediatorUsage, 5), "50110000000000000005"},
		{mediatorUserKey(tableMediatorMember, 5, a), "50200000000000000005" + id("aa")},
		{mediatorUserKey(tableMediatorProfile, 5, a), "50210000000000000005" + id("aa")},
		{mediatorUserKey(tableMediatorWritten, 5, a), "50220000000000000005" + id("aa")},
		{mediatorMessageKey(5, 6), "503000000000000000050000000000000006"},
		{mediatorGUIDKey(5, -1), "503100000000000000057fffffffffffffff"},
		{mediatorInviteKey(7), "50400000000000000007"},
		{mediatorInviteOfKey(a, 5), "5041" + id("aa") + "0000000000000005"},
		{mediatorUserGroupKey(a, 5), "5050" + id("aa") + "0000000000000005"},
		{messageKey(a, ContactConversation(b), 3), "10" + id("aa") + "20" + id("bb") + "0000000000000003"},
		{refKey(a, ContactConversation(b), MessageID{Dir: Out, GUID: -1, Variant: 2}), "10" + id("aa") + "21" + id("bb") + "01" + "7fffffffffffffff" + "0002"},
		{outboxKey(a, ContactConversation(b), 3), "10" + id("aa") + "22" + id("bb") + "0000000000000003"},
		{sourceKey(a, "$e"), "10" + id("aa") + "23" + "2465"},
		{reactionKey(a, ContactConversation(b), -1, Out, b), "10" + id("aa") + "24" + id("bb") + "7fffffffffffffff" + "01"},
		{eventKey(a, 3), "10" + id("aa") + "30" + "0000000000000003"},
		{convLogKey(a, ContactConversation(b), 3), "10" + id("aa") + "31" + id("bb") + "0000000000000003"},
		{cursorKey(a, "m", ContactConversation(b)), "10" + id("aa") + "40" + "6d00" + id("bb")},
		{ownerKey(a, group), "10" + id("aa") + "90" + groupID},
		{messageKey(a, group, 3), "10" + id("aa") + "a0" + groupID + "0000000000000003"},
		{refKey(a, group, MessageID{GUID: -1}), "10" + id("aa") + "a1" + groupID + "007fffffffffffffff0000"},
		{outboxKey(a, group, 3), "10" + id("aa") + "a2" + groupID + "0000000000000003"},
		{reactionKey(a, group, -1, Out, b), "10" + id("aa") + "a4" + groupID + "7fffffffffffffff" + "01" + id("bb")},
		{guidKey(a, group, -1), "10" + id("aa") + "a5" + groupID + "7fffffffffffffff"},
		{memberKey(a, group, b), "10" + id("aa") + "a6" + groupID + id("bb")},
		{taskKey(a, group, 3), "10" + id("aa") + "a7" + groupID + "0000000000000003"},
		{progressKey(a, group), "10" + id("aa") + "a8" + groupID},
		{pictureKey(a, group, b), "10" + id("aa") + "a9" + groupID + id("bb")},
		{convLogKey(a, group, 3), "10" + id("aa") + "b1" + groupID + "0000000000000003"},
		{cursorKey(a, "m", group), "10" + id("aa") + "c0" + "6d00" + groupID},
		{mediaKey(a, group, MessageID{GUID: -1}), "10" + id("aa") + "d0" + groupID + "007fffffffffffffff0000"},
		{entryKey("q", 3), "20710000" + "0000000000000003"},
		{entryIDKey("q", "t"), "20710001" + "74"},
		{doneKey("q", 3), "20710002" + "0000000000000003"},
		{lastSeqKey("q"), "20710003"},
		{addressKey(b), "30" + id("bb")},
	} {
		if got := hex.EncodeToString(test.key); got != test.want {
			t.Errorf("key %s, want %s", got, test.want)
		}
	}
	if formatVersion != 21 {
		t.Errorf("Pebble's format version is %d: that is a decision, see formatVersion", formatVersion)
	}
}

func TestParseKeyRefuses(t *testing.T) {
	account := identity.PublicKey{1}
	short := tablePrefix(account, tableContact)
	for name, key := range map[string][]byte{
		"nothing":                 nil,
		"unknown space":           {0x99},
		"other meta":              {spaceMeta, 'x'},
		"short address":           {spaceAddress, 1},
		"journal without name":    {spaceJournal, 0, tableLastSeq},
		"journal without end":     {spaceJournal, 'q'},
		"journal without table":   {spaceJournal, 'q', 0},
		"journal, unknown table":  {spaceJournal, 'q', 0, 0x77},
		"journal, short number":   {spaceJournal, 'q', 0, tableEntry, 1},
		"journal without id":      {spaceJournal, 'q', 0, tableEntryID},
		"journal, something more": {spaceJournal, 'q', 0, tableLastSeq, 1},
		"half an account":         short[:20],
		"account only":            accountPrefix(account),
		"unknown table":           tablePrefix(account, 0x77),
		"short contact":           append(short, 1),
		"something after account": append(accountKey(account), 1),
		"no source":               tablePrefix(account, tableSource),
		"unknown kind":            storedKey(account, 1, ConversationID{9}, MessageID{GUID: 1}),
		"cursor without name":     cursorKey(account, "", ContactConversation(account)),
		"cursor, short id":        append(tablePrefix(account, tableCursor), 'c', 0, 1),
		"reference to guid 0":     refKey(account, ContactConversation(account), MessageID{}),
		"member of a contact":     append(append(tablePrefix(account, tableMember), account[:]...), account[:]...),
		"task without number":     conversationPrefix(account, tableTask, GroupConversation(identity.NodeKey{1}, 1)),
		"unknown direction":       refKey(account, ContactConversation(account), MessageID{Dir: 7, GUID: 1}),
	} {
		if k, err := parseKey(key); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %+v, %v", name, k, err)
		}
	}
}

func FuzzStoreKey(f *testing.F) {
	account := identity.PublicKey{1}
	for _, key := range [][]byte{
		schemaKey(), countKey(), accountKey(account), contactKey(account, account), messageKey(account, ContactConversation(account), 1),
		refKey(account, ContactConversation(account), MessageID{GUID: 5}), sourceKey(account, "s"), eventKey(account, 1),
		cursorKey(account, "c", ContactConversation(account)), entryKey("q", 1), entryIDKey("q", "i"), doneKey("q", 1), lastSeqKey("q"), addressKey(account),
	} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		k, err := parseKey(key)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) || len(err.Error()) > 200 {
				t.Errorf("error %v", err)
			}
			return
		}
		if again := k.encode(); !bytes.Equal(again, key) {
			t.Errorf("key %x is written %x", key, again)
		}
	})
}
