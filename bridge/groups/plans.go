// SPDX-License-Identifier: MPL-2.0

package groups

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// maxPlans bounds the groups of an account that are being created from Matrix; beyond it the
// oldest one gets a new room, and nobody is invited.
const maxPlans = 100

// Plan is what is to be done with a group that is being created: it exists when its mediator
// has answered, after some seconds of work or when it can be reached. It is stored as JSON.
type Plan struct {
	Creation store.ConversationID `json:"creation"`
	Room     id.RoomID            `json:"room,omitempty"` // "" for a new one
	Invite   []identity.PublicKey `json:"invite,omitempty"`
}

// Plans are the groups that are being created from Matrix, in the bridge's tables. They may be
// used from any goroutine.
type Plans struct {
	br *bridgev2.Bridge
	mu sync.Mutex // held while the plans are changed
}

// NewPlans returns the plans of a bridge.
func NewPlans(br *bridgev2.Bridge) *Plans { return &Plans{br: br} }

func plansKey(account identity.PublicKey) database.Key {
	return database.Key("im.mimir.creations." + account.String())
}

// Of returns the groups of an account that are being created from Matrix.
func (p *Plans) Of(ctx context.Context, account identity.PublicKey) (plans []Plan) {
	_ = json.Unmarshal([]byte(p.br.DB.KV.Get(ctx, plansKey(account))), &plans) // none yet
	return plans
}

// Change replaces the plans of an account, of which the latest maxPlans are stored.
func (p *Plans) Change(ctx context.Context, account identity.PublicKey, change func([]Plan) []Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	plans := change(p.Of(ctx, account))
	text, err := json.Marshal(plans[max(0, len(plans)-maxPlans):])
	if err != nil {
		panic(fmt.Sprintf("bridge: %v", err)) // plain fields
	}
	p.br.DB.KV.Set(ctx, plansKey(account), string(text))
}

// Drop forgets the plan of a creation.
func (p *Plans) Drop(ctx context.Context, account identity.PublicKey, creation store.ConversationID) {
	p.Change(ctx, account, func(plans []Plan) []Plan {
		return slices.DeleteFunc(plans, func(p Plan) bool { return p.Creation == creation })
	})
}
