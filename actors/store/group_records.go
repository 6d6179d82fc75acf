// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"
	"io"

	"github.com/mimird/mimird/proto/identity"
)

// Limits of groups.
const (
	// MaxInvites is how many groups of an account may be in the state GroupInvited. Each
	// has a picture that a stranger has chosen.
	MaxInvites = 100
	// MaxMembers is how many members of a group are kept.
	MaxMembers = 20_000
	// MaxMemberChanges is how many members one operation may change: each is read first,
	// and all other operations wait meanwhile.
	MaxMemberChanges = 500
	// maxGroupTasks is how many tasks of a group may wait for its mediator.
	maxGroupTasks = 1000
	// maxPictureBytes is how much the pictures of the members of a group may take on the
	// disk before new ones are left out.
	maxPictureBytes = 64 << 20
)

// Group is a group chat that an account belongs to, has belonged to, is invited to or
// creates.
type Group struct {
	Account identity.PublicKey `cbor:"-"`
	// ID is GroupConversation(Mediator, Chat). In the states GroupCreating, GroupCreated
	// and GroupFailed there is no chat, and the id is of the group that the account creates.
	ID ConversationID `cbor:"-"`
	// Mediator and Chat name the chat on the wire.
	Mediator  identity.NodeKey `cbor:"1,keyasint"`
	Chat      uint64           `cbor:"2,keyasint"`
	Added     Millis           `cbor:"3,keyasint,omitempty"`
	State     GroupState       `cbor:"4,keyasint,omitempty"`
	StateTime Millis           `cbor:"5,keyasint,omitempty"`
	Reason    string           `cbor:"6,keyasint,omitempty"` // why it is in the state, for people

	Name        string `cbor:"7,keyasint,omitempty"`
	Description string `cbor:"8,keyasint,omitempty"`
	Avatar      []byte `cbor:"9,keyasint,omitempty"`
	// Key encrypts what members say. It is zero when the invite could not be opened.
	Key GroupKey `cbor:"10,keyasint,omitzero"`
	// Permissions are our own.
	Permissions Permissions `cbor:"11,keyasint,omitempty"`

	// The last invite.
	Inviter identity.PublicKey `cbor:"12,keyasint,omitzero"`
	Invite  int64              `cbor:"13,keyasint,omitempty"` // the mediator's id of it
	Invited Millis             `cbor:"14,keyasint,omitempty"` // when it arrived

	// ProfileSent is the time of our profile that the members were told last.
	ProfileSent Millis `cbor:"15,keyasint,omitempty"`

	// Became is the group that was created, in the state GroupCreated.
	Became ConversationID `cbor:"16,keyasint,omitzero"`
	// Attempted says that the mediator may have been told to create the group. Known are
	// the chats that the account was in before that.
	Attempted bool    `cbor:"17,keyasint,omitempty"`
	Known     []int64 `cbor:"18,keyasint,omitempty"`

	Muted bool `cbor:"19,keyasint,omitempty"` // for consumers: they show it, quietly
	// AutoDownload is the size up to which files are fetched without being asked for: 0
	// for the setting of the node, below 0 for never.
	AutoDownload int64 `cbor:"20,keyasint,omitempty"`
}

// GroupState is how an account stands to a group.
type GroupState uint8

const (
	// GroupMember reads and writes, as far as Group.Permissions say.
	GroupMember GroupState = iota
	// GroupInvited waits for our user.
	GroupInvited
	// GroupJoining has been accepted by our user, the mediator has not answered.
	GroupJoining
	// GroupDeclined has been declined by our user.
	GroupDeclined
	// GroupCreating is to be created; the proof of work or the mediator's answer is missing.
	GroupCreating
	// GroupCreated has become the group that Group.Became names.
	GroupCreated
	// GroupFailed could not be created, or its invite was not accepted by the mediator.
	GroupFailed
	// GroupReadOnly reads, and is not told of new messages but asks for them.
	GroupReadOnly
	// GroupBanned is not in the group: a moderator has banned us.
	GroupBanned
	// GroupLeft is not in the group: we have left.
	GroupLeft
	// GroupLost is not in the group, and the mediator does not say why.
	GroupLost
	// GroupDeleted was a member of a group that was deleted for everybody.
	GroupDeleted
	// GroupMediatorGone is a member whose mediator has not been reached for a long time.
	GroupMediatorGone
)

