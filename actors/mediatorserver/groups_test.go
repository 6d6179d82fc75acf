// SPDX-License-Identifier: MPL-2.0

package mediatorserver_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// texts returns the messages that a client was pushed about a group, in their order.
func (c *client) texts(chat uint64) (texts []string) {
	for _, f := range c.Pushes() {
		if f.ID == gotMessage && f.Number(chatID) == chat && f.Number(messageID) > 0 && string(f.Get(pubkey)) != c.r.author() {
			texts = append(texts, string(f.Get(blob)))
		}
	}
	return texts
}

// author is who writes events.
func (r *rig) author() string {
	key := r.key.Key()
	return string(key[:])
}

func (c *client) wantTexts(chat uint64, want ...string) {
	c.r.t.Helper()
	if got := c.texts(chat); !slices.Equal(got, want) {
		c.r.t.Errorf("pushed %q, want %q", got, want)
	}
}

func role(who phone.Identity, p byte) []phone.TLV {
	return []phone.TLV{phone.U64(chatID, groupA), keyField(userKey, who), phone.U8(perms, p)}
}

func of(chat uint64, who phone.Identity) []phone.TLV {
	return []phone.TLV{phone.U64(chatID, chat), keyField(userKey, who)}
}

func TestMediator_Message_PushedToSubscribersOfItsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		a, b, d := r.in(alice), r.in(bob), r.in(dave)
		second := r.in(alice) // another device
		a.send(groupA, 1, "for a")
		b.send(groupB, 1, "for b")
		virtual.Sleep(time.Second)
		a.wantTexts(groupA)
		a.wantTexts(groupB, "for b")
		b.wantTexts(groupA, "for a")
		b.wantTexts(groupB)
		for _, c := range []*client{d, second} {
			c.wantTexts(groupA, "for a")
			c.wantTexts(groupB, "for b")
		}
	})
}

func TestMediator_Nonce_AskedForBySomebodyElse_LoginStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		stranger, c := r.as(eve), r.dial()
		key := alice.Key()
		nonce := c.ok(getNonce, keyField(pubkey, alice)).Get(nonceTag)
		for range 10 {
			stranger.ok(getNonce, keyField(pubkey, alice))
		}
		stranger.refused("nonce mismatch", auth, keyField(pubkey, alice), phone.TLV{Tag: nonceTag, Value: nonce}, phone.TLV{Tag: signature, Value: alice.Sign(nonce)})
		c.ok(auth, phone.TLV{Tag: pubkey, Value: key[:]}, phone.TLV{Tag: nonceTag, Value: nonce}, phone.TLV{Tag: signature, Value: alice.Sign(nonce)})
		c.ok(subscribe, phone.U64(chatID, groupA))
	})
}

func TestMediator_ReadOnly_NoPushesUntilRoleIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		a, b, c := r.in(alice), r.in(bob), r.in(carol)
		a.ok(memberStatus, role(carol, readOnly)...)
		c.await("the change", event(7, carol))
		a.send(groupA, 1, "one")
		a.send(groupA, 2, "two")
		b.send(groupB, 1, "in the other group")
		virtual.Sleep(time.Second)
		c.wantTexts(groupA)
		c.wantTexts(groupB, "in the other group")
		c.refused("read-only user", sendMessage, phone.U64(chatID, groupA), phone.U64(guid, 5))
		c.refused("read-only user", subscribe, phone.U64(chatID, groupA))
		if n := len(c.ok(messagesSince, phone.U64(chatID, groupA), phone.U64(sinceID, 0), phone.U32(limit, 100)).Fields()); n != 1+5*6 {
			t.Errorf("the history has %d fields", n)
		}

		a.ok(memberStatus, role(carol, user)...)
		a.send(groupA, 3, "three")
		virtual.Sleep(time.Second)
		c.wantTexts(groupA, "one", "two", "three")
	})
}

func TestMediator_Banned_NoPushesOfThatGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		a, b, c, d := r.in(alice), r.in(bob), r.in(carol), r.in(dave)
		a.ok(deleteUser, of(groupA, carol)...)
		a.send(groupA, 1, "without carol")
		b.send(groupB, 1, "with carol")
		virtual.Sleep(time.Second)
		c.await("the ban", event(4, carol))
		c.wantTexts(groupA)
		c.wantTexts(groupB, "with carol")
		d.wantTexts(groupA, "without carol")
		for _, command := range []byte{subscribe, lastID, members, membersInfo} {
			c.refused("not a member or banned", command, phone.U64(chatID, groupA))
		}
		c.refused("banned user", leaveChat, phone.U64(chatID, groupA))
		if got := c.ok(userChats).Number(chatID); got != groupB {
			t.Errorf("a member of %x", got)
		}
	})
}

