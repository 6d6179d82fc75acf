// SPDX-License-Identifier: MPL-2.0

package control

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Trace is the life of one message.
type Trace struct {
	Message Message  `json:"message"`
	Contact *Contact `json:"contact,omitempty"`
	Group   *Group   `json:"group,omitempty" doc:"In place of a contact"`
	Steps   []Step   `json:"steps" doc:"What has happened, in order"`
	// Shown says for each consumer of the event log whether it has dealt with all
	// of Steps.
	Shown map[string]bool `json:"shown"`
}

// Step is one event in the life of a message.
type Step struct {
	Seq    uint64    `json:"seq"`
	Kind   string    `json:"kind"`
	Time   time.Time `json:"time,omitzero"`
	Reason string    `json:"reason,omitempty"`
}

func (s *service) trace(_ context.Context, in *struct {
	AccountPath
	Message string `path:"message" doc:"Id of a message, or its guid, decimal"`
	Brief   bool   `query:"brief" doc:"Leave out the steps, which take a read of the whole event log of the conversation"`
},
) (*body[[]Trace], error) {
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	ids, err := messageIDs(in.Message)
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
	out := []Trace{}
	for _, c := range contacts {
		for _, m := range s.messagesOf(account, store.ContactConversation(c.ID), ids) {
			view := contactOf(s.node, c)
			out = append(out, Trace{Message: s.message(m), Contact: &view})
		}
	}
	for _, g := range groups {
		for _, m := range s.messagesOf(account, g.ID, ids) {
			view, err := s.groupOf(g)
			if err != nil {
				return nil, problem(err)
			}
			out = append(out, Trace{Message: s.message(m), Group: &view})
		}
	}
	for i := range out {
		out[i].Steps, out[i].Shown = []Step{}, map[string]bool{}
		if in.Brief {
			continue
		}
		if err := s.addSteps(account, &out[i]); err != nil {
			return nil, problem(err)
		}
	}
	if len(out) == 0 {
		return nil, huma.Error404NotFound("there is no such message; mimird show CONVERSATION lists the messages of a conversation")
	}
	return &body[[]Trace]{out}, nil
}

// messageIDs are the messages that a person may mean.
func messageIDs(text string) ([]store.MessageID, error) {
	if id, err := store.ParseMessageID(text); err == nil {
		return []store.MessageID{id}, nil
	}
	guid, err := strconv.ParseInt(text, 10, 64)
	if err != nil || guid == 0 {
		return nil, huma.Error422UnprocessableEntity("give the id of a message, such as o00c0ffee00c0ffee, or its guid")
	}
	return []store.MessageID{{Dir: store.In, GUID: guid}, {Dir: store.Out, GUID: guid}}, nil
}

// messagesOf returns those of the messages that a conversation has; most have none.
func (s *service) messagesOf(account identity.PublicKey, conversation store.ConversationID, ids []store.MessageID) (found []store.Message) {
	for _, id := range ids {
		if m, err := s.node.ConversationMessage(account, conversation, id); err == nil {
			found = append(found, m)
		}
	}
	return found
}

// addSteps reads in the event log of the conversation what has happened to the message.
func (s *service) addSteps(account identity.PublicKey, t *Trace) error {
	conversation, err := store.ParseConversationID(cmp.Or(t.Message.Group, t.Message.Contact))
	if err != nil {
		return err
	}
	var last uint64
	for after := uint64(0); ; {
		events, err := s.node.ConversationEvents(account, conversation, after, eventPage)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			if e.Message.String() == t.Message.ID {
				t.Steps = append(t.Steps, Step{Seq: e.Seq, Kind: e.Kind.String(), Time: e.Time.Time(), Reason: e.Reason})
				last = e.Seq
			}
			after = e.Seq
		}
	}
	for _, consumer := range s.opts.Consumers {
		cursor, err := s.node.Cursor(consumer, account, conversation)
		if err != nil {
			return err
		}
		t.Shown[consumer] = cursor >= last
	}
	return nil
}
