// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

var foldings = []store.Folding{{}, {Name: "lower", Fold: strings.ToLower}}

// named returns the ids of the contacts that have a name, or have had it, or whose key
// begins with it: those of all, and those of ContactsNamed.
func (r *rig) named(account identity.PublicKey, name string, folding store.Folding) (want, got []identity.PublicKey) {
	r.t.Helper()
	fold := func(s string) string { return s }
	if folding.Fold != nil {
		fold = folding.Fold
	}
	pick := func(contacts []store.Contact) (ids []identity.PublicKey) {
		for _, c := range contacts {
			names := []string{c.LocalName, c.Nickname}
			for _, former := range c.FormerNames {
				names = append(names, former.Name)
			}
			byName := slices.ContainsFunc(names, func(n string) bool { return n != "" && fold(n) == fold(name) })
			if byName || len(name) >= store.MinKeyPrefix && strings.HasPrefix(c.ID.String(), strings.ToLower(name)) {
				ids = append(ids, c.ID)
			}
		}
		return ids
	}
	all := get[[]store.Contact](r)(r.store.Contacts(account))
	some := get[[]store.Contact](r)(r.store.ContactsNamed(account, name, folding))
	return pick(all), pick(some)
}

func TestContactsNamed_SameAsAll(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	compare := func(when string) {
		t.Helper()
		for _, account := range []identity.PublicKey{alice, anna} {
			for _, folding := range foldings {
				for _, name := range []string{"", "Bob", "bob", "Robert", "robert", "Carol", "nobody", "b1b1b1b1", "B1B1B1B1b", "c1c1c1c", "b1b1b1zz"} {
					if want, got := r.named(account, name, folding); !slices.Equal(want, got) {
						t.Errorf("%s: %q of %s, folding %q: %v, want %v", when, name, account.Short(), folding.Name, got, want)
					}
				}
			}
		}
	}
	update := func(account, contact identity.PublicKey, fields store.ContactFields, name string) {
		must[bool](r, store.UpdateContact{Account: account, Contact: contact, Fields: fields, Nickname: name, LocalName: name})
	}
	compare("without names")
	update(alice, bob, store.FieldNickname, "Bob")
	update(anna, carol, store.FieldNickname, "bob")
	compare("with a nickname")
	update(alice, bob, store.FieldNickname, "Robert")
	update(alice, carol, store.FieldLocalName, "Bob")
	compare("a former name, and a local one")
	if want, _ := r.named(alice, "Bob", store.Folding{}); len(want) != 2 {
		t.Errorf("Bob is %v", want)
	}
	must[bool](r, store.RemoveContact{Account: alice, Contact: bob})
	compare("removed")
	must[store.Added](r, store.AddContact{Contact: store.Contact{Account: alice, ID: bob, State: store.ContactAccepted, Nickname: "Carol"}})
	compare("added again")
	must[bool](r, store.RemoveAccount{Account: alice})
	compare("without the account")
	must[bool](r, store.PutAccount{Account: store.Account{ID: alice}})
	must[store.Added](r, store.AddContact{Contact: store.Contact{Account: alice, ID: bob, State: store.ContactAccepted, Nickname: "bob"}})
	compare("with another account of that id")
	r.restart()
	compare("after a restart")
}

// TestContactsNamed_CommittedContact_Found looks for each contact as soon as it is
// stored, while others are stored and the index is built.
func TestContactsNamed_CommittedContact_Found(t *testing.T) {
	for range 5 {
		r := newPeopledRig(t, store.Options{})
		var group sync.WaitGroup
		for w := range byte(8) {
			group.Go(func() {
				for i := range byte(20) {
					id := identity.PublicKey{0x77, w, i}
					name := fmt.Sprint("contact ", w, " ", i)
					_, err := do[store.Added](r, store.AddContact{Contact: store.Contact{Account: alice, ID: id, Nickname: name}})
					found, findErr := r.store.ContactsNamed(alice, name, foldings[int(i)%2])
					if err := errors.Join(err, findErr); err != nil || !slices.ContainsFunc(found, func(c store.Contact) bool { return c.ID == id && c.Nickname == name }) {
						t.Errorf("%s: %d contacts, %v", name, len(found), err)
					}
				}
			})
		}
		group.Wait()
		for _, folding := range foldings {
			if some := get[[]store.Contact](r)(r.store.ContactsNamed(alice, "contact 3 3", folding)); len(some) != 1 {
				t.Errorf("%d contacts are read to find one", len(some))
			}
		}
		r.stop()
	}
}