// A member who lacks more than is pushed at once is disconnected, and fetches it.
func TestMediator_LongBan_EndsTheConnectionAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		a, c := r.in(alice), r.in(carol)
		a.ok(deleteUser, of(groupA, carol)...)
		for i := range int64(300) {
			a.send(groupA, i, "missed")
		}
		a.ok(addUser, of(groupA, carol)...)
		<-c.Ended()
		again := r.in(carol)
		if n := again.ok(messagesSince, phone.U64(chatID, groupA), phone.U64(sinceID, 0), phone.U32(limit, 500)).Get(count); string(n) != "\x00\x00\x01\x31" {
			t.Errorf("%x messages", n)
		}
	})
}

func TestMediator_Owner_ChangedByOwnersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		a, c, d := r.in(alice), r.in(carol), r.in(dave)
		a.ok(memberStatus, role(carol, moderator)...)
		a.ok(memberStatus, role(dave, admin)...)
		const text = "cannot modify owner permissions"
		for _, by := range []*client{c, d} {
			by.refused(text, deleteUser, of(groupA, alice)...)
			by.refused(text, addUser, of(groupA, alice)...)
		}
		d.refused(text, memberStatus, role(alice, user)...)
		c.refused("insufficient perms", memberStatus, role(alice, user)...)
		a.ok(updateInfo, phone.U64(chatID, groupA), phone.TLV{Tag: chatName, Value: []byte("still mine")})
		a.refused("owner can't leave", leaveChat, phone.U64(chatID, groupA))
		// The only owner would be gone for ever.
		for _, command := range []byte{deleteUser, addUser} {
			a.refused("cannot modify own permissions", command, of(groupA, alice)...)
		}
		// Two owners may.
		a.ok(memberStatus, role(dave, owner|user)...)
		d.ok(memberStatus, role(alice, user)...)
		a.refused("insufficient perms", updateInfo, phone.U64(chatID, groupA), phone.TLV{Tag: chatName, Value: []byte("x")})
	})
}

func TestMediator_Restart_EverythingKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		a := r.in(alice)
		first := a.send(groupA, 7, "before")
		a.ok(updateMember, phone.U64(chatID, groupA), phone.TLV{Tag: memberInfo, Value: []byte("profile")}, phone.U64(timestamp, 5))
		a.ok(sendInvite, keyField(userKey, eve), phone.U64(chatID, groupA), phone.TLV{Tag: inviteData, Value: []byte("key")})
		r.stop()
		<-a.Ended()
		r.start()

		a = r.in(alice)
		if again := a.send(groupA, 7, "before"); again != first {
			t.Errorf("id %d of the retry, %d of the message", again, first)
		}
		if next := a.send(groupA, 8, "after"); next != first+1 {
			t.Errorf("id %d after %d", next, first)
		}
		e := r.as(eve)
		invite := e.await("invite", func(f phone.MediatorFrame) bool { return f.ID == gotInvite })
		if string(invite.Get(inviteData)) != "key" || string(invite.Get(chatDesc)) != "about" {
			t.Errorf("invite %x", invite.Body)
		}
		e.ok(inviteResponse, phone.TLV{Tag: inviteID, Value: invite.Get(inviteID)}, phone.U8(accepted, 1))
		list := e.ok(membersInfo, phone.U64(chatID, groupA))
		if !strings.Contains(string(list.Body), "profile") {
			t.Errorf("profiles %x", list.Body)
		}
	})
}

