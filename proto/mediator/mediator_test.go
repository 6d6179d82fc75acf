// SPDX-License-Identifier: MPL-2.0

package mediator_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

// every is a request of each command with a value in every field.
func every() []mediator.Request {
	at, name, description := int64(1767225600), "Gruppe", "about"
	return []mediator.Request{
		&mediator.GetNonce{Identity: alice()},
		&mediator.Auth{Identity: alice(), Nonce: [32]byte{1}, Signature: [64]byte{2}},
		&mediator.Ping{},
		&mediator.CreateChat{Owner: alice(), Nonce: [32]byte{1}, Counter: 7, Name: name, Description: description, Avatar: []byte{9}},
		&mediator.DeleteChat{Chat: 1},
		&mediator.UpdateChatInfo{Chat: 1, Name: &name, Description: &description, Avatar: []byte{9}},
		&mediator.AddUser{Chat: 1, User: bob()},
		&mediator.DeleteUser{Chat: 1, User: bob()},
		&mediator.LeaveChat{Chat: 1},
		&mediator.GetUserChats{},
		&mediator.SendMessage{Chat: 1, GUID: -5, Time: &at, Blob: []byte("sealed")},
		&mediator.DeleteMessage{Chat: 1, GUID: -5},
		&mediator.GetLastMessageID{Chat: 1},
		&mediator.Subscribe{Chat: 1},
		&mediator.GetMessagesSince{Chat: 1, Since: 3, Limit: 100},
		&mediator.SendInvite{Chat: 1, User: bob(), Data: []byte("wrapped")},
		&mediator.InviteResponse{Invite: 4, Accept: true},
		&mediator.UpdateMemberInfo{Chat: 1, Info: []byte("sealed"), Time: at},
		&mediator.GetMembersInfo{Chat: 1, Since: &at},
		&mediator.GetMembers{Chat: 1},
		&mediator.ChangeMemberStatus{Chat: 1, User: bob(), Permissions: mediator.PermissionAdmin},
	}
}

func TestRequests_RoundTrip(t *testing.T) {
	seen := make(map[mediator.Command]bool)
	for _, q := range every() {
		seen[q.Command()] = true
		parsed, err := readCall(t, mediator.AppendRequest(nil, 9, q)).Parse()
		if diff := cmp.Diff(q, parsed, same); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", q.Command(), err, diff)
		}
	}
	for _, command := range commands() {
		if !seen[command] {
			t.Errorf("%s is not tried", command)
		}
	}
}

