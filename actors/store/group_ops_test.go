// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

var (
	choir = store.GroupConversation(nodeKey(0xd1), 7)
	band  = store.GroupConversation(nodeKey(0xd2), 7)
)

// newGroupRig has alice and anna in choir and band, groups of two mediators.
func newGroupRig(t *testing.T) *rig { return groupRigWith(t, store.Options{}) }

func groupRigWith(t *testing.T, opts store.Options) *rig {
	t.Helper()
	r := newPeopledRig(t, opts)
	for _, account := range []identity.PublicKey{alice, anna} {
		for _, mediator := range []byte{0xd1, 0xd2} {
			op := store.AddGroup{Account: account, Mediator: nodeKey(mediator), Chat: 7, Key: store.GroupKey{mediator}, Name: "seven"}
			if !must[bool](r, op) {
				t.Fatal("not added")
			}
		}
	}
	return r
}

// said is a message of a member as the mediator delivers it.
func said(number, guid int64, author identity.PublicKey, text string) store.GroupMessage {
	return store.GroupMessage{Number: number, GUID: guid, ServerGUID: guid, Author: author, Payload: []byte(text)}
}

// read is a batch of alice's in choir.
func read(since int64, messages ...store.GroupMessage) store.AcceptGroupMessages {
	op := store.AcceptGroupMessages{Account: alice, Group: choir, Since: since, Messages: messages}
	op.Upto = messages[len(messages)-1].Number
	return op
}

func (r *rig) groupTexts(account identity.PublicKey, group store.ConversationID) (texts []string) {
	r.t.Helper()
	for _, m := range get[[]store.Message](r)(r.store.Messages(account, group, 0, 0)) {
		texts = append([]string{fmt.Sprintf("%d %s %s", m.Number, m.State, m.Payload)}, texts...)
	}
	return texts
}

func (r *rig) groupKinds(account identity.PublicKey, group store.ConversationID) (kinds []store.EventKind) {
	r.t.Helper()
	for _, ev := range get[[]store.Event](r)(r.store.ConversationEvents(account, group, 0, 0)) {
		kinds = append(kinds, ev.Kind)
	}
	return kinds
}

func position(r *rig, account identity.PublicKey, group store.ConversationID) int64 {
	r.t.Helper()
	at, _, err := r.store.GroupPosition(account, group)
	if err != nil {
		r.t.Fatal(err)
	}
	return at
}

func TestAcceptGroupMessages_OnlyAfterPosition(t *testing.T) {
	r := newGroupRig(t)
	must[store.GroupAccepted](r, read(0, said(1, 11, bob, "one"), said(4, 14, carol, "four")))
	for _, since := range []int64{0, 1, 3, 5} {
		if _, err := do[store.GroupAccepted](r, read(since, said(6, 16, bob, "a gap"))); !errors.Is(err, store.ErrPosition) {
			t.Errorf("after %d: %v", since, err)
		}
	}
	got := must[store.GroupAccepted](r, read(4, said(6, 16, bob, "six")))
	if got.Position != 6 || got.Stored != 1 || position(r, alice, choir) != 6 {
		t.Errorf("%+v", got)
	}
	if diff := cmp.Diff([]string{"1 received one", "4 received four", "6 received six"}, r.groupTexts(alice, choir)); diff != "" {
		t.Error(diff)
	}
	for _, other := range []struct {
		account identity.PublicKey
		group   store.ConversationID
	}{{alice, band}, {anna, choir}} {
		if position(r, other.account, other.group) != 0 || r.groupTexts(other.account, other.group) != nil {
			t.Error("another group has the messages")
		}
	}
	r.checked()
}

// A guid is one message, also when another member repeats it, or under another number.
func TestAcceptGroupMessages_KnownGUID_ShownOnce(t *testing.T) {
	r := newGroupRig(t)
	must[store.GroupAccepted](r, read(0, said(1, 11, bob, "one")))
	again := said(2, 11, bob, "one")
	again.ServerGUID = 12
	replayed := said(3, 11, carol, "one")
	got := must[store.GroupAccepted](r, read(1, again, replayed))
	if got.Duplicates != 2 || got.Stored != 0 || got.Position != 3 {
		t.Errorf("%+v", got)
	}
	must[bool](r, store.ResetGroupPosition{Account: alice, Group: choir})
	if got := must[store.GroupAccepted](r, read(0, said(1, 11, bob, "one"))); got.Duplicates != 1 {
		t.Errorf("read again: %+v", got)
	}
	if diff := cmp.Diff([]string{"1 received one"}, r.groupTexts(alice, choir)); diff != "" {
		t.Error(diff)
	}
}

