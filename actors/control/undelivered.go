// SPDX-License-Identifier: MPL-2.0

package control

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/eventlog"
	groupactor "github.com/mimird/mimird/actors/group"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/peer"
)

// maxUndelivered bounds the list in Status.
const maxUndelivered = 100

// Undelivered is a conversation with undelivered messages.
type Undelivered struct {
	Account  string    `json:"account"`
	Contact  string    `json:"contact,omitempty"`
	Group    string    `json:"group,omitempty" doc:"In place of a contact"`
	Name     string    `json:"name" doc:"Of the contact or group"`
	Messages int       `json:"messages"`
	Since    time.Time `json:"since,omitzero" doc:"When the first of them was queued"`
	// Code is for programs, Why for people.
	Code string `json:"code" enum:"offline,request_declined,request_unanswered,connected,uploading,upload_failed,not_reached,trying,mediator_gone,read_only,key_missing,not_member"`
	Why  string `json:"why" doc:"Why they are not delivered, in words"`
	// NextAttempt is when the contact, or the mediator of the group, is dialled again.
	NextAttempt time.Time `json:"next_attempt,omitzero"`
}

// undelivered lists the conversations with undelivered messages and says why they are
// not delivered, the oldest first.
func (s *service) undelivered(state node.Status) ([]Undelivered, error) {
	accounts, err := s.node.Accounts()
	if err != nil {
		return nil, problem(err)
	}
	up := slices.ContainsFunc(overlayOf(state.Overlay, state.Running).Peers, func(p Peer) bool { return p.Up })
	out := []Undelivered{}
	for _, a := range accounts {
		conversations, err := s.node.OutboxConversations(a.ID)
		if err != nil {
			return nil, problem(err)
		}
		for _, id := range conversations {
			view, err := s.undeliveredIn(store.Conversation{Account: a.ID, ID: id}, state, up)
			if errors.Is(err, node.ErrUnknownContact) || errors.Is(err, node.ErrUnknownGroup) {
				continue // removed at this moment
			}
			if err != nil {
				return nil, problem(err)
			}
			out = append(out, view)
		}
	}
	slices.SortStableFunc(out, func(a, b Undelivered) int { return a.Since.Compare(b.Since) })
	return out[:min(len(out), maxUndelivered)], nil
}

// undeliveredIn describes the outbox of one conversation. up says that the node has a
// network.
func (s *service) undeliveredIn(c store.Conversation, state node.Status, up bool) (Undelivered, error) {
	out := Undelivered{Account: c.Account.String()}
	size, err := s.node.ConversationOutboxSize(c.Account, c.ID)
	if err != nil {
		return out, err
	}
	out.Messages = size.Messages
	var upload transfer.Info // of the first message, when it has a file that is not uploaded
	for first, err := range s.node.ConversationUndelivered(c.Account, c.ID) {
		if err != nil {
			return out, err
		}
		out.Since = first.Created.Time()
		if peer.MessageType(first.Type) != peer.TypeText && eventlog.HasFile(first) {
			info, err := s.node.ConversationMedia(c.Account, c.ID, first.ID)
			if err == nil && info.State == store.MediaUploading {
				upload = info
			}
		}
		break
	}
	if c.ID.Kind() == store.KindGroup {
		g, err := s.node.Group(c.Account, c.ID)
		s.whyNotInGroup(&out, g, state.Mediators, up, upload)
		return out, err
	}
	contact, err := s.node.Contact(c.Account, c.ID.Contact())
	s.whyNotTo(&out, contact, up, upload)
	return out, err
}

// whyNotTo says why a contact does not have the messages.
func (s *service) whyNotTo(out *Undelivered, c store.Contact, up bool, upload transfer.Info) {
	out.Contact, out.Name = c.ID.String(), c.DisplayName()
	p := s.node.Presence(c.Account, c.ID)
	out.whyNotReached(c, p.Online, p.LastError, up, upload)
	if out.Code != "upload_failed" && p.NextAttempt.After(time.Now()) {
		out.NextAttempt = p.NextAttempt
	}
}

// whyNotReached says in a code and in words why a contact does not have the messages. lastError
// is what the last attempt to reach them ended with, up whether the node is in the network.
func (u *Undelivered) whyNotReached(c store.Contact, online bool, lastError string, up bool, upload transfer.Info) {
	switch {
	case !up && !online:
		u.Code, u.Why = "offline", "no Yggdrasil peer is connected"
	case upload.State == store.MediaUploading:
		u.whyNotUploaded(upload)
	case c.Asked == store.AskDeclined: // also while they are connected, as they acknowledge nothing
		u.Code, u.Why = "request_declined", "they declined your request, and take nothing until they add you"
	case c.Asked == store.AskSent && online:
		u.Code, u.Why = "request_unanswered", "they are connected and have not answered your request"
	case online:
		u.Code, u.Why = "connected", "they are connected and have not acknowledged it yet"
	case c.Asked == store.AskSent && lastError == "":
		u.Code, u.Why = "request_unanswered", "they have not answered your request"
	case lastError != "":
		u.Code, u.Why = "not_reached", lastError
	default:
		u.Code, u.Why = "trying", "they are being looked for"
	}
	if u.Code == "not_reached" && (c.Asked == store.AskSent || c.Asked == store.AskWaiting) {
		u.Why += "; they have not answered your request either"
	}
}

// whyNotUploaded says why the file of the first message is not with the file server yet.
func (u *Undelivered) whyNotUploaded(info transfer.Info) {
	if info.Reason == "" || info.Done > 0 { // the next attempt has begun
		u.Code, u.Why = "uploading", "the file is being uploaded"
		return
	}
	u.Code, u.Why, u.NextAttempt = "upload_failed", "the file is not uploaded yet: "+info.Reason, info.Next
}

// whyNotInGroup says why the mediator of a group does not have the messages.
func (s *service) whyNotInGroup(out *Undelivered, g store.Group, mediators []groupactor.MediatorStatus, up bool, upload transfer.Info) {
	out.Group, out.Name = g.ID.String(), cmp.Or(g.Name, g.ID.String())
	var link groupactor.MediatorStatus
	for _, m := range mediators {
		if m.Account == g.Account && m.Mediator == g.Mediator {
			link = m
		}
	}
	switch {
	case g.State == store.GroupReadOnly:
		out.Code, out.Why = "read_only", "you may only read in this group; an owner or admin can change that"
	case g.State == store.GroupMediatorGone:
		out.Code, out.Why = "mediator_gone", "the mediator of the group has not answered for two weeks"
	case !g.State.IsActive():
		out.Code, out.Why = "not_member", cmp.Or(g.Reason, "you are not a member of this group")
	case g.Key.IsZero():
		out.Code, out.Why = "key_missing", "the key of the group is missing; ask a member to invite you again"
	case !up && !link.Connected:
		out.Code, out.Why = "offline", "no Yggdrasil peer is connected"
	case upload.State == store.MediaUploading:
		out.whyNotUploaded(upload)
	case link.Connected && s.node.GroupProgress(g.Account, g.ID).Stage == groupactor.StageAnswer:
		out.Code, out.Why = "trying", "the mediator is being asked for the group"
	case link.Connected:
		out.Code, out.Why = "connected", "the mediator is connected and has not acknowledged it yet"
	case link.LastError != "":
		out.Code, out.Why = "not_reached", "the mediator is not reached: "+link.LastError
	default:
		out.Code, out.Why = "trying", "the mediator is being dialled"
	}
	if out.Code != "upload_failed" && !link.Connected && link.NextAttempt.After(time.Now()) {
		out.NextAttempt = link.NextAttempt
	}
}
