// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The requests to the mediator of a group. Each request queues a task, which is stored
// first and repeated until the mediator has answered, and waits for that answer as long as
// the caller wants.

// GroupTask is what has become of a request to a mediator. One that was refused is an error
// with the reason.
type GroupTask struct {
	Group string `json:"group"`
	Task  uint64 `json:"task" doc:"Its number, as in the events group_task_done and group_task_failed"`
	State string `json:"state" enum:"queued,done"`
	Note  string `json:"note,omitempty" doc:"What there is to say about it"`
}

// GroupEdit is a change of a group for all its members. A nil field changes nothing.
type GroupEdit struct {
	Name         *string `json:"name,omitempty" maxLength:"100" doc:"1 to 25 characters"`
	Description  *string `json:"description,omitempty" maxLength:"800" doc:"At most 200 characters"`
	Avatar       []byte  `json:"avatar,omitempty" doc:"Image file of at most 200 KiB, base64"`
	RemoveAvatar bool    `json:"remove_avatar,omitempty"`
}

// Invitee is somebody to be invited.
type Invitee struct {
	Identity string `json:"identity" maxLength:"4096" doc:"Identity key, link, or the name of a contact"`
}

// MemberRole is a role to be given.
type MemberRole struct {
	Role string `json:"role" enum:"owner,admin,moderator,user,read-only"`
}

// waitPath is a group and how long the caller waits.
type waitPath struct {
	GroupPath
	WaitQuery
}

// WaitQuery says how long the caller waits.
type WaitQuery struct {
	Wait int `query:"wait" minimum:"0" maximum:"600" doc:"Seconds to wait for the mediator's answer"`
}

// MemberPath names somebody who is or was in the group.
type MemberPath struct {
	Member string `path:"member" doc:"Identity key, the first 8 digits of it or more, link, or the name of a contact"`
}

type memberInput struct {
	GroupPath
	MemberPath
	WaitQuery
}

func (s *service) registerGroupTasks(api huma.API) {
	const one = "/v1/accounts/{account}/groups/{group}"
	huma.Post(api, one+"/edit", s.editGroup)
	huma.Post(api, one+"/invites", s.inviteToGroup)
	huma.Put(api, one+"/members/{member}/role", s.setRole)
	for path, queue := range map[string]func(context.Context, identity.PublicKey, store.ConversationID) (uint64, error){
		"/leave": s.node.LeaveGroup, "/delete": s.node.DeleteGroup,
	} {
		huma.Post(api, one+path, func(ctx context.Context, in *waitPath) (*body[GroupTask], error) {
			g, err := s.group(&in.GroupPath, node.GroupAny)
			if err != nil {
				return nil, err
			}
			task, err := queue(ctx, g.Account, g.ID)
			return s.queued(ctx, g, task, err, in.WaitQuery)
		})
	}
	for path, queue := range map[string]func(context.Context, identity.PublicKey, store.ConversationID, identity.PublicKey) (uint64, error){
		"/ban": s.node.BanFromGroup, "/unban": s.node.UnbanFromGroup,
	} {
		huma.Post(api, one+"/members/{member}"+path, func(ctx context.Context, in *memberInput) (*body[GroupTask], error) {
			g, member, err := s.member(&in.GroupPath, in.Member)
			if err != nil {
				return nil, err
			}
			task, err := queue(ctx, g.Account, g.ID, member)
			return s.queued(ctx, g, task, err, in.WaitQuery)
		})
	}
	huma.Post(api, one+"/messages/{message}/delete", func(ctx context.Context, in *struct {
		GroupPath
		WaitQuery
		Message string `path:"message" doc:"Id of the message"`
	},
	) (*body[GroupTask], error) {
		g, err := s.group(&in.GroupPath, node.GroupAny)
		if err != nil {
			return nil, err
		}
		id, err := store.ParseMessageID(in.Message)
		if err != nil {
			return nil, huma.Error422UnprocessableEntity(err.Error())
		}
		task, err := s.node.DeleteGroupMessage(ctx, g.Account, g.ID, id)
		return s.queued(ctx, g, task, err, in.WaitQuery)
	})
}

