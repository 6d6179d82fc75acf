// SPDX-License-Identifier: MPL-2.0

package mediator_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

var emptyIsNil = cmpopts.EquateEmpty()

func read(t *testing.T, b []byte) mediator.Answer {
	t.Helper()
	a, err := mediator.ReadAnswer(buffered(b))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// empty makes a new value of the type of a result.
func empty(r mediator.Result) mediator.Result {
	return reflect.New(reflect.TypeOf(r).Elem()).Interface().(mediator.Result)
}

// results has one of each kind, filled.
func results() []mediator.Result {
	return []mediator.Result{
		&mediator.Nonce{Nonce: counting(1)},
		&mediator.Chat{Chat: 1},
		&mediator.Deleted{},
		&mediator.Chats{Chats: []mediator.ChatID{1, 2, 1<<63 - 1}},
		&mediator.LastMessage{Message: 3},
		&mediator.Messages{Messages: []mediator.Message{{Chat: 1, ID: 2, GUID: -3, Author: bob(), Blob: []byte{4}}, {Blob: []byte{}}}},
		&mediator.MembersInfo{Members: []mediator.MemberInfo{{User: bob(), Info: []byte{1}, Time: -1}, {}}},
		&mediator.Members{Members: []mediator.Member{{User: bob(), Permissions: mediator.PermissionBanned, Online: true}}},
	}
}

const (
	chatHex  = "1122334455667788"
	bobHex   = "29acbae141bccaf0b22e1a94d34d0bc7361e526d0bfe12c89794bc9322966dd7"
	aliceHex = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
)

// TestCommandsWithoutVector has their bytes by the description.
func TestCommandsWithoutVector(t *testing.T) {
	for want, q := range map[string]mediator.Request{
		"0120ffff00000028" + chatHex + bobHex:             &mediator.AddUser{Chat: chat, User: bob()},
		"0121ffff00000028" + chatHex + bobHex:             &mediator.DeleteUser{Chat: chat, User: bob()},
		"0122ffff00000008" + chatHex:                      &mediator.LeaveChat{Chat: chat},
		"0131ffff00000010" + chatHex + "0000000000000007": &mediator.DeleteMessage{Chat: chat, Message: 7},
		"0133ffff00000008" + chatHex:                      &mediator.GetLastMessageID{Chat: chat},
		"0142ffff00000009ffffffffffffffff00":              &mediator.InviteResponse{Invite: -1},
	} {
		b := mediator.AppendRequest(nil, 0xffff, q)
		if got := hex.EncodeToString(b); got != want {
			t.Errorf("%s: wrote\n%s, want\n%s", q.Command(), got, want)
		}
		call, err := mediator.ReadCall(buffered(b))
		if err != nil || call.ID != 0xffff || call.Command != q.Command() {
			t.Fatalf("%+v, %v", call, err)
		}
		got, err := call.Parse()
		if diff := cmp.Diff(q, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", q.Command(), err, diff)
		}
	}
}

func TestCommandsHaveTheirNames(t *testing.T) {
	names := map[int]string{
		0x01: "GET_NONCE", 0x02: "AUTH", 0x03: "PING", 0x10: "CREATE_CHAT", 0x11: "DELETE_CHAT", 0x20: "ADD_USER",
		0x21: "DELETE_USER", 0x22: "LEAVE_CHAT", 0x23: "GET_USER_CHATS", 0x30: "SEND_MESSAGE", 0x31: "DELETE_MESSAGE",
		0x33: "GET_LAST_MESSAGE_ID", 0x35: "SUBSCRIBE", 0x36: "GET_MESSAGES_SINCE", 0x40: "SEND_INVITE",
		0x42: "INVITE_RESPONSE", 0x50: "UPDATE_MEMBER_INFO", 0x52: "GET_MEMBERS_INFO", 0x53: "GET_MEMBERS",
	}
	for n := range 256 {
		command := mediator.Command(n)
		call, err := mediator.ReadCall(buffered([]byte{1, byte(n), 1, 0, 0, 0, 0, 0}))
		if name := names[n]; name != "" {
			if err != nil || call.Command.String() != name {
				t.Errorf("%s: %+v, %v", name, call, err)
			}
			continue
		}
		if wire.ViolationCode(err) != wire.CodeCommand || command.String() != "UNKNOWN" {
			t.Errorf("command %d: %+v, %v", n, call, err)
		}
		if _, err := (mediator.Call{Command: command}).Parse(); wire.ViolationCode(err) != wire.CodeCommand {
			t.Errorf("command %d: %v", n, err)
		}
	}
}

func TestEveryResultAndPush(t *testing.T) {
	for _, want := range results() {
		b := mediator.AppendOK(nil, mediator.FirstID, want)
		got := empty(want)
		if err := read(t, b).Parse(got); err != nil {
			t.Errorf("%T: %v", want, err)
		}
		if diff := cmp.Diff(want, got, emptyIsNil); diff != "" {
			t.Errorf("%T:\n%s", want, diff)
		}
		for n := range len(b) - 7 {
			short := bytes.Clone(b[:7+n])
			binary.BigEndian.PutUint32(short[3:], uint32(n))
			if err := read(t, short).Parse(empty(want)); wire.ViolationCode(err) != wire.CodeTruncated {
				t.Errorf("%T of %d bytes: %v", want, n, err)
			}
		}
	}
	info := &mediator.GotMemberInfo{Members: []mediator.MemberInfo{{User: bob(), Info: []byte{7}, Time: 1}}}
	b := mediator.AppendPush(nil, info)
	if got := hex.EncodeToString(b); got != "00005400000031"+"00000001"+bobHex+"0000000107"+"0000000000000001" {
		t.Errorf("wrote %s", got)
	}
	got, err := read(t, b).Push()
	if diff := cmp.Diff(info, got, emptyIsNil); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestResultsAreNotMixed: a result that was used before shows nothing of it.
func TestResultsAreNotMixed(t *testing.T) {
	used := &mediator.Chats{Chats: []mediator.ChatID{1, 2}}
	if err := read(t, mediator.AppendOK(nil, 1, &mediator.Chats{})).Parse(used); err != nil || used.Chats != nil {
		t.Errorf("%+v, %v", used, err)
	}
	no := mediator.AppendOK(nil, 1, &mediator.Deleted{})
	no[len(no)-1] = 0
	if err := read(t, no).Parse(&mediator.Deleted{}); wire.ViolationCode(err) != wire.CodeValue {
		t.Errorf("not deleted: %v", err)
	}
	if err := read(t, mediator.AppendError(nil, 1, "no")).Parse(nil); err == nil {
		t.Error("a refusal is no error")
	}
}

// TestPushesGoToMany: one value, many streams. The race detector watches.
func TestPushesGoToMany(t *testing.T) {
	for _, p := range []mediator.Push{
		&mediator.GotMessage{Message: mediator.Message{Chat: chat, Blob: []byte{1}}},
		&mediator.GotInvite{Chat: chat, Name: "n"},
		&mediator.RequestMemberInfo{Chat: chat},
		&mediator.GotMemberInfo{Members: make([]mediator.MemberInfo, 1)},
	} {
		want := mediator.AppendPush(nil, p)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if got := mediator.AppendPush(nil, p); !bytes.Equal(got, want) {
					t.Errorf("%x and %x", got, want)
				}
			})
		}
		group.Wait()
	}
}

