// SPDX-License-Identifier: MPL-2.0

package group

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/group"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
)

// maxProfileChunk bounds the profiles that the store writes together, in bytes.
const maxProfileChunk = 512 << 10

// onMembers gets who is a member. It decides whether we are one.
func (x *chat) onMembers(c *kernel.Context, a mediator.Answer, refused *mediator.ServerError) {
	x.leaveTurn(c)
	x.mayCheck, x.inDoubt = false, false
	c.After(checkPause, checkAllowed{})
	var list mediator.Members
	switch {
	case refused == nil:
	case refused.NotMember():
		x.membersDue, x.checkDue = false, false
		x.outside(c)
		return
	default:
		x.backOff(c)
		return
	}
	if err := a.Parse(&list); err != nil {
		x.malformed(c, err)
		return
	}
	x.membersDue, x.checkDue, x.tries = false, false, 0
	x.acceptMembers(c, list.Members)
	for _, m := range list.Members {
		if m.User == x.account {
			x.inside(c, m.Permissions)
			return
		}
	}
	x.outside(c)
}

// inside notes that we are a member.
func (x *chat) inside(c *kernel.Context, p mediator.Permissions) {
	state := store.GroupMember
	if p.HasAny(mediator.PermissionReadOnly) {
		state = store.GroupReadOnly
	}
	if state != x.record.State && x.record.State.IsActive() || !x.record.State.IsActive() {
		x.subscribed, x.polling = false, false
	}
	if !x.subscribed && state == store.GroupMember {
		x.polling = false // refused before
	}
	x.setState(c, state, store.Permissions(p), "")
}

// outside notes that we are not a member any more, and why as far as the mediator has
// said.
func (x *chat) outside(c *kernel.Context) {
	x.subscribed, x.polling, x.historyDue = false, true, false
	x.profilesDue, x.profileDue, x.profileWanted = false, false, false
	if !x.record.State.IsActive() {
		return
	}
	state, reason := store.GroupLost, "The mediator says that you are not a member of this group any more."
	if own, err := x.deps.Store.Member(x.account, x.id, x.account); err == nil {
		switch own.Standing {
		case store.StandingBanned:
			state, reason = store.GroupBanned, "You were banned from this group."
		case store.StandingLeft:
			state, reason = store.GroupLeft, "You have left this group."
		case store.StandingMember:
		}
	}
	x.setState(c, state, 0, reason)
	x.awaitReturn(c)
}

// acceptMembers brings the rows of the members into line with the mediator's list.
func (x *chat) acceptMembers(c *kernel.Context, list []mediator.Member) {
	present := make(map[identity.PublicKey]Presence, min(len(list), store.MaxMembers))
	listed := make(map[identity.PublicKey]mediator.Permissions, min(len(list), store.MaxMembers))
	now := x.deps.Now()
	if len(list) > store.MaxMembers && x.large.listed <= store.MaxMembers {
		c.Log().Warn("group has too many members, the others are left out", "contact", x.id.Short(), "count", len(list), "limit", store.MaxMembers)
	}
	x.large.listed = len(list)
	for _, m := range list {
		if m.User.IsZero() || len(listed) >= store.MaxMembers-1 && m.User != x.account {
			continue
		}
		listed[m.User] = m.Permissions
		p := Presence{Online: m.Online}
		if m.LastSeen > 0 {
			p.LastSeen = time.Unix(min(m.LastSeen, now.Unix()), 0)
		}
		present[m.User] = p
	}
	x.deps.Table.setAllPresent(x.conversation(), present)
	var changes []store.MemberChange
	both := store.MemberPermissions | store.MemberStanding
	var after identity.PublicKey
	for {
		page, err := x.deps.Store.Members(x.account, x.id, after, 0)
		if err != nil {
			c.Fail(fmt.Errorf("read members: %w", err))
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].ID
		for _, m := range page {
			permissions, here := listed[m.ID]
			delete(listed, m.ID)
			switch {
			case here && (m.Permissions != store.Permissions(permissions) || m.Standing != store.StandingMember):
				changes = append(changes, store.MemberChange{Member: m.ID, Fields: both, Permissions: store.Permissions(permissions)})
			case !here && m.Standing == store.StandingMember:
				changes = append(changes, store.MemberChange{Member: m.ID, Fields: store.MemberStanding, Standing: store.StandingLeft})
			}
		}
	}
	for id, permissions := range listed {
		changes = append(changes, store.MemberChange{Member: id, Fields: both, Permissions: store.Permissions(permissions)})
	}
	x.updateMembers(c, changes)
}

