// SPDX-License-Identifier: MPL-2.0

package page

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/control"
)

const (
	accountPath = "/a/{account}"
	chatPath    = accountPath + "/c/{chat}"
	// listPage is how many conversations the list shows at first, and more each time.
	listPage = 100
	// maxList bounds the list.
	maxList = 2000
	// messagePage is how many messages are shown at once.
	messagePage = 50
)

// accountLink returns the address of a page of an account.
func accountLink(account string, rest ...string) string {
	parts := []string{"/a", url.PathEscape(account)}
	for _, part := range rest {
		parts = append(parts, url.PathEscape(part))
	}
	return strings.Join(parts, "/")
}

func (s *server) routesOfChats(in, form func(string, func(http.ResponseWriter, *request))) {
	in(accountPath, s.chats)
	in(accountPath+"/chats", s.chatList)
	in(accountPath+"/search", s.search)
	in(accountPath+"/live", s.live)
	in(chatPath, s.chat)
	in(chatPath+"/live", s.live)
	in(chatPath+"/m/{message}", s.message)
	in(chatPath+"/m/{message}/file", s.file)
	in(chatPath+"/avatar", s.avatar)
	in(chatPath+"/composer", s.composer)
	form(chatPath+"/read", s.read)
	form(chatPath+"/m/{message}/{act}", s.actOnMessage)
}

// chatList is the list of conversations.
type chatList struct {
	Account string
	Chats   []control.Conversation
	Open    string // the one that is shown, "" for none
	More    int    // what to ask for to see more, 0 when all are shown
}

// home leads to the first account.
func (s *server) home(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	accounts, err := s.api.Accounts(ctx)
	switch {
	case err != nil:
		s.fail(w, r, err)
	case len(accounts) == 0:
		http.Redirect(w, r.Request, "/node", http.StatusSeeOther)
	default:
		http.Redirect(w, r.Request, accountLink(accounts[0].ID), http.StatusSeeOther)
	}
}

// frameOf fills what pages of the account in the path have around them.
func (s *server) frameOf(ctx context.Context, r *request, section, title string) (frame, error) {
	f := frame{Title: title, Section: section, CSRF: r.session.csrf, Said: said(r.URL.Query().Get("said"))}
	var err error
	if f.Accounts, err = s.api.Accounts(ctx); err != nil {
		return f, err
	}
	for _, a := range f.Accounts {
		if a.ID == r.PathValue("account") {
			f.Account = a
			f.Live = accountLink(a.ID, "live")
			return f, nil
		}
	}
	return f, errNoAccount
}

// frameWithChats is frameOf with the list of conversations, and where the log of events is
// followed from.
func (s *server) frameWithChats(ctx context.Context, r *request, section, title string) (frame, error) {
	f, err := s.frameOf(ctx, r, section, title)
	if err != nil {
		return f, err
	}
	f.Wide = true
	f.Chats, err = s.listOf(ctx, r)
	return f, err
}

func (s *server) listOf(ctx context.Context, r *request) (chatList, error) {
	account := r.PathValue("account")
	shown, _ := strconv.Atoi(r.URL.Query().Get("show"))
	shown = min(max(shown, listPage), maxList)
	chats, err := s.api.Conversations(ctx, account)
	if err != nil {
		return chatList{}, err
	}
	list := chatList{Account: account, Chats: chats, Open: cmp.Or(r.PathValue("chat"), r.URL.Query().Get("open"))}
	if len(chats) > shown {
		list.Chats = chats[:shown]
		if shown < maxList {
			list.More = shown + listPage
		}
	}
	return list, nil
}

// chats shows the conversations, or how to begin when there are none.
func (s *server) chats(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	f, err := s.frameWithChats(ctx, r, "chats", "Chats")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	name := "chats"
	if len(f.Chats.Chats) == 0 {
		name = "guide"
		f.Wide = false
		f.Title = "Welcome"
	}
	s.render(w, http.StatusOK, name, f)
}

