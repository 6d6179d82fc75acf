// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/store"
)

// errAway is what a question to a fake has for an answer that is away.
var errAway = errors.New("the node is not running")

// noon is the time in all tests.
var noon = time.Date(2026, time.November, 30, 12, 0, 0, 0, time.UTC)

// fake is a node in memory with what the client asks of one.
type fake struct {
	mu       sync.Mutex
	accounts []control.Account
	chats    map[string][]*fakeChat // of an account
	logs     map[string][]control.Event
	sources  map[string]bool
	away     bool
	large    bool // pages of one message, as if they were large
	acts     []act
	guid     int64
	news     chan struct{} // closed when a log has become longer
}

type fakeChat struct {
	control.Conversation
	messages []control.Message // oldest first
	read     uint64
}

// newFake returns a node with two accounts, each with two contacts and two groups.
func newFake() *fake {
	f := &fake{chats: map[string][]*fakeChat{}, logs: map[string][]control.Event{}, sources: map[string]bool{}, news: make(chan struct{})}
	for _, name := range []string{"alice", "second"} {
		id := strings.Repeat(name[:1], 64)
		f.accounts = append(f.accounts, control.Account{ID: id, Name: name})
		for _, other := range []string{"Bob", "Carol"} {
			key := name + "-" + strings.ToLower(other)
			f.chats[id] = append(f.chats[id], &fakeChat{Conversation: control.Conversation{
				ID: key, Name: other, Contact: &control.Contact{ID: key, Name: other, State: "accepted"},
			}})
		}
		for _, group := range []string{"Choir", "Walkers"} {
			key := "group-" + name + "-" + strings.ToLower(group)
			f.chats[id] = append(f.chats[id], &fakeChat{Conversation: control.Conversation{
				ID: key, Name: group, Group: &control.Group{ID: key, Name: group, State: "member", Stage: "live"},
			}})
		}
	}
	return f
}

func (f *fake) chat(account, id string) *fakeChat {
	for _, c := range f.chats[account] {
		if c.ID == id {
			return c
		}
	}
	return nil
}

// view is a conversation as the API tells of it.
func (c *fakeChat) view() control.Conversation {
	out := c.Conversation
	if c.Contact != nil {
		contact := *c.Contact
		out.Contact = &contact
	}
	if n := len(c.messages); n > 0 {
		last := c.messages[n-1]
		out.Last = &last
	}
	for _, m := range c.messages {
		if m.Direction == "in" && m.Order > c.read && m.Reaction == nil {
			if out.Unread++; out.FirstUnread == 0 {
				out.FirstUnread = m.Order
			}
		}
	}
	return out
}

// add adds a message to a conversation and to the log.
func (f *fake) add(account, chat, direction, text string) control.Message {
	c := f.chat(account, chat)
	f.guid++
	m := control.Message{
		ID: fmt.Sprintf("%s%016x", direction[:1], f.guid), GUID: fmt.Sprint(f.guid), Direction: direction, TypeName: "text", Text: text,
		Order: uint64(len(c.messages) + 1), Sent: noon.Add(time.Duration(f.guid) * time.Second), State: "received",
	}
	m.Stored = m.Sent
	kind := store.MessageReceived
	if direction == "out" {
		m.State, kind = "pending", store.MessageQueued
	}
	if c.Group != nil {
		m.Group, m.Author, m.AuthorName = chat, "key-of-dora", "Dora"
	} else {
		m.Contact = chat
	}
	c.messages = append(c.messages, m)
	f.log(account, kind, m)
	return m
}

func (f *fake) log(account string, kind store.EventKind, m control.Message) {
	close(f.news)
	f.news = make(chan struct{})
	f.logs[account] = append(f.logs[account], control.Event{
		Seq: uint64(len(f.logs[account]) + 1), Kind: kind.String(), Contact: m.Contact, Group: m.Group, Message: &m,
	})
}

// change changes a message.
func (f *fake) change(account, chat, id string, kind store.EventKind, how func(*control.Message)) {
	c := f.chat(account, chat)
	for i := range c.messages {
		if c.messages[i].ID == id {
			how(&c.messages[i])
			told := c.messages[i]
			told.Reactions = nil // events have none
			f.log(account, kind, told)
		}
	}
}

