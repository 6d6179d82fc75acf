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

func TestFindContact(t *testing.T) {
	id := func(b byte) identity.PublicKey { return identity.PublicKey{b, b, b, b, b} }
	contact := func(b byte, state store.ContactState, nickname string, since store.Millis) store.Contact {
		return store.Contact{ID: id(b), State: state, Nickname: nickname, NicknameSince: since}
	}
	bob := contact(1, store.ContactAccepted, "bob", 10)
	carol := contact(2, store.ContactAccepted, "carol", 20)
	stranger := contact(3, store.ContactRequested, "bob", 0)
	blocked := contact(4, store.ContactBlocked, "bob", 5)
	formerBob := contact(1, store.ContactAccepted, "robert", 30)
	formerBob.FormerNames = []store.FormerName{{Name: "bob", Since: 10}}
	posing := contact(2, store.ContactAccepted, "bob", 40)
	posing.FormerNames = []store.FormerName{{Name: "carol", Since: 20}}
	local := contact(5, store.ContactAccepted, "eve", 50)
	local.LocalName = "bob"
	named := contact(6, store.ContactRequested, "x", 0)
	named.LocalName = "my request"
	asKey := contact(7, store.ContactAccepted, "0101010101", 60)
	const none, ambiguous = 0, 255

	for name, test := range map[string]struct {
		contacts []store.Contact
		name     string
		purpose  node.NamePurpose
		want     byte
	}{
		"a contact":                               {[]store.Contact{bob, carol}, "bob", node.NameContact, 1},
		"nobody":                                  {[]store.Contact{bob, carol}, "dave", node.NameContact, none},
		"no name":                                 {[]store.Contact{bob, contact(9, store.ContactAccepted, "", 1)}, "", node.NameContact, none},
		"a stranger of that name waits":           {[]store.Contact{stranger, bob}, "bob", node.NameContact, 1},
		"a stranger alone":                        {[]store.Contact{stranger, carol}, "bob", node.NameContact, none},
		"a blocked one of that name":              {[]store.Contact{blocked, bob}, "bob", node.NameContact, 1},
		"a blocked one alone":                     {[]store.Contact{blocked, stranger}, "bob", node.NameContact, 4},
		"accept":                                  {[]store.Contact{bob, stranger, blocked}, "bob", node.NameRequest, 3},
		"accept who does not ask":                 {[]store.Contact{bob}, "bob", node.NameRequest, 1},
		"accept by our own name":                  {[]store.Contact{bob, named}, "my request", node.NameRequest, 6},
		"two strangers ask":                       {[]store.Contact{stranger, contact(8, store.ContactRequested, "bob", 0)}, "bob", node.NameRequest, ambiguous},
		"block a contact":                         {[]store.Contact{bob, stranger}, "bob", node.NameBlock, 1},
		"block who asks":                          {[]store.Contact{carol, stranger, blocked}, "bob", node.NameBlock, 3},
		"unblock":                                 {[]store.Contact{bob, stranger, blocked}, "bob", node.NameUnblock, 4},
		"our own name first":                      {[]store.Contact{bob, local, stranger}, "bob", node.NameContact, 5},
		"a contact takes another's name":          {[]store.Contact{bob, posing}, "bob", node.NameContact, 1},
		"the other has another name meanwhile":    {[]store.Contact{formerBob, posing}, "bob", node.NameContact, ambiguous},
		"a former name that nobody else has":      {[]store.Contact{formerBob, carol}, "bob", node.NameContact, 1},
		"a former name of the one who poses":      {[]store.Contact{bob, posing}, "carol", node.NameContact, 2},
		"the beginning of a key":                  {[]store.Contact{bob, carol}, "01010101", node.NameContact, 1},
		"a name like the beginning of a key":      {[]store.Contact{bob, asKey}, "0101010101", node.NameContact, 1},
		"too little of a key":                     {[]store.Contact{bob, carol}, "0101010", node.NameContact, none},
		"the beginning of a stranger's key":       {[]store.Contact{stranger}, "03030303", node.NameContact, none},
		"the beginning of a stranger's, accepted": {[]store.Contact{stranger}, "03030303", node.NameRequest, 3},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := node.FindContact(test.contacts, test.name, test.purpose, nil)
			switch {
			case test.want == none && errors.Is(err, node.ErrUnknownContact):
			case test.want == ambiguous && errors.Is(err, node.ErrAmbiguousName):
			case test.want != none && test.want != ambiguous && err == nil && got == id(test.want):
			default:
				t.Errorf("%s, error %v, want %d", got.Short(), err, test.want)
			}
		})
	}
	if got, err := node.FindContact([]store.Contact{bob}, "BOB", node.NameContact, strings.ToLower); err != nil || got != id(1) {
		t.Errorf("folded: %v", err)
	}
}