// TestAnswersAreNoPushes: they differ in their ids alone.
func TestAnswersAreNoPushes(t *testing.T) {
	pushes := 0
	for id := range 1 << 16 {
		a := read(t, mediator.AppendOK(nil, uint16(id), nil))
		if !a.IsPush() {
			if p, err := a.Push(); p != nil || err != nil {
				t.Errorf("id %d: %+v, %v", id, p, err)
			}
			continue
		}
		pushes++
		if uint16(id) >= mediator.FirstID || mediator.FirstID != 0x100 {
			t.Errorf("the answer to request %d looks like a push", id)
		}
		if p, err := a.Push(); wire.ViolationCode(err) != wire.CodeTruncated {
			t.Errorf("empty push %d: %+v, %v", id, p, err)
		}
		if read(t, mediator.AppendError(nil, uint16(id), "no")).IsPush() {
			t.Errorf("refusal %d is a push", id)
		}
	}
	if pushes != 4 {
		t.Errorf("%d push codes", pushes)
	}
}

// Bar S02
func TestLengths(t *testing.T) {
	request := func(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{1, 3, 1, 0}, n) }
	answer := func(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{0, 1, 0}, n) }
	for _, n := range []uint32{32<<20 + 1, 1<<31 - 1, 1<<32 - 1} {
		if _, err := mediator.ReadCall(buffered(request(n))); wire.ViolationCode(err) != wire.CodeLength {
			t.Errorf("request of %d: %v", n, err)
		}
	}
	for _, n := range []uint32{50<<20 + 1, 1<<31 - 1, 1<<32 - 1} {
		if _, err := mediator.ReadAnswer(buffered(answer(n))); wire.ViolationCode(err) != wire.CodeLength {
			t.Errorf("answer of %d: %v", n, err)
		}
	}
	wiretest.CheckAllocation(t, 8, func() {
		if _, err := mediator.ReadCall(buffered(request(32 << 20))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("request that ends early: %v", err)
		}
	})
	wiretest.CheckAllocation(t, 7, func() {
		if _, err := mediator.ReadAnswer(buffered(answer(50 << 20))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("answer that ends early: %v", err)
		}
		// As many messages as fit into a number.
		many := append(answer(4), 0xff, 0xff, 0xff, 0xff)
		if err := read(t, many).Parse(&mediator.Messages{}); wire.ViolationCode(err) != wire.CodeTruncated {
			t.Errorf("messages without end: %v", err)
		}
	})
	for _, b := range [][]byte{{1}, {1, 3, 1, 0, 0, 0, 0}} {
		if _, err := mediator.ReadCall(buffered(b)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, err := mediator.ReadCall(buffered(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v", err)
	}
}

// TestListsAreBounded: a count takes memory only for what the bytes have room for.
func TestListsAreBounded(t *testing.T) {
	for size, result := range map[int]mediator.Result{
		8: &mediator.Chats{}, 60: &mediator.Messages{}, 44: &mediator.MembersInfo{}, 34: &mediator.Members{},
	} {
		for count := range 4 {
			b := binary.BigEndian.AppendUint32([]byte{0, 1, 0}, uint32(4+3*size))
			b = binary.BigEndian.AppendUint32(b, uint32(count))
			if err := read(t, append(b, make([]byte, 3*size)...)).Parse(result); err != nil {
				t.Errorf("%T of %d: %v", result, count, err)
			}
		}
		for _, count := range []uint32{4, 5, 1 << 16, 1 << 24, 1 << 29, 1<<32 - 1} {
			b := binary.BigEndian.AppendUint32([]byte{0, 1, 0}, uint32(4+4*size-1))
			b = append(binary.BigEndian.AppendUint32(b, count), make([]byte, 4*size-1)...)
			wiretest.CheckAllocation(t, len(b), func() {
				if err := read(t, b).Parse(result); wire.ViolationCode(err) != wire.CodeTruncated {
					t.Errorf("%T of %d: %v", result, count, err)
				}
			})
		}
	}
}

// TestLimitsOfANewChat are those of the mediator.
func TestLimitsOfANewChat(t *testing.T) {
	for name, test := range map[string]struct {
		name, description, avatar int
		code                      string
	}{
		"largest":     {20, 200, 204_800, ""},
		"name":        {21, 0, 0, wire.CodeLength},
		"description": {0, 201, 0, wire.CodeLength},
		"avatar":      {0, 0, 204_801, wire.CodeLength},
	} {
		b := make([]byte, 132)
		b = wire.AppendShortText(b, strings.Repeat("n", test.name))
		b = wire.AppendShortText(b, strings.Repeat("d", test.description))
		b = wire.AppendBlob(b, make([]byte, test.avatar))
		frame, start := wire.AppendServerFrame([]byte{1}, 0x10, 1)
		call, err := mediator.ReadCall(buffered(wire.FinishServerFrame(append(frame, b...), start)))
		if err != nil {
			t.Fatal(err)
		}
		if q, err := call.Parse(); wire.ViolationCode(err) != test.code {
			t.Errorf("%s: %T, %v", name, q, err)
		}
	}
}

// TestOneLargeItemHidesNothing: a member with a large picture must not hide the
// others, nor a large message those behind it.
func TestOneLargeItemHidesNothing(t *testing.T) {
	large := make([]byte, 20<<20)
	info := &mediator.MembersInfo{Members: []mediator.MemberInfo{{Info: large}, {Info: []byte{}, Time: 1}}}
	messages := &mediator.Messages{Messages: []mediator.Message{{Blob: large}, {ID: 2, Blob: []byte{}}}}
	for _, want := range []mediator.Result{info, messages} {
		got := empty(want)
		if err := read(t, mediator.AppendOK(nil, 1, want)).Parse(got); err != nil || !reflect.DeepEqual(want, got) {
			t.Errorf("%T: %v", want, err)
		}
	}
	invite := &mediator.GotInvite{Name: strings.Repeat("n", 100), Description: strings.Repeat("d", 1000), Avatar: large[:1<<20], Data: large[:1<<12]}
	if got, err := read(t, mediator.AppendPush(nil, invite)).Push(); err != nil || !reflect.DeepEqual(mediator.Push(invite), got) {
		t.Errorf("invite: %v", err)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	if _, err := mediator.ReadCall(buffered([]byte{2, 3, 1, 0, 0, 0, 0, 0})); wire.ViolationCode(err) != wire.CodeVersion {
		t.Errorf("version 2: %v", err)
	}
	if _, err := mediator.ReadAnswer(buffered([]byte{2, 1, 0, 0, 0, 0, 0})); wire.ViolationCode(err) != wire.CodeCommand {
		t.Errorf("status 2: %v", err)
	}
	for name, test := range map[string]struct {
		request mediator.Request
		change  func(b []byte)
		code    string
	}{
		"accept 2":     {&mediator.InviteResponse{}, func(b []byte) { b[len(b)-1] = 2 }, wire.CodeValue},
		"name no text": {&mediator.CreateChat{Name: "n"}, func(b []byte) { b[8+132+2] = 0xff }, wire.CodeText},
		"negative":     {&mediator.SendMessage{Blob: []byte{1}}, func(b []byte) { b[8+16] = 0xff }, wire.CodeLength},
		"too long":     {&mediator.SendMessage{Blob: []byte{1}}, func(b []byte) { b[8+19] = 2 }, wire.CodeTruncated},
	} {
		b := mediator.AppendRequest(nil, 1, test.request)
		test.change(b)
		call, err := mediator.ReadCall(buffered(b))
		if err != nil {
			t.Fatal(err)
		}
		if q, err := call.Parse(); wire.ViolationCode(err) != test.code {
			t.Errorf("%s: %T, %v", name, q, err)
		}
	}
}

// TestTextsAreCut: a name that is too long would be refused as a whole.
func TestTextsAreCut(t *testing.T) {
	call, err := mediator.ReadCall(buffered(mediator.AppendRequest(nil, 1, &mediator.CreateChat{
		Name: strings.Repeat("ы", 15), Description: strings.Repeat("d", 1<<17),
	})))
	if err != nil {
		t.Fatal(err)
	}
	got, err := call.Parse()
	if q, ok := got.(*mediator.CreateChat); !ok || q.Name != strings.Repeat("ы", 10) || q.Description != strings.Repeat("d", 200) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestMoreFieldsAreIgnored, as by the mediator: an earlier DELETE_CHAT had some.
func TestMoreFieldsAreIgnored(t *testing.T) {
	b := append(mediator.AppendRequest(nil, 1, &mediator.DeleteChat{Chat: chat}), "more"...)
	b[7] += 4
	call, err := mediator.ReadCall(buffered(b))
	if err != nil {
		t.Fatal(err)
	}
	if q, err := call.Parse(); !cmp.Equal(q, mediator.Request(&mediator.DeleteChat{Chat: chat})) || err != nil {
		t.Errorf("%+v, %v", q, err)
	}
}

func TestSystemMessages(t *testing.T) {
	random := counting(9)
	randomHex := hex.EncodeToString(random[:])
	for text, want := range map[string]mediator.System{
		"01" + bobHex + aliceHex + randomHex: {Event: mediator.EventUserAdded, User: bob(), Actor: alice().Public(), Random: random},
		"03" + bobHex + randomHex:            {Event: mediator.EventUserLeft, User: bob(), Random: random},
		"04" + bobHex + aliceHex + randomHex: {Event: mediator.EventUserBanned, User: bob(), Actor: alice().Public(), Random: random},
		"05" + aliceHex + randomHex:          {Event: mediator.EventChatDeleted, Actor: alice().Public(), Random: random},
	} {
		b := want.AppendTo(nil)
		if hex.EncodeToString(b) != text {
			t.Errorf("wrote %x, want %s", b, text)
		}
		if got, err := mediator.ParseSystem(b); got != want || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := mediator.ParseSystem(b[:len(b)-1]); wire.ViolationCode(err) != wire.CodeTruncated {
			t.Errorf("a byte less: %v", err)
		}
	}
	for _, event := range []byte{0, 2, 6, 7, 255} {
		if s, err := mediator.ParseSystem(bytes.Repeat([]byte{event}, 97)); wire.ViolationCode(err) != wire.CodeValue {
			t.Errorf("%+v, %v", s, err)
		}
		if b := (mediator.System{Event: mediator.Event(event)}).AppendTo(nil); !bytes.Equal(b, []byte{event}) {
			t.Errorf("event %d: %x", event, b)
		}
	}
}

// TestServerErrorIsTame: the text of a mediator ends up in logs.
func TestServerErrorIsTame(t *testing.T) {
	err := read(t, mediator.AppendError(nil, 0, "no\n\x1b[31m"+strings.Repeat("x", 1000))).Err()
	refused, ok := errors.AsType[*mediator.ServerError](err)
	if !ok || len(refused.Text) > 256 || strings.ContainsAny(refused.Text, "\n\x1b") || !strings.HasPrefix(refused.Text, "no") {
		t.Errorf("%v", err)
	}
}

func TestPermissions(t *testing.T) {
	for bit, p := range map[byte]mediator.Permissions{
		0x80: mediator.PermissionOwner, 0x40: mediator.PermissionAdmin, 0x20: mediator.PermissionModerator,
		0x10: mediator.PermissionUser, 0x08: mediator.PermissionReadOnly, 0x01: mediator.PermissionBanned,
	} {
		if byte(p) != bit {
			t.Errorf("%02x is %02x", bit, byte(p))
		}
	}
	owner := mediator.PermissionOwner | mediator.PermissionUser
	if !owner.HasAny(mediator.PermissionAdmin|mediator.PermissionOwner) || owner.HasAny(mediator.PermissionReadOnly) {
		t.Errorf("%02x", byte(owner))
	}
	if mediator.MaxMessages != 500 {
		t.Error("the mediator refuses more than 500 messages at once")
	}
}

// Bar S01
func FuzzReadCall(f *testing.F) {
	for _, v := range load(f) {
		f.Add(v.bytes(f))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		wiretest.CheckAllocationSampled(t, b, func() {
			call, err := mediator.ReadCall(buffered(b))
			if err != nil {
				return
			}
			q, err := call.Parse()
			if err != nil {
				return
			}
			again, err := mediator.ReadCall(buffered(mediator.AppendRequest(nil, call.ID, q)))
			if err != nil {
				t.Fatal(err)
			}
			if p, err := again.Parse(); err != nil || !cmp.Equal(p, q) {
				t.Errorf("%+v becomes %+v, %v", q, p, err)
			}
		})
	})
}

// Bar S01
func FuzzReadAnswer(f *testing.F) {
	for _, v := range load(f) {
		f.Add(v.bytes(f))
	}
	for _, r := range results() {
		f.Add(mediator.AppendOK(nil, 1, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := mediator.ReadAnswer(buffered(b))
		if err != nil {
			return
		}
		if p, err := a.Push(); err == nil && p != nil {
			if again, err := read(t, mediator.AppendPush(nil, p)).Push(); err != nil || !cmp.Equal(p, again, emptyIsNil) {
				t.Errorf("%+v becomes %+v, %v", p, again, err)
			}
		}
		for _, r := range results() {
			r = empty(r)
			wiretest.CheckAllocationSampled(t, b, func() { err = a.Parse(r) })
			if err != nil {
				continue
			}
			again := empty(r)
			if err := read(t, mediator.AppendOK(nil, a.ID, r)).Parse(again); err != nil || !cmp.Equal(r, again, emptyIsNil) {
				t.Errorf("%+v becomes %+v, %v", r, again, err)
			}
		}
	})
}

// Bar S01
func FuzzParseSystem(f *testing.F) {
	f.Add(mediator.System{Event: mediator.EventUserAdded}.AppendTo(nil))
	f.Add(mediator.System{Event: mediator.EventUserLeft}.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := mediator.ParseSystem(b); err == nil && !bytes.HasPrefix(b, s.AppendTo(nil)) {
			t.Errorf("%x becomes %x", b, s.AppendTo(nil))
		}
	})
}
