// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/retention"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

func (s *service) registerRetention(api huma.API) {
	huma.Post(api, "/v1/accounts/{account}/contacts/{contact}/clear", func(ctx context.Context, in *struct {
		ContactPath
		Body retention.Clear
	},
	) (*body[retention.Cleared], error) {
		account, contact, err := s.contact(&in.ContactPath)
		if err != nil {
			return nil, err
		}
		return s.clear(ctx, account, store.ContactConversation(contact), in.Body)
	})
	huma.Post(api, "/v1/accounts/{account}/groups/{group}/clear", func(ctx context.Context, in *struct {
		GroupPath
		Body retention.Clear
	},
	) (*body[retention.Cleared], error) {
		g, err := s.group(&in.GroupPath, node.GroupAny)
		if err != nil {
			return nil, err
		}
		return s.clear(ctx, g.Account, g.ID, in.Body)
	})
}

func (s *service) clear(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, what retention.Clear) (*body[retention.Cleared], error) {
	if what.Before.IsZero() {
		what.Before = time.Now().Add(time.Second) // also what is stored at this moment
	}
	done, err := s.node.ClearConversation(ctx, account, conversation, store.MillisOf(what.Before))
	if err != nil {
		return nil, problem(err)
	}
	done.Text = done.String()
	return &body[retention.Cleared]{done}, nil
}
