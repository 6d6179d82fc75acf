// SPDX-License-Identifier: MPL-2.0

package groups

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

var (
	// ErrNone answers a user who wants a group of a node that takes part in none.
	ErrNone = errors.New("this node takes part in no groups")
	// ErrGone answers a user who writes into, or says something about, a group that was removed.
	ErrGone = msgconv.Refusal("this group is not on the node any more")
)

// MaxInvited bounds the people who are invited to a new group.
const MaxInvited = 100

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
	br   *bridgev2.Bridge
	node nodeapi.GroupNode // nil when the node takes part in no groups
	mu   sync.Mutex        // held while the plans are changed
}

// NewPlans returns the plans of a bridge. node is nil when it takes part in no groups; then there
// are none, and Create must not be called.
func NewPlans(br *bridgev2.Bridge, node nodeapi.GroupNode) *Plans { return &Plans{br: br, node: node} }

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

// Create begins to create a group, and notes what is to be done with it: the room that becomes its
// room, "" for a new one, and who is invited. Its errors are for the user.
func (p *Plans) Create(
	ctx context.Context, g node.NewGroup, room id.RoomID, invite []identity.PublicKey,
) (creation store.ConversationID, err error) {
	g.Name, g.Description = groupchat.NameFrom(g.Name), groupchat.TopicFrom(g.Description)
	for _, problem := range []string{groupchat.CheckName(g.Name), groupchat.CheckTopic(g.Description)} {
		if problem != "" {
			return creation, errors.New(problem)
		}
	}
	if len(invite) > MaxInvited {
		return creation, fmt.Errorf("more than %d people are invited at once", MaxInvited)
	}
	g.Source = "matrix:" + rand.Text()
	creation = store.CreationConversation(g.Account, g.Source)
	p.Change(ctx, g.Account, func(plans []Plan) []Plan { // before the group can exist
		return append(plans, Plan{Creation: creation, Room: room, Invite: invite})
	})
	if _, err := p.node.CreateGroup(ctx, g); err != nil {
		p.Drop(ctx, g.Account, creation)
		if errors.Is(err, node.ErrMediatorMissing) {
			err = errors.New("no mediator is configured for new groups: the operator names one under groups.mediators")
		}
		return creation, err
	}
	return creation, nil
}