// TestRequests_AnyOrderLastFieldCounts: the reference reads requests into a map.
func TestRequests_AnyOrderLastFieldCounts(t *testing.T) {
	payload := wire.AppendField(nil, 0x77, []byte("a later version"))
	payload = wire.AppendField(payload, 0x15, make([]byte, 32))
	payload = wire.AppendFieldUint64(payload, 0x10, 1)
	user := bob()
	payload = wire.AppendField(payload, 0x15, user[:])
	payload = wire.AppendFieldUint64(payload, 0x10, 2)
	b, start := wire.AppendServerFrame(nil, byte(mediator.CommandAddUser), 5)
	parsed, err := readCall(t, wire.FinishServerFrame(append(b, payload...), start)).Parse()
	if diff := cmp.Diff(mediator.Request(&mediator.AddUser{Chat: 2, User: bob()}), parsed); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestRequests_TextsAreCutToCharacters(t *testing.T) {
	long := strings.Repeat("ä", 201)
	q := &mediator.UpdateChatInfo{Chat: 1, Name: &long, Description: &long}
	parsed, err := readCall(t, mediator.AppendRequest(nil, 1, q)).Parse()
	if err != nil {
		t.Fatal(err)
	}
	cut := parsed.(*mediator.UpdateChatInfo)
	if *cut.Name != strings.Repeat("ä", wire.MaxGroupName) || *cut.Description != strings.Repeat("ä", wire.MaxGroupDescription) {
		t.Errorf("%d and %d bytes", len(*cut.Name), len(*cut.Description))
	}
	if len(long) != 402 {
		t.Error("writing changed the text")
	}
}

// TestUpdateChatInfo_AbsentIsNotEmpty: an empty picture removes it, an absent one is
// left as it is.
func TestUpdateChatInfo_AbsentIsNotEmpty(t *testing.T) {
	empty := ""
	for name, q := range map[string]*mediator.UpdateChatInfo{
		"nothing": {Chat: 1},
		"empty":   {Chat: 1, Name: &empty, Description: &empty, Avatar: []byte{}},
	} {
		parsed, err := readCall(t, mediator.AppendRequest(nil, 1, q)).Parse()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(q, parsed); diff != "" { // nil and empty differ here
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

// TestCalls_RefusedWithTheTextOfTheReference has the forms that the captures do not
// have; the texts are those of the reference's source.
func TestCalls_RefusedWithTheTextOfTheReference(t *testing.T) {
	chat := wire.AppendFieldUint64(nil, 0x10, 1)
	for name, test := range map[string]struct {
		command mediator.Command
		payload []byte
		text    string
	}{
		"nonce":         {mediator.CommandAuth, wire.AppendField(nil, 0x01, make([]byte, 32)), "missing or invalid nonce"},
		"short key":     {mediator.CommandGetNonce, wire.AppendField(nil, 0x01, make([]byte, 31)), "missing or invalid pubkey"},
		"owner":         {mediator.CommandCreateChat, nil, "missing or invalid owner pubkey"},
		"chat":          {mediator.CommandSubscribe, wire.AppendFieldUint32(nil, 0x10, 1), "missing or invalid chat id"},
		"user":          {mediator.CommandAddUser, chat, "missing or invalid user pubkey"},
		"invited user":  {mediator.CommandSendInvite, chat, "missing or invalid to_pubkey"},
		"guid":          {mediator.CommandSendMessage, chat, "missing or invalid guid"},
		"deleted guid":  {mediator.CommandDeleteMessage, chat, "missing or invalid message guid"},
		"since":         {mediator.CommandGetMessagesSince, chat, "missing or invalid since message id"},
		"limit":         {mediator.CommandGetMessagesSince, wire.AppendFieldUint64(chat[:len(chat):len(chat)], 0x14, 0), "missing or invalid limit"},
		"invite":        {mediator.CommandInviteResponse, nil, "missing or invalid invite id"},
		"accepted":      {mediator.CommandInviteResponse, wire.AppendFieldUint64(nil, 0x13, 1), "missing or invalid accepted flag"},
		"time":          {mediator.CommandUpdateMemberInfo, chat, "missing or invalid timestamp"},
		"permissions":   {mediator.CommandChangeMemberStatus, wire.AppendField(chat[:len(chat):len(chat)], 0x15, make([]byte, 32)), "missing or invalid perms"},
		"cut field":     {mediator.CommandSubscribe, []byte{0x10, 0x08, 0}, "bad tlv payload"},
		"long varint":   {mediator.CommandSubscribe, []byte{0x10, 0xff, 0xff, 0xff, 0xff, 0}, "bad tlv payload"},
		"other command": {0x32, nil, "unknown cmd"},
	} {
		b, start := wire.AppendServerFrame(nil, byte(test.command), 5)
		_, err := readCall(t, wire.FinishServerFrame(append(b, test.payload...), start)).Parse()
		refusal := (*mediator.ServerError)(nil)
		if !errors.As(err, &refusal) || refusal.Text != test.text {
			t.Errorf("%s: %v, want %q", name, err, test.text)
		}
	}
}

// TestSendMessage_TimeOfAnotherSizeIsAbsent as in the reference, which takes its own
// time then.
func TestSendMessage_TimeOfAnotherSizeIsAbsent(t *testing.T) {
	payload := wire.AppendFieldUint64(nil, 0x10, 1)
	payload = wire.AppendFieldUint64(payload, 0x12, 2)
	payload = wire.AppendFieldUint32(payload, 0x32, 3)
	b, start := wire.AppendServerFrame(nil, byte(mediator.CommandSendMessage), 5)
	parsed, err := readCall(t, wire.FinishServerFrame(append(b, payload...), start)).Parse()
	if err != nil || parsed.(*mediator.SendMessage).Time != nil {
		t.Errorf("%+v, %v", parsed, err)
	}
}

// Bar S02, S03
func TestFrames_Lengths(t *testing.T) {
	read := map[string]func(b []byte, limit int) error{
		"request": func(b []byte, limit int) error { _, err := mediator.ReadCall(buffered(b), limit); return err },
		"answer":  func(b []byte, limit int) error { _, err := mediator.ReadAnswer(buffered(b), limit); return err },
	}
	for name, f := range read {
		for _, size := range []uint32{1 << 16, 1<<16 + 1, 1<<31 - 1, 1 << 31, math.MaxUint32} {
			header := binary.BigEndian.AppendUint32([]byte{1, 0, 1}, size)
			var err error
			wiretest.CheckAllocation(t, len(header), func() { err = f(header, 1<<16) })
			if size <= 1<<16 {
				if !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("%s that ends after its header: %v", name, err)
				}
			} else if wire.ViolationCode(err) != wire.CodeLength {
				t.Errorf("%s of %d bytes: %v", name, size, err)
			}
		}
		if err := f(nil, 10); !errors.Is(err, io.EOF) {
			t.Errorf("%s: end of the stream: %v", name, err)
		}
	}
	if _, err := mediator.ReadAnswer(buffered([]byte{3, 0, 0, 0, 0, 0, 0}), 10); wire.ViolationCode(err) != wire.CodeCommand {
		t.Errorf("status 3: %v", err)
	}
}

func answerOf(payload []byte) []byte {
	b, start := wire.AppendServerFrame(nil, byte(mediator.StatusOK), 1)
	return wire.FinishServerFrame(append(b, payload...), start)
}

// TestLists_CountAndRecordsAgree: a count costs no memory, and one that is wrong means
// that the answer is.
func TestLists_CountAndRecordsAgree(t *testing.T) {
	one := wire.AppendFieldUint64(nil, 0x10, 7)
	for name, test := range map[string]struct {
		payload []byte
		code    string
		chats   int
	}{
		"two":            {append(wire.AppendFieldUint32(nil, 0x31, 2), append(one[:10:10], one...)...), "", 2},
		"none":           {wire.AppendFieldUint32(nil, 0x31, 0), "", 0},
		"too few":        {append(wire.AppendFieldUint32(nil, 0x31, math.MaxUint32), one...), wire.CodeValue, 0},
		"too many":       {append(wire.AppendFieldUint32(nil, 0x31, 0), one...), wire.CodeValue, 0},
		"without count":  {one, wire.CodeMissing, 0},
		"record is cut":  {append(wire.AppendFieldUint32(nil, 0x31, 1), 0x10, 8, 0), wire.CodeTruncated, 0},
		"record of four": {append(wire.AppendFieldUint32(nil, 0x31, 1), 0x10, 4, 0, 0, 0, 1), wire.CodeLength, 0},
	} {
		chats := &mediator.Chats{}
		var err error
		answer := readAnswer(t, answerOf(test.payload))
		wiretest.CheckAllocation(t, len(test.payload), func() { err = answer.Parse(chats) })
		if wire.ViolationCode(err) != test.code || (test.code == "") != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && len(chats.Chats) != test.chats {
			t.Errorf("%s: %d chats", name, len(chats.Chats))
		}
	}
}

// TestLists_EmptyRecordsTakeNoMemory: millions of records without a required field are
// refused at the first one.
func TestLists_EmptyRecordsTakeNoMemory(t *testing.T) {
	payload := append(wire.AppendFieldUint32(nil, 0x31, 1<<20), bytes.Repeat([]byte{0x15, 0}, 1<<20)...)
	answer := readAnswer(t, answerOf(payload))
	var err error
	wiretest.CheckAllocation(t, 0, func() { err = answer.Parse(&mediator.Members{}) })
	if wire.ViolationCode(err) != wire.CodeLength {
		t.Error(err)
	}
}

// TestPush_OneValueForManyConnections: under the race detector, writing must not touch
// what is written.
func TestPush_OneValueForManyConnections(t *testing.T) {
	name := "New"
	pushes := []mediator.Push{
		&mediator.GotMessage{Chat: 1, Message: mediator.Message{ID: 2, Author: alice(), Blob: []byte("x")}},
		&mediator.GotInvite{Invite: 1, Chat: 1, From: alice(), Name: strings.Repeat("n", 99), Data: []byte("x")},
		&mediator.GotMemberInfo{Chat: 1, Members: []mediator.MemberInfo{{User: bob(), Info: []byte("x")}}},
		&mediator.RequestMemberInfo{Chat: 1},
	}
	change := mediator.System{Event: mediator.EventInfoChanged, Actor: alice(), Name: &name, Avatar: []byte{}}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for _, p := range pushes {
				mediator.AppendPush(nil, p)
			}
			change.AppendTo(nil)
		})
	}
	all.Wait()
}