// updateMembers writes changes in parts.
func (x *chat) updateMembers(c *kernel.Context, changes []store.MemberChange) {
	const most = 500
	begin, size := 0, 0
	for i := range changes {
		size += len(changes[i].Avatar)
		if i+1-begin == most || size >= maxProfileChunk || i+1 == len(changes) {
			x.profiling++
			x.write(c, store.UpdateMembers{Account: x.account, Group: x.id, Changes: changes[begin : i+1]}, x.membersWritten)
			begin, size = i+1, 0
		}
	}
}

// membersWritten asks again for what the store did not take.
func (x *chat) membersWritten(c *kernel.Context, msg store.Written) {
	if x.profiling--; msg.Err != nil {
		x.membersDue, x.profilesDue = true, true
		x.storeRefused(c, msg.Err)
	}
}

// onProfiles gets the profiles of all members.
func (x *chat) onProfiles(c *kernel.Context, a mediator.Answer, refused *mediator.ServerError) {
	x.leaveTurn(c)
	if refused != nil {
		if !x.refusedAsMember(refused) {
			x.backOff(c)
		}
		return
	}
	var list mediator.MembersInfo
	if err := a.Parse(&list); err != nil {
		x.malformed(c, err)
		return
	}
	x.profilesDue, x.tries = false, 0
	x.acceptProfiles(c, list.Members)
}

func (x *chat) acceptProfiles(c *kernel.Context, list []mediator.MemberInfo) {
	r := x.reader()
	var changes []store.MemberChange
	for _, m := range list[:min(len(list), store.MaxMembers)] {
		if change, ok := r.profileOf(m); ok {
			changes = append(changes, change)
		}
	}
	x.updateMembers(c, changes)
}

// profileTime is when our profile was changed, in Unix seconds.
func (x *chat) profileTime() int64 {
	account, err := x.deps.Store.Account(x.account)
	if err != nil {
		return 0
	}
	return int64(max(account.ProfileTime, account.Created)) / 1000
}

// tellProfile tells the members our profile, if they do not have it, and reports whether
// it asks something.
func (x *chat) tellProfile(c *kernel.Context) bool {
	if !x.record.State.IsActive() || x.secret.IsZero() {
		return false
	}
	account, err := x.deps.Store.Account(x.account)
	if err != nil {
		c.Fail(fmt.Errorf("read account: %w", err))
	}
	changed := max(account.ProfileTime, account.Created)
	if x.record.ProfileSent == changed && !x.profileWanted {
		x.profileDue = false
		return false
	}
	text := group.AppendProfile(nil, peer.Profile{Nickname: account.Name, Info: account.Info, Avatar: account.Avatar})
	sealed, err := x.secret.Seal(rand.Reader, text)
	if err != nil {
		c.Fail(err)
	}
	x.telling = changed
	x.ask(c, askOwnProfile, &mediator.UpdateMemberInfo{Chat: x.chat(), Info: sealed, Time: int64(changed) / 1000})
	return true
}

func (x *chat) onProfileTold(c *kernel.Context, refused *mediator.ServerError) {
	if refused != nil {
		if x.refusedAsMember(refused) {
			return
		}
		if x.tries >= maxTries {
			x.profileDue, x.profileWanted, x.tries = false, false, 0 // the mediator asks again after the next connect
			return
		}
		x.backOff(c)
		return
	}
	x.profileDue, x.profileWanted, x.tries = false, false, 0
	x.record.ProfileSent = x.telling
	x.write(c, store.UpdateGroup{Account: x.account, Group: x.id, Fields: store.GroupFieldProfileSent, ProfileSent: x.telling}, nil)
}
