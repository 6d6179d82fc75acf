// SPDX-License-Identifier: MPL-2.0

package group_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/group"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/fakemediator"
	"github.com/mimird/mimird/test/virtual"
)

func TestGroup_TextsBothWays(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.say(0, 0, "one")
		r.say(1, 1, "elsewhere")
		r.has(0, 0, 0, "one")
		r.write(0, 0, 0, "two")
		r.has(0, 0, 0, "one", "two")
		r.has(1, 0, 0, "one", "two")
		r.has(1, 1, 1, "elsewhere")
		r.has(1, 1, 0)
		if m := r.messages(1, 0, 0)[1]; m.Author != r.id(0) || m.ID.Dir != store.In || m.Number != 2 {
			t.Errorf("%+v", m)
		}
		r.checked()
	})
}

// numbered returns the texts up to a number.
func numbered(to int) (texts []string) {
	for i := 1; i <= to; i++ {
		texts = append(texts, fmt.Sprint("text ", i))
	}
	return texts
}

// Pushes are not ordered: what is stored is.
func TestHistory_SwappedPushes_InOrder(t *testing.T) {
	inBubble(t, func(r *rig) {
		for _, m := range r.mediators {
			m.Lock(func() { m.SwapPushes = true })
		}
		for i := 1; i <= 40; i++ {
			r.say(0, 0, fmt.Sprint("text ", i))
			r.say(1, 0, fmt.Sprint("text ", i))
			if i%7 == 0 {
				synctest.Wait()
			}
		}
		for _, m := range r.mediators {
			m.Lock(func() { m.SwapPushes = false })
		}
		r.say(0, 0, "text 41")
		r.say(1, 0, "text 41")
		for i := range r.accounts {
			r.has(i, 0, 0, numbered(41)...)
			r.has(i, 1, 0, numbered(41)...)
		}
		r.checked()
	})
}

// What was not pushed is fetched after the next connect.
func TestHistory_LostPushes_FetchedAfterReconnect(t *testing.T) {
	inBubble(t, func(r *rig) {
		one := r.mediators[0]
		one.Lock(func() { one.LosePushes = true })
		for i := 1; i <= 5; i++ {
			r.say(0, 0, fmt.Sprint("text ", i))
		}
		one.Lock(func() { one.LosePushes = false })
		virtual.Sleep(time.Minute)
		r.has(0, 0, 0) // nobody has said that there is anything
		one.Disconnect()
		for i := range r.accounts {
			r.has(i, 0, 0, numbered(5)...)
		}
	})
}

// Groups beyond those that may ask for large answers at once get their turn, at the start and
// after each connect.
func TestTurns_ManyGroups_AllComplete(t *testing.T) {
	inBubble(t, func(r *rig) {
		const groups = 12
		type place struct{ account, mediator, group int }
		var chats [2][groups]*fakemediator.Chat
		secret := fakemediator.Secret{7}
		say := func(m, g int) {
			r.guid++
			r.mediators[m].Say(chats[m][g], r.carol, r.guid, secret.Text(r.guid, "hello"))
		}
		var all []place
		for m := range chats {
			for g := range chats[m] {
				chats[m][g] = r.mediators[m].AddChat("group", r.carol, r.id(0), r.id(1))
				say(m, g)
				for i := range r.accounts {
					all = append(all, place{i, m, g})
				}
			}
		}
		for _, p := range all {
			do[bool](r, store.AddGroup{
				Account: r.id(p.account), Mediator: r.mediators[p.mediator].Key(), Chat: uint64(chats[p.mediator][p.group].ID), Key: store.GroupKey(secret), Name: "group",
			})
		}
		complete := func(position int64) {
			r.t.Helper()
			r.until("all groups have everything", func() bool {
				for _, p := range all {
					id := store.GroupConversation(r.mediators[p.mediator].Key(), uint64(chats[p.mediator][p.group].ID))
					c := store.Conversation{Account: r.id(p.account), ID: id}
					progress := r.table.Progress(c)
					if progress.Stage != group.StageLive || progress.Position != position || len(r.table.Presence(c)) != 3 {
						return false
					}
				}
				return true
			})
		}
		complete(1)
		for m := range chats {
			r.mediators[m].Lock(func() { r.mediators[m].LosePushes = true })
			for g := range chats[m] {
				say(m, g)
			}
			r.mediators[m].Lock(func() { r.mediators[m].LosePushes = false })
			r.mediators[m].Disconnect()
		}
		complete(2)
		r.checked()
	})
}

// A message that is stored between the answer to SUBSCRIBE and its effect is neither in the
// number nor pushed.
func TestHistory_FetchedOnceAfterEverySubscribe(t *testing.T) {
	inBubble(t, func(r *rig) {
		one, chat := r.mediators[0], r.chats[0][0]
		said := false
		one.Lock(func() {
			one.LosePushes = true
			one.Intercept = func(l *fakemediator.Line, q fakemediator.Call) bool {
				if q.Command != fakemediator.Subscribe || q.Number(0x10) != chat.ID || said {
					return false
				}
				said = true
				l.OK(q, fakemediator.Field(0x11, make([]byte, 8))) // none yet
				chat.Messages = append(chat.Messages, fakemediator.Message{
					ID: 1, GUID: 5, Author: string(r.carol[:]), Blob: r.secrets[0][0].Text(5, "in between"),
				})
				return true
			}
		})
		one.Disconnect()
		r.has(0, 0, 0, "in between")
	})
}