func TestPush_UnknownCodeIsIgnored(t *testing.T) {
	b, start := wire.AppendServerFrame(nil, byte(mediator.StatusPush), 0x0099)
	answer := readAnswer(t, wire.FinishServerFrame(append(b, 0xff), start))
	if push, err := answer.Push(); push != nil || err != nil || !answer.IsPush() {
		t.Errorf("%v, %v", push, err)
	}
}

func TestSystem_EveryCutIsAViolation(t *testing.T) {
	name := "New"
	for _, s := range []mediator.System{
		{Event: mediator.EventUserAdded, User: bob(), Actor: alice()},
		{Event: mediator.EventUserLeft, User: bob()},
		{Event: mediator.EventUserBanned, User: bob(), Actor: alice()},
		{Event: mediator.EventChatDeleted, Actor: alice()},
		{Event: mediator.EventInfoChanged, Actor: alice(), Name: &name},
		{Event: mediator.EventPermissions, User: bob(), Actor: alice(), Permissions: 1},
		{Event: mediator.EventMessageDeleted, Actor: alice(), GUID: peer.GUID(math.MinInt64)},
		{Event: mediator.EventMemberOnline, User: bob(), Online: true, Time: 1},
	} {
		blob := s.AppendTo(nil)
		for n := range blob {
			_, err := mediator.ParseSystem(blob[:n])
			// A change of information whose last field is left out is a shorter one.
			if whole := s.Event == mediator.EventInfoChanged && n == 1+34; (wire.ViolationCode(err) == "") != whole {
				t.Errorf("event %d cut after %d bytes: %v", s.Event, n, err)
			}
		}
	}
	for _, event := range []byte{0, 2, 10, 255} {
		if _, err := mediator.ParseSystem(append([]byte{event}, make([]byte, 200)...)); wire.ViolationCode(err) != wire.CodeValue {
			t.Errorf("event %d: %v", event, err)
		}
	}
}