func (f *fake) react(account, chat string, to control.Message, emoji string) {
	r := f.add(account, chat, "in", "")
	c := f.chat(account, chat)
	log := f.logs[account]
	last := &c.messages[len(c.messages)-1]
	last.TypeName, last.Reaction = "reaction", &control.ReactionTo{Target: to.GUID, Emoji: emoji}
	last.RefersTo = &control.Quoted{ID: to.ID, Direction: to.Direction, TypeName: "text"}
	told := *last
	log[len(log)-1].Message = &told
	for i := range c.messages {
		if c.messages[i].ID == to.ID {
			c.messages[i].Reactions = []control.MessageReaction{{Emoji: emoji, Direction: r.Direction}}
		}
	}
}

// messages is a page of a conversation, newest first.
func (f *fake) page(c *fakeChat, which control.Range) (out []control.Message) {
	limit := which.Limit
	if f.large {
		limit = 1
	}
	if which.After > 0 {
		for _, m := range c.messages {
			if m.Order > which.After && len(out) < limit {
				out = append(out, m)
			}
		}
		slices.Reverse(out)
		return out
	}
	for _, m := range slices.Backward(c.messages) {
		if (which.Before == 0 || m.Order < which.Before) && len(out) < limit {
			out = append(out, m)
		}
	}
	return out
}

// answer carries out an effect of the model, nil for those that have no answer.
func (f *fake) answer(e Effect) Input {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if f.away {
		err = errAway
	}
	lacking := func(c *fakeChat) error {
		if err == nil && c == nil {
			return &client.Error{Status: http.StatusNotFound, Text: "there is no such contact or group"}
		}
		return err
	}
	switch e := e.(type) {
	case askAccounts:
		return gotAccounts{slices.Clone(f.accounts), err}
	case askChats:
		var out []control.Conversation
		for _, c := range f.chats[e.account] {
			out = append(out, c.view())
		}
		return gotChats{e.account, out, err}
	case askChat:
		in := gotChat{account: e.account, chat: e.chat, err: lacking(f.chat(e.account, e.chat))}
		if in.err == nil {
			in.conversation = f.chat(e.account, e.chat).view()
		}
		return in
	case markRead:
		in := gotChat{account: e.account, chat: e.chat, marked: true, err: lacking(f.chat(e.account, e.chat))}
		if in.err == nil {
			c := f.chat(e.account, e.chat)
			c.read = max(c.read, e.order)
			in.conversation = c.view()
		}
		return in
	case askMessages:
		in := gotMessages{epoch: e.epoch, which: e.which, err: lacking(f.chat(e.account, e.chat))}
		if in.err == nil {
			in.messages = f.page(f.chat(e.account, e.chat), e.which)
		}
		return in
	case askMessage:
		in := gotMessage{epoch: e.epoch, id: e.id, whole: e.whole, err: lacking(f.chat(e.account, e.chat))}
		if in.err == nil {
			in.err = &client.Error{Status: http.StatusNotFound, Text: "there is no such message in that conversation"}
			for _, m := range f.chat(e.account, e.chat).messages {
				if m.ID == e.id {
					in.message, in.err = m, nil
				}
			}
		}
		return in
	case askMembers:
		return gotMembers{e.epoch, []control.GroupMember{
			{ID: "key-of-dora", Name: "Dora", Role: "owner", Standing: "member", Online: true},
			{ID: "key-of-eve", Name: "Eve", Role: "user", Standing: "left"},
			{ID: "0123456789abcdef", Role: "user", Standing: "member"},
		}, err}
	case askFound:
		return gotFound{e.query, f.search(e), err}
	case sendNext:
		return sent{e.what.source, f.send(e.what, err)}
	case later:
		return again{}
	case act:
		if err == nil {
			f.acts = append(f.acts, e)
		}
		return did{e.say, err}
	}
	return nil
}

// send takes a message; a text that has "refuse" in it is refused.
func (f *fake) send(o outgoing, err error) error {
	switch {
	case err != nil:
		return err
	case strings.Contains(o.text, "refuse"):
		return &client.Error{Status: http.StatusUnprocessableEntity, Text: "this text is refused"}
	case f.sources[o.source]:
		return nil
	}
	f.sources[o.source] = true
	m := f.add(o.account, o.chat, "out", o.text)
	f.change(o.account, o.chat, m.ID, store.MessageDelivered, func(m *control.Message) {
		if m.State, m.ReplyTo = "delivered", o.reply; o.file != "" {
			m.TypeName, m.File = "file", &control.File{Name: o.file, State: "stored", Caption: o.text}
		}
	})
	return nil
}

