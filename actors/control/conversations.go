// SPDX-License-Identifier: MPL-2.0

package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/rivo/uniseg"

	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// The part of the API that is about conversations as a whole: what is new in them, and
// what the other side does not have yet, and why.

const (
	// maxUnread is how far unread messages are counted.
	maxUnread = 1000
	// maxUndelivered bounds the list in Status.
	maxUndelivered = 100
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

// Undelivered is a conversation with undelivered messages.
type Undelivered struct {
	Account  string    `json:"account"`
	Contact  string    `json:"contact"`
	Name     string    `json:"name" doc:"Of the contact"`
	Messages int       `json:"messages"`
	Since    time.Time `json:"since,omitzero" doc:"When the first of them was queued"`
	// Code is for programs, Why for people.
	Code string `json:"code" enum:"offline,request_declined,request_unanswered,connected,uploading,not_reached,trying"`
	Why  string `json:"why" doc:"Why they are not delivered, in words"`
	// NextAttempt is when the contact is dialled again.
	NextAttempt time.Time `json:"next_attempt,omitzero"`
}

// ReadMark says how far a conversation was read.
type ReadMark struct {
	Order uint64 `json:"order" doc:"Order of the last message that was read"`
}

func (s *service) registerConversations(api huma.API) {
	huma.Get(api, "/v1/accounts/{account}/conversations", s.conversations)
	huma.Post(api, "/v1/accounts/{account}/contacts/{contact}/read", s.markContactRead)
	huma.Post(api, "/v1/accounts/{account}/contacts/{contact}/messages/{message}/cancel", s.cancelMessage)
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

func (s *service) markContactRead(ctx context.Context, in *struct {
	ContactPath
	Body ReadMark
},
) (*body[Conversation], error) {
	account, contact, err := s.contact(&in.ContactPath)
	if err != nil {
		return nil, err
	}
	return s.markRead(ctx, account, store.ContactConversation(contact), in.Body)
}

func (s *service) markRead(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, mark ReadMark) (*body[Conversation], error) {
	if err := s.node.MarkRead(ctx, account, conversation, mark.Order); err != nil {
		return nil, problem(err)
	}
	return s.one(account, conversation)
}

func (s *service) cancelMessage(ctx context.Context, in *struct {
	ContactPath
	Message string `path:"message" doc:"Id of the message"`
},
) (*body[Message], error) {
	account, contact, err := s.contact(&in.ContactPath)
	if err != nil {
		return nil, err
	}
	id, err := store.ParseMessageID(in.Message)
	if err != nil {
		return nil, huma.Error422UnprocessableEntity(err.Error())
	}
	return s.cancel(account, store.ContactConversation(contact), id, func() (bool, error) {
		return s.node.CancelMessage(ctx, account, contact, id, cancelReason)
	})
}

// cancel cancels a message of a contact's or a group's conversation with give, and answers
// with the message.
func (s *service) cancel(account identity.PublicKey, conversation store.ConversationID, id store.MessageID, give func() (bool, error)) (*body[Message], error) {
	if id.Dir != store.Out {
		return nil, huma.Error422UnprocessableEntity("only messages that this account has sent can be cancelled")
	}
	given, err := give()
	if err != nil {
		return nil, groupProblem(err)
	}
	m, err := s.node.ConversationMessage(account, conversation, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, huma.Error404NotFound("there is no such message in that conversation")
	}
	if err != nil {
		return nil, problem(err)
	}
	if !given && m.Reason != cancelReason {
		return nil, huma.Error409Conflict("the message is " + m.State.String() + " already, and cannot be cancelled")
	}
	return &body[Message]{s.message(m)}, nil
}

// undelivered lists the conversations with undelivered messages and says why they are
// not delivered.
func (s *service) undelivered(state node.Status) ([]Undelivered, error) {
	accounts, err := s.node.Accounts()
	if err != nil {
		return nil, problem(err)
	}
	up := slices.ContainsFunc(overlayOf(state.Overlay, state.Running).Peers, func(p Peer) bool { return p.Up })
	out := []Undelivered{}
	for _, a := range accounts {
		contacts, err := s.node.OutboxContacts(a.ID)
		if err != nil {
			return nil, problem(err)
		}
		for _, id := range contacts {
			c, err := s.node.Contact(a.ID, id)
			if errors.Is(err, node.ErrUnknownContact) {
				continue // removed at this moment
			}
			if err != nil {
				return nil, problem(err)
			}
			view, err := s.undeliveredTo(c, up)
			if err != nil {
				return nil, problem(err)
			}
			out = append(out, view)
		}
	}
	slices.SortStableFunc(out, func(a, b Undelivered) int { return a.Since.Compare(b.Since) })
	return out[:min(len(out), maxUndelivered)], nil
}

func (s *service) undeliveredTo(c store.Contact, up bool) (Undelivered, error) {
	out := Undelivered{Account: c.Account.String(), Contact: c.ID.String(), Name: c.DisplayName()}
	size, err := s.node.OutboxSize(c.Account, c.ID)
	if err != nil {
		return out, err
	}
	out.Messages = size.Messages
	first, err := s.node.Outbox(c.Account, c.ID, 1)
	if err != nil {
		return out, err
	}
	uploading := false
	if len(first) > 0 {
		out.Since = first[0].Created.Time()
		if peer.MessageType(first[0].Type) != peer.TypeText && eventlog.HasFile(first[0]) {
			info, err := s.node.MediaState(c.Account, c.ID, first[0].ID)
			uploading = err == nil && info.State == store.MediaUploading
		}
	}
	p := s.node.Presence(c.Account, c.ID)
	switch {
	case !up && !p.Online:
		out.Code, out.Why = "offline", "no Yggdrasil peer is connected"
	case uploading:
		out.Code, out.Why = "uploading", "the file is being uploaded"
	case p.Online:
		out.Code, out.Why = "connected", "they are connected and have not acknowledged it yet"
	case c.Asked == store.AskDeclined:
		out.Code, out.Why = "request_declined", "they declined your request, and take nothing until they add you"
	case c.Asked == store.AskSent && p.LastError == "":
		out.Code, out.Why = "request_unanswered", "they have not answered your request"
	case p.LastError != "":
		out.Code, out.Why = "not_reached", p.LastError
	default:
		out.Code, out.Why = "trying", "they are being looked for"
	}
	if out.Code == "not_reached" && (c.Asked == store.AskSent || c.Asked == store.AskWaiting) {
		out.Why += "; they have not answered your request either"
	}
	if p.NextAttempt.After(time.Now()) {
		out.NextAttempt = p.NextAttempt
	}
	return out, nil
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