func TestServerError_Kinds(t *testing.T) {
	for text, want := range map[string]string{
		mediator.TextNotMemberOrBanned:        "member",
		mediator.TextNotMember:                "member",
		mediator.TextBannedUser:               "member",
		"Not Member":                          "member",
		mediator.TextReadOnly:                 "read-only",
		mediator.TextMessageNotFound:          "not-found",
		mediator.TextNoSuchChat:               "not-found",
		mediator.TextUserInChat:               "already",
		mediator.TextInviteExists:             "already",
		mediator.TextUnknownNonce:             "nonce",
		mediator.TextNonceMismatch:            "nonce",
		mediator.TextDatabaseError:            "",
		"\x1b[31mnot found\x1b[0m\u202e evil": "not-found",
	} {
		err := readAnswer(t, mediator.AppendError(nil, 1, text)).Err()
		e := (*mediator.ServerError)(nil)
		if !errors.As(err, &e) {
			t.Fatalf("%q: %v", text, err)
		}
		got := ""
		for kind, is := range map[string]bool{
			"member": e.NotMember(), "read-only": e.ReadOnly(), "not-found": e.NotFound(), "already": e.Already(), "nonce": e.NonceReplaced(),
		} {
			if is {
				got += kind
			}
		}
		if got != want || strings.ContainsAny(e.Error(), "\x1b\u202e") {
			t.Errorf("%q: %q, %q", text, got, e.Error())
		}
	}
}