// Bar: an absence with 500 messages, gaps among them, over several pages.
func TestHistory_LongAbsence_Complete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		want := numbered(500)
		for i := 1; i <= 500; i++ {
			r.say(0, 0, fmt.Sprint("text ", i))
			r.say(1, 1, fmt.Sprint("text ", i))
		}
		one := r.mediators[0]
		one.Lock(func() { // deleted, without a trace
			r.chats[0][0].Messages = slices.DeleteFunc(r.chats[0][0].Messages, func(m fakemediator.Message) bool { return m.ID%100 == 0 })
		})
		r.start()
		r.addGroups()
		r.has(0, 1, 1, want...)
		r.has(1, 0, 0, slices.DeleteFunc(slices.Clone(want), func(s string) bool {
			return s == "text 100" || s == "text 200" || s == "text 300" || s == "text 400" || s == "text 500"
		})...)
		r.settled()
		if n := one.Count(fakemediator.MessagesSince); n > 40 {
			t.Errorf("the history was asked for %d times", n)
		}
		r.checked()
	})
}

// The answer to a message is lost: it is sent again with the same guid and the same
// seconds, and stored once.
func TestSend_LostAnswer_SameGUIDAndSeconds(t *testing.T) {
	inBubble(t, func(r *rig) {
		one := r.mediators[0]
		lost := 0
		attempts := make(map[int64]map[int64]int)
		one.Lock(func() {
			one.LoseAnswer = func(q fakemediator.Call) bool {
				if q.Command != fakemediator.SendMessage {
					return false
				}
				guid := q.Number(0x12)
				if attempts[guid] == nil {
					attempts[guid] = make(map[int64]int)
				}
				attempts[guid][q.Number(0x32)]++
				lost++
				return lost%2 == 1
			}
			// Nothing of the history comes back: the retry alone has to do.
			one.Intercept = func(l *fakemediator.Line, q fakemediator.Call) bool {
				if q.Command == fakemediator.MessagesSince && q.Number(0x10) == r.chats[0][0].ID {
					l.OK(q, fakemediator.Field(0x31, make([]byte, 4)))
					return true
				}
				return false
			}
		})
		var want []string
		for i := 1; i <= 5; i++ {
			want = append(want, fmt.Sprint("text ", i))
			r.write(0, 0, 0, want[i-1])
			r.write(1, 1, 0, want[i-1])
			virtual.Sleep(1700 * time.Millisecond)
		}
		r.until("all are delivered", func() bool {
			for _, m := range r.messages(0, 0, 0) {
				if m.State != store.StateDelivered {
					return false
				}
			}
			return true
		})
		if got := r.heard(0, 0, 0); !slices.Equal(got, want) {
			t.Errorf("the mediator has %q", got)
		}
		if got := r.heard(1, 1, 0); !slices.Equal(got, want) {
			t.Errorf("the other mediator has %q", got)
		}
		repeated := 0
		for guid, seconds := range attempts {
			if len(seconds) != 1 {
				t.Errorf("message %d was sent with the times %v", guid, seconds)
			}
			for _, n := range seconds {
				repeated += n - 1
			}
		}
		if repeated == 0 {
			t.Error("nothing was sent again")
		}
	})
}

// The mediator gives a message another guid: it is deleted by that one.
func TestSend_GUIDTaken_DeletedByOtherGUID(t *testing.T) {
	inBubble(t, func(r *rig) {
		m := store.EnqueueMessage{Account: r.id(0), Conversation: r.conversation(0, 0), GUID: 77, Payload: []byte("mine")}
		r.mediators[0].Say(r.chats[0][0], r.carol, 77, r.secrets[0][0].Text(1077, "first"))
		r.has(0, 0, 0, "first")
		virtual.Sleep(3 * time.Second) // the same second would be the same message
		do[store.Enqueued](r, m)
		r.has(1, 0, 0, "first", "mine")
		id := store.MessageID{Dir: store.Out, GUID: 77}
		r.until("it is delivered", func() bool { return r.messages(0, 0, 0)[1].State == store.StateDelivered })
		if got := r.messages(0, 0, 0)[1]; got.ServerGUID != 78 || got.ID != id {
			t.Errorf("%+v", got)
		}
		r.task(0, 0, store.GroupTask{Kind: store.TaskDeleteMessage, Message: id})
		r.until("it is deleted for both", func() bool { return r.messages(0, 0, 0)[1].Deleted && r.messages(1, 0, 0)[1].Deleted })
		if r.messages(1, 0, 0)[0].Deleted {
			t.Error("the other one was deleted")
		}
		r.checked()
	})
}

// task queues a task for the first group of a mediator and waits until it is answered. It returns whether it was done, and
// the reason.
func (r *rig) task(i, m int, task store.GroupTask) (done bool, reason string) {
	r.t.Helper()
	task.Account, task.Group = r.id(i), r.conversation(m, 0)
	seq := do[store.GroupTaskQueued](r, store.EnqueueGroupTask{Task: task}).Seq
	r.until(fmt.Sprint("task ", task.Kind), func() bool {
		events, err := r.store.ConversationEvents(task.Account, task.Group, seq-1, 0)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, ev := range events {
			if ev.Task == seq {
				done, reason = ev.Kind == store.GroupTaskDone, ev.Reason
				return true
			}
		}
		return false
	})
	return done, reason
}