func (f *fake) search(e askFound) (found control.Found) {
	for _, c := range f.chats[e.account] {
		if strings.Contains(strings.ToLower(c.Name), strings.ToLower(e.query.Words)) {
			name := control.FoundName{Name: c.Name}
			if c.Group != nil {
				name.Group = c.ID
			} else {
				name.Contact = c.ID
			}
			found.Names = append(found.Names, name)
		}
		for _, m := range slices.Backward(c.messages) {
			if strings.Contains(m.Text, e.query.Words) && len(found.Messages) < e.query.Limit {
				found.Messages = append(found.Messages, control.FoundMessage{Message: m, Name: c.Name, Excerpt: m.Text})
			}
		}
	}
	return found
}

// summaryForTest says what a message is, as the command's own words do.
func summaryForTest(m control.Message) string {
	switch {
	case m.Deleted:
		return "[a message that was deleted for everybody]"
	case m.File != nil && m.File.Voice:
		return "[voice message, 12 KiB]"
	case m.File != nil && m.File.Picture:
		return "[picture " + m.File.Name + "] " + m.File.Caption
	case m.File != nil:
		return "[file " + m.File.Name + "] " + m.File.Caption
	}
	return m.Text
}

// rig is a model with a fake that answers it.
type rig struct {
	*Model
	f        *fake
	followed string
	seen     map[string]int // how many events of an account's log were told
	waiting  []Effect       // not answered yet
	ended    bool
	sources  int
}

func newRig(f *fake) *rig {
	r := &rig{f: f, seen: map[string]int{}}
	r.Model = New(Options{
		Summary: summaryForTest, Now: func() time.Time { return noon.Add(time.Hour) },
		Source:   func() string { r.sources++; return fmt.Sprint("source-", r.sources) },
		FileName: func(name string) string { return "safe-" + name },
	})
	r.take(r.Start())
	return r
}

// take notes effects.
func (r *rig) take(effects []Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case quit:
			r.ended = true
		case follow:
			r.followed = e.account
			if !r.f.away {
				r.tell(connected{account: e.account})
				r.seen[e.account] = len(r.f.logs[e.account])
			}
		case redraw, suspend:
		default:
			r.waiting = append(r.waiting, e)
		}
	}
}

func (r *rig) tell(in Input) { r.take(r.Update(in)) }

// answerOne answers one of the questions.
func (r *rig) answerOne(i int) {
	e := r.waiting[i]
	r.waiting = slices.Delete(r.waiting, i, i+1)
	r.tell(r.f.answer(e))
}

// settle answers everything and tells of all events, until nothing is left.
func (r *rig) settle() {
	for range 100_000 {
		switch {
		case len(r.waiting) > 0:
			r.answerOne(0)
		case r.tellEvent():
		default:
			return
		}
	}
	panic("the model asks without an end")
}

// tellEvent tells of the next event, if there is one.
func (r *rig) tellEvent() bool {
	if log := r.f.logs[r.followed]; !r.f.away && r.seen[r.followed] < len(log) {
		e := log[r.seen[r.followed]]
		r.seen[r.followed]++
		r.tell(happened{r.followed, e})
		return true
	}
	return false
}

// leaves and returns are the node going away and coming back.
func (r *rig) leaves() {
	r.f.away = true
	r.tell(lost{r.followed, errAway, time.Second})
}

func (r *rig) returns(missed bool) {
	r.f.away = false
	if r.followed == "" { // it was never there
		r.take([]Effect{askAccounts{}})
		return
	}
	if missed {
		r.seen[r.followed] = len(r.f.logs[r.followed])
	}
	r.tell(connected{r.followed, missed})
}

// press presses keys, and types what is in quotes.
func (r *rig) press(keys ...string) {
	for _, key := range keys {
		if text, ok := strings.CutPrefix(key, `"`); ok {
			for _, c := range text {
				r.tell(Typed(string(c)))
			}
		} else {
			r.tell(Key(key))
		}
		r.settle()
	}
}

// opens opens a conversation.
func (r *rig) opens(chat string) {
	r.openChat(chat)
	r.tell(Resized{r.width, r.height})
	r.settle()
}