// IsActive reports whether the account takes part in a group in the state.
func (s GroupState) IsActive() bool {
	return s == GroupMember || s == GroupReadOnly || s == GroupMediatorGone
}

// Permissions are the permissions of a member of a group, as bits of the wire: see
// mediator.Permissions.
type Permissions uint8

// GroupKey is the secret that the members of a group share. It prints as "[redacted]".
type GroupKey [32]byte

// IsZero reports whether there is no key.
func (k GroupKey) IsZero() bool { return k == GroupKey{} }

// Format writes "[redacted]" for every verb.
func (GroupKey) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "[redacted]") }

// Member is somebody who is or was in a group.
type Member struct {
	Account     identity.PublicKey `cbor:"-"`
	Group       ConversationID     `cbor:"-"`
	ID          identity.PublicKey `cbor:"-"`
	Permissions Permissions        `cbor:"1,keyasint,omitempty"`
	Standing    Standing           `cbor:"2,keyasint,omitempty"`
	Name        string             `cbor:"3,keyasint,omitempty"` // chosen by the member
	Info        string             `cbor:"4,keyasint,omitempty"`
	HasAvatar   bool               `cbor:"5,keyasint,omitempty"` // see [Store.MemberAvatar]
	ProfileTime int64              `cbor:"6,keyasint,omitempty"` // of the profile, by the member's clock, in Unix seconds
	Since       Millis             `cbor:"7,keyasint,omitempty"` // when the row was created
}

// Standing says whether somebody is in a group.
type Standing uint8

const (
	// StandingMember is in the group.
	StandingMember Standing = iota
	// StandingLeft is not in the group any more.
	StandingLeft
	// StandingBanned was banned.
	StandingBanned
)

// GroupTask is something that our user wants of a mediator. It is kept until the mediator
// has answered.
type GroupTask struct {
	Account identity.PublicKey `cbor:"-"`
	Group   ConversationID     `cbor:"-"`
	Seq     uint64             `cbor:"-"` // ascending in a group, never used again
	Kind    GroupTaskKind      `cbor:"1,keyasint"`
	Created Millis             `cbor:"2,keyasint,omitempty"`
	// User is whom it is about: TaskInvite, TaskRole, TaskBan, TaskUnban.
	User        identity.PublicKey `cbor:"3,keyasint,omitzero"`
	Permissions Permissions        `cbor:"4,keyasint,omitempty"` // TaskRole
	Message     MessageID          `cbor:"5,keyasint,omitzero"`  // TaskDeleteMessage
	// What TaskEdit changes: nil leaves it as it is.
	Name        *string `cbor:"6,keyasint,omitempty"`
	Description *string `cbor:"7,keyasint,omitempty"`
	Avatar      []byte  `cbor:"8,keyasint,omitempty"`
	SetAvatar   bool    `cbor:"9,keyasint,omitempty"` // to Avatar, none when that is empty
}

// GroupTaskKind says what a task asks for.
type GroupTaskKind uint8

const (
	// TaskEdit changes name, description or picture.
	TaskEdit GroupTaskKind = iota + 1
	// TaskInvite invites somebody.
	TaskInvite
	// TaskRole changes the permissions of a member.
	TaskRole
	// TaskBan bans a member.
	TaskBan
	// TaskUnban lifts a ban and makes somebody a member again.
	TaskUnban
	// TaskLeave ends our membership.
	TaskLeave
	// TaskDelete deletes the group for everybody.
	TaskDelete
	// TaskDeleteMessage deletes a message for everybody.
	TaskDeleteMessage
)

// groupProgress is what changes often of a group. The row is written with every batch of
// messages, so it is small.
type groupProgress struct {
	// Position is the number of the last message up to which all were stored.
	Position int64 `cbor:"1,keyasint,omitempty"`
	// LastTask is the last GroupTask.Seq given away.
	LastTask uint64 `cbor:"2,keyasint,omitempty"`
	// Contacted is when the mediator was reached last, exact to a day.
	Contacted Millis `cbor:"3,keyasint,omitempty"`
}

// guidRow says which message a mediator knows by a guid that is not the message's own.
type guidRow struct {
	Message MessageID `cbor:"1,keyasint"`
}