// A message of ours that the mediator has, although it never told us, is delivered when
// it comes back. One of another device of ours is shown as sent.
func TestAcceptGroupMessages_OwnMessages(t *testing.T) {
	r := newGroupRig(t)
	must[store.Enqueued](r, store.EnqueueMessage{Account: alice, Conversation: choir, GUID: 21, Payload: []byte("lost answer")})
	mine := said(1, 21, alice, "lost answer")
	mine.ServerGUID = 22 // another message had 21
	must[store.GroupAccepted](r, read(0, mine, said(2, 31, alice, "from the phone")))
	if diff := cmp.Diff([]string{"1 delivered lost answer", "2 delivered from the phone"}, r.groupTexts(alice, choir)); diff != "" {
		t.Error(diff)
	}
	if outbox := get[[]store.Message](r)(r.store.Outbox(alice, choir, 0, 0)); len(outbox) != 0 {
		t.Errorf("%d in the outbox", len(outbox))
	}
	want := []store.EventKind{store.GroupAdded, store.MessageQueued, store.MessageDelivered, store.MessageSynced}
	if diff := cmp.Diff(want, r.groupKinds(alice, choir)); diff != "" {
		t.Error(diff)
	}
	if m := get[store.Message](r)(r.store.Message(alice, choir, store.MessageID{Dir: store.Out, GUID: 21})); m.ServerGUID != 22 || m.Author != alice {
		t.Errorf("%+v", m)
	}
	r.checked()
}

func TestMarkGroupDelivered_TakesGUIDOfMediator(t *testing.T) {
	r := newGroupRig(t)
	must[store.GroupAccepted](r, read(0, said(1, 11, bob, "one")))
	for guid := int64(21); guid <= 23; guid++ {
		must[store.Enqueued](r, store.EnqueueMessage{Account: alice, Conversation: choir, GUID: guid, Payload: []byte("mine")})
	}
	mark := func(guid, server, number int64) bool {
		return must[bool](r, store.MarkGroupDelivered{Account: alice, Group: choir, GUID: guid, ServerGUID: server, Number: number})
	}
	if !mark(21, 99, 2) || mark(21, 99, 2) || position(r, alice, choir) != 2 {
		t.Error("the one that follows the position moves it")
	}
	if !mark(22, 22, 5) || position(r, alice, choir) != 2 {
		t.Errorf("the position is %d: nobody has read 3 and 4", position(r, alice, choir))
	}
	// The mediator deletes by its own guids.
	deleted := said(3, 41, identity.PublicKey(nodeKey(0xd1)), "")
	deleted.System, deleted.Deletes, deleted.DeletedGUID = true, true, 99
	must[store.GroupAccepted](r, read(2, deleted))
	m := get[store.Message](r)(r.store.Message(alice, choir, store.MessageID{Dir: store.Out, GUID: 21}))
	if !m.Deleted || m.Payload != nil || m.State != store.StateDelivered {
		t.Errorf("%+v", m)
	}
	if m := get[store.Message](r)(r.store.Message(alice, choir, store.MessageID{Dir: store.Out, GUID: 22})); m.Deleted {
		t.Error("another one is deleted too")
	}
	r.checked()
}

// Nobody can hide what the mediator says, or a message, behind a guid of their own choice.
func TestAcceptGroupMessages_GUIDsOfOtherOrigin_Apart(t *testing.T) {
	r := newGroupRig(t)
	garbage, system := said(1, 11, bob, "?"), said(2, 11, identity.PublicKey(nodeKey(0xd1)), "event")
	garbage.Unreadable, system.System = true, true
	got := must[store.GroupAccepted](r, read(0, garbage, system, said(3, 11, carol, "hello")))
	if got.Stored != 3 {
		t.Errorf("%+v", got)
	}
	again := garbage
	again.Number = 4
	if got := must[store.GroupAccepted](r, read(3, again)); got.Duplicates != 1 {
		t.Errorf("%+v", got)
	}
	r.checked()
}

