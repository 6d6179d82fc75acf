// SPDX-License-Identifier: MPL-2.0

package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// ErrNoMediator says that this node does not have the role of a mediator, or that the role
// is not running.
var ErrNoMediator = errors.New("this node is not a mediator, or the mediator is not running")

// RestoredFile is written into a data directory that comes from a backup. The mediator
// role looks for it.
const RestoredFile = "restored"

// mediatorPatience is how long the role is waited for, which may be in back-off.
const mediatorPatience = 5 * time.Second

// MediatorStatus is the state of the mediator role.
type MediatorStatus struct {
	// Overlay is the role's own node, zero while that is down.
	Overlay overlay.Status
	// Totals is what is kept, Connections who is connected.
	Totals      store.MediatorTotals
	Connections mediatorserver.Connections
}

func (n *Node) mediatorStatus(ctx context.Context) (*MediatorStatus, error) {
	if n.opts.Mediator == nil {
		return nil, nil
	}
	var s MediatorStatus
	var err error
	if s.Totals, err = n.store.MediatorTotals(); err != nil {
		return nil, err
	}
	s.Overlay, _ = n.mediatorNet.Status()
	o, err := n.mediatorOperator(ctx)
	if err != nil {
		return &s, nil // it is shown without its connections
	}
	soon, cancel := context.WithTimeout(ctx, trackersPatience)
	defer cancel()
	s.Connections, _ = mediatorserver.Status(soon, o.Ref) // zero while it does not answer
	return &s, nil
}

// mediatorOperator returns what acts for the operator of the mediator.
func (n *Node) mediatorOperator(ctx context.Context) (mediatorserver.Operator, error) {
	key, ok := n.MediatorKey()
	if !ok || n.opts.Mediator == nil {
		return mediatorserver.Operator{}, ErrNoMediator
	}
	ref, err := n.Part(ctx, mediatorName)
	if err != nil {
		return mediatorserver.Operator{}, err
	}
	if ref.IsZero() {
		return mediatorserver.Operator{}, ErrNoMediator
	}
	return mediatorserver.Operator{Ref: ref, Key: key}, nil
}

// HostedGroup is a group of the mediator that this node is.
type HostedGroup struct {
	store.MediatorGroup
	Usage store.MediatorUsage
	// Quota bounds Usage.Bytes.
	Quota uint64
}

// HostedGroups returns the groups of the mediator that this node is, those that take most
// space first. Their pictures are left out.
func (n *Node) HostedGroups() ([]HostedGroup, error) {
	var groups []HostedGroup
	for g, err := range n.store.MediatorGroups() {
		if err != nil {
			return nil, err
		}
		_, usage, err := n.store.MediatorGroup(g.ID)
		if errors.Is(err, store.ErrNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		g.Avatar = nil
		hosted := HostedGroup{MediatorGroup: g, Usage: usage, Quota: usage.Quota}
		if hosted.Quota == 0 && n.opts.Mediator != nil {
			hosted.Quota = n.opts.Mediator.Limits.BytesPerGroup
		}
		groups = append(groups, hosted)
	}
	slices.SortFunc(groups, func(a, b HostedGroup) int {
		return cmp.Or(cmp.Compare(b.Usage.Bytes, a.Usage.Bytes), cmp.Compare(a.ID, b.ID))
	})
	return groups, nil
}

// HostedMembers returns members of a group of the mediator that this node is, also those
// who are banned: at most limit, in the order of their keys, and how many are not banned.
//
// Errors: store.ErrNotFound.
func (n *Node) HostedMembers(group mediator.ChatID, limit int) (members []store.MediatorMember, total uint64, err error) {
	_, usage, err := n.store.MediatorGroup(group)
	if err != nil {
		return nil, 0, err
	}
	for m, err := range n.store.MediatorMembers(group) {
		if err != nil {
			return nil, 0, err
		}
		if len(members) == limit {
			break
		}
		members = append(members, m)
	}
	return members, usage.Members, nil
}

// MediatorBans returns the identities that may not log in at the mediator that this node
// is.
func (n *Node) MediatorBans() ([]store.MediatorBan, error) { return n.store.MediatorBans() }

// operate lets the operator of the mediator do something.
func (n *Node) operate(ctx context.Context, act func(context.Context, mediatorserver.Operator) error) error {
	ctx, cancel := context.WithTimeout(ctx, mediatorPatience)
	defer cancel()
	o, err := n.mediatorOperator(ctx)
	if err != nil {
		return err
	}
	if err := act(ctx, o); mediatorserver.IsUnknown(err) {
		return fmt.Errorf("no such group or member: %w", store.ErrNotFound)
	} else if err != nil {
		return err
	}
	return nil
}

// BanHostedMember bans an identity from a group of the mediator that this node is, or gives
// a banned one its role again. Its members see an event whose actor is the mediator.
//
// Errors: [ErrNoMediator], store.ErrNotFound, [ErrNotBanned].
func (n *Node) BanHostedMember(ctx context.Context, group mediator.ChatID, user identity.PublicKey, banned bool) error {
	return n.operate(ctx, func(ctx context.Context, o mediatorserver.Operator) error {
		if banned {
			return o.Ban(ctx, group, user)
		}
		return o.Unban(ctx, group, user)
	})
}

// BanFromMediator says whether an identity may log in at the mediator that this node is.
// The result is whether that changed.
//
// Errors: [ErrNoMediator].
func (n *Node) BanFromMediator(ctx context.Context, user identity.PublicKey, banned bool) (changed bool, err error) {
	err = n.operate(ctx, func(ctx context.Context, o mediatorserver.Operator) (err error) {
		changed, err = o.Refuse(ctx, user, banned)
		return err
	})
	return changed, err
}

// DeleteHostedGroup deletes a group of the mediator that this node is.
//
// Errors: [ErrNoMediator], store.ErrNotFound.
func (n *Node) DeleteHostedGroup(ctx context.Context, group mediator.ChatID) error {
	return n.operate(ctx, func(ctx context.Context, o mediatorserver.Operator) error { return o.Delete(ctx, group) })
}

// SetHostedQuota bounds the space of a group of the mediator that this node is, in bytes; 0
// is the default of the configuration.
//
// Errors: [ErrNoMediator], store.ErrNotFound.
func (n *Node) SetHostedQuota(ctx context.Context, group mediator.ChatID, quota uint64) error {
	return n.operate(ctx, func(ctx context.Context, o mediatorserver.Operator) error { return o.SetQuota(ctx, group, quota) })
}
