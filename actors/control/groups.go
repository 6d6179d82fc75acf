// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The part of the API that is about groups: what they are and what they contain. What is
// asked of a mediator is in group_tasks.go.

// Group is a group chat that an account is in, was in, is invited to or creates.
type Group struct {
	ID          string `json:"id" doc:"group- and 64 hex digits"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// Avatar is the size of the picture, in bytes.
	Avatar int       `json:"avatar_bytes,omitempty"`
	State  string    `json:"state" enum:"member,invited,joining,declined,creating,created,failed,read_only,banned,left,lost,deleted,mediator_gone"`
	Since  time.Time `json:"since,omitzero" doc:"When it came into that state"`
	Reason string    `json:"reason,omitempty" doc:"Why it is in that state"`
	Role   string    `json:"role,omitempty" doc:"Our own; one of owner, admin, moderator, user, read-only"`
	// Mediator and Chat name it on the wire.
	Mediator string `json:"mediator" doc:"Node key"`
	Chat     string `json:"chat,omitempty" doc:"Id of the group at its mediator, decimal"`
	// Inviter is who has sent the last invite, Invited when it arrived.
	Inviter string    `json:"inviter,omitempty" doc:"Identity key of who has sent the last invite"`
	Invited time.Time `json:"invited,omitzero"`
	// Became is the group that a creation has become.
	Became string `json:"became,omitempty" doc:"Id of the group that was created, in the state created"`
	NoKey  bool   `json:"key_missing,omitempty" doc:"Nothing in it can be read or written"`
	Muted  bool   `json:"muted,omitempty"`
	// AutoDownload is as in GroupSettings.
	AutoDownload int64 `json:"auto_download_bytes,omitempty" doc:"Files up to this size are fetched without being asked for; 0 for the configuration, below 0 for never"`
	// Stage and what follows say what the node is doing about the group.
	Stage       string `json:"stage" enum:"offline,proof of work,waiting for the mediator,reading history,live,polling,not a member"`
	Tried       uint32 `json:"tried,omitempty" doc:"Signatures tried in the proof of work; 65,000 are needed on average"`
	Read        int64  `json:"read,omitempty" doc:"Number of the last message that was read"`
	Last        int64  `json:"last,omitempty" doc:"Number of the last message there is, as far as the mediator has said"`
	Incomplete  string `json:"incomplete,omitempty" doc:"What is lacking because the mediator's answer was too large, in sentences"`
	Undelivered int    `json:"undelivered" doc:"Messages that the mediator does not have yet"`
	// Tasks are left out of lists.
	Tasks []PendingTask `json:"tasks,omitempty" doc:"What the mediator has not answered yet, the first 100; not in lists"`
}

// PendingTask is something that the mediator was asked for and has not answered.
type PendingTask struct {
	Task    uint64    `json:"task" doc:"Its number"`
	Kind    string    `json:"kind" enum:"edit,invite,role,ban,unban,leave,delete,delete_message"`
	Created time.Time `json:"created,omitzero"`
	Member  string    `json:"member,omitempty" doc:"Whom it is about"`
}

// GroupMember is somebody who is or was in a group.
type GroupMember struct {
	ID       string    `json:"id" doc:"Identity key, 64 hex digits"`
	Name     string    `json:"name,omitempty" doc:"Chosen by the member"`
	Info     string    `json:"info,omitempty"`
	Role     string    `json:"role" enum:"owner,admin,moderator,user,read-only,banned,none"`
	Standing string    `json:"standing" enum:"member,left,banned"`
	Since    time.Time `json:"since,omitzero" doc:"When this node has heard of them first"`
	Online   bool      `json:"online,omitempty" doc:"As the mediator says"`
	LastSeen time.Time `json:"last_seen,omitzero"`
}

// NewGroup is a group to be created.
type NewGroup struct {
	Name        string `json:"name" maxLength:"100" doc:"1 to 25 characters"`
	Description string `json:"description,omitempty" maxLength:"800" doc:"At most 200 characters"`
	Avatar      []byte `json:"avatar,omitempty" doc:"Image file of at most 200 KiB, base64"`
	Mediator    string `json:"mediator,omitempty" doc:"Node key; the first one of the configuration when it is left out"`
	Source      string `json:"source,omitempty" maxLength:"200" doc:"Makes the request safe to repeat: the same source creates one group"`
}

// JoinedGroup is a group that another device of the account is in.
type JoinedGroup struct {
	Mediator string `json:"mediator" doc:"Node key"`
	Chat     string `json:"chat" doc:"Id of the group at its mediator, decimal"`
	Key      string `json:"key" doc:"The key of the group, 64 hex digits"`
	Name     string `json:"name,omitempty" maxLength:"100"`
}

// GroupSettings are the settings of a group on this node. A nil field changes nothing.
type GroupSettings struct {
	Muted        *bool  `json:"muted,omitempty"`
	AutoDownload *int64 `json:"auto_download_bytes,omitempty" doc:"0 for the configuration, below 0 for never"`
}

// GroupPath names a group of an account. It is exported, as [AccountPath] is.
type GroupPath struct {
	AccountPath
	Group string `path:"group" doc:"Id, the beginning of it (group- and 8 digits or more), or a unique name"`
}

// maxTasks is how many tasks a group is shown with.
const maxTasks = 100

func (s *service) registerGroups(api huma.API) {
	const all, one = "/v1/accounts/{account}/groups", "/v1/accounts/{account}/groups/{group}"
	huma.Get(api, all, s.groups)
	huma.Post(api, all, s.createGroup)
	huma.Post(api, all+"/join", s.joinGroup)
	huma.Get(api, one, s.oneGroup)
	huma.Patch(api, one, s.setGroup)
	huma.Delete(api, one, s.removeGroup)
	huma.Post(api, one+"/accept", func(ctx context.Context, in *GroupPath) (*body[Group], error) { return s.answerInvite(ctx, in, true) })
	huma.Post(api, one+"/decline", func(ctx context.Context, in *GroupPath) (*body[Group], error) { return s.answerInvite(ctx, in, false) })
	huma.Get(api, one+"/members", s.groupMembers)
	s.registerGroupTasks(api)
}

// group finds a group by id or name.
func (s *service) group(in *GroupPath, purpose node.GroupPurpose) (store.Group, error) {
	account, err := s.account(in.Account)
	if err != nil {
		return store.Group{}, err
	}
	if id, err := store.ParseConversationID(in.Group); err == nil && id.Kind() == store.KindGroup {
		g, err := s.node.Group(account, id) // also one that Groups leaves out
		if errors.Is(err, node.ErrUnknownGroup) {
			return g, errNoGroup()
		}
		return g, problem(err)
	}
	groups, err := s.node.Groups(account)
	if err != nil {
		return store.Group{}, problem(err)
	}
	g, err := node.FindGroup(groups, in.Group, purpose, nil)
	switch {
	case errors.Is(err, node.ErrAmbiguousName):
		return g, huma.Error409Conflict("several groups have that name; give the id of the group (mimird group list shows it)")
	case err != nil:
		return g, errNoGroup()
	}
	return g, nil
}

func errNoGroup() error {
	return huma.Error404NotFound("there is no such group; mimird group list shows them, mimird group create NAME creates one")
}

// groupProblem says what to do about errors of groups.
func groupProblem(err error) error {
	switch {
	case errors.Is(err, node.ErrUnknownGroup):
		return errNoGroup()
	case errors.Is(err, node.ErrNotInGroup):
		return huma.Error409Conflict(err.Error() + "; mimird group show says why")
	case errors.Is(err, node.ErrNoInvite):
		return huma.Error409Conflict(err.Error() + "; mimird group show says what it is in")
	case errors.Is(err, node.ErrOwnMembership):
		return huma.Error422UnprocessableEntity(err.Error() + "; mimird group leave ends the membership")
	case errors.Is(err, node.ErrNotBanned):
		return huma.Error409Conflict(err.Error() + "; mimird group members --all shows who is")
	case errors.Is(err, node.ErrGroupReadOnly), errors.Is(err, node.ErrTaskRefused):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, node.ErrGroupKey):
		return huma.Error409Conflict(err.Error() + "; ask a member to invite you again")
	case errors.Is(err, node.ErrMediatorMissing):
		return huma.Error422UnprocessableEntity(err.Error() + "; give the key of one with --mediator, or set groups.mediators in the configuration")
	case errors.Is(err, store.ErrTasksFull):
		return huma.Error429TooManyRequests(err.Error())
	}
	return problem(err)
}

func (s *service) groupOf(g store.Group) (Group, error) {
	out := Group{
		ID: g.ID.String(), Name: g.Name, Description: g.Description, Avatar: len(g.Avatar), State: g.State.String(), Since: g.StateTime.Time(),
		Reason: g.Reason, Mediator: g.Mediator.String(), NoKey: g.Key.IsZero(), Muted: g.Muted, AutoDownload: g.AutoDownload,
		Inviter: hexOf(g.Inviter), Invited: g.Invited.Time(),
	}
	if g.Chat != 0 {
		out.Chat = strconv.FormatUint(g.Chat, 10)
	}
	if g.State.IsActive() && g.Permissions != 0 { // 0 until the mediator has told them
		out.Role = string(node.RoleOf(g.Permissions))
	}
	if !g.Became.IsZero() {
		out.Became = g.Became.String()
	}
	p := s.node.GroupProgress(g.Account, g.ID)
	switch g.State { //nolint:exhaustive // with the others something is to be done
	case store.GroupInvited, store.GroupCreated, store.GroupFailed, store.GroupLeft, store.GroupDeleted:
		p.Stage = node.StageOutside
	}
	out.Stage, out.Tried, out.Read, out.Last, out.Incomplete = string(p.Stage), p.Tried, p.Position, p.Last, p.Incomplete
	size, err := s.node.ConversationOutboxSize(g.Account, g.ID)
	out.Undelivered = size.Messages
	return out, err
}

// wholeGroup is groupOf with the tasks.
func (s *service) wholeGroup(account identity.PublicKey, id store.ConversationID) (*body[Group], error) {
	g, err := s.node.Group(account, id)
	if err != nil {
		return nil, groupProblem(err)
	}
	out, err := s.groupOf(g)
	if err != nil {
		return nil, problem(err)
	}
	tasks, err := s.node.GroupTasks(account, id, maxTasks)
	if err != nil {
		return nil, problem(err)
	}
	for _, t := range tasks {
		out.Tasks = append(out.Tasks, PendingTask{Task: t.Seq, Kind: t.Kind.String(), Created: t.Created.Time(), Member: hexOf(t.User)})
	}
	return &body[Group]{out}, nil
}

func (s *service) groups(_ context.Context, in *AccountPath) (*body[[]Group], error) {
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	groups, err := s.node.Groups(account)
	if err != nil {
		return nil, problem(err)
	}
	out := []Group{}
	for _, g := range groups {
		view, err := s.groupOf(g)
		if err != nil {
			return nil, problem(err)
		}
		out = append(out, view)
	}
	return &body[[]Group]{out}, nil
}

func (s *service) oneGroup(_ context.Context, in *GroupPath) (*body[Group], error) {
	g, err := s.group(in, node.GroupAny)
	if err != nil {
		return nil, err
	}
	return s.wholeGroup(g.Account, g.ID)
}

func (s *service) createGroup(ctx context.Context, in *struct {
	AccountPath
	Body NewGroup
},
) (*body[Group], error) {
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	source, err := sourceOf(in.Body.Source)
	if err != nil {
		return nil, err
	}
	g := node.NewGroup{Account: account, Source: source, Name: in.Body.Name, Description: in.Body.Description, Avatar: in.Body.Avatar}
	if in.Body.Mediator != "" {
		if g.Mediator, err = mediatorKey(in.Body.Mediator); err != nil {
			return nil, err
		}
	}
	created, err := s.node.CreateGroup(ctx, g)
	if err != nil {
		return nil, groupProblem(err)
	}
	return s.wholeGroup(account, created.ID)
}

func mediatorKey(text string) (identity.NodeKey, error) {
	key, err := identity.ParseNodeKey(text)
	if err != nil || key.IsZero() {
		return key, huma.Error422UnprocessableEntity("mediator: want the key of its node, 64 hex digits")
	}
	return key, nil
}

func (s *service) joinGroup(ctx context.Context, in *struct {
	AccountPath
	Body JoinedGroup
},
) (*body[Group], error) {
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	g := node.KnownGroup{Account: account, Name: in.Body.Name}
	if g.Mediator, err = mediatorKey(in.Body.Mediator); err != nil {
		return nil, err
	}
	if g.Chat, err = strconv.ParseInt(in.Body.Chat, 10, 64); err != nil || g.Chat <= 0 {
		return nil, huma.Error422UnprocessableEntity("chat: want the id of the group at its mediator, a decimal number above 0")
	}
	key, err := identity.ParsePublicKey(in.Body.Key) // 64 hex digits, too
	if err != nil {
		return nil, huma.Error422UnprocessableEntity("key: want the key of the group, 64 hex digits")
	}
	g.Key = key
	id, err := s.node.AddGroup(ctx, g)
	if err != nil {
		return nil, groupProblem(err)
	}
	return s.wholeGroup(account, id)
}

func (s *service) setGroup(ctx context.Context, in *struct {
	GroupPath
	Body GroupSettings
},
) (*body[Group], error) {
	g, err := s.group(&in.GroupPath, node.GroupAny)
	if err != nil {
		return nil, err
	}
	if in.Body.Muted != nil {
		err = s.node.SetGroupMuted(ctx, g.Account, g.ID, *in.Body.Muted)
	}
	if err == nil && in.Body.AutoDownload != nil {
		err = s.node.SetGroupAutoDownload(ctx, g.Account, g.ID, *in.Body.AutoDownload)
	}
	if err != nil {
		return nil, groupProblem(err)
	}
	return s.wholeGroup(g.Account, g.ID)
}

func (s *service) removeGroup(ctx context.Context, in *GroupPath) (*struct{}, error) {
	g, err := s.group(in, node.GroupAny)
	if err != nil {
		return nil, err
	}
	if g.State.IsActive() || g.State == store.GroupJoining {
		return nil, huma.Error409Conflict("the account is in this group; leave it first with mimird group leave")
	}
	return nil, groupProblem(s.node.RemoveGroup(ctx, g.Account, g.ID))
}

func (s *service) answerInvite(ctx context.Context, in *GroupPath, accept bool) (*body[Group], error) {
	g, err := s.group(in, node.GroupInvite)
	if err != nil {
		return nil, err
	}
	if accept {
		err = s.node.AcceptInvite(ctx, g.Account, g.ID)
	} else {
		err = s.node.DeclineInvite(ctx, g.Account, g.ID)
	}
	if err != nil {
		return nil, groupProblem(err)
	}
	return s.wholeGroup(g.Account, g.ID)
}

func (s *service) groupMembers(_ context.Context, in *struct {
	GroupPath
	Limit int `query:"limit" minimum:"1" maximum:"20000" default:"20000"`
},
) (*body[[]GroupMember], error) {
	g, err := s.group(&in.GroupPath, node.GroupAny)
	if err != nil {
		return nil, err
	}
	present := s.node.GroupPresence(g.Account, g.ID)
	out := []GroupMember{}
	for m, err := range s.node.GroupMembers(g.Account, g.ID) {
		if err != nil {
			return nil, problem(err)
		}
		if len(out) == in.Limit {
			break
		}
		view := GroupMember{
			ID: m.ID.String(), Name: m.Name, Info: m.Info, Role: string(node.RoleOf(m.Permissions)), Standing: m.Standing.String(),
			Since: m.Since.Time(), Online: present[m.ID].Online, LastSeen: present[m.ID].LastSeen,
		}
		if m.Standing == store.StandingBanned {
			view.Role = "banned"
		}
		out = append(out, view)
	}
	return &body[[]GroupMember]{out}, nil
}

// memberName is what a member of a group is called: by our user, else by themselves. It is
// "" for the mediator and for somebody who is unknown.
func (s *service) memberName(account identity.PublicKey, group store.ConversationID, member identity.PublicKey) string {
	if c, err := s.node.Contact(account, member); err == nil && c.LocalName != "" {
		return c.LocalName
	}
	m, err := s.node.GroupMember(account, group, member)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(m.Name)
}