// A message that another device of ours has sent is ours.
func TestHistory_OtherDevice_IsOurs(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.mediators[0].Say(r.chats[0][0], r.id(0), 5, r.secrets[0][0].Text(5, "from the phone"))
		r.has(0, 0, 0, "from the phone")
		r.has(1, 0, 0, "from the phone")
		if m := r.messages(0, 0, 0)[0]; m.ID.Dir != store.Out || m.State != store.StateDelivered {
			t.Errorf("%+v", m)
		}
		if m := r.messages(1, 0, 0)[0]; m.ID.Dir != store.In || m.Author != r.id(0) {
			t.Errorf("%+v", m)
		}
	})
}

// What cannot be decrypted, or is not a message inside, is kept and hides nothing.
func TestHistory_Unreadable_Kept(t *testing.T) {
	inBubble(t, func(r *rig) {
		other := fakemediator.Secret{9}
		for i, blob := range [][]byte{nil, {1}, other.Text(1, "other key"), r.secrets[0][0].Seal([]byte("no frame")), r.secrets[0][0].Text(0, "no guid")} {
			r.mediators[0].Say(r.chats[0][0], r.carol, int64(100+i), blob)
		}
		r.say(0, 0, "readable")
		r.until("all are there", func() bool { return len(r.messages(0, 0, 0)) == 6 })
		for i, m := range r.messages(0, 0, 0) {
			if m.Unreadable != (i < 5) || m.Author != r.carol {
				t.Errorf("%d: %+v", i, m)
			}
		}
	})
}

// A message that a member says again, or that the mediator delivers again, is shown once.
func TestHistory_RepeatedInnerGUID_ShownOnce(t *testing.T) {
	inBubble(t, func(r *rig) {
		blob := r.secrets[0][0].Text(5, "once")
		r.mediators[0].Say(r.chats[0][0], r.carol, 5, blob)
		r.mediators[0].Say(r.chats[0][0], r.carol, 6, blob)
		r.mediators[0].Say(r.chats[0][0], r.id(1), 7, blob)
		r.mediators[0].Say(r.chats[0][0], r.carol, 8, r.secrets[0][0].Text(8, "end"))
		r.has(0, 0, 0, "once", "end")
	})
}

func TestDeletion_LeavesTombstone(t *testing.T) {
	inBubble(t, func(r *rig) {
		said := r.say(0, 0, "regretted")
		r.say(0, 0, "kept")
		r.has(0, 0, 0, "regretted", "kept")
		r.mediators[0].Delete(r.chats[0][0], said.GUID)
		for i := range r.accounts {
			r.has(i, 0, 0, "", "kept")
			if m := r.messages(i, 0, 0); !m[0].Deleted || m[1].Deleted {
				t.Errorf("%+v", m)
			}
		}
		r.checked()
	})
}

// A group is created, and somebody invited; they accept, are given roles, banned and
// unbanned; name and picture change; it is deleted.
func TestGroup_WholeLife(t *testing.T) {
	for name, strays := range map[string]bool{"plain": false, "with fields that nobody knows": true} {
		t.Run(name, func(t *testing.T) { wholeLife(t, strays) })
	}
}

func wholeLife(t *testing.T, strays bool) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, m := range r.mediators {
			m.Lock(func() { m.Strays = strays })
		}
		r.connected = []identity.NodeKey{r.mediators[0].Key(), r.mediators[1].Key()}
		r.start()
		r.until("both mediators are connected", func() bool {
			all := r.table.Mediators()
			return len(all) == 4 && !slices.ContainsFunc(all, func(m group.MediatorStatus) bool { return !m.Connected })
		})
		r.create(1)
		if done, reason := r.task(0, 1, store.GroupTask{Kind: store.TaskInvite, User: r.id(1)}); !done {
			t.Fatal(reason)
		}
		r.until("the invite is there", func() bool { return r.stateOf(1, 1, 0) == store.GroupInvited })
		if g := r.group(1, 1, 0); g.Name != "Choir" || g.Inviter != r.id(0) || g.Key.IsZero() {
			t.Errorf("%+v", g)
		}
		if done, _ := r.task(0, 1, store.GroupTask{Kind: store.TaskInvite, User: r.id(1)}); !done {
			t.Error("an invite that exists is not an error")
		}
		do[bool](r, store.DecideInvite{Account: r.id(1), Group: r.conversation(1, 0), Accept: true})
		r.until("the second account is a member", func() bool { return r.stageOf(1, 1) == group.StageLive })
		r.write(0, 1, 0, "welcome")
		r.has(1, 1, 0, "welcome")
		r.write(1, 1, 0, "thank you")
		r.has(0, 1, 0, "welcome", "thank you")
		r.until("the names are known", func() bool {
			a, err1 := r.store.Member(r.id(0), r.conversation(1, 0), r.id(1))
			b, err2 := r.store.Member(r.id(1), r.conversation(1, 0), r.id(0))
			return err1 == nil && err2 == nil && a.Name == "Account 1" && b.Name == "Account 0"
		})

		name := "Quartet"
		if done, reason := r.task(1, 1, store.GroupTask{Kind: store.TaskEdit, Name: &name}); done || reason == "" {
			t.Errorf("a user may not rename the group: %t %q", done, reason)
		}
		r.task(0, 1, store.GroupTask{Kind: store.TaskRole, User: r.id(1), Permissions: store.Permissions(fakemediator.Admin)})
		r.until("the second account is an admin", func() bool { return byte(r.group(1, 1, 0).Permissions) == fakemediator.Admin })
		if done, reason := r.task(1, 1, store.GroupTask{Kind: store.TaskEdit, Name: &name, Avatar: []byte{1}, SetAvatar: true}); !done {
			t.Error(reason)
		}
		r.until("both know the name", func() bool {
			return r.group(0, 1, 0).Name == name && r.group(1, 1, 0).Name == name && len(r.group(0, 1, 0).Avatar) == 1
		})

		r.task(0, 1, store.GroupTask{Kind: store.TaskBan, User: r.id(1)})
		r.until("the second account is banned", func() bool { return r.stateOf(1, 1, 0) == store.GroupBanned })
		if done, reason := r.task(0, 1, store.GroupTask{Kind: store.TaskLeave}); done || reason == "" {
			t.Errorf("the owner has left: %q", reason)
		}
		r.task(0, 1, store.GroupTask{Kind: store.TaskUnban, User: r.id(1)})
		r.mediators[1].Disconnect() // a member who was added learns it after the next connect
		r.until("the second account is a member again", func() bool { return r.stateOf(1, 1, 0) == store.GroupMember })
		r.write(0, 1, 0, "again")
		r.has(1, 1, 0, "welcome", "thank you", "again")
		if done, reason := r.task(1, 1, store.GroupTask{Kind: store.TaskLeave}); !done {
			t.Error(reason)
		}
		r.until("the second account has left", func() bool { return r.stateOf(1, 1, 0) == store.GroupLeft })
		r.until("the first one knows", func() bool {
			m, err := r.store.Member(r.id(0), r.conversation(1, 0), r.id(1))
			return err == nil && m.Standing == store.StandingLeft
		})
		if done, reason := r.task(0, 1, store.GroupTask{Kind: store.TaskDelete}); !done {
			t.Error(reason)
		}
		r.until("the group is deleted", func() bool { return r.stateOf(0, 1, 0) == store.GroupDeleted })
		r.checked()
	})
}