func TestGroupReactions_OnePerMember_GoneWhenDeleted(t *testing.T) {
	r := newGroupRig(t)
	react := func(number, guid int64, author identity.PublicKey, emoji string) store.GroupMessage {
		m := said(number, guid, author, emoji)
		m.Type, m.ReplyTo, m.Reaction = int32(peer.TypeReaction), 11, &store.ReactionTo{Target: 11, Emoji: emoji}
		m.SendTime = store.Millis(1_600_000_000_000 + number)
		return m
	}
	must[store.GroupAccepted](r, read(0, said(1, 11, bob, "one"), react(2, 12, bob, "x"), react(3, 13, carol, "y"), react(4, 14, alice, "z"), react(5, 15, carol, "w")))
	reactions := func() map[string]string {
		found := make(map[string]string)
		for _, x := range get[[]store.Reaction](r)(r.store.Reactions(alice, choir, 11)) {
			found[x.Author.Short()] = x.Emoji
		}
		return found
	}
	want := map[string]string{bob.Short(): "x", carol.Short(): "w", alice.Short(): "z"}
	if diff := cmp.Diff(want, reactions()); diff != "" {
		t.Error(diff)
	}
	deleted := said(6, 41, identity.PublicKey(nodeKey(0xd1)), "")
	deleted.System, deleted.Deletes, deleted.DeletedGUID = true, true, 15
	must[store.GroupAccepted](r, read(5, deleted))
	delete(want, carol.Short())
	if diff := cmp.Diff(want, reactions()); diff != "" {
		t.Error(diff)
	}
}

func TestInvite_Life(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	invite := store.ReceiveInvite{Group: store.Group{
		Account: alice, Mediator: nodeKey(0xd1), Chat: 7, Name: "Choir", Inviter: bob, Invite: 5, Key: store.GroupKey{1},
	}}
	state := func() store.GroupState { return get[store.Group](r)(r.store.Group(alice, choir)).State }
	decide := func(yes bool) bool {
		return must[bool](r, store.DecideInvite{Account: alice, Group: choir, Accept: yes})
	}
	if !bool(must[store.InviteStored](r, invite)) || state() != store.GroupInvited {
		t.Error("not invited")
	}
	if !decide(false) || decide(false) || state() != store.GroupDeclined {
		t.Error("not declined")
	}
	if !decide(true) || state() != store.GroupJoining || bool(must[store.InviteStored](r, invite)) {
		t.Error("not joining")
	}
	must[bool](r, store.SetGroupState{Account: alice, Group: choir, State: store.GroupMember, Permissions: 0x10})
	must[store.GroupAccepted](r, read(0, said(1, 11, bob, "one")))
	must[bool](r, store.SetGroupState{Account: alice, Group: choir, State: store.GroupBanned, Reason: "banned"})
	if _, err := do[bool](r, store.DecideInvite{Account: alice, Group: choir, Accept: true}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("accepted without an invite: %v", err)
	}
	r.restart()
	if !bool(must[store.InviteStored](r, invite)) || state() != store.GroupInvited || position(r, alice, choir) != 1 {
		t.Error("not invited again")
	}
	keyless := invite
	keyless.Group.Chat, keyless.Group.Key = 8, store.GroupKey{}
	must[store.InviteStored](r, keyless)
	if _, err := do[bool](r, store.DecideInvite{Account: alice, Group: store.GroupConversation(nodeKey(0xd1), 8), Accept: true}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("accepted without a key: %v", err)
	}
	if !must[bool](r, store.RemoveGroup{Account: alice, Group: choir}) || must[bool](r, store.RemoveGroup{Account: alice, Group: choir}) {
		t.Error("not removed")
	}
	r.checked()
}

// Strangers cannot fill the store with invites; each that is decided frees its place.
func TestInvites_AreBounded(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	invite := func(account identity.PublicKey, chat uint64) error {
		_, err := do[store.InviteStored](r, store.ReceiveInvite{Group: store.Group{Account: account, Mediator: nodeKey(0xd1), Chat: chat, Inviter: bob, Invite: 1}})
		return err
	}
	for chat := range uint64(store.MaxInvites) {
		if err := invite(alice, chat+1); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := invite(alice, 5000); !errors.Is(err, store.ErrRequestsFull) {
			t.Errorf("one more: %v", err)
		}
		r.restart() // counted anew
	}
	if err := errors.Join(invite(anna, 5000), invite(alice, 1)); err != nil {
		t.Error(err)
	}
	must[bool](r, store.DecideInvite{Account: alice, Group: store.GroupConversation(nodeKey(0xd1), 1)})
	must[bool](r, store.RemoveGroup{Account: alice, Group: store.GroupConversation(nodeKey(0xd1), 2)})
	if err := errors.Join(invite(alice, 5000), invite(alice, 5001)); err != nil {
		t.Error(err)
	}
	if err := invite(alice, 5002); !errors.Is(err, store.ErrRequestsFull) {
		t.Errorf("one more: %v", err)
	}
}

