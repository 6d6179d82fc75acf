// SPDX-License-Identifier: MPL-2.0

package fixed_test

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

	"github.com/mimird/mimird/proto/mediator/fixed"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

var emptyIsNil = cmpopts.EquateEmpty()

func read(t *testing.T, b []byte) fixed.Answer {
	t.Helper()
	a, err := fixed.ReadAnswer(buffered(b))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// empty makes a new value of the type of a result.
func empty(r fixed.Result) fixed.Result {
	return reflect.New(reflect.TypeOf(r).Elem()).Interface().(fixed.Result)
}

// results has one of each kind, filled.
func results() []fixed.Result {
	return []fixed.Result{
		&fixed.Nonce{Nonce: counting(1)},
		&fixed.Chat{Chat: 1},
		&fixed.Deleted{},
		&fixed.Chats{Chats: []fixed.ChatID{1, 2, 1<<63 - 1}},
		&fixed.LastMessage{Message: 3},
		&fixed.Messages{Messages: []fixed.Message{{Chat: 1, ID: 2, GUID: -3, Author: bob(), Blob: []byte{4}}, {Blob: []byte{}}}},
		&fixed.MembersInfo{Members: []fixed.MemberInfo{{User: bob(), Info: []byte{1}, Time: -1}, {}}},
		&fixed.Members{Members: []fixed.Member{{User: bob(), Permissions: fixed.PermissionBanned, Online: true}}},
	}
}

const (
	chatHex  = "1122334455667788"
	bobHex   = "29acbae141bccaf0b22e1a94d34d0bc7361e526d0bfe12c89794bc9322966dd7"
	aliceHex = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
)

// TestCommandsWithoutVector has their bytes by the description.
func TestCommandsWithoutVector(t *testing.T) {
	for want, q := range map[string]fixed.Request{
		"0120ffff00000028" + chatHex + bobHex:             &fixed.AddUser{Chat: chat, User: bob()},
		"0121ffff00000028" + chatHex + bobHex:             &fixed.DeleteUser{Chat: chat, User: bob()},
		"0122ffff00000008" + chatHex:                      &fixed.LeaveChat{Chat: chat},
		"0131ffff00000010" + chatHex + "0000000000000007": &fixed.DeleteMessage{Chat: chat, Message: 7},
		"0133ffff00000008" + chatHex:                      &fixed.GetLastMessageID{Chat: chat},
		"0142ffff00000009ffffffffffffffff00":              &fixed.InviteResponse{Invite: -1},
	} {
		b := fixed.AppendRequest(nil, 0xffff, q)
		if got := hex.EncodeToString(b); got != want {
			t.Errorf("%s: wrote\n%s, want\n%s", q.Command(), got, want)
		}
		call, err := fixed.ReadCall(buffered(b))
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
		command := fixed.Command(n)
		call, err := fixed.ReadCall(buffered([]byte{1, byte(n), 1, 0, 0, 0, 0, 0}))
		if name := names[n]; name != "" {
			if err != nil || call.Command.String() != name {
				t.Errorf("%s: %+v, %v", name, call, err)
			}
			continue
		}
		if wire.ViolationCode(err) != wire.CodeCommand || command.String() != "UNKNOWN" {
			t.Errorf("command %d: %+v, %v", n, call, err)
		}
		if _, err := (fixed.Call{Command: command}).Parse(); wire.ViolationCode(err) != wire.CodeCommand {
			t.Errorf("command %d: %v", n, err)
		}
	}
}

func TestEveryResultAndPush(t *testing.T) {
	for _, want := range results() {
		b := fixed.AppendOK(nil, fixed.FirstID, want)
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
	info := &fixed.GotMemberInfo{Members: []fixed.MemberInfo{{User: bob(), Info: []byte{7}, Time: 1}}}
	b := fixed.AppendPush(nil, info)
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
	used := &fixed.Chats{Chats: []fixed.ChatID{1, 2}}
	if err := read(t, fixed.AppendOK(nil, 1, &fixed.Chats{})).Parse(used); err != nil || used.Chats != nil {
		t.Errorf("%+v, %v", used, err)
	}
	no := fixed.AppendOK(nil, 1, &fixed.Deleted{})
	no[len(no)-1] = 0
	if err := read(t, no).Parse(&fixed.Deleted{}); wire.ViolationCode(err) != wire.CodeValue {
		t.Errorf("not deleted: %v", err)
	}
	if err := read(t, fixed.AppendError(nil, 1, "no")).Parse(nil); err == nil {
		t.Error("a refusal counts as a success")
	}
}

// TestPushesGoToMany: one value, many streams. The race detector watches.
func TestPushesGoToMany(t *testing.T) {
	for _, p := range []fixed.Push{
		&fixed.GotMessage{Message: fixed.Message{Chat: chat, Blob: []byte{1}}},
		&fixed.GotInvite{Chat: chat, Name: "n"},
		&fixed.RequestMemberInfo{Chat: chat},
		&fixed.GotMemberInfo{Members: make([]fixed.MemberInfo, 1)},
	} {
		want := fixed.AppendPush(nil, p)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if got := fixed.AppendPush(nil, p); !bytes.Equal(got, want) {
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
		a := read(t, fixed.AppendOK(nil, uint16(id), nil))
		if !a.IsPush() {
			if p, err := a.Push(); p != nil || err != nil {
				t.Errorf("id %d: %+v, %v", id, p, err)
			}
			continue
		}
		pushes++
		if uint16(id) >= fixed.FirstID || fixed.FirstID != 0x100 {
			t.Errorf("the answer to request %d looks like a push", id)
		}
		if p, err := a.Push(); wire.ViolationCode(err) != wire.CodeTruncated {
			t.Errorf("empty push %d: %+v, %v", id, p, err)
		}
		if read(t, fixed.AppendError(nil, uint16(id), "no")).IsPush() {
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
		if _, err := fixed.ReadCall(buffered(request(n))); wire.ViolationCode(err) != wire.CodeLength {
			t.Errorf("request of %d: %v", n, err)
		}
	}
	for _, n := range []uint32{50<<20 + 1, 1<<31 - 1, 1<<32 - 1} {
		if _, err := fixed.ReadAnswer(buffered(answer(n))); wire.ViolationCode(err) != wire.CodeLength {
			t.Errorf("answer of %d: %v", n, err)
		}
	}
	wiretest.CheckAllocation(t, 8, func() {
		if _, err := fixed.ReadCall(buffered(request(32 << 20))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("request that ends early: %v", err)
		}
	})
	wiretest.CheckAllocation(t, 7, func() {
		if _, err := fixed.ReadAnswer(buffered(answer(50 << 20))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("answer that ends early: %v", err)
		}
		// As many messages as fit into a number.
		many := append(answer(4), 0xff, 0xff, 0xff, 0xff)
		if err := read(t, many).Parse(&fixed.Messages{}); wire.ViolationCode(err) != wire.CodeTruncated {
			t.Errorf("messages without end: %v", err)
		}
	})
	for _, b := range [][]byte{{1}, {1, 3, 1, 0, 0, 0, 0}} {
		if _, err := fixed.ReadCall(buffered(b)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, err := fixed.ReadCall(buffered(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v", err)
	}
}

// TestListsAreBounded: a count takes memory only for what the bytes have room for.
func TestListsAreBounded(t *testing.T) {
	for size, result := range map[int]fixed.Result{
		8: &fixed.Chats{}, 60: &fixed.Messages{}, 44: &fixed.MembersInfo{}, 34: &fixed.Members{},
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
		call, err := fixed.ReadCall(buffered(wire.FinishServerFrame(append(frame, b...), start)))
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
	info := &fixed.MembersInfo{Members: []fixed.MemberInfo{{Info: large}, {Info: []byte{}, Time: 1}}}
	messages := &fixed.Messages{Messages: []fixed.Message{{Blob: large}, {ID: 2, Blob: []byte{}}}}
	for _, want := range []fixed.Result{info, messages} {
		got := empty(want)
		if err := read(t, fixed.AppendOK(nil, 1, want)).Parse(got); err != nil || !reflect.DeepEqual(want, got) {
			t.Errorf("%T: %v", want, err)
		}
	}
	invite := &fixed.GotInvite{Name: strings.Repeat("n", 100), Description: strings.Repeat("d", 1000), Avatar: large[:1<<20], Data: large[:1<<12]}
	if got, err := read(t, fixed.AppendPush(nil, invite)).Push(); err != nil || !reflect.DeepEqual(fixed.Push(invite), got) {
		t.Errorf("invite: %v", err)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	if _, err := fixed.ReadCall(buffered([]byte{2, 3, 1, 0, 0, 0, 0, 0})); wire.ViolationCode(err) != wire.CodeVersion {
		t.Errorf("version 2: %v", err)
	}
	if _, err := fixed.ReadAnswer(buffered([]byte{2, 1, 0, 0, 0, 0, 0})); wire.ViolationCode(err) != wire.CodeCommand {
		t.Errorf("status 2: %v", err)
	}
	for name, test := range map[string]struct {
		request fixed.Request
		change  func(b []byte)
		code    string
	}{
		"accept 2":     {&fixed.InviteResponse{}, func(b []byte) { b[len(b)-1] = 2 }, wire.CodeValue},
		"name no text": {&fixed.CreateChat{Name: "n"}, func(b []byte) { b[8+132+2] = 0xff }, wire.CodeText},
		"negative":     {&fixed.SendMessage{Blob: []byte{1}}, func(b []byte) { b[8+16] = 0xff }, wire.CodeLength},
		"too long":     {&fixed.SendMessage{Blob: []byte{1}}, func(b []byte) { b[8+19] = 2 }, wire.CodeTruncated},
	} {
		b := fixed.AppendRequest(nil, 1, test.request)
		test.change(b)
		call, err := fixed.ReadCall(buffered(b))
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
	call, err := fixed.ReadCall(buffered(fixed.AppendRequest(nil, 1, &fixed.CreateChat{
		Name: strings.Repeat("ы", 15), Description: strings.Repeat("d", 1<<17),
	})))
	if err != nil {
		t.Fatal(err)
	}
	got, err := call.Parse()
	if q, ok := got.(*fixed.CreateChat); !ok || q.Name != strings.Repeat("ы", 10) || q.Description != strings.Repeat("d", 200) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestMoreFieldsAreIgnored, as by the mediator: an earlier DELETE_CHAT had some.
func TestMoreFieldsAreIgnored(t *testing.T) {
	b := append(fixed.AppendRequest(nil, 1, &fixed.DeleteChat{Chat: chat}), "more"...)
	b[7] += 4
	call, err := fixed.ReadCall(buffered(b))
	if err != nil {
		t.Fatal(err)
	}
	if q, err := call.Parse(); !cmp.Equal(q, fixed.Request(&fixed.DeleteChat{Chat: chat})) || err != nil {
		t.Errorf("%+v, %v", q, err)
	}
}

func TestSystemMessages(t *testing.T) {
	random := counting(9)
	randomHex := hex.EncodeToString(random[:])
	for text, want := range map[string]fixed.System{
		"01" + bobHex + aliceHex + randomHex: {Event: fixed.EventUserAdded, User: bob(), Actor: alice().Public(), Random: random},
		"03" + bobHex + randomHex:            {Event: fixed.EventUserLeft, User: bob(), Random: random},
		"04" + bobHex + aliceHex + randomHex: {Event: fixed.EventUserBanned, User: bob(), Actor: alice().Public(), Random: random},
		"05" + aliceHex + randomHex:          {Event: fixed.EventChatDeleted, Actor: alice().Public(), Random: random},
	} {
		b := want.AppendTo(nil)
		if hex.EncodeToString(b) != text {
			t.Errorf("wrote %x, want %s", b, text)
		}
		if got, err := fixed.ParseSystem(b); got != want || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := fixed.ParseSystem(b[:len(b)-1]); wire.ViolationCode(err) != wire.CodeTruncated {
			t.Errorf("a byte less: %v", err)
		}
	}
	for _, event := range []byte{0, 2, 6, 7, 255} {
		if s, err := fixed.ParseSystem(bytes.Repeat([]byte{event}, 97)); wire.ViolationCode(err) != wire.CodeValue {
			t.Errorf("%+v, %v", s, err)
		}
		if b := (fixed.System{Event: fixed.Event(event)}).AppendTo(nil); !bytes.Equal(b, []byte{event}) {
			t.Errorf("event %d: %x", event, b)
		}
	}
}

// TestServerError_TextSanitized: the text of a mediator ends up in logs.
func TestServerError_TextSanitized(t *testing.T) {
	err := read(t, fixed.AppendError(nil, 0, "no\n\x1b[31m"+strings.Repeat("x", 1000))).Err()
	refused, ok := errors.AsType[*fixed.ServerError](err)
	if !ok || len(refused.Text) > 256 || strings.ContainsAny(refused.Text, "\n\x1b") || !strings.HasPrefix(refused.Text, "no") {
		t.Errorf("%v", err)
	}
}

func TestPermissions(t *testing.T) {
	for bit, p := range map[byte]fixed.Permissions{
		0x80: fixed.PermissionOwner, 0x40: fixed.PermissionAdmin, 0x20: fixed.PermissionModerator,
		0x10: fixed.PermissionUser, 0x08: fixed.PermissionReadOnly, 0x01: fixed.PermissionBanned,
	} {
		if byte(p) != bit {
			t.Errorf("%02x is %02x", bit, byte(p))
		}
	}
	owner := fixed.PermissionOwner | fixed.PermissionUser
	if !owner.HasAny(fixed.PermissionAdmin|fixed.PermissionOwner) || owner.HasAny(fixed.PermissionReadOnly) {
		t.Errorf("%02x", byte(owner))
	}
	if fixed.MaxMessages != 500 {
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
			call, err := fixed.ReadCall(buffered(b))
			if err != nil {
				return
			}
			q, err := call.Parse()
			if err != nil {
				return
			}
			again, err := fixed.ReadCall(buffered(fixed.AppendRequest(nil, call.ID, q)))
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
		f.Add(fixed.AppendOK(nil, 1, r))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := fixed.ReadAnswer(buffered(b))
		if err != nil {
			return
		}
		if p, err := a.Push(); err == nil && p != nil {
			if again, err := read(t, fixed.AppendPush(nil, p)).Push(); err != nil || !cmp.Equal(p, again, emptyIsNil) {
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
			if err := read(t, fixed.AppendOK(nil, a.ID, r)).Parse(again); err != nil || !cmp.Equal(r, again, emptyIsNil) {
				t.Errorf("%+v becomes %+v, %v", r, again, err)
			}
		}
	})
}

// Bar S01
func FuzzParseSystem(f *testing.F) {
	f.Add(fixed.System{Event: fixed.EventUserAdded}.AppendTo(nil))
	f.Add(fixed.System{Event: fixed.EventUserLeft}.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := fixed.ParseSystem(b); err == nil && !bytes.HasPrefix(b, s.AppendTo(nil)) {
			t.Errorf("%x becomes %x", b, s.AppendTo(nil))
		}
	})
}
