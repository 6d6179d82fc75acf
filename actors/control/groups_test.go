// SPDX-License-Identifier: MPL-2.0

package control_test

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/fakemediator"
)

// groupRig is a node with two accounts in the same two groups of a mediator.
type groupRig struct {
	t        *testing.T
	node     *actorstest.Node
	client   *client.Client
	mediator *fakemediator.Mediator
	accounts [2]store.Account
	chats    [2]*fakemediator.Chat
	secrets  [2]fakemediator.Secret
	groups   [2]control.Group
	carol    identity.PublicKey
}

var groupNames = [2]string{"Choir", "Orchestra"}

func newGroupRig(t *testing.T) *groupRig {
	t.Helper()
	w := actorstest.New(t, memnet.Options{})
	r := &groupRig{t: t, mediator: fakemediator.New(t, w.Net.Node(overlay.Limits{})), carol: identity.NewPrivateKey([32]byte{7}).Public()}
	socket := filepath.Join(t.TempDir(), "s")
	depot := w.Node("depot", func(o *node.Options) { o.Files = &fileserver.Options{OpenNetwork: w.Open} })
	server, _ := depot.FilesKey()
	r.node = w.Node("alice", withControl(t, socket), func(o *node.Options) {
		o.Mediators = []identity.NodeKey{r.mediator.Key()}
		o.Media = transfer.Options{Server: server, AutoDownload: transfer.Never}
	})
	r.accounts[0] = r.node.Account
	bob, err := r.node.CreateAccount(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	r.accounts[1] = bob
	r.client = client.New(socket)
	t.Cleanup(r.client.Close)
	r.eventually("the control API answers", func() bool {
		_, err := r.client.Accounts(t.Context())
		return err == nil
	})
	for i, name := range groupNames {
		r.secrets[i] = fakemediator.Secret{byte(i + 1)}
		r.chats[i] = r.mediator.AddChat(name, r.accounts[0].ID, r.accounts[1].ID, r.carol)
		for _, account := range []string{"alice", "bob"} {
			g, err := r.client.JoinGroup(t.Context(), account, control.JoinedGroup{
				Mediator: r.mediator.Key().String(), Chat: strconv.FormatInt(r.chats[i].ID, 10), Key: hex.EncodeToString(r.secrets[i][:]), Name: name,
			})
			if err != nil {
				t.Fatal(err)
			}
			r.groups[i] = g
		}
	}
	for _, account := range []string{"alice", "bob"} {
		for i := range r.groups {
			r.eventually(account+" is live in "+groupNames[i], func() bool { return r.group(account, r.groups[i].ID).Stage == "live" })
		}
	}
	return r
}

func (r *groupRig) eventually(what string, done func() bool) {
	r.t.Helper()
	r.node.EventuallyWithin(time.Minute, what, done)
}

func (r *groupRig) group(account, name string) control.Group {
	r.t.Helper()
	g, err := r.client.Group(r.t.Context(), account, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return g
}

// texts are the texts of a group as an account sees them, oldest first.
func (r *groupRig) texts(account string, group int) (texts []string) {
	r.t.Helper()
	page, err := r.client.Messages(r.t.Context(), account, r.groups[group].ID, 0, 100)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range slices.Backward(page) {
		if m.TypeName == "text" {
			texts = append(texts, m.Text)
		}
	}
	return texts
}

// refused fails the test unless an error is a refusal of the node with a status and a text.
func refused(t *testing.T, err error, status int, text string) {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || e.Status != status || !strings.Contains(e.Text, text) {
		t.Errorf("error %v, want status %d and %q", err, status, text)
	}
}

func TestGroups_TextsThroughTheAPI(t *testing.T) {
	r := newGroupRig(t)
	ctx := t.Context()
	events := make(chan control.Event, 256)
	following, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- r.client.Follow(following, "bob", 0, func(e control.Event) error { events <- e; return nil })
	}()
	defer func() { stop(); <-ended }()

	sent, err := r.client.Send(ctx, "alice", "Choir", control.Text{Text: "hello", Source: "one"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.client.Send(ctx, "alice", r.groups[0].ID[:20], control.Text{Text: "hello", Source: "one"})
	if err != nil || again.ID != sent.ID {
		t.Errorf("the same source queued %v (%v), first %v", again.ID, err, sent.ID)
	}
	_, err = r.client.Send(ctx, "alice", "Orchestra", control.Text{Text: "hello, too", Source: "one"})
	refused(t, err, http.StatusConflict, "give each conversation a source of its own")
	if sent.Group != r.groups[0].ID || sent.Contact != "" {
		t.Errorf("sent to group %q, contact %q", sent.Group, sent.Contact)
	}
	if _, err := r.client.Send(ctx, "bob", "Orchestra", control.Text{Text: "elsewhere"}); err != nil {
		t.Fatal(err)
	}
	for _, account := range []string{"alice", "bob"} {
		for i, want := range []string{"hello", "elsewhere"} {
			r.eventually(account+" has "+want, func() bool { return slices.Equal(r.texts(account, i), []string{want}) })
		}
	}
	timeout := time.After(time.Minute)
	for found := false; !found; {
		select {
		case e := <-events:
			if e.Kind != "message_received" {
				continue
			}
			found = true
			if e.Group != r.groups[0].ID || e.Name != "Choir" || e.Message == nil || e.Message.Text != "hello" || e.Message.Author != r.accounts[0].ID.String() {
				t.Errorf("event %+v, message %+v", e, e.Message)
			}
		case <-timeout:
			t.Fatal("no event of the message")
		}
	}
	members, err := r.client.GroupMembers(ctx, "alice", "Choir")
	if err != nil || len(members) != 3 {
		t.Fatalf("members %+v, error %v", members, err)
	}
	for _, m := range members {
		if want := m.ID == r.accounts[0].ID.String(); (m.Role == "owner") != want {
			t.Errorf("member %+v", m)
		}
	}
	list, err := r.client.Groups(ctx, "alice")
	if err != nil || len(list) != 2 || list[0].Mediator != r.mediator.Key().String() || list[0].Role != "owner" {
		t.Errorf("groups %+v, error %v", list, err)
	}
}

func TestGroups_ModerationThroughTheAPI(t *testing.T) {
	r := newGroupRig(t)
	ctx := t.Context()
	const wait = time.Minute
	done := func(what string) func(control.GroupTask, error) {
		return func(task control.GroupTask, err error) {
			t.Helper()
			if err != nil || task.State != "done" || task.Task == 0 {
				t.Errorf("%s: %+v, error %v", what, task, err)
			}
		}
	}
	member := func(who identity.PublicKey) fakemediator.Member {
		m := r.mediator.Member(r.chats[0], who)
		if m == nil {
			t.Fatalf("%s is not there", who)
		}
		return *m
	}
	done("role")(r.client.SetGroupRole(ctx, "alice", "Choir", r.accounts[1].ID.String(), "moderator", wait))
	r.eventually("bob knows his role", func() bool { return r.group("bob", "Choir").Role == "moderator" })
	done("ban")(r.client.BanFromGroup(ctx, "bob", "Choir", r.carol.String()[:12], true, wait))
	if !member(r.carol).Banned {
		t.Error("carol is not banned")
	}
	done("unban")(r.client.BanFromGroup(ctx, "bob", "Choir", r.carol.String(), false, wait))
	if member(r.carol).Banned {
		t.Error("carol is still banned")
	}
	_, err := r.client.BanFromGroup(ctx, "bob", "Choir", r.carol.String(), false, wait)
	refused(t, err, http.StatusConflict, "this identity is not banned; mimird group members --all shows who is")
	for _, banned := range []bool{true, false} {
		_, err = r.client.BanFromGroup(ctx, "alice", "Choir", r.accounts[0].ID.String(), banned, wait)
		refused(t, err, http.StatusUnprocessableEntity, "mimird group leave ends the membership")
	}
	name := "Chamber choir"
	done("edit")(r.client.EditGroup(ctx, "alice", "Choir", control.GroupEdit{Name: &name}, wait))
	r.eventually("bob sees the new name", func() bool { return r.group("bob", r.groups[0].ID).Name == name })
	if g := r.group("bob", "Orchestra"); g.Role != "user" || g.Name != "Orchestra" {
		t.Errorf("the other group has changed: %+v", g)
	}

	_, err = r.client.BanFromGroup(ctx, "bob", "Orchestra", r.carol.String(), true, wait)
	refused(t, err, http.StatusConflict, "refused by the mediator")
	_, err = r.client.SetGroupRole(ctx, "alice", name, "nobody", "user", wait)
	refused(t, err, http.StatusNotFound, "no such member")
	_, err = r.client.EditGroup(ctx, "alice", name, control.GroupEdit{}, wait)
	refused(t, err, http.StatusUnprocessableEntity, "nothing is to be changed")

	done("leave")(r.client.LeaveGroup(ctx, "bob", name, wait))
	r.eventually("bob has left", func() bool { return r.group("bob", r.groups[0].ID).State == "left" })
	_, err = r.client.Send(ctx, "bob", name, control.Text{Text: "too late"})
	refused(t, err, http.StatusConflict, "not a member")
	if err := r.client.RemoveGroup(ctx, "bob", name); err != nil {
		t.Error(err)
	}
	refused(t, r.client.RemoveGroup(ctx, "bob", "Orchestra"), http.StatusConflict, "leave it first")
	_, err = r.client.Group(ctx, "bob", name)
	refused(t, err, http.StatusNotFound, "no such group")
	done("delete")(r.client.DeleteGroup(ctx, "alice", name, wait))
	r.eventually("the group is gone", func() bool { return r.group("alice", r.groups[0].ID).State == "deleted" })
	if g := r.group("alice", "Orchestra"); g.State != "member" {
		t.Errorf("the other group is %s", g.State)
	}
}

// TestGroups_ConversationsThroughTheAPI does in two groups what is done with contacts.
func TestGroups_ConversationsThroughTheAPI(t *testing.T) {
	r := newGroupRig(t)
	ctx := t.Context()
	// heard is the newest message that bob sees in a group, once it is there.
	heard := func(group int, done func(control.Message) bool) (last control.Message) {
		t.Helper()
		r.eventually("bob sees it in "+groupNames[group], func() bool {
			page, err := r.client.Messages(ctx, "bob", r.groups[group].ID, 0, 1)
			if err != nil || len(page) == 0 {
				return false
			}
			last = page[0]
			return done(last)
		})
		return last
	}
	for i, name := range groupNames {
		if _, err := r.client.Send(ctx, "alice", name, control.Text{Text: "hello " + name}); err != nil {
			t.Fatal(err)
		}
		hello := heard(i, func(m control.Message) bool { return m.Text == "hello "+name })
		view, err := r.client.Conversation(ctx, "bob", name)
		if err != nil || view.Group == nil || view.Group.ID != r.groups[i].ID || view.Contact != nil || view.Unread != 1 || view.Last.ID != hello.ID {
			t.Fatalf("conversation %+v, error %v", view, err)
		}
		if view, err = r.client.MarkRead(ctx, "bob", name, hello.Order); err != nil || view.Unread != 0 {
			t.Errorf("read, and %d unread, error %v", view.Unread, err)
		}

		reply, err := r.client.Send(ctx, "alice", r.groups[i].ID[:20], control.Text{Text: "and again", ReplyTo: hello.GUID})
		if err != nil || reply.RefersTo == nil || reply.RefersTo.Text != "hello "+name {
			t.Fatalf("reply %+v, error %v", reply, err)
		}
		heard(i, func(m control.Message) bool { return m.RefersTo != nil && m.RefersTo.ID == hello.ID })
		if _, err := r.client.React(ctx, "alice", name, control.Reaction{Message: hello.GUID, Emoji: "🎻"}); err != nil {
			t.Fatal(err)
		}
		heard(i, func(m control.Message) bool { return m.Reaction != nil && m.Reaction.Emoji == "🎻" })
		if m := heard(i, func(control.Message) bool { return true }); m.RefersTo == nil || m.RefersTo.ID != hello.ID {
			t.Errorf("the reaction %+v refers to %+v", m.Reaction, m.RefersTo)
		}
		m, err := r.client.ChatMessage(ctx, "bob", name, hello.ID)
		if err != nil || len(m.Reactions) != 1 || m.Reactions[0].Author != r.accounts[0].ID.String() {
			t.Errorf("reactions %+v, error %v", m.Reactions, err)
		}

		content := strings.Repeat(name, 1000)
		if _, err := r.client.SendFile(ctx, "alice", name, client.NewFile{Body: strings.NewReader(content), Name: "score.txt", Caption: "the score"}); err != nil {
			t.Fatal(err)
		}
		file := heard(i, func(m control.Message) bool { return m.File != nil })
		if file.File.Group != r.groups[i].ID || file.File.Caption != "the score" || file.File.State != "offered" {
			t.Errorf("file %+v", file.File)
		}
		err = r.client.ReadFile(ctx, "bob", name, file.ID, io.Discard)
		refused(t, err, http.StatusConflict, "fetch it first")
		if _, err := r.client.FetchFile(ctx, "bob", name, file.ID); err != nil {
			t.Fatal(err)
		}
		r.eventually("bob has the file", func() bool {
			f, err := r.client.File(ctx, "bob", name, file.ID)
			return err == nil && f.State == "stored"
		})
		var got strings.Builder
		if err := r.client.ReadFile(ctx, "bob", name, file.ID, &got); err != nil || got.String() != content {
			t.Errorf("%d bytes of the file, error %v", got.Len(), err)
		}
		files, err := r.client.Files(ctx, "bob", name)
		if err != nil || len(files) != 1 || files[0].Message != file.ID {
			t.Errorf("files %+v, error %v", files, err)
		}
		r.eventually("the mediator has everything of alice", func() bool {
			view, err := r.client.Conversation(ctx, "alice", name)
			return err == nil && view.Undelivered == 0
		})
		_, err = r.client.CancelMessage(ctx, "alice", name, reply.ID)
		refused(t, err, http.StatusConflict, "delivered already")
		traces, err := r.client.Trace(ctx, "alice", reply.ID)
		if err != nil || len(traces) != 1 || traces[0].Group == nil || traces[0].Group.ID != r.groups[i].ID || len(traces[0].Steps) != 2 {
			t.Errorf("traces %+v, error %v", traces, err)
		}
	}
	list, err := r.client.Conversations(ctx, "bob")
	if err != nil || len(list) != 2 || list[0].Group == nil || list[0].Group.ID != r.groups[1].ID || list[1].Unread != 2 {
		t.Errorf("conversations %+v, error %v", list, err)
	}
	_, err = r.client.Conversation(ctx, "bob", "Quartet")
	refused(t, err, http.StatusNotFound, "no such contact or group")

	// A contact comes before a group of their name, and not before its id.
	if _, err := r.client.AddContact(ctx, "bob", identity.Link{Key: r.carol, Name: "Choir"}.String()); err != nil {
		t.Fatal(err)
	}
	if view, err := r.client.Conversation(ctx, "bob", "Choir"); err != nil || view.Contact == nil || view.Contact.ID != r.carol.String() || view.Group != nil {
		t.Errorf("conversation %+v, error %v", view, err)
	}
	if view, err := r.client.Conversation(ctx, "bob", r.groups[0].ID[:20]); err != nil || view.Group == nil {
		t.Errorf("conversation %+v, error %v", view, err)
	}
}

// Status says which groups have undelivered messages, and why.
func TestGroups_UndeliveredInStatus(t *testing.T) {
	r := newGroupRig(t)
	ctx := t.Context()
	r.mediator.Lock(func() {
		r.mediator.Intercept = func(l *fakemediator.Line, q fakemediator.Call) bool {
			if q.Command == fakemediator.SendMessage {
				l.Refuse(q, "database error")
			}
			return q.Command == fakemediator.SendMessage
		}
	})
	for i, name := range groupNames {
		for range i + 1 {
			if _, err := r.client.Send(ctx, "alice", name, control.Text{Text: "kept"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	find := func(group int) control.Undelivered {
		status, err := r.client.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range status.Undelivered {
			if u.Group == r.groups[group].ID && u.Account == r.accounts[0].ID.String() {
				return u
			}
		}
		return control.Undelivered{}
	}
	for i, name := range groupNames {
		if u := find(i); u.Messages != i+1 || u.Name != name || u.Code != "connected" || u.Contact != "" || u.Since.IsZero() {
			t.Errorf("undelivered %+v", u)
		}
	}
	r.mediator.SetRole(r.chats[0], r.accounts[0].ID, r.carol, fakemediator.ReadOnly)
	r.eventually("alice may only read in the choir", func() bool { return find(0).Code == "read_only" })
	if u := find(1); u.Code != "connected" {
		t.Errorf("the other group: %+v", u)
	}
}

// TestGroups_CreateThroughTheAPI creates at a mediator that cannot be reached: the proof of
// work of one that can takes a time that nobody knows, and is tested with the group.
func TestGroups_CreateThroughTheAPI(t *testing.T) {
	r := newGroupRig(t)
	ctx := t.Context()
	g := control.NewGroup{Name: "Band", Description: "We play.", Source: "band", Mediator: identity.NodeKey{9}.String()}
	created, err := r.client.CreateGroup(ctx, "alice", g)
	if err != nil || created.State != "creating" || created.Mediator != g.Mediator || created.Description != g.Description {
		t.Fatalf("created %+v, error %v", created, err)
	}
	if again, err := r.client.CreateGroup(ctx, "alice", g); err != nil || again.ID != created.ID {
		t.Errorf("the same source created %s (%v), first %s", again.ID, err, created.ID)
	}
	if other, err := r.client.CreateGroup(ctx, "bob", g); err != nil || other.ID == created.ID {
		t.Errorf("another account created %s, error %v", other.ID, err)
	}
	for _, name := range []string{strings.Repeat("x", 26), " \n\u202e "} {
		g.Name = name
		_, err = r.client.CreateGroup(ctx, "alice", g)
		refused(t, err, http.StatusUnprocessableEntity, "the name of a group has 1 to 25 characters")
	}
	g.Name, g.Source = "Two\n\x1blines", "lines"
	if two, err := r.client.CreateGroup(ctx, "alice", g); err != nil || two.Name != "Two lines" {
		t.Errorf("created %q, error %v", two.Name, err)
	}
	if err := r.client.RemoveGroup(ctx, "alice", "Band"); err != nil {
		t.Error(err)
	}
	if g := r.group("bob", "Band"); g.State != "creating" {
		t.Errorf("the group of the other account is %s", g.State)
	}
}

func TestGroups_InviteThroughTheAPI(t *testing.T) {
	r := newGroupRig(t)
	ctx := t.Context()
	var guests [2]store.Account
	for i, name := range []string{"dave", "erin"} {
		a, err := r.node.CreateAccount(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		guests[i] = a
		if _, err := r.client.InviteToGroup(ctx, "alice", groupNames[i], a.ID.String(), time.Minute); err != nil {
			t.Fatal(err)
		}
		r.eventually(name+" is invited", func() bool {
			g, err := r.client.Group(ctx, name, groupNames[i])
			return err == nil && g.ID == r.groups[i].ID && g.State == "invited" && g.Inviter == r.accounts[0].ID.String()
		})
	}
	if g, err := r.client.AcceptInvite(ctx, "dave", "Choir"); err != nil || g.ID != r.groups[0].ID {
		t.Fatalf("accepted %+v, error %v", g, err)
	}
	if g, err := r.client.DeclineInvite(ctx, "erin", "Orchestra"); err != nil || g.State != "declined" {
		t.Fatalf("declined %+v, error %v", g, err)
	}
	r.eventually("dave is a member", func() bool { return r.group("dave", "Choir").State == "member" })
	if r.mediator.Member(r.chats[0], guests[0].ID) == nil || r.mediator.Member(r.chats[1], guests[1].ID) != nil {
		t.Error("the members are not dave in the choir, and not erin in the orchestra")
	}
	_, err := r.client.DeclineInvite(ctx, "dave", "Choir")
	refused(t, err, http.StatusConflict, "no invite")

	muted, never := true, int64(-1)
	g, err := r.client.SetGroup(ctx, "dave", "Choir", control.GroupSettings{Muted: &muted, AutoDownload: &never})
	if err != nil || !g.Muted || g.AutoDownload != -1 {
		t.Errorf("set %+v, error %v", g, err)
	}
	if g := r.group("alice", "Choir"); g.Muted || g.AutoDownload != 0 {
		t.Errorf("the settings of alice have changed: %+v", g)
	}
}
