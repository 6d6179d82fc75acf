// SPDX-License-Identifier: MPL-2.0

package page

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/control"
)

const (
	// shownMembers is how many members of a group are shown.
	shownMembers = 500
	// shownContacts is how many contacts are shown in the list of them.
	shownContacts = 1000
	// answerWait is how long a form waits for a mediator.
	answerWait = 10 * time.Second
)

func (s *server) routesOfPeople(in, form func(string, func(http.ResponseWriter, *request))) {
	in(accountPath+"/contacts", s.contacts)
	form(accountPath+"/contacts", s.addContact)
	in(accountPath+"/qr.svg", s.qr)
	in(chatPath+"/about", s.about)
	form(chatPath+"/contact/{act}", s.actOnContact)
	in(accountPath+"/groups", s.groups)
	form(accountPath+"/groups", s.createGroup)
	form(chatPath+"/group/{act}", s.actOnGroup)
	form(chatPath+"/member/{member}/{act}", s.actOnMember)
}

// contactsView is the list of contacts, and what others need to add the account.
type contactsView struct {
	Requests, Contacts, Blocked []control.Contact
	More                        int // that are not shown
	Invites                     []control.Group
}

func (s *server) contacts(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	f, err := s.frameOf(ctx, r, "contacts", "Contacts")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	all, err := s.api.Contacts(ctx, f.Account.ID)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	groups, err := s.api.Groups(ctx, f.Account.ID)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	slices.SortStableFunc(all, func(a, b control.Contact) int {
		return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	})
	var view contactsView
	for _, c := range all {
		list := &view.Contacts
		switch c.State {
		case "requested":
			list = &view.Requests
		case "blocked":
			list = &view.Blocked
		case "stranger":
			continue // has connected and asked for nothing
		}
		if len(*list) == shownContacts {
			view.More++
			continue
		}
		*list = append(*list, c)
	}
	for _, g := range groups {
		if g.State == "invited" {
			view.Invites = append(view.Invites, g)
		}
	}
	f.Page = view
	s.render(w, http.StatusOK, "contacts", f)
}

