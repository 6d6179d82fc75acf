// SPDX-License-Identifier: MPL-2.0

package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/rivo/uniseg"

	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The part of the API that is about conversations as a whole, those with contacts and those in
// groups alike, and what is new in them. What is said in them is in chats.go.

const (
	// maxUnread is how far unread messages are counted.
	maxUnread = 1000
	// quotedText is how much of a message is repeated beside those that refer to it, in
	// characters.
	quotedText = 80
	// cancelReason is the reason of a message that was cancelled.
	cancelReason = "cancelled"
)

// Quoted is the message that another one quotes or reacts to.
type Quoted struct {
	ID        string `json:"id"`
	Direction string `json:"direction" enum:"in,out"`
	TypeName  string `json:"type_name" enum:"text,image,call,file,reaction,system,unknown"`
	Text      string `json:"text,omitempty" doc:"The beginning of its text, or the name of its file"`
}

// Conversation is the state of a conversation, with a contact or in a group.
type Conversation struct {
	ID   string `json:"id" doc:"Identity key of the contact, or id of the group"`
	Name string `json:"name" doc:"Of the contact or group"`
	// Contact or Group says with whom.
	Contact *Contact `json:"contact,omitempty"`
	Group   *Group   `json:"group,omitempty"`
	// Last is the newest message, with no more than the beginning of its text in lists.
	Last *Message `json:"last,omitempty"`
	// Unread is counted up to 1000.
	Unread      int    `json:"unread" doc:"Messages of others that came after the read mark; 1000 stands for more"`
	FirstUnread uint64 `json:"first_unread,omitempty" doc:"Position of the first of them"`
	Undelivered int    `json:"undelivered" doc:"Messages of ours that were not delivered yet"`
}

// ReadMark says how far a conversation was read.
type ReadMark struct {
	Order uint64 `json:"order" doc:"Order of the last message that was read"`
}

func (s *service) registerConversations(api huma.API) {
	huma.Get(api, "/v1/accounts/{account}/conversations", s.conversations)
}

// refersTo finds the message that another one quotes or reacts to. A message of either
// side may have the guid.
func (s *service) refersTo(m store.Message) *Quoted {
	target := m.ReplyTo
	if r, ok := eventlog.Reaction(m); ok {
		target = int64(r.Target)
	}
	if target == 0 {
		return nil
	}
	for _, dir := range []store.Direction{store.In, store.Out} {
		found, err := s.node.ConversationMessage(m.Account, m.Conversation, store.MessageID{Dir: dir, GUID: target})
		if err != nil {
			continue
		}
		q := &Quoted{ID: found.ID.String(), Direction: dir.String(), TypeName: eventlog.TypeName(found)}
		if text, ok := eventlog.Text(found); ok {
			q.Text = beginning(text)
		} else if eventlog.HasFile(found) {
			if info, err := s.node.ConversationMedia(m.Account, m.Conversation, found.ID); err == nil {
				q.Text = beginning(cmp.Or(info.Caption, info.Name))
			}
		}
		return q
	}
	return nil
}

// beginning returns the first characters of a text, with a mark when there are more.
func beginning(text string) string {
	graphemes := uniseg.NewGraphemes(text)
	for n := 0; graphemes.Next(); n++ {
		if n == quotedText {
			start, _ := graphemes.Positions()
			return text[:start] + "…"
		}
	}
	return text
}

func (s *service) conversations(_ context.Context, in *AccountPath) (*body[[]Conversation], error) {
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	contacts, err := s.node.Contacts(account)
	if err != nil {
		return nil, problem(err)
	}
	groups, err := s.node.Groups(account)
	if err != nil {
		return nil, problem(err)
	}
	out := make([]Conversation, 0, len(contacts)+len(groups))
	for _, c := range contacts {
		view, err := s.withContact(c)
		if err != nil {
			return nil, problem(err)
		}
		out = append(out, view)
	}
	for _, g := range groups {
		view, err := s.inGroup(g)
		if err != nil {
			return nil, problem(err)
		}
		out = append(out, view)
	}
	for i := range out {
		if last := out[i].Last; last != nil {
			last.Text, last.Payload = beginning(last.Text), nil // there may be many
		}
	}
	slices.SortStableFunc(out, func(a, b Conversation) int { return lastTime(b).Compare(lastTime(a)) })
	return &body[[]Conversation]{out}, nil
}

// lastTime is when something has happened in a conversation last.
func lastTime(c Conversation) time.Time {
	switch {
	case c.Last != nil:
		return c.Last.Stored
	case c.Contact != nil:
		return c.Contact.Requested
	case c.Group.State == store.GroupInvited.String():
		return c.Group.Invited
	}
	return c.Group.Since
}

func (s *service) withContact(c store.Contact) (Conversation, error) {
	view := contactOf(s.node, c)
	return s.fill(Conversation{ID: view.ID, Name: view.Name, Contact: &view}, c.Account, store.ContactConversation(c.ID))
}

func (s *service) inGroup(g store.Group) (Conversation, error) {
	view, err := s.groupOf(g)
	if err != nil {
		return Conversation{}, err
	}
	return s.fill(Conversation{ID: view.ID, Name: view.Name, Group: &view}, g.Account, g.ID)
}

// fill adds what contacts and groups have alike.
func (s *service) fill(out Conversation, account identity.PublicKey, conversation store.ConversationID) (Conversation, error) {
	last, err := s.node.ConversationMessages(account, conversation, 0, 1)
	if err != nil {
		return out, err
	}
	if len(last) > 0 {
		view := s.message(last[0])
		out.Last = &view
	}
	size, err := s.node.ConversationOutboxSize(account, conversation)
	if err != nil {
		return out, err
	}
	out.Undelivered = size.Messages
	unread, err := s.node.Unread(account, conversation, maxUnread)
	out.Unread, out.FirstUnread = unread.Count, unread.First
	return out, err
}

// one is the state of one conversation.
func (s *service) one(account identity.PublicKey, conversation store.ConversationID) (*body[Conversation], error) {
	var view Conversation
	var err error
	if conversation.Kind() == store.KindGroup {
		g, groupErr := s.node.Group(account, conversation)
		if groupErr != nil {
			return nil, groupProblem(groupErr)
		}
		view, err = s.inGroup(g)
	} else {
		c, contactErr := s.node.Contact(account, conversation.Contact())
		if contactErr != nil {
			return nil, problem(contactErr)
		}
		view, err = s.withContact(c)
	}
	return &body[Conversation]{view}, problem(err)
}

// accountsThere says which accounts there are.
func accountsThere(names []string) string {
	if len(names) == 0 {
		return "it has none yet; create one with: mimird account add NAME"
	}
	return "give one of these with --account: " + listed(names)
}

// listed names the first of several things.
func listed(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