func TestMediator_Invite_PushedOnceAndExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		a, b := r.in(alice), r.in(bob)
		isInvite := func(f phone.MediatorFrame) bool { return f.ID == gotInvite }
		for _, c := range []struct {
			by   *client
			chat uint64
		}{{a, groupA}, {b, groupB}} {
			c.by.ok(sendInvite, of(c.chat, eve)...)
			c.by.refused("invite already exists", sendInvite, of(c.chat, eve)...)
		}
		e := r.as(eve)
		virtual.Sleep(time.Second)
		invites := slices.DeleteFunc(e.Pushes(), func(f phone.MediatorFrame) bool { return !isInvite(f) })
		if len(invites) != 2 || invites[0].Number(chatID) == invites[1].Number(chatID) {
			t.Fatalf("%d invites", len(invites))
		}
		if invites[0].Number(chatID) != groupA {
			slices.Reverse(invites)
		}
		again := r.as(eve)
		virtual.Sleep(time.Second)
		if n := len(again.Pushes()); n != 0 {
			t.Errorf("%d pushes at the next login", n)
		}
		// After an hour another one takes its place, and its id.
		r.offset.Add(int64(time.Hour + time.Second))
		a.ok(sendInvite, of(groupA, eve)...)
		if f := again.await("second invite", isInvite); f.Number(inviteID) != invites[0].Number(inviteID) {
			t.Errorf("invite %d instead of %d", f.Number(inviteID), invites[0].Number(inviteID))
		}
		// A ban withdraws it.
		a.ok(deleteUser, of(groupA, eve)...)
		again.refused("invite not found", inviteResponse, phone.U64(inviteID, invites[0].Number(inviteID)), phone.U8(accepted, 1))
		r.offset.Add(int64(73 * time.Hour))
		virtual.Sleep(2 * time.Hour)
		for _, c := range []*client{a, again} {
			<-c.Ended() // idle for too long
		}
		again = r.as(eve)
		again.refused("invite not found", inviteResponse, phone.U64(inviteID, invites[1].Number(inviteID)), phone.U8(accepted, 1))
	})
}

func TestMediator_Keep_OldMessagesRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t, func(r *rig) { r.opts.Keep = 48 * time.Hour })
		a := r.in(alice)
		old := a.send(groupA, 1, "old")
		r.offset.Add(int64(47 * time.Hour))
		a.send(groupA, 2, "young")
		virtual.Sleep(2*time.Hour + time.Second) // the work of the second hour is done
		a = r.in(alice)
		f := a.ok(messagesSince, phone.U64(chatID, groupA), phone.U64(sinceID, 0), phone.U32(limit, 100))
		if f.Number(messageID) != old+1 || string(f.Get(blob)) != "young" || len(f.Fields()) != 1+5 {
			t.Errorf("left: %x", f.Body)
		}
		if last := a.ok(lastID, phone.U64(chatID, groupB)).Number(messageID); last != 3 {
			t.Errorf("last id %d of a group whose messages have expired", last)
		}
		if id := a.send(groupA, 1, "the guid is free again"); id != old+2 {
			t.Errorf("id %d", id)
		}
	})
}

func TestMediator_Presence_LastConnectionCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		a, c1 := r.in(alice), r.in(carol)
		c2 := r.in(carol)
		virtual.Sleep(time.Second)
		online := func() (states []byte) {
			key := carol.Key()
			for _, f := range a.Pushes() {
				if b := f.Get(blob); f.ID == gotMessage && f.Number(chatID) == groupA && len(b) == 42 && b[0] == 9 && string(b[1:33]) == string(key[:]) {
					states = append(states, b[33])
				}
			}
			return states
		}
		member := func() (state byte, seen uint64) {
			fields := a.ok(members, phone.U64(chatID, groupA)).Fields()
			for i, f := range fields {
				if key := carol.Key(); f.Tag == userKey && string(f.Value) == string(key[:]) {
					return fields[i+2].Value[0], phone.MediatorFrame{Body: phone.EncodeTLVs(fields[i+3])}.Number(lastSeen)
				}
			}
			return 0, 0
		}
		if got := online(); string(got) != "\x01" {
			t.Errorf("told %v", got)
		}
		c1.Close()
		virtual.Sleep(5 * time.Second)
		if state, seen := member(); state != 1 || seen != 0 || string(online()) != "\x01" {
			t.Errorf("with one device: online %d, seen %d, told %v", state, seen, online())
		}
		at := r.now().Unix()
		c2.Close()
		virtual.Sleep(5 * time.Second)
		if state, seen := member(); state != 0 || int64(seen) < at || string(online()) != "\x01\x00" {
			t.Errorf("without a device: online %d, seen %d of %d, told %v", state, seen, at, online())
		}
	})
}