// queued waits for the answer to a task that was queued.
func (s *service) queued(ctx context.Context, g store.Group, task uint64, err error, wait WaitQuery) (*body[GroupTask], error) {
	if err != nil {
		return nil, groupProblem(err)
	}
	out := GroupTask{Group: g.ID.String(), Task: task, State: "queued"}
	if wait.Wait == 0 {
		return &body[GroupTask]{out}, nil
	}
	waiting, cancel := context.WithTimeout(ctx, time.Duration(wait.Wait)*time.Second)
	defer cancel()
	note, err := s.node.AwaitGroupTask(waiting, g.Account, g.ID, task)
	switch {
	case err == nil:
		out.State, out.Note = "done", note
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
	default:
		return nil, groupProblem(err)
	}
	return &body[GroupTask]{out}, nil
}

func (s *service) editGroup(ctx context.Context, in *struct {
	GroupPath
	WaitQuery
	Body GroupEdit
},
) (*body[GroupTask], error) {
	g, err := s.group(&in.GroupPath, node.GroupAny)
	if err != nil {
		return nil, err
	}
	e := node.GroupEdit{Name: in.Body.Name, Description: in.Body.Description, Avatar: in.Body.Avatar}
	e.SetAvatar = len(e.Avatar) > 0 || in.Body.RemoveAvatar
	switch {
	case len(e.Avatar) > 0 && in.Body.RemoveAvatar:
		return nil, huma.Error422UnprocessableEntity("give either a picture or remove_avatar")
	case e.Name == nil && e.Description == nil && !e.SetAvatar:
		return nil, huma.Error422UnprocessableEntity("nothing is to be changed; give a name, a description or a picture")
	}
	task, err := s.node.EditGroup(ctx, g.Account, g.ID, e)
	return s.queued(ctx, g, task, err, in.WaitQuery)
}

func (s *service) inviteToGroup(ctx context.Context, in *struct {
	GroupPath
	WaitQuery
	Body Invitee
},
) (*body[GroupTask], error) {
	g, err := s.group(&in.GroupPath, node.GroupAny)
	if err != nil {
		return nil, err
	}
	user, err := identity.ParsePublicKey(in.Body.Identity)
	if err != nil {
		if _, user, err = s.contact(&ContactPath{in.AccountPath, in.Body.Identity}); err != nil {
			return nil, err
		}
	}
	task, err := s.node.InviteToGroup(ctx, g.Account, g.ID, user)
	return s.queued(ctx, g, task, err, in.WaitQuery)
}

func (s *service) setRole(ctx context.Context, in *struct {
	GroupPath
	MemberPath
	WaitQuery
	Body MemberRole
},
) (*body[GroupTask], error) {
	g, member, err := s.member(&in.GroupPath, in.Member)
	if err != nil {
		return nil, err
	}
	task, err := s.node.SetGroupRole(ctx, g.Account, g.ID, member, node.GroupRole(in.Body.Role))
	return s.queued(ctx, g, task, err, in.WaitQuery)
}

// member finds a member of a group. Their names are chosen by themselves and may be those of
// others, so only the names of contacts count.
func (s *service) member(in *GroupPath, name string) (store.Group, identity.PublicKey, error) {
	g, err := s.group(in, node.GroupAny)
	if err != nil {
		return g, identity.PublicKey{}, err
	}
	if key, err := identity.ParsePublicKey(name); err == nil {
		return g, key, nil // also somebody whom this node has not seen in the group
	}
	prefix := strings.ToLower(strings.TrimSpace(name))
	var found []identity.PublicKey
	for m, err := range s.node.GroupMembers(g.Account, g.ID) {
		if err != nil {
			return g, identity.PublicKey{}, problem(err)
		}
		if len(prefix) >= node.MinKeyPrefix && strings.HasPrefix(m.ID.String(), prefix) {
			found = append(found, m.ID)
		}
	}
	switch len(found) {
	case 1:
		return g, found[0], nil
	case 0:
	default:
		return g, identity.PublicKey{}, huma.Error409Conflict("several members have keys that begin like that; give the whole key")
	}
	_, contact, err := s.contact(&ContactPath{in.AccountPath, name})
	if refused, ok := errors.AsType[huma.StatusError](err); ok && refused.GetStatus() == 404 {
		return g, contact, huma.Error404NotFound("there is no such member; give the beginning of their key (mimird group members shows it), or the name of a contact")
	}
	return g, contact, err
}