// What the mediator answers meanwhile does not replace the state that was asked for.
func TestEnd_SlowDisk_StaysWhatWasAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		r.addGroups()
		r.settled()
		virtual.Sleep(time.Minute) // the members may be asked for again
		r.slow.Store(true)
		// Account 0 deletes the first groups, account 1 leaves the others.
		creator := r.id(0)
		for m := range r.mediators {
			r.mediators[m].Lock(func() { r.chats[m][0].Creator = string(creator[:]) })
		}
		for m := range r.mediators {
			do[store.GroupTaskQueued](r, store.EnqueueGroupTask{Task: store.GroupTask{Account: r.id(0), Group: r.conversation(m, 0), Kind: store.TaskDelete}})
			do[store.GroupTaskQueued](r, store.EnqueueGroupTask{Task: store.GroupTask{Account: r.id(1), Group: r.conversation(m, 1), Kind: store.TaskLeave}})
		}
		virtual.Sleep(time.Minute)
		for m := range r.mediators {
			for i, want := range []store.GroupState{store.GroupDeleted, store.GroupLeft} {
				if got := r.stateOf(i, m, i); got != want {
					t.Errorf("account %d, mediator %d: %s, want %s: %s", i, m, got, want, r.group(i, m, i).Reason)
				}
			}
		}
	})
}

// create creates a group of account 0 at a mediator, as its first one.
func (r *rig) create(m int) {
	r.t.Helper()
	before := r.mediators[m].Chats()
	op := store.CreateGroup{Account: r.id(0), Source: "!room", Mediator: r.mediators[m].Key(), Name: "Choir", Key: store.GroupKey{7}}
	creation := do[store.Group](r, op)
	r.until("the group is created", func() bool {
		now := do[store.Group](r, op)
		if now.State != store.GroupCreated {
			return false
		}
		g, err := r.store.Group(r.id(0), now.Became)
		if err != nil {
			r.t.Fatal(err)
		}
		r.chats[m][0], r.secrets[m][0] = r.mediators[m].Chat(int64(g.Chat)), fakemediator.Secret{7}
		return true
	})
	r.until("it is live", func() bool { return r.stageOf(0, m) == group.StageLive })
	if n := r.mediators[m].Chats(); n != before+1 || creation.State != store.GroupCreating {
		r.t.Errorf("%d groups, %d before; %s", n, before, creation.State)
	}
}

// stageOf is how far the first group of a mediator is.
func (r *rig) stageOf(i, m int) group.Stage { return r.progress(i, m, 0).Stage }

// stateOf returns the state of a group, GroupFailed when it is not known.
func (r *rig) stateOf(i, m, g int) store.GroupState {
	found, err := r.store.Group(r.id(i), r.conversation(m, g))
	if err != nil {
		return store.GroupFailed
	}
	return found.State
}

// The answer to the creation is lost, then the node is killed: there is one group.
func TestCreate_LostAnswerAndCrash_OneGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.connected = []identity.NodeKey{r.mediators[0].Key()}
		r.start()
		one := r.mediators[0]
		lost := false
		one.Lock(func() {
			one.LoseAnswer = func(q fakemediator.Call) bool {
				if q.Command == fakemediator.CreateChat && !lost {
					lost = true
					return true
				}
				return false
			}
		})
		do[store.Group](r, store.CreateGroup{Account: r.id(0), Source: "!room", Mediator: one.Key(), Name: "Choir", Key: store.GroupKey{7}})
		r.until("it was created", func() bool {
			is := false
			one.Lock(func() { is = lost })
			return is
		})
		r.kill()
		before := r.mediators[0].Chats() - 1
		r.until("the group is known", func() bool {
			return do[store.Group](r, store.CreateGroup{Account: r.id(0), Source: "!room", Mediator: one.Key(), Name: "Choir", Key: store.GroupKey{7}}).State == store.GroupCreated
		})
		if n := r.mediators[0].Chats(); n != before+1 {
			t.Errorf("%d groups", n-before)
		}
	})
}