func TestMediator_Quotas_RefusedWithTheirTexts(t *testing.T) {
	const message = 1000 + store.MediatorOverhead
	large := phone.TLV{Tag: blob, Value: make([]byte, 1000)}
	for name, test := range map[string]struct {
		limits store.MediatorLimits
		text   string
	}{
		"member":   {store.MediatorLimits{BytesPerMember: 3 * message}, "quota exceeded: your messages in this group take all of your space"},
		"group":    {store.MediatorLimits{BytesPerGroup: 3*message + 2000}, "quota exceeded: the messages of this group take all of its space"},
		"owner":    {store.MediatorLimits{BytesPerOwner: 3*message + 2000}, "quota exceeded: the groups of this owner take all of their space"},
		"mediator": {store.MediatorLimits{Bytes: 3*message + 3000}, "quota exceeded: the mediator is full"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newGroups(t, func(r *rig) { r.opts.Limits = test.limits })
				a := r.in(alice)
				sent := uint64(0)
				for ; sent < 10; sent++ {
					if f := a.call(sendMessage, phone.U64(chatID, groupA), phone.U64(guid, sent), phone.U64(timestamp, 1), large); f.Status != 0 {
						if f.Refusal() != test.text {
							t.Errorf("refused: %q", f.Refusal())
						}
						break
					}
				}
				if sent != 3 {
					t.Errorf("%d messages fit", sent)
				}
				// A retry of what is stored is not a new message.
				if f := a.call(sendMessage, phone.U64(chatID, groupA), phone.U64(guid, 0), phone.U64(timestamp, 1), large); f.Status != 0 {
					t.Errorf("retry refused: %q", f.Refusal())
				}
				a.ok(deleteUser, of(groupA, dave)...)                                     // also when it is full
				a.ok(deleteMessage, phone.U64(chatID, groupA), phone.U64(guid, 0))        // which makes space
				a.ok(deleteMessage, phone.U64(chatID, groupA), phone.U64(guid, 1))        //
				a.ok(sendMessage, phone.U64(chatID, groupA), phone.U64(guid, 100), large) //
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t, func(r *rig) {
			r.opts.Limits = store.MediatorLimits{MembersPerGroup: 4, InvitesPerGroup: 1, GroupsPerOwner: 1}
			r.opts.MaxMessage = 100_000
		})
		a := r.in(alice)
		a.refused("quota exceeded: the group has too many members", addUser, of(groupA, eve)...)
		a.ok(sendInvite, of(groupA, eve)...)
		a.refused("quota exceeded: too many pending invites", sendInvite, of(groupA, phone.IdentityOf("frank"))...)
		a.refused("message too large", sendMessage, phone.U64(chatID, groupA), phone.U64(guid, 1), phone.TLV{Tag: blob, Value: make([]byte, 100_001)})
		a.refused("message too large", sendMessage, phone.U64(chatID, groupA), phone.U64(guid, 1), phone.TLV{Tag: blob, Value: make([]byte, 5<<20)})
		a.refused("field too large", updateMember, phone.U64(chatID, groupA), phone.U64(timestamp, 1), phone.TLV{Tag: memberInfo, Value: make([]byte, 577_537)})
		a.refused("field too large", sendInvite, keyField(userKey, eve), phone.U64(chatID, groupA), phone.TLV{Tag: inviteData, Value: make([]byte, 1025)})
		if _, err := a.CreateChat(t.Context(), alice, "another", ""); err == nil || !strings.Contains(err.Error(), "too many groups") {
			t.Errorf("second group of an owner: %v", err)
		}
	})
}

func TestMediator_Creators_OthersRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(r *rig) { r.opts.Creators = []identity.PublicKey{id(alice)} })
		if _, err := r.as(bob).CreateChat(t.Context(), bob, "mine", ""); err == nil || !strings.Contains(err.Error(), "restricted") {
			t.Errorf("bob: %v", err)
		}
		a := r.as(alice)
		chat, err := a.CreateChat(t.Context(), alice, "mine", "")
		if err != nil || chat == 0 || chat>>63 != 0 {
			t.Fatalf("alice: %x, %v", chat, err)
		}
		if last := a.ok(subscribe, phone.U64(chatID, chat)).Number(messageID); last != 0 {
			t.Errorf("last id %d", last)
		}
	})
}

