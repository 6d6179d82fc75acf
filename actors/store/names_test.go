// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mimird/mimird/actors/store"
)

// What an accepted contact was called is remembered, with since when; a name taken
// up again counts from then. A stranger's names are not remembered.
func TestNickname_FormerNamesRemembered(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	rename := func(name string) store.Contact {
		must[any](r, store.UpdateContact{Account: alice, Contact: bob, Fields: store.FieldNickname, Nickname: name})
		return get[store.Contact](r)(r.store.Contact(alice, bob))
	}
	names := func(c store.Contact) (all []string) {
		for _, f := range c.FormerNames {
			all = append(all, f.Name)
		}
		return all
	}
	must[any](r, store.SetContactState{Account: alice, Contact: bob, State: store.ContactRequested})
	if c := rename("as a stranger"); len(c.FormerNames) != 0 {
		t.Errorf("%+v", c.FormerNames)
	}
	must[any](r, store.SetContactState{Account: alice, Contact: bob, State: store.ContactAccepted})
	first := get[store.Contact](r)(r.store.Contact(alice, bob))
	if first.NicknameSince == 0 {
		t.Error("nobody noted since when the name counts")
	}
	rename("second")
	c := rename("third")
	if !slices.Equal(names(c), []string{"as a stranger", "second"}) || c.FormerNames[0].Since != first.NicknameSince {
		t.Errorf("%+v", c.FormerNames)
	}
	c = rename("as a stranger")
	if !slices.Equal(names(c), []string{"second", "third"}) || c.NicknameSince != first.NicknameSince {
		t.Errorf("%+v since %d, first %d", c.FormerNames, c.NicknameSince, first.NicknameSince)
	}
	for i := range 20 {
		c = rename(fmt.Sprint("name ", i))
	}
	if len(c.FormerNames) != store.MaxFormerNames || c.FormerNames[7].Name != "name 18" {
		t.Errorf("%+v", c.FormerNames)
	}
	r.checked()
}
