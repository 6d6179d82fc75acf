// SPDX-License-Identifier: MPL-2.0

package mediatorserver

import (
	"context"
	"errors"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// What the operator of a mediator sees and does. The functions are for goroutines outside
// actors; ref is the actor of the role.

type (
	// statusRequest is answered with Connections.
	statusRequest struct{}
	// refuse ends the connections of an identity; answered with ended.
	refuse struct{ user identity.PublicKey }
	ended  struct{ connections int }
)

// Connections is who is connected.
type Connections struct {
	// Clients are connections that have logged in, Identities those of whom, Subscribed the
	// groups that somebody is subscribed to.
	Clients, Identities, Subscribed int
	// QueuedBytes is what waits to be written to slow clients, each push counted once.
	QueuedBytes int64
}

// Status asks a mediator who is connected.
func Status(ctx context.Context, ref kernel.Ref) (Connections, error) {
	return kernel.Ask[Connections](ctx, ref, statusRequest{})
}

func (a *actor) connections() Connections {
	return Connections{Clients: len(a.hub.clients), Identities: len(a.hub.accounts), Subscribed: len(a.hub.rooms), QueuedBytes: a.hub.shared.Load()}
}

// Operator acts on the groups of a mediator.
type Operator struct {
	// Ref is the actor of the role, Key the role's.
	Ref kernel.Ref
	Key identity.NodeKey
}

func (o Operator) change(group mediator.ChatID) store.MediatorChange {
	key := identity.PublicKey(o.Key)
	return store.MediatorChange{Mediator: key, Group: group, Actor: key, Random: random32()}
}

func (o Operator) do(ctx context.Context, op store.Op) (any, error) {
	done, err := kernel.Ask[result](ctx, o.Ref, write{op: op})
	return done.value, err
}

// Ban bans an identity from a group. The members see an event whose actor is the mediator.
//
// Errors: a *[mediator.ServerError].
func (o Operator) Ban(ctx context.Context, group mediator.ChatID, user identity.PublicKey) error {
	_, err := o.do(ctx, store.BanMediatorMember{MediatorChange: o.change(group), User: user})
	return err
}

// Unban makes a banned member a member again, with the role from before the ban.
//
// Errors: a *[mediator.ServerError], store.ErrNotBanned.
func (o Operator) Unban(ctx context.Context, group mediator.ChatID, user identity.PublicKey) error {
	_, err := o.do(ctx, store.ChangeMediatorRole{MediatorChange: o.change(group), User: user, Permissions: mediator.PermissionUser, Unban: true})
	return err
}

// Refuse says whether an identity may log in. One that may not is disconnected. The result
// is whether that changed.
func (o Operator) Refuse(ctx context.Context, user identity.PublicKey, refused bool) (bool, error) {
	value, err := o.do(ctx, store.RefuseMediatorIdentity{User: user, Refused: refused})
	if err != nil {
		return false, err
	}
	changed, _ := value.(bool)
	if refused {
		_, err = kernel.Ask[ended](ctx, o.Ref, refuse{user})
	}
	return changed, err
}

// Delete deletes a group. The members who are connected are told.
//
// Errors: a *[mediator.ServerError].
func (o Operator) Delete(ctx context.Context, group mediator.ChatID) error {
	_, err := o.do(ctx, store.DeleteMediatorGroup{Group: group, Actor: identity.PublicKey(o.Key), Operator: true})
	return err
}

// SetQuota bounds the space of a group, in bytes; 0 is the default of the configuration.
//
// Errors: store.ErrNotFound.
func (o Operator) SetQuota(ctx context.Context, group mediator.ChatID, quota uint64) error {
	_, err := o.do(ctx, store.SetMediatorQuota{Group: group, Quota: quota})
	return err
}

func (a *actor) onRefuse(c *kernel.Context, msg refuse) {
	n := 0
	if account := a.hub.accounts[msg.user]; account != nil {
		for client := range account.clients {
			a.hub.leave(client, a.deps.Now().Unix())
			client.end(errRefused)
			n++
		}
	}
	a.schedule(c)
	c.Reply(ended{n})
}

// IsUnknown reports whether an error says that there is no such group or member.
func IsUnknown(err error) bool {
	if errors.Is(err, store.ErrNotFound) {
		return true
	}
	refused, ok := errors.AsType[*mediator.ServerError](err)
	return ok && (refused.Text == mediator.TextNoSuchChat || refused.Text == mediator.TextTargetNotMember)
}