func TestMediator_DeletedGroup_Gone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		for i := range 600 { // more than are removed at once
			r.add(groupA, alice, phone.IdentityOf(fmt.Sprint("member ", i)))
		}
		a, b, c := r.in(alice), r.in(bob), r.in(carol)
		c.ok(updateMember, phone.U64(chatID, groupA), phone.TLV{Tag: memberInfo, Value: []byte("profile")}, phone.U64(timestamp, 5))
		b.refused("not an owner", deleteChat, phone.U64(chatID, groupA))
		if f := a.ok(deleteChat, phone.U64(chatID, groupA)); string(f.Body) != "\x01" {
			t.Errorf("answer %x", f.Body)
		}
		virtual.Sleep(time.Second)
		c.await("the end", func(f phone.MediatorFrame) bool {
			return f.Number(chatID) == groupA && f.Number(messageID) == 0 && len(f.Get(blob)) == 65 && f.Get(blob)[0] == 5
		})
		for _, one := range []*client{a, c} {
			if got := one.ok(userChats).Number(chatID); got != groupB {
				t.Errorf("a member of %x", got)
			}
			one.refused("not a member or banned", subscribe, phone.U64(chatID, groupA))
		}
		a.refused("no such chat", deleteChat, phone.U64(chatID, groupA))
		if left, err := r.store.MediatorDeleted(); err != nil || len(left) != 0 {
			t.Errorf("still to be removed: %v, %v", left, err)
		}
		totals, err := r.store.MediatorTotals()
		if err != nil || totals.Groups != 1 || totals.Messages != 3 || totals.Bytes != 3*(97+store.MediatorOverhead) {
			t.Errorf("%+v, %v", totals, err)
		}
		b.send(groupB, 1, "the other one is as it was")
	})
}

func TestMediator_Operator_BansDeletesGivesSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t, func(r *rig) { r.opts.Limits.BytesPerGroup = 3000 })
		op := mediatorserver.Operator{Ref: r.ref, Key: r.key.Key()}
		a, c, d := r.in(alice), r.in(carol), r.in(dave)
		ctx := t.Context()
		// Also an owner.
		if err := op.Ban(ctx, groupA, id(alice)); err != nil {
			t.Fatal(err)
		}
		key := r.key.Key()
		ban := c.await("the ban", event(4, alice))
		if string(ban.Get(blob)[33:65]) != string(key[:]) {
			t.Errorf("banned by %x", ban.Get(blob)[33:65])
		}
		a.refused("not a member or banned", sendMessage, phone.U64(chatID, groupA), phone.U64(guid, 1))
		if err := op.Unban(ctx, groupA, id(alice)); err != nil {
			t.Fatal(err)
		}
		a.ok(sendMessage, phone.U64(chatID, groupA), phone.U64(guid, 1))
		a.ok(updateInfo, phone.U64(chatID, groupA), phone.TLV{Tag: chatName, Value: []byte("still the owner's")})
		if err := op.Unban(ctx, groupA, id(alice)); !errors.Is(err, store.ErrNotBanned) {
			t.Errorf("unban of an owner who is not banned: %v", err)
		}
		if err := op.Unban(ctx, groupA, id(eve)); !mediatorserver.IsUnknown(err) {
			t.Errorf("unban of a stranger: %v", err)
		}
		large := phone.TLV{Tag: blob, Value: make([]byte, 2000)}
		c.refused("quota exceeded: the messages of this group take all of its space", sendMessage, phone.U64(chatID, groupB), phone.U64(guid, 1), large)
		if err := op.SetQuota(ctx, groupB, 10_000); err != nil {
			t.Fatal(err)
		}
		c.ok(sendMessage, phone.U64(chatID, groupB), phone.U64(guid, 1), large)

		if changed, err := op.Refuse(ctx, id(dave), true); err != nil || !changed {
			t.Errorf("%v, %v", changed, err)
		}
		<-d.Ended()
		if err := r.dial().Login(ctx, dave); err == nil || !strings.Contains(err.Error(), "refused by the operator") {
			t.Errorf("login: %v", err)
		}
		if changed, err := op.Refuse(ctx, id(dave), false); err != nil || !changed {
			t.Errorf("%v, %v", changed, err)
		}
		r.in(dave)
		if err := op.Delete(ctx, groupB); err != nil {
			t.Fatal(err)
		}
		c.refused("not a member or banned", subscribe, phone.U64(chatID, groupB))
		if err := op.Delete(ctx, groupB); !mediatorserver.IsUnknown(err) {
			t.Errorf("second time: %v", err)
		}
	})
}

// After a backup has come back no id is given away that members may have seen.
func TestMediator_Restored_IDsNotUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newGroups(t)
		before := r.in(alice).send(groupA, 1, "before")
		r.stop()
		r.restored = true
		r.start()
		a := r.in(alice)
		first := a.send(groupA, 2, "after")
		if first <= before+1_000_000 {
			t.Errorf("id %d after %d", first, before)
		}
		r.stop()
		r.start()
		if next := r.in(alice).send(groupA, 3, "later"); next != first+1 {
			t.Errorf("id %d after %d", next, first)
		}
	})
}
