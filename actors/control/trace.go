// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Trace is the life of one message.
type Trace struct {
	Message Message `json:"message"`
	Contact Contact `json:"contact"`
	Steps   []Step  `json:"steps" doc:"What has happened, in order"`
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
	out := []Trace{}
	for _, c := range contacts {
		for _, id := range ids {
			m, err := s.node.Message(account, c.ID, id)
			if err != nil {
				continue // most contacts have no such message
			}
			if in.Brief {
				out = append(out, Trace{Message: s.message(m), Contact: contactOf(s.node, c), Steps: []Step{}, Shown: map[string]bool{}})
				continue
			}
			t, err := s.traceOf(account, c, m)
			if err != nil {
				return nil, problem(err)
			}
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		return nil, huma.Error404NotFound("there is no such message; mimird show CONTACT lists the messages of a conversation")
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

func (s *service) traceOf(account identity.PublicKey, c store.Contact, m store.Message) (Trace, error) {
	t := Trace{Message: s.message(m), Contact: contactOf(s.node, c), Steps: []Step{}, Shown: make(map[string]bool)}
	var last uint64
	for after := uint64(0); ; {
		events, err := s.node.ConversationEvents(account, store.ContactConversation(c.ID), after, eventPage)
		if err != nil {
			return t, err
		}
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			if e.Message == m.ID {
				t.Steps = append(t.Steps, Step{Seq: e.Seq, Kind: e.Kind.String(), Time: e.Time.Time(), Reason: e.Reason})
				last = e.Seq
			}
			after = e.Seq
		}
	}
	for _, consumer := range s.opts.Consumers {
		cursor, err := s.node.Cursor(consumer, account, store.ContactConversation(c.ID))
		if err != nil {
			return t, err
		}
		t.Shown[consumer] = cursor >= last
	}
	return t, nil
}
