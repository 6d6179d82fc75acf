// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Clear says which messages of a conversation are to be removed.
type Clear struct {
	Before time.Time `json:"before,omitzero" doc:"Those that were stored before then; left out for all"`
}

// Cleared is what was removed of a conversation, and what was not.
type Cleared struct {
	Messages    int `json:"messages" doc:"Removed"`
	Undelivered int `json:"undelivered,omitempty" doc:"Stay because they are in the outbox"`
	InTransfer  int `json:"in_transfer,omitempty" doc:"Stay because their file is on its way"`
	Awaited     int `json:"awaited,omitempty" doc:"Stay because a consumer of the event log has not dealt with them, or the account was too busy"`
	// WaitsFor is missing when it was too busy.
	WaitsFor string `json:"waits_for,omitempty" doc:"That consumer"`
	// Text says all that.
	Text string `json:"text" doc:"The same as a sentence"`
}

// Retention is what retention has removed since the start.
type Retention struct {
	Last     time.Time `json:"last_pass,omitzero"`
	Messages uint64    `json:"messages"`
	Events   uint64    `json:"events"`
	// WaitsFor are consumers of the event log.
	WaitsFor []string `json:"waits_for,omitempty" doc:"Consumers that keep something from being removed"`
	Error    string   `json:"error,omitempty" doc:"Why the last pass ended early"`
}

func (s *service) registerRetention(api huma.API) {
	huma.Post(api, "/v1/accounts/{account}/contacts/{contact}/clear", func(ctx context.Context, in *struct {
		ContactPath
		Body Clear
	},
	) (*body[Cleared], error) {
		account, contact, err := s.contact(&in.ContactPath)
		if err != nil {
			return nil, err
		}
		return s.clear(ctx, account, store.ContactConversation(contact), in.Body)
	})
	huma.Post(api, "/v1/accounts/{account}/groups/{group}/clear", func(ctx context.Context, in *struct {
		GroupPath
		Body Clear
	},
	) (*body[Cleared], error) {
		g, err := s.group(&in.GroupPath, node.GroupAny)
		if err != nil {
			return nil, err
		}
		return s.clear(ctx, g.Account, g.ID, in.Body)
	})
}

func (s *service) clear(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, what Clear) (*body[Cleared], error) {
	if what.Before.IsZero() {
		what.Before = time.Now().Add(time.Second) // also what is stored at this moment
	}
	done, err := s.node.ClearConversation(ctx, account, conversation, store.MillisOf(what.Before))
	if err != nil {
		return nil, problem(err)
	}
	return &body[Cleared]{Cleared{
		Messages: done.Messages, Undelivered: done.Undelivered, InTransfer: done.InTransfer, Awaited: done.Awaited, WaitsFor: done.By, Text: done.String(),
	}}, nil
}

func retentionOf(n *node.Node) *Retention {
	state := n.Retention()
	if state.Last.IsZero() {
		return nil
	}
	out := &Retention{Last: state.Last, Messages: state.Messages, Events: state.Events, WaitsFor: state.Holders}
	if state.Err != nil {
		out.Error = state.Err.Error()
	}
	return out
}