// An invite is pushed once: it survives a crash right after it.
func TestInvite_PushedOnce_SurvivesCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.connected = []identity.NodeKey{r.mediators[0].Key()}
		r.start()
		choir := r.mediators[0].AddChat("Choir", r.carol)
		r.chats[0][0], r.secrets[0][0] = choir, fakemediator.Secret{5}
		r.mediators[0].Invite(choir, r.carol, r.id(1), wrapped(t, fakemediator.Secret{5}, r.id(1)))
		r.until("the invite is stored", func() bool { return r.stateOf(1, 0, 0) == store.GroupInvited })
		r.kill()
		r.mediators[0].Say(choir, r.carol, 3, r.secrets[0][0].Text(3, "before you came"))
		do[bool](r, store.DecideInvite{Account: r.id(1), Group: r.conversation(0, 0), Accept: true})
		r.has(1, 0, 0, "before you came")

		other := r.mediators[0].AddChat("Other", r.carol)
		r.chats[0][1] = other
		r.mediators[0].Invite(other, r.carol, r.id(1), make([]byte, 92))
		r.until("the second invite is stored", func() bool { return r.stateOf(1, 0, 1) == store.GroupInvited })
		if g := r.group(1, 0, 1); !g.Key.IsZero() {
			t.Error("it has a key")
		}
		do[bool](r, store.DecideInvite{Account: r.id(1), Group: r.conversation(0, 1)})
		r.until("the mediator is told", func() bool {
			return r.mediators[0].Count(fakemediator.InviteAnswer) >= 2 && r.group(1, 0, 1).Invite == 0
		})
		r.checked()
	})
}

// Invites of blocked contacts, and of strangers when those are refused, are not stored.
func TestInvite_OfUnwanted_Refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.connected = []identity.NodeKey{r.mediators[0].Key()}
		r.start()
		do[store.Added](r, store.AddContact{Contact: store.Contact{Account: r.id(1), ID: r.carol, State: store.ContactBlocked}})
		do[bool](r, store.PutAccount{Account: store.Account{ID: r.id(0), Strangers: store.StrangersRefuse}})
		choir := r.mediators[0].AddChat("Choir", r.carol)
		r.chats[0][0] = choir
		for i := range r.accounts {
			r.mediators[0].Invite(choir, r.carol, r.id(i), wrapped(t, fakemediator.Secret{5}, r.id(i)))
		}
		virtual.Sleep(time.Minute)
		for i := range r.accounts {
			if _, err := r.store.Group(r.id(i), r.conversation(0, 0)); err == nil {
				t.Errorf("account %d is invited", i)
			}
		}
	})
}

// A banned account learns it, its messages fail with a reason, and its other groups go on.
func TestBan_MessagesFail_OtherGroupsGoOn(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.mediators[0].Ban(r.chats[0][0], r.id(0), r.carol)
		r.until("it is banned", func() bool { return r.stateOf(0, 0, 0) == store.GroupBanned })
		r.write(0, 0, 0, "too late")
		r.until("it has failed", func() bool {
			m := r.messages(0, 0, 0)
			return len(m) == 1 && m[0].State == store.StateFailed && m[0].Reason != ""
		})
		r.write(0, 0, 1, "another group")
		r.has(1, 0, 1, "another group")
		before := r.mediators[0].Count(fakemediator.MessagesSince)
		r.write(1, 0, 0, "he is gone") // and is pushed to him all the same
		r.has(1, 0, 0, "he is gone")
		virtual.Sleep(time.Minute)
		if n := r.mediators[0].Count(fakemediator.MessagesSince) - before; n > 2 {
			t.Errorf("the history was asked for %d times", n)
		}
		if got := r.stateOf(1, 0, 0); got != store.GroupMember {
			t.Errorf("the other account is %s", got)
		}
	})
}

// Whose ban has ended is a member again without a new connection: at once when the mediator says
// so, else when they ask the next time, which becomes rare.
func TestBan_Ended_MemberAgain(t *testing.T) {
	inBubble(t, func(r *rig) {
		one, two := r.mediators[0], r.mediators[1]
		one.Ban(r.chats[0][0], r.id(0), r.carol)
		two.Ban(r.chats[1][1], r.id(1), r.carol)
		r.until("both are banned", func() bool {
			return r.stateOf(0, 0, 0) == store.GroupBanned && r.stateOf(1, 1, 1) == store.GroupBanned
		})
		logins := one.Count(fakemediator.Auth) + two.Count(fakemediator.Auth)
		r.say(0, 0, "while he was gone")
		r.say(1, 1, "while she was gone")
		one.Add(r.chats[0][0], r.id(0), r.carol)
		virtual.Sleep(10 * time.Second)
		if got := r.stateOf(0, 0, 0); got != store.GroupMember {
			t.Errorf("who was told is %s", got)
		}
		r.has(0, 0, 0, "while he was gone")
		before := two.Count(fakemediator.Subscribe)
		virtual.Sleep(5 * time.Hour)
		if n := two.Count(fakemediator.Subscribe) - before; n < 5 || n > 20 {
			t.Errorf("asked %d times in 5 hours", n)
		}
		two.Lock(func() { two.LosePushes = true })
		two.Add(r.chats[1][1], r.id(1), r.carol)
		two.Lock(func() { two.LosePushes = false })
		virtual.Sleep(time.Hour + time.Minute)
		if got := r.stateOf(1, 1, 1); got != store.GroupMember {
			t.Errorf("who was not told is %s", got)
		}
		r.has(1, 1, 1, "while she was gone")
		if n := one.Count(fakemediator.Auth) + two.Count(fakemediator.Auth); n != logins {
			t.Errorf("%d new connections", n-logins)
		}
		r.checked()
	})
}

