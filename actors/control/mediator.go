// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// HostedGroup is a group of the mediator that this node is.
type HostedGroup struct {
	ID          string    `json:"id" doc:"Decimal"`
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Owner       string    `json:"owner" doc:"Identity key of who created it"`
	Created     time.Time `json:"created,omitzero"`
	Members     uint64    `json:"members" doc:"Those who are not banned"`
	Invites     uint64    `json:"invites" doc:"Not answered yet"`
	Messages    uint64    `json:"messages"`
	Bytes       uint64    `json:"bytes"`
	Quota       uint64    `json:"quota_bytes"`
}

// HostedMember is a member of such a group, or somebody who is banned from it.
type HostedMember struct {
	ID       string    `json:"id" doc:"Identity key, 64 hex digits"`
	Role     string    `json:"role" enum:"owner,admin,moderator,user,read-only,banned,none"`
	Added    time.Time `json:"added,omitzero"`
	LastSeen time.Time `json:"last_seen,omitzero" doc:"When the last connection ended"`
}

// HostedMembers are members of a group.
type HostedMembers struct {
	Total   uint64         `json:"total" doc:"How many members are not banned"`
	Members []HostedMember `json:"members"`
}

// MediatorBan is an identity that may not log in at the mediator that this node is.
type MediatorBan struct {
	ID    string    `json:"id" doc:"Identity key, 64 hex digits"`
	Since time.Time `json:"since,omitzero"`
}

// HostedQuota is what a group may take.
type HostedQuota struct {
	Quota uint64 `json:"quota_bytes" doc:"0 is the default of the configuration"`
}

// HostedGroupPath names a group of the mediator. It is exported, as [AccountPath] is.
type HostedGroupPath struct {
	Group string `path:"group" doc:"Id of the group, decimal"`
}

// IdentityPath names an identity.
type IdentityPath struct {
	Identity string `path:"identity" doc:"Identity key or link"`
}

func (p HostedGroupPath) id() (mediator.ChatID, error) {
	id, err := strconv.ParseInt(p.Group, 10, 64)
	if err != nil || id <= 0 {
		return 0, huma.Error422UnprocessableEntity("the id of a group is a decimal number above 0; mimird mediator groups shows them")
	}
	return mediator.ChatID(id), nil
}

func (p IdentityPath) key() (identity.PublicKey, error) {
	if link, err := identity.ParseLink(p.Identity); err == nil {
		return link.Key, nil
	}
	key, err := identity.ParsePublicKey(p.Identity)
	if err != nil {
		return key, huma.Error422UnprocessableEntity("give the key of an identity, 64 hex digits, or its link")
	}
	return key, nil
}

func (s *service) registerMediator(api huma.API) {
	huma.Get(api, "/v1/mediator/groups", s.hostedGroups)
	huma.Get(api, "/v1/mediator/groups/{group}/members", s.hostedMembers)
	huma.Delete(api, "/v1/mediator/groups/{group}", s.deleteHosted)
	huma.Put(api, "/v1/mediator/groups/{group}/quota", s.setHostedQuota)
	huma.Put(api, "/v1/mediator/groups/{group}/bans/{identity}", func(ctx context.Context, in *groupBan) (*struct{}, error) { return nil, s.banHosted(ctx, in, true) })
	huma.Delete(api, "/v1/mediator/groups/{group}/bans/{identity}", func(ctx context.Context, in *groupBan) (*struct{}, error) { return nil, s.banHosted(ctx, in, false) })
	huma.Get(api, "/v1/mediator/bans", s.mediatorBans)
	huma.Put(api, "/v1/mediator/bans/{identity}", func(ctx context.Context, in *IdentityPath) (*struct{}, error) {
		return nil, s.banFromMediator(ctx, in, true)
	})
	huma.Delete(api, "/v1/mediator/bans/{identity}", func(ctx context.Context, in *IdentityPath) (*struct{}, error) {
		return nil, s.banFromMediator(ctx, in, false)
	})
}

type groupBan struct {
	HostedGroupPath
	IdentityPath
}

func (s *service) hostedGroups(context.Context, *struct{}) (*body[[]HostedGroup], error) {
	groups, err := s.node.HostedGroups()
	if err != nil {
		return nil, problem(err)
	}
	out := []HostedGroup{}
	for _, g := range groups {
		out = append(out, HostedGroup{
			ID: strconv.FormatInt(int64(g.ID), 10), Name: g.Name, Description: g.Description, Owner: g.Owner.String(), Created: g.Created.Time(),
			Members: g.Usage.Members, Invites: g.Usage.Invites, Messages: g.Usage.Messages, Bytes: g.Usage.Bytes, Quota: g.Quota,
		})
	}
	return &body[[]HostedGroup]{out}, nil
}

func (s *service) hostedMembers(_ context.Context, in *struct {
	HostedGroupPath
	Limit int `query:"limit" minimum:"1" maximum:"100000" default:"1000"`
},
) (*body[HostedMembers], error) {
	group, err := in.id()
	if err != nil {
		return nil, err
	}
	members, total, err := s.node.HostedMembers(group, in.Limit)
	if err != nil {
		return nil, problem(err)
	}
	out := HostedMembers{Total: total, Members: []HostedMember{}}
	for _, m := range members {
		out.Members = append(out.Members, HostedMember{
			ID: m.User.String(), Role: roleOf(m), Added: m.Added.Time(), LastSeen: store.Millis(m.LastSeen * 1000).Time(),
		})
	}
	return &body[HostedMembers]{out}, nil
}

func roleOf(m store.MediatorMember) string {
	if m.Banned {
		return mediator.PermissionBanned.String()
	}
	return m.Permissions.String()
}

func (s *service) deleteHosted(ctx context.Context, in *HostedGroupPath) (*struct{}, error) {
	group, err := in.id()
	if err != nil {
		return nil, err
	}
	return nil, problem(s.node.DeleteHostedGroup(ctx, group))
}

func (s *service) setHostedQuota(ctx context.Context, in *struct {
	HostedGroupPath
	Body HostedQuota
},
) (*struct{}, error) {
	group, err := in.id()
	if err != nil {
		return nil, err
	}
	return nil, problem(s.node.SetHostedQuota(ctx, group, in.Body.Quota))
}

func (s *service) banHosted(ctx context.Context, in *groupBan, banned bool) error {
	group, err := in.id()
	if err != nil {
		return err
	}
	user, err := in.key()
	if err != nil {
		return err
	}
	err = s.node.BanHostedMember(ctx, group, user, banned)
	if errors.Is(err, node.ErrNotBanned) {
		return huma.Error409Conflict(err.Error() + "; mimird mediator members shows who is")
	}
	return problem(err)
}

func (s *service) mediatorBans(context.Context, *struct{}) (*body[[]MediatorBan], error) {
	bans, err := s.node.MediatorBans()
	if err != nil {
		return nil, problem(err)
	}
	out := []MediatorBan{}
	for _, b := range bans {
		out = append(out, MediatorBan{ID: b.User.String(), Since: b.Since.Time()})
	}
	return &body[[]MediatorBan]{out}, nil
}

func (s *service) banFromMediator(ctx context.Context, in *IdentityPath, banned bool) error {
	user, err := in.key()
	if err != nil {
		return err
	}
	_, err = s.node.BanFromMediator(ctx, user, banned)
	return problem(err)
}

// The client's side.