func TestPermissions_Names(t *testing.T) {
	for p, want := range map[mediator.Permissions]string{
		0x90: "owner", 0x40: "admin", 0x20: "moderator", 0x10: "user", 0x08: "read-only", 0x18: "read-only", 0x91: "banned", 0: "none", 0x06: "none",
	} {
		if p.String() != want || p.Valid() != (want != "none") {
			t.Errorf("%#x: %q, valid %t", byte(p), p, p.Valid())
		}
	}
}

// Bar S01
func FuzzMediatorCall(f *testing.F) {
	for _, q := range every() {
		f.Add(mediator.AppendRequest(nil, 9, q))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		wiretest.CheckAllocationSampled(t, b, func() {
			call, err := mediator.ReadCall(buffered(b), wire.MaxMediatorRequest)
			if err != nil {
				return
			}
			_, _ = call.Parse()
		})
		call, err := mediator.ReadCall(buffered(b), wire.MaxMediatorRequest)
		if err != nil {
			return
		}
		q, err := call.Parse()
		if err != nil {
			if e := (*mediator.ServerError)(nil); !errors.As(err, &e) || e.Text == "" {
				t.Fatalf("refused without a text: %v", err)
			}
			return
		}
		again, err := readCall(t, mediator.AppendRequest(nil, call.ID, q)).Parse()
		if err != nil {
			t.Fatal(err)
		}
		if twice := mediator.AppendRequest(nil, call.ID, again); !bytes.Equal(twice, mediator.AppendRequest(nil, call.ID, q)) {
			t.Fatalf("%s is not stable", call.Command)
		}
	})
}

// Bar S01
func FuzzMediatorAnswer(f *testing.F) {
	for _, v := range wiretest.Load(f, vectors) {
		for _, b := range v.HexStrings() {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		answer, err := mediator.ReadAnswer(buffered(b), wire.MaxMediatorAnswer)
		if err != nil {
			return
		}
		for _, command := range commands() {
			result := resultOf(command)
			if answer.Parse(result) != nil || result == nil || answer.IsPush() {
				continue
			}
			again := resultOf(command)
			if err := readAnswer(t, mediator.AppendOK(nil, answer.ID, result)).Parse(again); err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			if diff := cmp.Diff(result, again, same); diff != "" {
				t.Fatalf("%s:\n%s", command, diff)
			}
		}
		push, err := answer.Push()
		if err != nil || push == nil {
			return
		}
		mediator.AppendPush(nil, push)
		if message, ok := push.(*mediator.GotMessage); ok {
			_, _ = mediator.ParseSystem(message.Message.Blob)
		}
	})
}

// Bar S01
func FuzzMediatorSystem(f *testing.F) {
	_, frames := loadCaptures(f)
	for _, frame := range frames {
		if !strings.Contains(frame.Command, "system") {
			continue
		}
		if push, err := readAnswer(f, wiretest.MustHex(f, frame.Hex)).Push(); err == nil {
			f.Add(push.(*mediator.GotMessage).Message.Blob)
		}
	}
	f.Fuzz(func(t *testing.T, blob []byte) {
		s, err := mediator.ParseSystem(blob)
		if err != nil {
			if wire.ViolationCode(err) == "" {
				t.Fatal(err)
			}
			return
		}
		again, err := mediator.ParseSystem(s.AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.AppendTo(nil), s.AppendTo(nil)) {
			t.Fatal("not stable")
		}
	})
}
