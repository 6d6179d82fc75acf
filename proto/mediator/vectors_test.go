// SPDX-License-Identifier: MPL-2.0

package mediator_test

import (
	"bytes"
	"reflect"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

const (
	vectorChat mediator.ChatID = 0x0123456789abcdef
)

type check = func(*testing.T, wiretest.Vector)

// Bar S26
func TestVectors(t *testing.T) {
	byName := make(map[string]wiretest.Vector)
	for _, v := range wiretest.Load(t, vectors) {
		byName[v.Name] = v
	}
	// What package group encrypts stands in the frames that carry it.
	sent := parseRequest[*mediator.SendMessage](t, byName["send-message"])
	invited := parseRequest[*mediator.SendInvite](t, byName["send-invite"])
	profile := parseRequest[*mediator.UpdateMemberInfo](t, byName["update-member-info"])
	if len(sent.Blob) != 118 || len(invited.Data) != 92 || len(profile.Info) != 47 {
		t.Fatalf("blobs of %d, %d and %d bytes", len(sent.Blob), len(invited.Data), len(profile.Info))
	}
	at := func(seconds int64) *int64 { return &seconds }
	text := func(s string) *string { return &s }
	random := [32]byte(bytes.Repeat([]byte{0x99}, 32))
	added := mediator.System{Event: mediator.EventUserAdded, User: bob(), Actor: alice(), Random: random}
	own := mediator.Message{ID: 8, GUID: -77, Time: 1767225600, Author: alice(), Blob: sent.Blob}

	wiretest.Run(t, vectors, map[string]check{
		"init": func(t *testing.T, v wiretest.Vector) {
			if !bytes.Equal(mediator.Opening[:], v.OutputHex()) {
				t.Errorf("opening %x", mediator.Opening)
			}
		},
		"get-nonce": request(func(v wiretest.Vector) mediator.Request {
			return &mediator.GetNonce{Identity: v.Key("identity")}
		}),
		"get-nonce-response": result(func(v wiretest.Vector) mediator.Result { return &mediator.Nonce{Nonce: v.Key("nonce")} }),
		"auth": request(func(v wiretest.Vector) mediator.Request {
			key := identity.NewPrivateKey(v.Key("seed"))
			signature, err := key.SignServerNonce(v.Key("nonce"), identity.KeyGuard())
			if err != nil {
				t.Fatal(err)
			}
			return &mediator.Auth{Identity: key.Public(), Nonce: v.Key("nonce"), Signature: signature}
		}),
		"ok-empty": result(func(wiretest.Vector) mediator.Result { return nil }),
		"error":    checkError,
		"ping":     request(func(wiretest.Vector) mediator.Request { return &mediator.Ping{} }),
		"create-chat": request(func(v wiretest.Vector) mediator.Request {
			nonce := [32]byte(bytes.Repeat([]byte{0x33}, 32))
			counter, signature, found := seeded(0).SignChat(nonce, uint32(v.Int("counter")), 1)
			if !found {
				t.Fatal("the counter of the vector proves nothing")
			}
			return &mediator.CreateChat{
				Owner: alice(), Nonce: nonce, Counter: counter, Signature: signature,
				Name: v.Text("name"), Description: v.Text("description"), Avatar: v.Hex("avatar"),
			}
		}),
		"create-chat-response": result(func(wiretest.Vector) mediator.Result { return &mediator.Chat{Chat: vectorChat} }),
		"subscribe":            request(func(wiretest.Vector) mediator.Request { return &mediator.Subscribe{Chat: vectorChat} }),
		"subscribe-response": result(func(v wiretest.Vector) mediator.Result {
			return &mediator.LastMessage{Message: mediator.MessageID(v.Int("message_id"))}
		}),
		"send-message": request(func(v wiretest.Vector) mediator.Request {
			return &mediator.SendMessage{
				Chat: vectorChat, GUID: peer.GUID(v.Int("guid")), Time: at(v.Int("timestamp_s")), Blob: sent.Blob,
			}
		}),
		"send-message-response": result(func(v wiretest.Vector) mediator.Result {
			return &mediator.Sent{GUID: peer.GUID(v.Int("guid")), Message: mediator.MessageID(v.Int("message_id"))}
		}),
		"push-message": push(func(v wiretest.Vector) mediator.Push {
			return &mediator.GotMessage{Chat: vectorChat, Message: mediator.Message{
				ID: mediator.MessageID(v.Int("message_id")), GUID: peer.GUID(v.Int("guid")), Time: v.Int("timestamp_s"),
				Author: v.Key("author"), Blob: sent.Blob,
			}}
		}),
		"get-messages-since": request(func(v wiretest.Vector) mediator.Request {
			return &mediator.GetMessagesSince{
				Chat: vectorChat, Since: mediator.MessageID(v.Int("since")), Limit: uint32(v.Int("limit")),
			}
		}),
		"system-guid": func(t *testing.T, v wiretest.Vector) {
			got := mediator.SystemGUID(v.Hex("blob"), v.Int("timestamp_s"))
			if strconv.FormatInt(int64(got), 10) != v.OutputText() {
				t.Errorf("guid %d, want %s", got, v.OutputText())
			}
		},
		"messages-list": result(func(v wiretest.Vector) mediator.Result {
			blob := added.AppendTo(nil)
			return &mediator.Messages{Messages: []mediator.Message{
				{ID: 7, GUID: mediator.SystemGUID(blob, 1767225500), Time: 1767225500, Author: v.Key("mediator"), Blob: blob},
				own,
			}}
		}),
		"send-invite": request(func(v wiretest.Vector) mediator.Request {
			return &mediator.SendInvite{Chat: vectorChat, User: v.Key("recipient"), Data: invited.Data}
		}),
		"push-invite": push(func(v wiretest.Vector) mediator.Push {
			return &mediator.GotInvite{
				Invite: mediator.InviteID(v.Int("invite_id")), Chat: vectorChat, From: v.Key("from"), Time: v.Int("timestamp_s"),
				Name: v.Text("name"), Description: v.Text("description"), Data: invited.Data,
			}
		}),
		"invite-response": request(func(v wiretest.Vector) mediator.Request {
			return &mediator.InviteResponse{Invite: mediator.InviteID(v.Int("invite_id")), Accept: v.Int("accept") == 1}
		}),
		"push-request-member-info": push(func(v wiretest.Vector) mediator.Push {
			return &mediator.RequestMemberInfo{Chat: vectorChat, LastUpdate: v.Int("last_update")}
		}),
		"update-member-info": request(func(v wiretest.Vector) mediator.Request {
			return &mediator.UpdateMemberInfo{Chat: vectorChat, Info: profile.Info, Time: v.Int("timestamp_s")}
		}),
		"members-list": result(func(wiretest.Vector) mediator.Result {
			return &mediator.Members{Members: []mediator.Member{
				{User: alice(), Permissions: mediator.PermissionOwner | mediator.PermissionUser, Online: true},
				{User: bob(), Permissions: mediator.PermissionUser, LastSeen: 1767220000},
			}}
		}),
		"system-user-added":  system(added),
		"system-user-left":   system(mediator.System{Event: mediator.EventUserLeft, User: bob(), Random: random}),
		"system-user-banned": system(mediator.System{Event: mediator.EventUserBanned, User: bob(), Actor: alice(), Random: random}),
		"system-chat-deleted": system(mediator.System{
			Event: mediator.EventChatDeleted, Actor: alice(), Random: random,
		}),
		"system-info-change": system(mediator.System{Event: mediator.EventInfoChanged, Actor: alice(), Name: text("New")}),
		"system-perms-changed": system(mediator.System{
			Event: mediator.EventPermissions, User: bob(), Permissions: mediator.PermissionModerator, Actor: alice(), Random: random,
		}),
		"system-message-deleted": system(mediator.System{Event: mediator.EventMessageDeleted, GUID: -77, Actor: alice()}),
		"system-member-online": system(mediator.System{
			Event: mediator.EventMemberOnline, User: bob(), Online: true, Time: 1767225600,
		}),
		"members-info-list": result(func(wiretest.Vector) mediator.Result {
			return &mediator.MembersInfo{Members: []mediator.MemberInfo{
				{User: alice(), Info: profile.Info, Time: 1700000001}, {User: bob()},
			}}
		}),
		"push-member-info": push(func(v wiretest.Vector) mediator.Push {
			return &mediator.GotMemberInfo{Chat: vectorChat, Members: []mediator.MemberInfo{
				{User: alice(), Info: profile.Info, Time: v.Int("timestamp_s")},
			}}
		}),
		"push-chat-deleted": push(func(v wiretest.Vector) mediator.Push {
			blob := mediator.System{Event: mediator.EventChatDeleted, Actor: alice(), Random: random}.AppendTo(nil)
			return &mediator.GotMessage{Chat: vectorChat, Message: mediator.Message{
				GUID: peer.GUID(v.Int("guid")), Time: v.Int("timestamp_s"), Author: v.Key("mediator"), Blob: blob,
			}}
		}),
		"delete-chat-response": result(func(wiretest.Vector) mediator.Result { return &mediator.Deleted{} }),
		"delete-message": request(func(v wiretest.Vector) mediator.Request {
			return &mediator.DeleteMessage{Chat: vectorChat, GUID: peer.GUID(v.Int("guid"))}
		}),
		"change-member-status": request(func(v wiretest.Vector) mediator.Request {
			return &mediator.ChangeMemberStatus{
				Chat: vectorChat, User: v.Key("user"), Permissions: mediator.Permissions(v.Int("perms")),
			}
		}),
		"update-chat-info-name-only": request(func(v wiretest.Vector) mediator.Request {
			name := v.Text("name")
			return &mediator.UpdateChatInfo{Chat: vectorChat, Name: &name}
		}),
		"user-chats-response": result(func(v wiretest.Vector) mediator.Result {
			var chats []mediator.ChatID
			v.Decode("chat_ids", &chats)
			return &mediator.Chats{Chats: chats}
		}),
	})
}

// same compares values where nil and empty are one.
var same = cmpopts.EquateEmpty()

func parseRequest[T mediator.Request](t *testing.T, v wiretest.Vector) T {
	t.Helper()
	q, err := readCall(t, v.OutputHex()).Parse()
	if err != nil {
		t.Fatalf("%s: %v", v.Name, err)
	}
	return q.(T)
}

func request(build func(wiretest.Vector) mediator.Request) check {
	return func(t *testing.T, v wiretest.Vector) {
		q, id, want := build(v), uint16(v.Int("req_id")), v.OutputHex()
		if got := mediator.AppendRequest(nil, id, q); !bytes.Equal(got, want) {
			t.Errorf("wrote\n%x, want\n%x", got, want)
		}
		call := readCall(t, want)
		parsed, err := call.Parse()
		if diff := cmp.Diff(q, parsed, same); diff != "" || err != nil || call.ID != id || call.Command != q.Command() {
			t.Errorf("read %+v: %v\n%s", call, err, diff)
		}
	}
}

func result(build func(wiretest.Vector) mediator.Result) check {
	return func(t *testing.T, v wiretest.Vector) {
		want, r, id := v.OutputHex(), build(v), uint16(v.Int("req_id"))
		if got := mediator.AppendOK(nil, id, r); !bytes.Equal(got, want) {
			t.Errorf("wrote\n%x, want\n%x", got, want)
		}
		answer := readAnswer(t, want)
		if answer.ID != id || answer.IsPush() || answer.Err() != nil {
			t.Errorf("read %+v, %v", answer, answer.Err())
		}
		if r == nil {
			return
		}
		for _, command := range commands() {
			parsed := resultOf(command)
			if reflect.TypeOf(parsed) != reflect.TypeOf(r) {
				continue
			}
			if err := answer.Parse(parsed); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(r, parsed, same); diff != "" {
				t.Error(diff)
			}
			return
		}
		t.Errorf("no command has the result %T", r)
	}
}

func push(build func(wiretest.Vector) mediator.Push) check {
	return func(t *testing.T, v wiretest.Vector) {
		want, p := v.OutputHex(), build(v)
		if got := mediator.AppendPush(nil, p); !bytes.Equal(got, want) {
			t.Errorf("wrote\n%x, want\n%x", got, want)
		}
		parsed, err := readAnswer(t, want).Push()
		if diff := cmp.Diff(p, parsed, same); diff != "" || err != nil {
			t.Errorf("read: %v\n%s", err, diff)
		}
	}
}

func system(s mediator.System) check {
	return func(t *testing.T, v wiretest.Vector) {
		want := v.OutputHex()
		if got := s.AppendTo(nil); !bytes.Equal(got, want) {
			t.Errorf("wrote\n%x, want\n%x", got, want)
		}
		for _, blob := range [][]byte{want, append(bytes.Clone(want), 0x7f, 0)} { // sizes are minimums
			parsed, err := mediator.ParseSystem(blob)
			if diff := cmp.Diff(s, parsed, same); diff != "" || err != nil {
				t.Errorf("read: %v\n%s", err, diff)
			}
		}
	}
}

func checkError(t *testing.T, v wiretest.Vector) {
	want := v.OutputHex()
	if got := mediator.AppendError(nil, uint16(v.Int("req_id")), v.Text("text")); !bytes.Equal(got, want) {
		t.Errorf("wrote\n%x, want\n%x", got, want)
	}
	answer := readAnswer(t, want)
	if err := answer.Parse(&mediator.Members{}); err == nil || err.Error() != "refused by the mediator: "+v.Text("text") {
		t.Errorf("read: %v", err)
	}
}
