// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"
	"slices"
)

// Names of the enumerations, as users write and read them. The index is the
// stored number, so the order never changes.
var (
	strangerPolicyNames = []string{"ask", "accept", "refuse"}
	roleNames           = []string{"primary", "backup", "mirror"}
	askStateNames       = []string{"none", "waiting", "sent", "accepted", "declined"}
	contactStateNames   = []string{"stranger", "requested", "accepted", "blocked"}
	messageStateNames   = []string{"received", "pending", "delivered", "failed"}
	mediaStateNames     = []string{"offered", "downloading", "stored", "failed", "evicted", "uploading"}
	eventKindNames      = []string{
		"", "account_added", "account_changed", "contact_added", "contact_changed", "contact_removed",
		"node_key_changed", "message_received", "message_edited", "message_queued", "message_delivered", "message_failed",
		"announced_elsewhere", "call_missed", "contact_answered", "media_changed", "handshake_relayed", "device_refused",
		"request_received", "group_added", "group_changed", "group_removed", "invite_received", "members_changed",
		"message_synced", "message_deleted", "group_task_done", "group_task_failed", "conversation_read",
		"messages_expired",
	}
	groupStateNames = []string{
		"member", "invited", "joining", "declined", "creating", "created", "failed", "read_only", "banned", "left", "lost", "deleted",
		"mediator_gone",
	}
	groupTaskNames = []string{
		"", "edit", "invite", "role", "ban", "unban", "leave", "delete", "delete_message",
	}
	standingNames = []string{"member", "left", "banned"}
)

// String returns "ask", "accept" or "refuse".
func (p StrangerPolicy) String() string { return enumName(strangerPolicyNames, p) }

// MarshalText writes the name.
func (p StrangerPolicy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the name.
func (p *StrangerPolicy) UnmarshalText(text []byte) error {
	return parseEnum("stranger policy", strangerPolicyNames, text, p)
}

// String returns "primary", "backup" or "mirror".
func (r Role) String() string { return enumName(roleNames, r) }

// MarshalText writes the name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the name.
func (r *Role) UnmarshalText(text []byte) error { return parseEnum("role", roleNames, text, r) }

// String returns "none", "waiting", "sent", "accepted" or "declined".
func (s AskState) String() string { return enumName(askStateNames, s) }

// MarshalText writes the name.
func (s AskState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name.
func (s *AskState) UnmarshalText(text []byte) error {
	return parseEnum("state of a request", askStateNames, text, s)
}

// String returns "stranger", "requested", "accepted" or "blocked".
func (s ContactState) String() string { return enumName(contactStateNames, s) }

// MarshalText writes the name.
func (s ContactState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name.
func (s *ContactState) UnmarshalText(text []byte) error {
	return parseEnum("contact state", contactStateNames, text, s)
}

// String returns "received", "pending", "delivered" or "failed".
func (s MessageState) String() string { return enumName(messageStateNames, s) }

// MarshalText writes the name.
func (s MessageState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name.
func (s *MessageState) UnmarshalText(text []byte) error {
	return parseEnum("message state", messageStateNames, text, s)
}

// String returns "offered", "downloading", "stored", "failed", "evicted" or
// "uploading".
func (s MediaState) String() string { return enumName(mediaStateNames, s) }

// MarshalText writes the name.
func (s MediaState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name.
func (s *MediaState) UnmarshalText(text []byte) error {
	return parseEnum("media state", mediaStateNames, text, s)
}

// String returns the name in snake case, such as "message_received".
func (k EventKind) String() string { return enumName(eventKindNames, k) }

// MarshalText writes the name.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the name.
func (k *EventKind) UnmarshalText(text []byte) error {
	return parseEnum("event kind", eventKindNames, text, k)
}

// String returns "member", "invited", "joining", "declined", "creating", "created",
// "failed", "read_only", "banned", "left", "lost", "deleted" or "mediator_gone".
func (s GroupState) String() string { return enumName(groupStateNames, s) }

// MarshalText writes the name.
func (s GroupState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name.
func (s *GroupState) UnmarshalText(text []byte) error {
	return parseEnum("group state", groupStateNames, text, s)
}

// String returns "edit", "invite", "role", "ban", "unban", "leave", "delete" or
// "delete_message".
func (k GroupTaskKind) String() string { return enumName(groupTaskNames, k) }

// MarshalText writes the name.
func (k GroupTaskKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the name.
func (k *GroupTaskKind) UnmarshalText(text []byte) error {
	return parseEnum("kind of a group's task", groupTaskNames, text, k)
}

// String returns "member", "left" or "banned".
func (s Standing) String() string { return enumName(standingNames, s) }

// MarshalText writes the name.
func (s Standing) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name.
func (s *Standing) UnmarshalText(text []byte) error {
	return parseEnum("standing", standingNames, text, s)
}

func enumName[T ~uint8](names []string, value T) string {
	if int(value) < len(names) && names[value] != "" {
		return names[value]
	}
	return fmt.Sprintf("unknown(%d)", value) // written by a newer version
}

func parseEnum[T ~uint8](what string, names []string, text []byte, value *T) error {
	i := slices.Index(names, string(text))
	if i < 0 || len(text) == 0 {
		return fmt.Errorf("parse %s: %.64q: %w", what, text, ErrInvalid)
	}
	*value = T(i)
	return nil
}
