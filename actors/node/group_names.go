// SPDX-License-Identifier: MPL-2.0

package node

import (
	"errors"
	"strings"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// GroupPurpose is what a group is looked for.
type GroupPurpose uint8

const (
	// GroupAny is for everything that is done with groups, such as writing.
	GroupAny GroupPurpose = iota
	// GroupInvite is for the answer to an invite: groups with an invite come first.
	GroupInvite
)

// groupIDPrefix begins the id of a group; see store.ConversationID.
const groupIDPrefix = "group-"

// FindGroup returns the group that a name means, of those that [Node.Groups] returns. Names
// of groups are chosen by others, so the id counts before every name, and a group that the
// account takes part in counts before one that it does not: nobody can take the name of a
// group with an invite. The id may be given by the beginning, of at least [MinKeyPrefix]
// digits. fold makes names comparable; nil compares them as they are.
//
// Names of contacts come before names of groups: a caller that accepts both looks for a
// contact first.
//
// Errors: [ErrUnknownGroup], [ErrAmbiguousName].
func FindGroup(groups []store.Group, name string, purpose GroupPurpose, fold func(string) string) (store.Group, error) {
	if fold == nil {
		fold = func(s string) string { return s }
	}
	wanted, prefix := fold(name), strings.ToLower(strings.TrimSpace(name))
	if wanted == "" {
		return store.Group{}, ErrUnknownGroup
	}
	byID := func(g store.Group) bool {
		return len(prefix) >= len(groupIDPrefix)+MinKeyPrefix && strings.HasPrefix(g.ID.String(), prefix)
	}
	byName := func(in func(store.GroupState) bool) func(store.Group) bool {
		return func(g store.Group) bool { return in(g.State) && g.Name != "" && fold(g.Name) == wanted }
	}
	invited := func(s store.GroupState) bool { return s == store.GroupInvited }
	tiers := []func(store.Group) bool{
		byID,
		byName(store.GroupState.IsActive),
		byName(func(s store.GroupState) bool { return s == store.GroupJoining || s == store.GroupCreating }),
		byName(func(s store.GroupState) bool { return !invited(s) }),
		byName(invited),
	}
	if purpose == GroupInvite {
		tiers = append([]func(store.Group) bool{byID, byName(invited)}, tiers...)
	}
	for _, meant := range tiers {
		if g, err := onlyGroup(groups, meant); !errors.Is(err, errNoName) {
			return g, err
		}
	}
	return store.Group{}, ErrUnknownGroup
}

// onlyGroup returns the one group that is meant.
func onlyGroup(groups []store.Group, meant func(store.Group) bool) (store.Group, error) {
	var found []store.Group
	for _, g := range groups {
		if meant(g) {
			found = append(found, g)
		}
	}
	switch len(found) {
	case 0:
		return store.Group{}, errNoName
	case 1:
		return found[0], nil
	}
	return store.Group{}, ErrAmbiguousName
}

// ConversationOutboxSize counts the undelivered messages to a contact or group.
func (n *Node) ConversationOutboxSize(account identity.PublicKey, conversation store.ConversationID) (store.OutboxSize, error) {
	return n.store.OutboxSize(account, conversation)
}