func TestCreateGroup_Once(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	op := store.CreateGroup{Account: alice, Source: "!room", Mediator: nodeKey(0xd1), Name: "Choir", Key: store.GroupKey{1}}
	creation := must[store.Group](r, op)
	if creation.State != store.GroupCreating || creation.Added == 0 {
		t.Errorf("%+v", creation)
	}
	must[bool](r, store.NoteCreation{Account: alice, Group: creation.ID, Known: []int64{1, 2}})
	op.Key = store.GroupKey{2}
	if again := must[store.Group](r, op); again.ID != creation.ID || again.Key != (store.GroupKey{1}) || !again.Attempted || len(again.Known) != 2 {
		t.Errorf("%+v", again)
	}
	for range 2 {
		finish := store.FinishCreation{Account: alice, Group: creation.ID, Chat: 7, Permissions: 0x90}
		if got := must[store.GroupCreation](r, finish); got.Group != choir {
			t.Errorf("%+v", got)
		}
		r.restart()
	}
	g := get[store.Group](r)(r.store.Group(alice, choir))
	if g.Name != "Choir" || g.Key != (store.GroupKey{1}) || g.Permissions != 0x90 || g.State != store.GroupMember {
		t.Errorf("%+v", g)
	}
	if again := must[store.Group](r, op); again.State != store.GroupCreated || again.Became != choir {
		t.Errorf("%+v", again)
	}
	if must[bool](r, store.NoteCreation{Account: alice, Group: creation.ID}) {
		t.Error("created again")
	}
	want := []store.EventKind{store.GroupAdded, store.GroupChanged}
	if diff := cmp.Diff(want, r.groupKinds(alice, creation.ID)); diff != "" {
		t.Error(diff)
	}
	r.checked()
}

