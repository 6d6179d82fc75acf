// SPDX-License-Identifier: MPL-2.0

package mediator_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mimird/mimird/proto/identity"
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

// TestEveryCommand sends those that no vector has, too.
func TestEveryCommand(t *testing.T) {
	named := 0
	for command := range 256 {
		name := mediator.Command(command).String()
		call, err := mediator.ReadCall(buffered([]byte{1, byte(command), 1, 0, 0, 0, 0, 0}))
		if name == "UNKNOWN" {
			if wire.ViolationCode(err) != wire.CodeCommand {
				t.Errorf("command %d: %+v, %v", command, call, err)
			}
			continue
		}
		named++
		if err != nil || call.Command.String() != name {
			t.Errorf("%s: %+v, %v", name, call, err)
		}
	}
	if named != 19 {
		t.Errorf("%d commands", named)
	}
	for _, q := range []mediator.Request{
		&mediator.AddUser{Chat: chat, User: bob()},
		&mediator.DeleteUser{Chat: chat, User: bob()},
		&mediator.LeaveChat{Chat: chat},
		&mediator.DeleteMessage{Chat: chat, Message: 7},
		&mediator.GetLastMessageID{Chat: chat},
		&mediator.InviteResponse{Invite: -1},
		&mediator.CreateChat{Name: "n", Description: "d", Avatar: []byte{1, 2}},
	} {
		call, err := mediator.ReadCall(buffered(mediator.AppendRequest(nil, 0xffff, q)))
		if err != nil || call.ID != 0xffff || call.Command != q.Command() {
			t.Fatalf("%+v, %v", call, err)
		}
		got, err := call.Parse()
		if diff := cmp.Diff(q, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", q.Command(), err, diff)
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
	info := &mediator.GotMemberInfo{MembersInfo: mediator.MembersInfo{Members: []mediator.MemberInfo{{User: bob(), Time: 1}}}}
	got, err := read(t, mediator.AppendPush(nil, info)).Push()
	if diff := cmp.Diff(info, got, emptyIsNil); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
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
		if uint16(id) >= mediator.FirstID {
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
	for _, n := range []uint32{wire.MaxMediatorPayload + 1, 1<<31 - 1, 1<<32 - 1} {
		if _, err := mediator.ReadCall(buffered(request(n))); wire.ViolationCode(err) != wire.CodeLength {
			t.Errorf("request of %d: %v", n, err)
		}
		if _, err := mediator.ReadAnswer(buffered(answer(n))); wire.ViolationCode(err) != wire.CodeLength {
			t.Errorf("answer of %d: %v", n, err)
		}
	}
	wiretest.CheckAllocation(t, 8, func() {
		if _, err := mediator.ReadCall(buffered(request(wire.MaxMediatorPayload))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("request that ends early: %v", err)
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
		"accept 2":      {&mediator.InviteResponse{}, func(b []byte) { b[len(b)-1] = 2 }, wire.CodeValue},
		"name no text":  {&mediator.CreateChat{Name: "n"}, func(b []byte) { b[8+132+2] = 0xff }, wire.CodeText},
		"name too long": {&mediator.CreateChat{Avatar: make([]byte, 100)}, func(b []byte) { b[8+132+1] = wire.MaxChatName + 1 }, wire.CodeLength},
		"avatar":        {&mediator.CreateChat{Avatar: make([]byte, wire.MaxChatAvatar+1)}, nil, wire.CodeLength},
		"message":       {&mediator.SendMessage{Blob: make([]byte, wire.MaxGroupMessage+1)}, nil, wire.CodeLength},
		"negative":      {&mediator.SendMessage{Blob: []byte{1}}, func(b []byte) { b[8+16] = 0xff }, wire.CodeLength},
		"invite":        {&mediator.SendInvite{Data: make([]byte, wire.MaxInviteData+1)}, nil, wire.CodeLength},
		"member info":   {&mediator.UpdateMemberInfo{Info: make([]byte, wire.MaxMemberInfo+1)}, nil, wire.CodeLength},
	} {
		b := mediator.AppendRequest(nil, 1, test.request)
		if test.change != nil {
			test.change(b)
		}
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
	if q, ok := got.(*mediator.CreateChat); !ok || q.Name != strings.Repeat("ы", 10) || len(q.Description) != wire.MaxChatDescription {
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
	for _, want := range []mediator.System{
		{Event: mediator.EventUserAdded, User: bob(), Actor: alice().Public(), Random: random},
		{Event: mediator.EventUserLeft, User: bob(), Random: random},
		{Event: mediator.EventUserBanned, User: bob(), Actor: alice().Public(), Random: random},
		{Event: mediator.EventChatDeleted, Actor: alice().Public(), Random: random},
	} {
		b := want.AppendTo(nil)
		if got, err := mediator.ParseSystem(b); got != want || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
		if size := map[bool]int{true: 97, false: 65}[want.User != identity.PublicKey{} && want.Actor != identity.PublicKey{}]; len(b) != size {
			t.Errorf("event %d has %d bytes", want.Event, len(b))
		}
		if _, err := mediator.ParseSystem(b[:len(b)-1]); wire.ViolationCode(err) != wire.CodeTruncated {
			t.Errorf("a byte less: %v", err)
		}
	}
	for _, event := range []byte{0, 2, 6, 7, 255} {
		if s, err := mediator.ParseSystem(bytes.Repeat([]byte{event}, 97)); wire.ViolationCode(err) != wire.CodeValue {
			t.Errorf("%+v, %v", s, err)
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
	owner := mediator.PermissionOwner | mediator.PermissionUser
	if owner != 0x90 || !owner.Has(mediator.PermissionAdmin|mediator.PermissionOwner) || owner.Has(mediator.PermissionReadOnly) {
		t.Errorf("%02x", byte(owner))
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