// chatList answers with the list alone.
func (s *server) chatList(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	list, err := s.listOf(ctx, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.render(w, http.StatusOK, "chatlist", list)
}

// chatView is one conversation.
type chatView struct {
	Account  string
	Chat     control.Conversation
	Messages messagesView
	Composer composerView
	CSRF     string
	// Denied says why nothing can be written, "" when something can.
	Denied string
}

// messagesView is a part of a conversation, oldest first.
type messagesView struct {
	Account string
	Chat    control.Conversation
	List    []messageView
	// First and Last are the orders of the first and the last message, also of those that
	// are not shown as rows.
	First, Last uint64
	// Older and Newer say that there may be more.
	Older, Newer bool
	// Part says where a script of ours puts the messages: "older" before and "newer" after
	// those that it has, "" for a whole page.
	Part string
	// After is the number of the last event that the messages have in them.
	After uint64
}

// messageView is one message.
type messageView struct {
	control.Message
	Account, Chat string
	Group         bool
	// Day is set on the first message of a day.
	Day time.Time
	// Whole says that the text is not cut.
	Whole bool
	// OOB is how a script of ours puts the message into a page that is open, "" for none.
	OOB string
	// Called is set on what is not a message but a missed call.
	Called time.Time
}

// chat shows a conversation; asked by a script it answers with the messages alone.
func (s *server) chat(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	account, chat := r.PathValue("account"), r.PathValue("chat")
	view, err := s.messagesOf(ctx, account, chat, r.URL.Query())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if r.fragment() {
		s.render(w, http.StatusOK, "messages", view)
		return
	}
	f, err := s.frameWithChats(ctx, r, "chats", view.Chat.Name)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	composer, err := s.composerOf(ctx, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	f.Live = accountLink(account, "c", chat, "live") + "?after=" + strconv.FormatUint(view.After, 10) + "&last=" + strconv.FormatUint(view.Last, 10)
	f.Page = chatView{Account: account, Chat: view.Chat, Messages: view, Composer: composer, CSRF: r.session.csrf, Denied: denied(view.Chat)}
	s.render(w, http.StatusOK, "chat", f)
}

// messagesOf reads a page of messages.
func (s *server) messagesOf(ctx context.Context, account, chat string, query url.Values) (messagesView, error) {
	before, _ := strconv.ParseUint(query.Get("before"), 10, 64)
	after, _ := strconv.ParseUint(query.Get("after"), 10, 64)
	view := messagesView{Account: account, Newer: before > 0, Part: query.Get("part")}
	var err error
	// Events first: what comes after them is heard of over the stream.
	if view.After, err = s.api.LastEvent(ctx, account); err != nil {
		return view, err
	}
	if view.Chat, err = s.api.Conversation(ctx, account, chat); err != nil {
		return view, err
	}
	if around, _ := strconv.ParseUint(query.Get("around"), 10, 64); around > 0 {
		// Not the last page, unless the message is on it: then the page is live.
		if last := view.Chat.Last; last == nil || last.Order > around+aroundMessage {
			before, view.Newer = around+aroundMessage+1, true
		}
	}
	messages, err := s.api.ChatMessages(ctx, account, chat, control.Range{Before: before, After: after, Limit: messagePage})
	if err != nil {
		return view, err
	}
	if after > 0 {
		view.Older, view.Newer = true, len(messages) > 0
	} else {
		view.Older = len(messages) > 0
	}
	calls, err := s.api.MissedCalls(ctx, account, chat)
	if err != nil {
		return view, err
	}
	// Calls before the first message are with that, or, when it has expired, where nothing is.
	if n := len(messages); n > 0 && messages[n-1].Order == 1 || n == 0 && after == 0 && before != 1 {
		view.addCalls(calls, 0)
	}
	var day string
	for i := len(messages) - 1; i >= 0; i-- {
		m := messages[i]
		if view.First == 0 {
			view.First = m.Order
		}
		view.Last = m.Order
		if m.Reaction == nil { // which is shown with its message
			row := s.rowOf(account, view.Chat, m)
			if d := timeOf(m).Format(time.DateOnly); d != day {
				day, row.Day = d, timeOf(m)
			}
			view.List = append(view.List, row)
		}
		view.addCalls(calls, m.Order)
	}
	if view.Last == 0 {
		view.Last = after
	}
	return view, nil
}

// addCalls adds the missed calls behind a message, but for those that the page hears of.
func (v *messagesView) addCalls(calls []control.Call, order uint64) {
	for _, c := range slices.Backward(calls) {
		if c.After == order && c.Seq <= v.After {
			v.List = append(v.List, messageView{Called: c.Time})
		}
	}
}

func (s *server) rowOf(account string, chat control.Conversation, m control.Message) messageView {
	return messageView{Message: m, Account: account, Chat: chat.ID, Group: chat.Group != nil}
}

// timeOf is the time that a message is shown with: the sender's, which the node has bounded.
func timeOf(m control.Message) time.Time {
	if m.Sent.IsZero() {
		return m.Stored
	}
	return m.Sent
}

// denied says why nothing can be written into a conversation.
func denied(c control.Conversation) string {
	switch {
	case c.Group != nil:
		switch {
		case c.Group.NoKey:
			return "The key of this group is missing; ask a member to invite you again."
		case c.Group.State == "member":
			return ""
		case c.Group.State == "read_only":
			return "You may read in this group, and not write."
		case c.Group.State == "invited":
			return "You are invited to this group. Accept the invite to read and write."
		}
		return "You are not in this group (" + words(c.Group.State) + ")."
	case c.Contact.State == "requested":
		return "Accept the request of this contact to write to them."
	case c.Contact.State == "blocked":
		return "You have blocked this contact."
	case c.Contact.State == "stranger":
		return "This is not a contact of yours; add them to write to them."
	}
	return ""
}

// read moves the read mark.
func (s *server) read(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	order, err := strconv.ParseUint(r.PostForm.Get("order"), 10, 64)
	if err != nil {
		s.wrong(w, r, http.StatusBadRequest, "This form is not complete; nothing was done.")
		return
	}
	account, chat := r.PathValue("account"), r.PathValue("chat")
	if _, err := s.api.MarkRead(ctx, account, chat, order); err != nil {
		s.fail(w, r, err)
		return
	}
	if r.fragment() {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r.Request, accountLink(account, "c", chat), http.StatusSeeOther)
}