// A mediator that says without end that somebody is a member, who is not, is not asked without
// end.
func TestBan_EndedAgainAndAgain_BoundedQuestions(t *testing.T) {
	inBubble(t, func(r *rig) {
		one := r.mediators[0]
		one.Ban(r.chats[0][0], r.id(0), r.carol)
		r.until("it is banned", func() bool { return r.stateOf(0, 0, 0) == store.GroupBanned })
		one.Lock(func() {
			one.Intercept = func(l *fakemediator.Line, q fakemediator.Call) bool {
				if q.Command != fakemediator.Subscribe {
					return false
				}
				l.Refuse(q, "not a member or banned")
				return true
			}
		})
		before := one.Count(fakemediator.Subscribe)
		for range 60 {
			one.Add(r.chats[0][0], r.id(0), r.carol)
			virtual.Sleep(time.Second)
		}
		if n := one.Count(fakemediator.Subscribe) - before; n < 2 || n > 15 {
			t.Errorf("asked %d times in a minute", n)
		}
		r.write(0, 0, 1, "another group")
		r.has(1, 0, 1, "another group")
	})
}

// A mediator that contradicts itself about our membership is not asked without end.
func TestMembership_Contradicted_BoundedQuestions(t *testing.T) {
	inBubble(t, func(r *rig) {
		one := r.mediators[0]
		asked := 0
		one.Lock(func() {
			one.Intercept = func(l *fakemediator.Line, q fakemediator.Call) bool {
				if q.Number(0x10) != r.chats[0][0].ID || q.Command == fakemediator.Members {
					return false
				}
				asked++
				l.Refuse(q, "not a member or banned")
				return true
			}
		})
		r.say(0, 0, "one")
		one.Disconnect()
		virtual.Sleep(time.Minute)
		one.Lock(func() {
			if asked > 100 {
				t.Errorf("asked %d times in a minute", asked)
			}
			one.Intercept = nil
		})
		r.has(0, 0, 0, "one")
		r.has(1, 0, 0, "one")
	})
}

// A member who may only read gets no pushes, and asks.
func TestReadOnly_Polls(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.mediators[0].SetRole(r.chats[0][0], r.id(0), r.carol, fakemediator.ReadOnly)
		r.until("it may only read", func() bool { return r.stateOf(0, 0, 0) == store.GroupReadOnly })
		r.mediators[0].Disconnect()
		r.until("it polls", func() bool { return r.stageOf(0, 0) == group.StagePolling })
		r.say(0, 0, "one")
		r.has(0, 0, 0, "one")
		before := r.mediators[0].Count(fakemediator.MessagesSince)
		virtual.Sleep(10 * time.Minute)
		if n := r.mediators[0].Count(fakemediator.MessagesSince) - before; n < 5 || n > 30 {
			t.Errorf("it has asked %d times in 10 minutes", n)
		}
		r.mediators[0].SetRole(r.chats[0][0], r.id(0), r.carol, fakemediator.User)
		r.until("it may write", func() bool { return r.stateOf(0, 0, 0) == store.GroupMember && r.stageOf(0, 0) == group.StageLive })
		r.write(0, 0, 0, "two")
		r.has(1, 0, 0, "one", "two")
	})
}

// A group that the mediator does not know any more is lost, with a reason; the messages
// stay.
func TestLostGroup_MessagesStay(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.say(0, 0, "one")
		r.has(0, 0, 0, "one")
		r.mediators[0].Lock(func() { delete(r.chats[0][0].Members, string(keyBytes(r.id(0)))) })
		r.mediators[0].Disconnect()
		r.until("it is lost", func() bool { return r.stateOf(0, 0, 0) == store.GroupLost })
		if g := r.group(0, 0, 0); g.Reason == "" {
			t.Errorf("%+v", g)
		}
		r.has(0, 0, 0, "one")
		r.write(0, 0, 1, "another group")
		r.has(1, 0, 1, "another group")
	})
}

func keyBytes(k identity.PublicKey) []byte { return k[:] }

func TestProfiles_BothWays(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.mediators[0].Profile(r.chats[0][0], r.carol, r.secrets[0][0].Profile("Carol", "sings", []byte{1, 2}), 5)
		r.until("carol is known", func() bool {
			m, err := r.store.Member(r.id(0), r.conversation(0, 0), r.carol)
			return err == nil && m.Name == "Carol" && m.Info == "sings" && m.HasAvatar
		})
		ours := func() string {
			name, err := r.secrets[0][0].ReadProfile(r.mediators[0].Member(r.chats[0][0], r.id(0)).Info)
			if err != nil {
				t.Fatal(err)
			}
			return name
		}
		if got := ours(); got != "Account 0" {
			t.Errorf("we are %q", got)
		}
		do[bool](r, store.PutAccount{Account: store.Account{ID: r.id(0), Name: "Renamed", ProfileTime: store.MillisOf(time.Now().Add(time.Second))}})
		r.until("the new name is told", func() bool { return ours() == "Renamed" })
		if presence := r.table.Presence(store.Conversation{Account: r.id(0), ID: r.conversation(0, 0)}); !presence[r.id(1)].Online || presence[r.carol].Online {
			t.Errorf("%+v", presence)
		}
	})
}