func (s *server) addContact(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	account, link := r.PathValue("account"), strings.TrimSpace(r.PostForm.Get("link"))
	var added control.Contact
	var err error
	if r.PostForm.Get("ask") != "" {
		added, err = s.api.RequestContact(ctx, account, link, r.PostForm.Get("text"))
	} else {
		added, err = s.api.AddContact(ctx, account, link)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	http.Redirect(w, r.Request, accountLink(account, "c", added.ID)+"?said=added", http.StatusSeeOther)
}

// qr passes on the QR code of the account.
func (s *server) qr(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	picture, err := s.api.QR(ctx, r.PathValue("account"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	_, _ = w.Write(picture) // the browser may be gone
}

// aboutView is what is known of a contact or group.
type aboutView struct {
	Chat    control.Conversation
	Members []control.GroupMember
	// More counts the members that are not shown.
	More int
	// Waiting is why messages are undelivered, nil when none are.
	Waiting *control.Undelivered
	Roles   []string
}

// about shows a contact, or a group with its members, and what can be done.
func (s *server) about(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	account, chat := r.PathValue("account"), r.PathValue("chat")
	view := aboutView{Roles: []string{"owner", "admin", "moderator", "user", "read-only"}}
	var err error
	if view.Chat, err = s.api.Conversation(ctx, account, chat); err != nil {
		s.fail(w, r, err)
		return
	}
	f, err := s.frameWithChats(ctx, r, "chats", "About "+view.Chat.Name)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if view.Chat.Group != nil {
		group, err := s.api.Group(ctx, account, chat) // with its tasks
		if err != nil {
			s.fail(w, r, err)
			return
		}
		view.Chat.Group = &group
		members, err := s.api.GroupMembers(ctx, account, chat)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		members = slices.DeleteFunc(members, func(m control.GroupMember) bool { return m.Standing == "left" })
		view.More = max(0, len(members)-shownMembers)
		view.Members = members[:len(members)-view.More]
	}
	if view.Chat.Undelivered > 0 {
		status, err := s.api.Status(ctx)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		for _, u := range status.Undelivered {
			if u.Account == account && u.Contact == chat {
				view.Waiting = &u
			}
		}
	}
	f.Page = view
	s.render(w, http.StatusOK, "about", f)
}

func (s *server) actOnContact(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	account, contact, act := r.PathValue("account"), r.PathValue("chat"), r.PathValue("act")
	next := accountLink(account, "c", contact, "about")
	var err error
	switch act {
	case "accept":
		_, err = s.api.AcceptContact(ctx, account, contact)
		next = accountLink(account, "c", contact)
	case "decline":
		_, err = s.api.DeclineContact(ctx, account, contact)
		next = accountLink(account, "contacts")
	case "block":
		_, err = s.api.BlockContact(ctx, account, contact)
	case "unblock":
		_, err = s.api.UnblockContact(ctx, account, contact)
	case "rename":
		name := r.PostForm.Get("name")
		_, err = s.api.ChangeContact(ctx, account, contact, control.ContactChange{Name: &name})
	case "mute", "unmute":
		muted := act == "mute"
		_, err = s.api.ChangeContact(ctx, account, contact, control.ContactChange{Muted: &muted})
	case "trust":
		_, err = s.api.TrustDevice(ctx, account, contact, r.PostForm.Get("node"))
	case "remove":
		if r.PostForm.Get("sure") == "" {
			s.wrong(w, r, http.StatusUnprocessableEntity, "Nothing was removed: tick the box beside the button to say that you are sure.")
			return
		}
		err = s.api.RemoveContact(ctx, account, contact)
		next = accountLink(account)
	default:
		s.notFound(w, r)
		return
	}
	s.done(w, r, err, next, act)
}

// done leads to the next page after a form, or says what has failed.
func (s *server) done(w http.ResponseWriter, r *request, err error, next, said string) {
	if err != nil {
		s.fail(w, r, err)
		return
	}
	http.Redirect(w, r.Request, next+"?said="+said, http.StatusSeeOther)
}

// groupsView is the list of groups and the form for a new one.
type groupsView struct{ Groups []control.Group }

func (s *server) groups(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	f, err := s.frameOf(ctx, r, "groups", "Groups")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	groups, err := s.api.Groups(ctx, f.Account.ID)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	f.Page = groupsView{groups}
	s.render(w, http.StatusOK, "groups", f)
}

func (s *server) createGroup(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	account := r.PathValue("account")
	_, err := s.api.CreateGroup(ctx, account, control.NewGroup{
		Name: r.PostForm.Get("name"), Description: r.PostForm.Get("description"), Mediator: strings.TrimSpace(r.PostForm.Get("mediator")),
	})
	s.done(w, r, err, accountLink(account, "groups"), "create")
}

func (s *server) actOnGroup(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	account, group, act := r.PathValue("account"), r.PathValue("chat"), r.PathValue("act")
	next := accountLink(account, "c", group, "about")
	sure := func() bool {
		if r.PostForm.Get("sure") != "" {
			return true
		}
		s.wrong(w, r, http.StatusUnprocessableEntity, "Nothing was done: tick the box beside the button to say that you are sure.")
		return false
	}
	var err error
	switch act {
	case "accept":
		_, err = s.api.AcceptInvite(ctx, account, group)
		next = accountLink(account, "c", group)
	case "decline":
		_, err = s.api.DeclineInvite(ctx, account, group)
		next = accountLink(account, "contacts")
	case "invite":
		_, err = s.api.InviteToGroup(ctx, account, group, strings.TrimSpace(r.PostForm.Get("identity")), answerWait)
	case "edit":
		name, description := r.PostForm.Get("name"), r.PostForm.Get("description")
		_, err = s.api.EditGroup(ctx, account, group, control.GroupEdit{Name: &name, Description: &description}, answerWait)
	case "mute", "unmute":
		muted := act == "mute"
		_, err = s.api.SetGroup(ctx, account, group, control.GroupSettings{Muted: &muted})
	case "leave":
		if !sure() {
			return
		}
		_, err = s.api.LeaveGroup(ctx, account, group, answerWait)
	case "delete":
		if !sure() {
			return
		}
		_, err = s.api.DeleteGroup(ctx, account, group, answerWait)
	case "remove":
		if !sure() {
			return
		}
		err = s.api.RemoveGroup(ctx, account, group)
		next = accountLink(account)
	default:
		s.notFound(w, r)
		return
	}
	s.done(w, r, err, next, act)
}

func (s *server) actOnMember(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	account, group, member := r.PathValue("account"), r.PathValue("chat"), r.PathValue("member")
	var err error
	switch r.PathValue("act") {
	case "role":
		_, err = s.api.SetGroupRole(ctx, account, group, member, r.PostForm.Get("role"), answerWait)
	case "ban":
		_, err = s.api.BanFromGroup(ctx, account, group, member, true, answerWait)
	case "unban":
		_, err = s.api.BanFromGroup(ctx, account, group, member, false, answerWait)
	default:
		s.notFound(w, r)
		return
	}
	s.done(w, r, err, accountLink(account, "c", group, "about"), "member")
}
