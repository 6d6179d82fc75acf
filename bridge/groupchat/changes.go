// SPDX-License-Identifier: MPL-2.0

package groupchat

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/wire"
)

// ChangeKind is what a change from Matrix is about. The values are stored.
type ChangeKind string

// The kinds of changes.
const (
	ChangeName   ChangeKind = "name"
	ChangeTopic  ChangeKind = "topic"
	ChangeAvatar ChangeKind = "avatar"
	ChangeRole   ChangeKind = "role"
	ChangeBan    ChangeKind = "ban"
	ChangeUnban  ChangeKind = "unban"
	ChangeInvite ChangeKind = "invite"
	ChangeLeave  ChangeKind = "leave"
	// ChangeRules is a change of the power levels that is not a role. Mimir has none, so it
	// is refused.
	ChangeRules ChangeKind = "rules"
)

// Change is a change of a group that our user has made in its room. It is stored as JSON.
type Change struct {
	Kind ChangeKind `json:"kind"`
	// Event is the event of the room.
	Event id.EventID `json:"event"`
	// User is whom it is about, zero for the group itself.
	User identity.PublicKey `json:"user,omitzero"`
	// Value is what it changes something to, see [TextValue], [AvatarValue] and
	// [RoleValue].
	Value string `json:"value,omitempty"`
	// Task is the number of the task for the mediator, 0 before that is queued.
	Task uint64 `json:"task,omitempty"`
	// Report is the id of the message with which the mediator has reported it.
	Report string `json:"report,omitempty"`
}

// TextValue is the value of a name or description.
func TextValue(text string) string { return hash([]byte(text)) }

// AvatarValue is the value of a picture.
func AvatarValue(picture []byte) string { return hash(picture) }

// RoleValue is the value of a role.
func RoleValue(p mediator.Permissions) string { return strconv.Itoa(int(p)) }

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// maxChanges bounds the changes of a group that are remembered. A forgotten change is
// reported in its room once more, in words.
const maxChanges = 64

// Changes are the changes of a group from Matrix, oldest first. The mediator reports each of
// them to everybody, also to us: the room shows it already, and does not need the report.
type Changes []Change

// Find returns the change of an event about a user, nil for none.
func (c Changes) Find(evt id.EventID, user identity.PublicKey) *Change {
	for i := range c {
		if c[i].Event == evt && c[i].User == user {
			return &c[i]
		}
	}
	return nil
}

// OfTask returns the change that a task is for.
func (c Changes) OfTask(task uint64) (Change, bool) {
	for _, change := range c {
		if task != 0 && change.Task == task {
			return change, true
		}
	}
	return Change{}, false
}

// Add returns the changes with another one.
func (c Changes) Add(change Change) Changes {
	c = append(c, change)
	return c[max(0, len(c)-maxChanges):]
}

// Without returns the changes without that of an event about a user.
func (c Changes) Without(evt id.EventID, user identity.PublicKey) Changes {
	var left Changes
	for _, change := range c {
		if change.Event != evt || change.User != user {
			left = append(left, change)
		}
	}
	return left
}

// Reported reports whether a message of the mediator reports one of the changes, and notes
// it: the same message again is found again, and another one that says the same is not.
func (c Changes) Reported(s mediator.System, message string) bool {
	for i := range c {
		if c[i].Report == message {
			return true
		}
	}
	for i := range c {
		if c[i].Report == "" && c[i].isReport(s) {
			c[i].Report = message
			return true
		}
	}
	return false
}

func (c Change) isReport(s mediator.System) bool {
	switch s.Event { //nolint:exhaustive // nothing else is changed from Matrix
	case mediator.EventInfoChanged:
		switch {
		case s.Name != nil:
			return c.Kind == ChangeName && c.Value == TextValue(*s.Name)
		case s.Description != nil:
			return c.Kind == ChangeTopic && c.Value == TextValue(*s.Description)
		default:
			return s.Avatar != nil && c.Kind == ChangeAvatar && c.Value == AvatarValue(s.Avatar)
		}
	case mediator.EventPermissions:
		return c.Kind == ChangeRole && c.User == s.User && c.Value == RoleValue(s.Permissions)
	case mediator.EventUserBanned:
		return c.Kind == ChangeBan && c.User == s.User
	case mediator.EventUserAdded:
		return c.Kind == ChangeUnban && c.User == s.User
	default:
		return false
	}
}

// Refused says that a change was not made, and why. name is what the user is called whom it
// is about.
func (c Change) Refused(name, reason string) string {
	reason = strings.TrimSuffix(reason, ".")
	switch c.Kind {
	case ChangeName:
		return fmt.Sprintf("The name of the group was not changed: %s.", reason)
	case ChangeTopic:
		return fmt.Sprintf("The description of the group was not changed: %s.", reason)
	case ChangeAvatar:
		return fmt.Sprintf("The picture of the group was not changed: %s.", reason)
	case ChangeRole:
		return fmt.Sprintf("The role of %s was not changed: %s.", name, reason)
	case ChangeBan:
		return fmt.Sprintf("%s was not banned from the group: %s.", name, reason)
	case ChangeUnban:
		return fmt.Sprintf("%s is still banned from the group: %s.", name, reason)
	case ChangeInvite:
		return fmt.Sprintf("%s was not invited to the group: %s.", name, reason)
	case ChangeLeave:
		return fmt.Sprintf("You have not left the group: %s.", reason)
	default:
		return fmt.Sprintf("The power levels of the room were not changed: %s.", reason)
	}
}

// Allowed returns "" when the role of our user allows a change, else the reason why not. The
// mediator decides in the end; this saves the question.
func (c Change) Allowed(g store.Group) string {
	switch {
	case !g.State.IsActive():
		return "you are not a member of this group"
	case c.Kind == ChangeLeave:
	case c.Kind == ChangeName, c.Kind == ChangeTopic, c.Kind == ChangeAvatar, c.Kind == ChangeRole:
		if !MayEdit(g.Permissions) {
			return "only owners and admins of the group can do that"
		}
	case !MayModerate(g.Permissions):
		return "only owners, admins and moderators of the group can do that"
	}
	return ""
}

// CheckName and CheckTopic return "" for a text that mediators accept as the name or the
// description of a group, else the reason why not.
func CheckName(name string) string {
	if n := utf8.RuneCountInString(name); n < 1 || n > wire.MaxGroupName {
		return fmt.Sprintf("a name has 1 to %d characters", wire.MaxGroupName)
	}
	return ""
}

// CheckTopic is described at [CheckName].
func CheckTopic(topic string) string {
	if utf8.RuneCountInString(topic) > wire.MaxGroupDescription {
		return fmt.Sprintf("a description has at most %d characters", wire.MaxGroupDescription)
	}
	return ""
}

// CheckAvatar is the same for the size of a picture, in bytes.
func CheckAvatar(size int64) string {
	if size > wire.MaxGroupAvatar {
		return fmt.Sprintf("a picture has at most %d KiB", wire.MaxGroupAvatar>>10)
	}
	return ""
}

// NameFrom and TopicFrom make the name and the description of a group of those of a room.
func NameFrom(name string) string { return msgconv.CleanName(name) }

// TopicFrom is described at [NameFrom].
func TopicFrom(topic string) string { return strings.TrimSpace(msgconv.CleanText(topic)) }