// A mediator whose database was restored gives numbers again: nothing is missed.
func TestHistory_Shrunk_ReadAgain(t *testing.T) {
	inBubble(t, func(r *rig) {
		for i := 1; i <= 20; i++ {
			r.say(0, 0, fmt.Sprint("text ", i))
		}
		r.has(0, 0, 0, numbered(20)...)
		r.mediators[0].Shrink(r.chats[0][0], 10)
		r.mediators[0].Disconnect()
		r.settled()
		r.say(0, 0, "text 21") // number 11
		r.has(0, 0, 0, numbered(21)...)
		r.has(1, 0, 0, numbered(21)...)
	})
}

// Answers that are larger than the link accepts are not asked for again and again: fewer profiles
// are, what is lacking is shown, and the other groups of the mediator keep their connection.
func TestAnswers_TooLarge_Named(t *testing.T) {
	inBubble(t, func(r *rig) {
		one, chat := r.mediators[0], r.chats[0][0]
		one.Profile(chat, r.carol, r.secrets[0][0].Profile("Carol", "sings", nil), time.Now().Unix())
		huge := make([]byte, 2*maxAnswer)
		limit := time.Now().Add(-10 * 24 * time.Hour).Unix() // older profiles are too large together
		one.Lock(func() {
			one.Intercept = func(l *fakemediator.Line, q fakemediator.Call) bool {
				switch {
				case q.Number(0x10) != chat.ID:
					return false
				case q.Command == fakemediator.Members, q.Command == fakemediator.MembersInfo && q.Number(0x36) < limit:
					l.OK(q, huge)
					return true
				}
				return false
			}
		})
		one.Disconnect()
		incomplete := func(i int) string { return r.progress(i, 0, 0).Incomplete }
		r.until("what is lacking is shown", func() bool {
			return strings.Contains(incomplete(0), "last 7 days") && strings.Contains(incomplete(1), "last 7 days") && strings.Contains(incomplete(0), "list of members")
		})
		r.settled()
		r.until("carol is known", func() bool {
			a, err1 := r.store.Member(r.id(0), r.conversation(0, 0), r.carol)
			b, err2 := r.store.Member(r.id(1), r.conversation(0, 0), r.carol)
			return err1 == nil && err2 == nil && a.Name == "Carol" && b.Name == "Carol"
		})
		asked := func() int { return one.Count(fakemediator.Members) + one.Count(fakemediator.MembersInfo) }
		logins := one.Count(fakemediator.Auth)
		r.write(0, 0, 0, "still here")
		r.has(1, 0, 0, "still here")
		virtual.Sleep(10 * time.Minute)
		if n := one.Count(fakemediator.Auth) - logins; n != 0 {
			t.Errorf("%d new connections", n)
		}
		before := asked()
		for range 3 {
			one.Disconnect()
			virtual.Sleep(3 * time.Minute)
		}
		// Of each connection of two accounts: the other group asks twice, this one for profiles.
		if n := asked() - before; n > 3*2*3 {
			t.Errorf("asked %d times", n)
		}
		r.checked()
	})
}

// A mediator that reads and does not answer holds up its own groups alone, and has each message
// once when it answers again. Another one whose lists and pushes have to be scanned is read.
func TestMediator_Stalled_OthersGoOn(t *testing.T) {
	inBubble(t, func(r *rig) {
		one, two := r.mediators[0], r.mediators[1]
		one.Lock(func() { one.Stall = func(*fakemediator.Line, fakemediator.Call) bool { return true } })
		two.Lock(func() { two.Strays = true })
		two.Disconnect()
		for i := range r.accounts {
			r.write(i, 0, i, "waits")
			r.write(i, 1, i, "goes on")
		}
		for i := range r.accounts {
			r.has(i, 1, 0, "goes on")
			r.has(i, 1, 1, "goes on")
		}
		if n := one.Count(fakemediator.SendMessage); n == 0 {
			t.Error("nothing was sent to the stalled mediator")
		}
		before := one.Count(fakemediator.GetNonce)
		virtual.Sleep(time.Hour)
		if n := one.Count(fakemediator.GetNonce) - before; n < 10 || n > 200 {
			t.Errorf("connected %d times in an hour", n)
		}
		one.Lock(func() { one.Stall = nil })
		for i := range r.accounts {
			r.has(i, 0, 0, "waits")
			r.has(i, 0, 1, "waits")
		}
		r.checked()
	})
}

// A mediator that announces what it does not have, without end, is not asked without end,
// and the groups of another mediator go on.
func TestFlood_BoundedQuestions(t *testing.T) {
	inBubble(t, func(r *rig) {
		before := r.mediators[0].Count(fakemediator.MessagesSince)
		for range 600 {
			r.mediators[0].Flood(r.chats[0][0], 1<<60, 20)
			virtual.Sleep(100 * time.Millisecond)
		}
		if n := r.mediators[0].Count(fakemediator.MessagesSince) - before; n > 80 {
			t.Errorf("asked %d times in a minute", n)
		}
		r.write(0, 1, 0, "one")
		r.has(1, 1, 0, "one")
		r.say(0, 0, "still read")
		r.has(0, 0, 0, "still read")
	})
}

