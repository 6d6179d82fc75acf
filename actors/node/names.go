// SPDX-License-Identifier: MPL-2.0

package node

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// People name contacts, and most names are chosen by the contacts themselves. So a
// name is looked for in an order in which nobody can put themselves into the place
// of somebody else: names that our user has given; then keys by their beginning;
// then what accepted contacts are called, of whom the one that was called so first
// counts; then blocked ones. Who has only asked to be a contact is found for the
// answer to their request, and to be blocked.

// NamePurpose is what a contact is looked for.
type NamePurpose uint8

const (
	// NameContact is for everything that is done with contacts, such as writing.
	NameContact NamePurpose = iota
	// NameRequest is for the answer to a request: who asks comes first.
	NameRequest
	// NameBlock is NameContact, and then those who ask.
	NameBlock
	// NameUnblock is for taking back a block: the blocked come first.
	NameUnblock
)

// MinKeyPrefix is how many digits of a key are taken for its beginning.
const MinKeyPrefix = store.MinKeyPrefix

var (
	// ErrAmbiguousName says that several contacts have a name, or that another contact
	// had it before.
	ErrAmbiguousName = errors.New("several contacts have that name, or had it before")
	errNoName        = errors.New("no such name")
)

// FindContact returns the contact that a name means, of all contacts or of those that
// [Node.ContactsNamed] returns. fold makes names comparable; nil compares them as they
// are.
//
// Errors: [ErrUnknownContact], [ErrAmbiguousName].
func FindContact(contacts []store.Contact, name string, purpose NamePurpose, fold func(string) string) (identity.PublicKey, error) {
	if fold == nil {
		fold = func(s string) string { return s }
	}
	q := nameQuery{name: fold(name), prefix: strings.ToLower(strings.TrimSpace(name)), fold: fold}
	if q.name == "" {
		return identity.PublicKey{}, ErrUnknownContact
	}
	in := func(states ...store.ContactState) []store.Contact {
		return slices.DeleteFunc(slices.Clone(contacts), func(c store.Contact) bool { return !slices.Contains(states, c.State) })
	}
	accepted, blocked := in(store.ContactAccepted), in(store.ContactBlocked)
	asking := in(store.ContactRequested, store.ContactStranger)

	type tier func() (identity.PublicKey, error)
	local := func(of []store.Contact) tier { return func() (identity.PublicKey, error) { return q.local(of) } }
	other := func(of []store.Contact) tier { return func() (identity.PublicKey, error) { return q.other(of) } }
	tiers := []tier{local(contacts), func() (identity.PublicKey, error) { return q.key(accepted) }, func() (identity.PublicKey, error) { return q.borne(accepted) }, other(blocked)}
	switch purpose {
	case NameRequest:
		tiers = append([]tier{local(asking), other(asking)}, tiers...)
	case NameUnblock:
		tiers = append([]tier{local(blocked), other(blocked)}, tiers...)
	case NameBlock:
		tiers = append(tiers[:3:3], other(asking), other(blocked))
	case NameContact:
	}
	for _, find := range tiers {
		if id, err := find(); !errors.Is(err, errNoName) {
			return id, err
		}
	}
	return identity.PublicKey{}, ErrUnknownContact
}

// nameQuery is a name in the forms in which it is compared.
type nameQuery struct {
	name, prefix string
	fold         func(string) string
}

func (q nameQuery) matches(name string) bool { return name != "" && q.fold(name) == q.name }

// local looks for a name that our user has given.
func (q nameQuery) local(of []store.Contact) (identity.PublicKey, error) {
	return only(of, func(c store.Contact) bool { return q.matches(c.LocalName) })
}

// key looks for the beginning of a key.
func (q nameQuery) key(of []store.Contact) (identity.PublicKey, error) {
	return only(of, func(c store.Contact) bool {
		return len(q.prefix) >= MinKeyPrefix && strings.HasPrefix(c.ID.String(), q.prefix)
	})
}

// other looks for the beginning of a key, or a name that the other side has chosen.
func (q nameQuery) other(of []store.Contact) (identity.PublicKey, error) {
	if id, err := q.key(of); !errors.Is(err, errNoName) {
		return id, err
	}
	return only(of, func(c store.Contact) bool { return q.matches(c.Nickname) })
}

// borne looks for a name that accepted contacts bear or have borne. It leads to the
// contact who had the name first, as long as they still have it, or nobody else has: a
// contact who takes another's name does not get what is meant for the other.
func (q nameQuery) borne(of []store.Contact) (identity.PublicKey, error) {
	type bearer struct {
		id    identity.PublicKey
		now   bool
		since store.Millis
	}
	var bearers []bearer
	for _, c := range of {
		if now, ever, since := c.Bears(q.matches); ever {
			bearers = append(bearers, bearer{c.ID, now, since})
		}
	}
	slices.SortStableFunc(bearers, func(a, b bearer) int { return cmp.Compare(a.since, b.since) })
	switch {
	case len(bearers) == 0:
		return identity.PublicKey{}, errNoName
	case len(bearers) == 1, bearers[0].now && bearers[0].since < bearers[1].since:
		return bearers[0].id, nil
	}
	return identity.PublicKey{}, ErrAmbiguousName
}

// only returns the one contact that is meant.
func only(of []store.Contact, meant func(store.Contact) bool) (identity.PublicKey, error) {
	var found []identity.PublicKey
	for _, c := range of {
		if meant(c) {
			found = append(found, c.ID)
		}
	}
	switch len(found) {
	case 0:
		return identity.PublicKey{}, errNoName
	case 1:
		return found[0], nil
	}
	return identity.PublicKey{}, ErrAmbiguousName
}
