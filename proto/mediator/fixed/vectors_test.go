// SPDX-License-Identifier: MPL-2.0

package fixed_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator/fixed"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

// sealed and invite are the blobs of the vectors; package group opens them.
const (
	sealedMessage = "909192939495969798999a9b6126e23f3c917037f93d9066c7728d24b49983153a135dfdbbed1a3ac9fdd368678ed2f5e7594e6f4c31f79f9678603987e4e4c15c4f67a6f374d9115597c64d68550c2d713885337dd160e3a6415a833dce3580da62ff09ae32e69905332495436fe6cad8bdf67b8be284fe231b99e227563b59b5ca76206bd805edbab2"
	sealedProfile = "d0d1d2d3d4d5d6d7d8d9dadbbc5c8f7e465ae5568b1876c430a06a872d09c0d1f8a8a35dc8fd3a"
	inviteData    = "0233f006ef4bed144ea0a5bb46c7067c7c2acec5f8cc811f3df59fdcd5ac7614b0b1b2b3b4b5b6b7b8b9babb327dd8b2cf8f805df7f6373627891bd801ae1b6afacfaaa32cbbaa921541809772bd37c29f18f910f194eeffb9aaa8ce"
)

func TestVectors(t *testing.T) {
	all := load(t)
	take := func(name, from string) vector {
		v, ok := all[name]
		if !ok || v.From != from {
			t.Fatalf("no vector %q from the %s", name, from)
		}
		delete(all, name)
		return v
	}
	blob := func(s string) []byte { return wiretest.MustHex(t, s) }
	number := func(v any) int64 { return int64(v.(float64)) }

	if v := take("selector", "client"); !bytes.Equal(v.bytes(t), []byte{fixed.SelectorClient}) {
		t.Errorf("selector %s", v.Hex)
	}

	nonce := counting(0x70)
	login, err := alice().SignServerNonce(nonce, identity.KeyGuard())
	if err != nil {
		t.Fatal(err)
	}
	proof := all["create_chat"].Fields
	counter, proven := search(t, nonce)
	if counter != uint32(number(proof["counter"])) {
		t.Errorf("counter %d", counter)
	}
	if id := blob(all["create_chat_ok"].Fields["chat_id"].(string)); fixed.ChatID(binary.BigEndian.Uint64(id)) != chat {
		t.Fatalf("chat %x", id)
	}
	since := fixed.MessageID(number(all["get_messages_since"].Fields["since"]))
	limit := uint32(number(all["get_messages_since"].Fields["limit"]))
	const guid = -0x3c1b556f301ec072 // 0xc3e4aa90cfe13f8e

	for name, test := range map[string]struct {
		id      uint16
		request fixed.Request
	}{
		"get_nonce": {0x0100, &fixed.GetNonce{Identity: alice().Public()}},
		"auth":      {0x0101, &fixed.Auth{Identity: alice().Public(), Nonce: nonce, Signature: login}},
		"ping":      {0x0102, &fixed.Ping{}},
		"create_chat": {0x0103, &fixed.CreateChat{
			Owner: alice().Public(), Nonce: nonce, Counter: counter, Signature: proven,
			Name: proof["name"].(string), Description: proof["description"].(string), Avatar: []byte(proof["avatar"].(string)),
		}},
		"subscribe":              {0x0104, &fixed.Subscribe{Chat: chat}},
		"send_message":           {0x0105, &fixed.SendMessage{Chat: chat, GUID: guid, Blob: blob(sealedMessage)}},
		"get_messages_since":     {0x0106, &fixed.GetMessagesSince{Chat: chat, Since: since, Limit: limit}},
		"send_invite":            {0x0107, &fixed.SendInvite{Chat: chat, User: bob(), Data: blob(inviteData)}},
		"invite_response_accept": {0x0108, &fixed.InviteResponse{Invite: 9, Accept: true}},
		"update_member_info":     {0x0109, &fixed.UpdateMemberInfo{Chat: chat, Time: 1763000001, Info: blob(sealedProfile)}},
		"get_members_info":       {0x010a, &fixed.GetMembersInfo{Chat: chat}},
		"get_members":            {0x010b, &fixed.GetMembers{Chat: chat}},
		"get_user_chats":         {0x010c, &fixed.GetUserChats{}},
		"delete_chat":            {0x010d, &fixed.DeleteChat{Chat: chat}},
	} {
		b := take(name, "client").bytes(t)
		if got := fixed.AppendRequest(nil, test.id, test.request); !bytes.Equal(got, b) {
			t.Errorf("%s: wrote\n%x, want\n%x", name, got, b)
		}
		call, err := fixed.ReadCall(buffered(b))
		if err != nil || call.ID != test.id || call.Command != test.request.Command() {
			t.Fatalf("%s: %+v, %v", name, call, err)
		}
		got, err := call.Parse()
		if diff := cmp.Diff(test.request, got, emptyIsNil); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}

	message := fixed.Message{Chat: chat, ID: 42, GUID: guid, Author: alice().Public(), Blob: blob(sealedMessage)}
	bobsInfo := fixed.MemberInfo{User: bob(), Info: blob(sealedProfile), Time: 1763000001}
	for name, test := range map[string]struct {
		id   uint16
		want fixed.Result
	}{
		"get_nonce_ok":          {0x0100, &fixed.Nonce{Nonce: nonce}},
		"ok_empty":              {0x0101, nil},
		"create_chat_ok":        {0x0103, &fixed.Chat{Chat: chat}},
		"subscribe_ok":          {0x0104, &fixed.LastMessage{Message: fixed.MessageID(number(all["subscribe_ok"].Fields["last_id"]))}},
		"send_message_ok":       {0x0105, &fixed.LastMessage{Message: 42}},
		"get_messages_since_ok": {0x0106, &fixed.Messages{Messages: []fixed.Message{message}}},
		"get_members_info_ok": {0x010a, &fixed.MembersInfo{Members: []fixed.MemberInfo{
			bobsInfo, {User: alice().Public(), Time: 1762999000},
		}}},
		"get_members_ok": {0x010b, &fixed.Members{Members: []fixed.Member{
			{User: alice().Public(), Permissions: fixed.PermissionOwner | fixed.PermissionUser, Online: true},
			{User: bob(), Permissions: fixed.PermissionUser},
		}}},
		"get_user_chats_ok": {0x010c, &fixed.Chats{Chats: []fixed.ChatID{chat}}},
		"delete_chat_ok":    {0x010d, &fixed.Deleted{}},
	} {
		b := take(name, "mediator").bytes(t)
		if got := fixed.AppendOK(nil, test.id, test.want); !bytes.Equal(got, b) {
			t.Errorf("%s: wrote\n%x, want\n%x", name, got, b)
		}
		answer := read(t, b)
		if answer.ID != test.id || answer.IsPush() || answer.Err() != nil {
			t.Errorf("%s: %+v", name, answer)
		}
		if test.want == nil {
			if err := answer.Parse(nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		got := empty(test.want)
		if err := answer.Parse(got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, got, emptyIsNil); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}

	refused := take("error", "mediator")
	text := refused.Fields["text"].(string)
	if got := fixed.AppendError(nil, 0x0101, text); !bytes.Equal(got, refused.bytes(t)) {
		t.Errorf("error: wrote %x", got)
	}
	if err := read(t, refused.bytes(t)).Parse(&fixed.Nonce{}); err == nil || err.Error() != "the mediator refuses: "+text {
		t.Errorf("error: %v", err)
	}

	added := fixed.System{Event: fixed.EventUserAdded, User: bob(), Actor: alice().Public(), Random: counting(1)}
	system := fixed.Message{
		Chat: chat, ID: 43, Author: seeded(0xa0).Public(), Blob: added.AppendTo(nil),
		GUID: fixed.SystemGUID(added.AppendTo(nil), number(all["system_user_added_push"].Fields["ts"])),
	}
	if got, err := fixed.ParseSystem(system.Blob); got != added || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	for name, want := range map[string]fixed.Push{
		"request_member_info_push": &fixed.RequestMemberInfo{Chat: chat},
		"got_message_push":         &fixed.GotMessage{Message: message},
		"system_user_added_push":   &fixed.GotMessage{Message: system},
		"got_invite_push": &fixed.GotInvite{
			Invite: 9, Chat: chat, From: alice().Public(), Time: 1763000000, Name: "Team", Description: "d", Data: blob(inviteData),
		},
	} {
		b := take(name, "mediator").bytes(t)
		if got := fixed.AppendPush(nil, want); !bytes.Equal(got, b) {
			t.Errorf("%s: wrote\n%x, want\n%x", name, got, b)
		}
		got, err := read(t, b).Push()
		if diff := cmp.Diff(want, got, emptyIsNil); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}

	for name := range all {
		t.Errorf("vector %q is not checked", name)
	}
}

// search finds alice's proof of work from the first counter on, in portions as a
// caller that wants to stop would.
func search(t *testing.T, nonce [32]byte) (uint32, identity.Signature) {
	t.Helper()
	const portion = 10_000
	for first := uint32(0); first < 1_000_000; first += portion {
		if counter, sig, found := alice().SignChat(nonce, first, portion); found {
			if err := alice().Public().VerifyChat(nonce, counter, sig); err != nil {
				t.Error(err)
			}
			return counter, sig
		}
	}
	t.Fatal("no proof of work")
	return 0, identity.Signature{}
}