// Pages that are not what was asked for are refused, and cost the other groups nothing.
func TestHistory_LyingPages_Refused(t *testing.T) {
	for name, numbers := range map[string][]int64{"descending": {3, 2}, "repeated": {1, 1}, "negative": {-1}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				one := r.mediators[0]
				lying := true
				one.Lock(func() {
					one.LosePushes = true
					one.Intercept = func(l *fakemediator.Line, q fakemediator.Call) bool {
						if !lying || q.Command != fakemediator.MessagesSince || q.Number(0x10) != r.chats[0][0].ID {
							return false
						}
						parts := fakemediator.Field(0x31, binary.BigEndian.AppendUint32(nil, uint32(len(numbers)))) //nolint:gosec // of a test
						for _, n := range numbers {
							id := binary.BigEndian.AppendUint64(nil, uint64(n)) //nolint:gosec // of a test
							parts = append(parts, fakemediator.Field(0x11, id)...)
							parts = append(parts, fakemediator.Field(0x12, id)...)
							parts = append(parts, fakemediator.Field(0x32, make([]byte, 8))...)
							parts = append(parts, fakemediator.Field(0x01, keyBytes(r.carol))...)
							parts = append(parts, fakemediator.Field(0x23, []byte{1})...)
						}
						l.OK(q, parts)
						return true
					}
				})
				r.say(0, 0, "one")
				r.say(0, 1, "two")
				one.Disconnect()
				r.has(0, 0, 1, "two")
				virtual.Sleep(time.Minute)
				r.has(0, 0, 0)
				one.Lock(func() { lying = false })
				r.has(0, 0, 0, "one")
			})
		})
	}
}

// A mediator that cannot be reached for two weeks is shown as gone; messages wait, and
// arrive when it is back.
func TestMediatorGone_Shown_MessagesWait(t *testing.T) {
	inBubble(t, func(r *rig) {
		one := r.mediators[0]
		r.net.Cut(r.node.Key(), one.Key())
		one.Disconnect()
		r.write(0, 0, 0, "waits")
		virtual.Sleep(2 * time.Hour)
		if got := r.stateOf(0, 0, 0); got != store.GroupMember {
			t.Errorf("after two hours it is %s", got)
		}
		for m := range r.mediators { // two weeks ago
			do[bool](r, store.NoteMediatorReached{Account: r.id(0), Group: r.conversation(m, 0), Time: store.MillisOf(time.Now().Add(-15 * 24 * time.Hour))})
		}
		virtual.Sleep(time.Hour)
		r.until("it is gone", func() bool { return r.stateOf(0, 0, 0) == store.GroupMediatorGone })
		if got := r.stateOf(0, 1, 0); got != store.GroupMember {
			t.Errorf("the other mediator's group is %s", got)
		}
		r.net.Heal(r.node.Key(), one.Key())
		r.has(1, 0, 0, "waits")
		r.until("it is back", func() bool { return r.stateOf(0, 0, 0) == store.GroupMember })
	})
}

// Bar: killed at random moments, lost 0, doubled 0, reordered 0, in both directions.
func TestKilledAtRandomMoments_LostDoubledReordered0(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(r *rig) {
				random := rand.New(rand.NewPCG(seed, 1))
				var theirs [2]int
				var ours [2]int
				for m, mediator := range r.mediators {
					mediator.Lock(func() {
						answers := rand.New(rand.NewPCG(seed, uint64(m+2))) //nolint:gosec // of a test
						mediator.SwapPushes = seed%2 == 0
						mediator.LoseAnswer = func(q fakemediator.Call) bool {
							return q.Command == fakemediator.SendMessage && answers.IntN(4) == 0
						}
					})
				}
				for range 120 {
					m := random.IntN(2)
					switch random.IntN(8) {
					case 0, 1, 2:
						theirs[m]++
						r.say(m, 0, fmt.Sprint("theirs ", theirs[m]))
					case 3, 4, 5:
						ours[m]++
						r.write(0, m, 0, fmt.Sprint("ours ", ours[m]))
					case 6:
						virtual.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
					case 7:
						if random.IntN(3) == 0 {
							r.kill()
						} else {
							r.mediators[m].Disconnect()
						}
					}
				}
				for _, mediator := range r.mediators {
					mediator.Lock(func() { mediator.LoseAnswer, mediator.SwapPushes = nil, false })
					mediator.Disconnect()
				}
				for m := range r.mediators {
					r.until("everything is delivered", func() bool {
						outbox, err := r.store.Outbox(r.id(0), r.conversation(m, 0), 0, 1)
						return err == nil && len(outbox) == 0
					})
					r.settled()
					for i := range r.accounts {
						r.inOrder(i, m, "ours ", ours[m])
						r.inOrder(i, m, "theirs ", theirs[m])
					}
					if n := len(r.heard(0, m, 0)); n != ours[m] {
						t.Errorf("mediator %d has %d messages of ours, want %d", m, n, ours[m])
					}
				}
				r.checked()
			})
		})
	}
}

// inOrder checks that an account has all texts with a prefix, once and in order.
func (r *rig) inOrder(i, m int, prefix string, n int) {
	r.t.Helper()
	next := 1
	for _, text := range r.texts(i, m, 0) {
		if len(text) > len(prefix) && text[:len(prefix)] == prefix {
			if text != fmt.Sprint(prefix, next) {
				r.t.Errorf("account %d, mediator %d: %q, want number %d", i, m, text, next)
			}
			next++
		}
	}
	if next != n+1 {
		r.t.Errorf("account %d, mediator %d: %d of %s, want %d", i, m, next-1, prefix, n)
	}
}
