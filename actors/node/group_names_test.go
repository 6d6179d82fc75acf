// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

func TestFindGroup_Order(t *testing.T) {
	group := func(chat uint64, name string, state store.GroupState) store.Group {
		return store.Group{ID: store.GroupConversation(identity.NodeKey{1}, chat), Name: name, State: state}
	}
	choir, invite := group(1, "choir", store.GroupMember), group(2, "choir", store.GroupInvited)
	twin, twin2 := group(3, "twin", store.GroupMember), group(4, "twin", store.GroupReadOnly)
	left, offered := group(5, "band", store.GroupLeft), group(6, "trio", store.GroupInvited)
	imitator := group(7, choir.ID.String()[:20], store.GroupMember)
	all := []store.Group{invite, choir, twin, twin2, left, offered, imitator}
	for _, v := range []struct {
		name    string
		purpose node.GroupPurpose
		want    store.ConversationID
		err     error
	}{
		{"choir", node.GroupAny, choir.ID, nil},
		{"choir", node.GroupInvite, invite.ID, nil},
		{"trio", node.GroupAny, offered.ID, nil},
		{"band", node.GroupAny, left.ID, nil},
		{"band", node.GroupInvite, left.ID, nil},
		{"twin", node.GroupAny, store.ConversationID{}, node.ErrAmbiguousName},
		{twin.ID.String(), node.GroupAny, twin.ID, nil},
		{strings.ToUpper(twin2.ID.String()[:14]), node.GroupAny, twin2.ID, nil},
		{choir.ID.String()[:20], node.GroupAny, choir.ID, nil},
		{twin.ID.String()[:13], node.GroupAny, store.ConversationID{}, node.ErrUnknownGroup},
		{"", node.GroupAny, store.ConversationID{}, node.ErrUnknownGroup},
		{"Choir", node.GroupAny, store.ConversationID{}, node.ErrUnknownGroup},
	} {
		g, err := node.FindGroup(all, v.name, v.purpose, nil)
		if g.ID != v.want || !errors.Is(err, v.err) {
			t.Errorf("%q for %d is %s, %v; want %s, %v", v.name, v.purpose, g.ID, err, v.want, v.err)
		}
	}
	if g, err := node.FindGroup(all, "CHOIR", node.GroupAny, strings.ToLower); err != nil || g.ID != choir.ID {
		t.Errorf("folded: %s, %v", g.ID, err)
	}
}
