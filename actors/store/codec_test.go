// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/identity"
)

// fullRecords has one record of each kind with every field set.
func fullRecords() []any {
	key := func(b byte) (k [identity.KeySize]byte) {
		for i := range k {
			k[i] = b
		}
		return k
	}
	id := MessageID{Dir: Out, GUID: -5, Variant: 3}
	return []any{
		&Account{
			Name: "name", Info: "info", Avatar: []byte{1}, ClientID: 2, Priority: 3,
			Strangers: StrangersRefuse, Created: 4, ProfileTime: 5, Role: RoleMirror, ForwardTo: key(6), ForeignNodes: []ForeignNode{{Key: key(7), Since: 8}}, Greeting: 9, ForwardGroups: true,
		},
		&Contact{
			Nickname: "nick", LocalName: "local", Info: "info", Avatar: []byte{1}, State: ContactBlocked, ProfileTime: 2,
			NodeKeys: []KnownNode{{Key: key(3), FirstAuth: 4, LastAuth: 5}, {Key: key(4), Generation: 1, SubnetAddr: IPv6{3, 1}}}, Added: 6, LastSeen: -7,
			Request: "let me in", Requested: 8, Declined: 9, Owed: AnswerNo, OurRequest: "may I", Asked: AskDeclined,
			Muted: true, Unblocked: ContactAccepted, NicknameSince: 10, FormerNames: []FormerName{{Name: "former", Since: 11}},
		},
		&Message{
			ID: id, Type: -1, ReplyTo: -2, SendTime: 3, EditTime: 4, Created: 5, Payload: []byte{6},
			State: StateFailed, StateTime: 7, Reason: "reason", Source: "source", Held: true,
			Author: key(8), Number: 9, ServerGUID: -10, Unreadable: true, Deleted: true, Digest: []byte{11},
		},
		&Media{
			State: MediaUploading, Hash: key(1), Size: 2, MIMEType: "type", Added: 3, Changed: 4, Seq: 5, Reason: "reason",
			Due: 6, Attempts: 7, Asked: true, FileHash: key(8), Key: key(9), Server: key(10), Uploaded: 11,
		},
		&HostedFile{Owner: key(1), GUID: 2, Size: 3, Added: 4},
		&Event{
			Conversation: ContactConversation(key(1)), Kind: MessageFailed, Time: 2, Message: id, Order: 3,
			State: ContactAccepted, NodeKey: key(4), Reason: "reason", Accepted: true, Member: key(5), Task: 6,
		},
		&[]Address{{Node: key(1), Priority: 2, Expires: 3, LastAuth: 4, SubnetAddr: IPv6{3}}},
		&JournalEntry{ID: "id", Time: 1, Body: []byte{2}, Budget: "b", Overflow: true},
		&Member{Permissions: 1, Standing: StandingBanned, Name: "name", Info: "info", HasAvatar: true, ProfileTime: 2, Since: 3},
		&GroupTask{
			Kind: TaskRole, Created: 1, User: key(2), Permissions: 3, Message: id, Name: new("name"), Description: new("description"),
			Avatar: []byte{4}, SetAvatar: true,
		},
		&groupProgress{Position: 1, LastTask: 2, Contacted: 3},
		&guidRow{Message: id},
		&Reaction{Emoji: "+", SendTime: 1, Message: id},
		&schemaRow{Version: 1},
		&messageRef{Order: 1, First: []byte{2}},
		&sourceRow{Conversation: ContactConversation(key(1)), Order: 2},
		&Group{
			Mediator: identity.NodeKey{1}, Chat: 2, Added: 3, State: GroupBanned, StateTime: 4, Reason: "reason",
			Name: "name", Description: "description", Avatar: []byte{5}, Key: key(6), Permissions: 7, Inviter: key(8), Invite: 9, Invited: 10,
			ProfileSent: 11, Became: ContactConversation(key(12)), Attempted: true, Known: []int64{13}, Muted: true, AutoDownload: 14,
		},
		&doneRow{ID: "id", Time: 1},
		&MediatorGroup{Owner: key(1), Name: "name", Description: "about", Avatar: []byte{2}, Created: 3, HasAvatar: true},
		&MediatorUsage{Last: 1, Messages: 2, Bytes: 3, Members: 4, Invites: 5, Owner: key(6), Quota: 7},
		&MediatorMember{Permissions: 0x90, Banned: true, Added: 1, Changed: -2, LastSeen: 3, Profile: 4},
		&MediatorMessage{GUID: -1, Time: -2, Author: key(3), Blob: []byte{4}, Stored: 5},
		&MediatorInvite{Group: 1, From: key(2), To: key(3), Time: 4, Data: []byte{5}, Sent: true},
		&MediatorTotals{Groups: 1, Messages: 2, Bytes: 3, Invites: 4, LastInvite: 5},
		&MediatorOwner{Groups: 1, Bytes: 2},
		&MediatorBan{Since: 1},
	}
}