func TestGroupTasks_KeptUntilAnswered(t *testing.T) {
	r := newGroupRig(t)
	queue := func(task store.GroupTask) (uint64, error) {
		task.Account, task.Group = alice, choir
		got, err := do[store.GroupTaskQueued](r, store.EnqueueGroupTask{Task: task})
		return got.Seq, err
	}
	watch := r.store.Watch(alice)
	defer watch.Close()
	name := "Band"
	edit, err := queue(store.GroupTask{Kind: store.TaskEdit, Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := watch.Take().Conversations[store.Conversation{Account: alice, ID: choir}]; !ok {
		t.Error("those who watch the group are not told of a task")
	}
	for what, task := range map[string]store.GroupTask{
		"nothing to edit": {Kind: store.TaskEdit}, "ban of nobody": {Kind: store.TaskBan}, "no kind": {},
		"leave with a user": {Kind: store.TaskLeave, User: bob}, "long name": {Kind: store.TaskEdit, Name: new(string(make([]byte, store.MaxText+1)))},
	} {
		if _, err := queue(task); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := queue(store.GroupTask{Kind: store.TaskDeleteMessage, Message: store.MessageID{GUID: 1}}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown message: %v", err)
	}
	ban, err := queue(store.GroupTask{Kind: store.TaskBan, User: bob})
	if err != nil || ban != edit+1 {
		t.Fatal(ban, err)
	}
	r.restart()
	tasks := get[[]store.GroupTask](r)(r.store.GroupTasks(alice, choir, 0))
	if len(tasks) != 2 || *tasks[0].Name != "Band" || tasks[1].User != bob {
		t.Errorf("%+v", tasks)
	}
	finish := func(op store.FinishGroupTask) bool {
		op.Account, op.Group = alice, choir
		return must[bool](r, op)
	}
	if !finish(store.FinishGroupTask{Seq: edit, Info: &store.GroupInfo{Name: &name}}) || finish(store.FinishGroupTask{Seq: edit}) {
		t.Error("not done once")
	}
	if g := get[store.Group](r)(r.store.Group(alice, choir)); g.Name != "Band" {
		t.Errorf("%+v", g)
	}
	finish(store.FinishGroupTask{Seq: ban, Failed: true, Reason: "not permitted", Member: &store.MemberChange{Member: bob}})
	if _, err := r.store.Member(alice, choir, bob); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a failed task has changed the member: %v", err)
	}
	leave, err := queue(store.GroupTask{Kind: store.TaskLeave})
	if err != nil || leave <= ban { // never used again
		t.Errorf("task %d, %v", leave, err)
	}
	left := store.GroupLeft
	finish(store.FinishGroupTask{Seq: leave, State: &left})
	if g := get[store.Group](r)(r.store.Group(alice, choir)); g.State != store.GroupLeft {
		t.Errorf("%+v", g)
	}
	want := []store.EventKind{store.GroupAdded, store.GroupChanged, store.GroupTaskDone, store.GroupTaskFailed, store.GroupChanged, store.GroupTaskDone}
	if diff := cmp.Diff(want, r.groupKinds(alice, choir)); diff != "" {
		t.Error(diff)
	}
	r.checked()
}

func TestUpdateMembers_Bounded(t *testing.T) {
	const most = 300
	r := groupRigWith(t, store.Options{MemberRows: most})
	var changes []store.MemberChange
	for i := range store.MaxMemberChanges + 1 {
		changes = append(changes, store.MemberChange{Member: identity.PublicKey{0xee, byte(i >> 16), byte(i >> 8), byte(i)}})
	}
	if _, err := do[int](r, store.UpdateMembers{Account: alice, Group: choir, Changes: changes}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("too many at once: %v", err)
	}
	if n := must[int](r, store.UpdateMembers{Account: alice, Group: choir, Changes: changes[:100]}); n != 100 {
		t.Errorf("%d", n)
	}
	r.restart()
	if n := must[int](r, store.UpdateMembers{Account: alice, Group: choir, Changes: changes[1:]}); n != most-100 {
		t.Errorf("%d", n)
	}
	if n := must[int](r, store.UpdateMembers{Account: alice, Group: band, Changes: changes[:1]}); n != 1 {
		t.Errorf("%d", n)
	}
	r.checked()
}

// A profile that is older than the one that is stored changes nothing.
func TestUpdateMembers_ProfileByItsTime(t *testing.T) {
	r := newGroupRig(t)
	put := func(name string, at int64) int {
		return must[int](r, store.UpdateMembers{Account: alice, Group: choir, Changes: []store.MemberChange{
			{Member: bob, Fields: store.MemberProfile, Name: name, ProfileTime: at},
		}})
	}
	if put("Bob", 5) != 1 || put("Robert", 4) != 0 || put("Bobby", 5) != 1 || put("Bobby", 5) != 0 {
		t.Error("the wrong profiles are kept")
	}
	if m := get[store.Member](r)(r.store.Member(alice, choir, bob)); m.Name != "Bobby" || m.Since == 0 {
		t.Errorf("%+v", m)
	}
}

func TestUpdateMembers_PictureApart(t *testing.T) {
	r := newGroupRig(t)
	put := func(at int64, avatar string) {
		must[int](r, store.UpdateMembers{Account: alice, Group: choir, Changes: []store.MemberChange{
			{Member: bob, Fields: store.MemberProfile, Name: "Bob", Avatar: []byte(avatar), ProfileTime: at},
		}})
		r.checked()
	}
	has := func() (bool, string) {
		return get[store.Member](r)(r.store.Member(alice, choir, bob)).HasAvatar, string(get[[]byte](r)(r.store.MemberAvatar(alice, choir, bob)))
	}
	put(1, "one")
	put(1, "two")
	if here, avatar := has(); !here || avatar != "two" {
		t.Errorf("%t %q", here, avatar)
	}
	put(2, "")
	if here, avatar := has(); here || avatar != "" {
		t.Errorf("%t %q", here, avatar)
	}
}

// A deleted message loses its file.
func TestDeletedMessage_FileForgotten(t *testing.T) {
	r := newGroupRig(t)
	withFile := said(1, 11, bob, "{}")
	withFile.Type, withFile.Media = int32(peer.TypeFile), &store.Media{State: store.MediaDownloading, Due: 5, Size: 3}
	must[store.GroupAccepted](r, read(0, withFile))
	if len(r.transfers(alice)) != 1 {
		t.Fatal("the file is not fetched")
	}
	deleted := said(2, 41, identity.PublicKey(nodeKey(0xd1)), "")
	deleted.System, deleted.Deletes, deleted.DeletedGUID = true, true, 11
	must[store.GroupAccepted](r, read(1, deleted))
	if len(r.transfers(alice)) != 0 {
		t.Error("the file is still fetched")
	}
	r.checked()
}

func TestGroupKey_Redacted(t *testing.T) {
	g := store.Group{Key: store.GroupKey{0xab, 0xcd}}
	for _, verb := range []string{"%v", "%+v", "%x", "%s", "%#v"} {
		if got := fmt.Sprintf(verb, g.Key); got != "[redacted]" {
			t.Errorf("%s: %s", verb, got)
		}
	}
	if got := fmt.Sprintf("%+v", g); !strings.Contains(got, "[redacted]") {
		t.Error(got)
	}
}