func TestRecordsRoundTrip(t *testing.T) {
	for _, rec := range fullRecords() {
		raw, err := encode(rec)
		if err != nil {
			t.Fatal(err)
		}
		back := reflect.New(reflect.TypeOf(rec).Elem()).Interface()
		if err := decode(raw, back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rec, back, cmp.AllowUnexported(schemaRow{}, messageRef{}, sourceRow{}, doneRow{}, groupProgress{}, guidRow{})); diff != "" {
			t.Errorf("%T: %s", rec, diff)
		}
		if again, err := encode(back); err != nil || !bytes.Equal(raw, again) {
			t.Errorf("%T: written %x, then %x, %v", rec, raw, again, err)
		}
	}
}

// TestRecordsSetEveryField keeps fullRecords complete, and lastField true.
func TestRecordsSetEveryField(t *testing.T) {
	for _, rec := range fullRecords() {
		value := reflect.ValueOf(rec).Elem()
		if value.Kind() == reflect.Slice {
			value = value.Index(0)
		}
		last, seen := uint64(0), make(map[uint64]bool)
		for i := range value.NumField() {
			field := value.Type().Field(i)
			tag, ok := field.Tag.Lookup("cbor")
			if !ok {
				t.Errorf("%s.%s has no number", value.Type(), field.Name)
			}
			if tag == "-" {
				continue
			}
			number, err := strconv.ParseUint(strings.Split(tag, ",")[0], 10, 64)
			if err != nil || number == 0 || seen[number] {
				t.Errorf("%s.%s is tagged %s", value.Type(), field.Name, tag)
			}
			last, seen[number] = max(last, number), true
			if value.Field(i).IsZero() {
				t.Errorf("%s.%s is not set", value.Type(), field.Name)
			}
		}
		if r, ok := value.Interface().(record); ok && r.lastField() != last {
			t.Errorf("%s: lastField is %d, the last field has %d", value.Type(), r.lastField(), last)
		}
	}
}

func TestMergeKeepsUnknownFields(t *testing.T) {
	old, err := encode(map[uint64]any{1: "old name", 2: "old info", 99: "from the future", 100: []uint64{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := mergeUnknown(old, Account{Name: "new name"})
	if err != nil {
		t.Fatal(err)
	}
	var account Account
	if err := decode(raw, &account); err != nil || account.Name != "new name" || account.Info != "" {
		t.Errorf("%+v, %v", account, err)
	}
	var fields map[uint64]any
	if err := decode(raw, &fields); err != nil {
		t.Fatal(err)
	}
	want := map[uint64]any{1: "new name", 99: "from the future", 100: []any{uint64(1), uint64(2)}}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Error(diff)
	}
	plain, err := encode(Account{Name: "new name"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := mergeUnknown(plain, Account{Name: "new name"}); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%x, %v, want %x", got, err, plain)
	}
	if _, err := mergeUnknown([]byte{0xff}, Account{}); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

func TestEncodeFails(t *testing.T) {
	if _, err := encode(func() {}); err == nil {
		t.Error("a function was encoded")
	}
	if err := decode([]byte{0x61}, new(string)); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// FuzzStoreRecord feeds any bytes as a value of any kind of row: no panic, and
// what is read is written so that it is read the same.
func FuzzStoreRecord(f *testing.F) {
	for kind, rec := range fullRecords() {
		raw, err := encode(rec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(kind), raw)
	}
	f.Fuzz(func(t *testing.T, kind uint8, raw []byte) {
		records := fullRecords()
		fresh := func() any { return reflect.New(reflect.TypeOf(records[int(kind)%len(records)]).Elem()).Interface() }
		rec := fresh()
		if err := decode(raw, rec); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("error %v", err)
			}
			return
		}
		written, err := encode(rec)
		if err != nil {
			t.Fatal(err)
		}
		back := fresh()
		if err := decode(written, back); err != nil {
			t.Fatalf("%x cannot be read back: %v", written, err)
		}
		if again, err := encode(back); err != nil || !bytes.Equal(again, written) {
			t.Errorf("written %x, then %x, %v", written, again, err)
		}
		if r, ok := reflect.ValueOf(rec).Elem().Interface().(record); ok {
			checkMerge(t, raw, r)
		}
	})
}

func checkMerge(t *testing.T, raw []byte, rec record) {
	t.Helper()
	merged, err := mergeUnknown(raw, rec)
	if err != nil {
		return // keys that are not numbers: not written by us
	}
	var before, after map[uint64]cbor.RawMessage
	if decode(raw, &before) != nil {
		return
	}
	if err := decode(merged, &after); err != nil {
		t.Fatal(err)
	}
	for field, value := range before {
		if field > rec.lastField() && !bytes.Equal(after[field], value) {
			t.Errorf("field %d was %x and is %x", field, value, after[field])
		}
	}
}
