// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

func TestPutAccount(t *testing.T) {
	r := newRig(t, store.Options{})
	account := store.Account{
		ID: alice, Name: "Alice", Info: "info", Avatar: []byte{1, 2}, ClientID: 7, Priority: 3,
		Strangers: store.StrangersRefuse, ProfileTime: 5,
	}
	if !must[bool](r, store.PutAccount{Account: account}) {
		t.Error("a new account changes nothing")
	}
	account.Created = store.MillisOf(r.clock.now)
	if diff := cmp.Diff(account, get[store.Account](r)(r.store.Account(alice))); diff != "" {
		t.Error(diff)
	}
	if must[bool](r, store.PutAccount{Account: account}) {
		t.Error("the same account again changes something")
	}
	account.Name, account.Created = "Alice B.", 1
	if !must[bool](r, store.PutAccount{Account: account}) {
		t.Error("another name changes nothing")
	}
	account.Created = store.MillisOf(r.clock.now)
	must[bool](r, store.PutAccount{Account: store.Account{ID: anna}})
	r.restart()
	accounts := get[[]store.Account](r)(r.store.Accounts())
	want := []store.Account{account, {ID: anna, Created: account.Created}}
	if diff := cmp.Diff(want, accounts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]store.EventKind{store.AccountAdded, store.AccountChanged}, r.kinds(alice, 0)); diff != "" {
		t.Error(diff)
	}
	for name, bad := range map[string]store.Account{
		"no id":       {Name: "x"},
		"long name":   {ID: alice, Name: string(make([]byte, store.MaxText+1))},
		"huge avatar": {ID: alice, Avatar: make([]byte, store.MaxAvatar+1)},
	} {
		if _, err := do[bool](r, store.PutAccount{Account: bad}); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.checked()
}

func TestRemoveAccountTakesEverything(t *testing.T) {
	r := newPeopledRig(t, store.Options{OutboxRows: 2})
	for guid := int64(1); guid <= 2; guid++ {
		must[store.Accepted](r, accept(guid, "x"))
		must[store.Enqueued](r, enqueue(guid, "x", guidText(guid)))
	}
	must[bool](r, store.MoveCursor{Consumer: "c", Account: alice, Conversation: store.ContactConversation(bob), Seq: 3})
	if !must[bool](r, store.RemoveAccount{Account: alice}) || must[bool](r, store.RemoveAccount{Account: alice}) {
		t.Error("an account is removed once")
	}
	if _, err := r.store.Account(alice); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	if _, err := do[store.Accepted](r, accept(9, "late")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a message for a removed account: %v", err)
	}
	if got := r.lastSeq(alice); got != 0 {
		t.Errorf("%d events are left", got)
	}
	if _, err := r.store.Contact(anna, bob); err != nil {
		t.Errorf("another account: %v", err)
	}
	r.people() // again, from nothing
	if got := get[uint64](r)(r.store.Cursor("c", alice, store.ContactConversation(bob))); got != 0 {
		t.Errorf("cursor %d is left", got)
	}
	for guid := int64(1); guid <= 2; guid++ {
		if got := must[store.Accepted](r, accept(guid, "x")); got.Duplicate || got.Order != uint64(2*guid-1) {
			t.Errorf("%+v", got)
		}
		if got := must[store.Enqueued](r, enqueue(guid, "x", guidText(guid))); got.Duplicate {
			t.Errorf("%+v", got)
		}
	}
	r.checked()
}

func TestAddContact(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	seq := r.lastSeq(alice)
	contact := store.Contact{
		Account: alice, ID: key(7), Nickname: "nick", LocalName: "local", Info: "info", Avatar: []byte{1},
		State: store.ContactRequested, ProfileTime: 4, Added: 6, LastSeen: 8,
		NodeKeys: []store.KnownNode{{Key: nodeKey(1), FirstAuth: 2, LastAuth: 3}},
	}
	if diff := cmp.Diff(store.Added{Contact: contact}, must[store.Added](r, store.AddContact{Contact: contact})); diff != "" {
		t.Error(diff)
	}
	other := contact
	other.Nickname = "another"
	if diff := cmp.Diff(store.Added{Contact: contact, Existed: true}, must[store.Added](r, store.AddContact{Contact: other})); diff != "" {
		t.Error(diff)
	}
	r.restart()
	if diff := cmp.Diff(contact, get[store.Contact](r)(r.store.Contact(alice, key(7)))); diff != "" {
		t.Error(diff)
	}
	contacts := get[[]store.Contact](r)(r.store.Contacts(alice))
	if len(contacts) != 3 || contacts[0].ID != key(7) || contacts[1].ID != bob || contacts[2].ID != carol {
		t.Errorf("%+v", contacts)
	}
	events := get[[]store.Event](r)(r.store.Events(alice, seq, 0))
	if len(events) != 1 || events[0].Kind != store.ContactAdded || events[0].State != store.ContactRequested || events[0].Conversation.Contact() != key(7) {
		t.Errorf("%+v", events)
	}
	many := store.Contact{Account: alice, ID: key(8), NodeKeys: make([]store.KnownNode, store.MaxNodeKeys+5)}
	if got := must[store.Added](r, store.AddContact{Contact: many}); len(got.Contact.NodeKeys) != store.MaxNodeKeys {
		t.Errorf("%d node keys", len(got.Contact.NodeKeys))
	}
	for name, test := range map[string]struct {
		contact store.Contact
		want    error
	}{
		"no id":           {store.Contact{Account: alice}, store.ErrInvalid},
		"long nickname":   {store.Contact{Account: alice, ID: key(9), Nickname: string(make([]byte, store.MaxText+1))}, store.ErrInvalid},
		"unknown account": {store.Contact{Account: key(9), ID: bob}, store.ErrNotFound},
	} {
		if _, err := do[store.Added](r, store.AddContact{Contact: test.contact}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.checked()
}

func TestUpdateContactChangesSelectedFields(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	full := store.UpdateContact{
		Account: alice, Contact: bob, Nickname: "n", LocalName: "l", Info: "i", Avatar: []byte{1}, ProfileTime: 2, LastSeen: 3, Muted: true,
	}
	want := get[store.Contact](r)(r.store.Contact(alice, bob))
	seq := r.lastSeq(alice)
	for _, step := range []struct {
		fields store.ContactFields
		apply  func()
		silent bool
		reason string
	}{
		{store.FieldNickname, func() {
			want.Nickname, want.NicknameSince = "n", get[store.Contact](r)(r.store.Contact(alice, bob)).NicknameSince
		}, false, "nickname"},
		{store.FieldLocalName, func() { want.LocalName = "l" }, false, "name"},
		{store.FieldInfo | store.FieldAvatar, func() { want.Info, want.Avatar = "i", []byte{1} }, false, "info,avatar"},
		{store.FieldProfileTime, func() { want.ProfileTime = 2 }, false, ""},
		{store.FieldMuted, func() { want.Muted = true }, false, "muted"},
		{store.FieldLastSeen, func() { want.LastSeen = 3 }, true, ""},
	} {
		full.Fields = step.fields
		if !must[bool](r, full) || must[bool](r, full) {
			t.Errorf("fields %b do not change once", step.fields)
		}
		step.apply()
		if diff := cmp.Diff(want, get[store.Contact](r)(r.store.Contact(alice, bob))); diff != "" {
			t.Error(diff)
		}
		kinds := r.kinds(alice, seq)
		if events := get[[]store.Event](r)(r.store.Events(alice, seq, 0)); !step.silent && events[0].Reason != step.reason {
			t.Errorf("fields %b: reason %q", step.fields, events[0].Reason)
		}
		if step.silent && len(kinds) != 0 || !step.silent && (len(kinds) != 1 || kinds[0] != store.ContactChanged) {
			t.Errorf("fields %b: events %v", step.fields, kinds)
		}
		seq += uint64(len(kinds))
	}
	full.Fields = 0
	if must[bool](r, full) {
		t.Error("no field, but a change")
	}
	full.Contact = key(9)
	if _, err := do[bool](r, full); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	full.Avatar = make([]byte, store.MaxAvatar+1)
	if _, err := do[bool](r, full); !errors.Is(err, store.ErrInvalid) {
		t.Error(err)
	}
}

func TestSetContactState(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	seq := r.lastSeq(alice)
	op := store.SetContactState{Account: alice, Contact: bob, State: store.ContactBlocked}
	if !must[bool](r, op) || must[bool](r, op) {
		t.Error("a state changes once")
	}
	events := get[[]store.Event](r)(r.store.Events(alice, seq, 0))
	if len(events) != 1 || events[0].Kind != store.ContactChanged || events[0].State != store.ContactBlocked || events[0].Reason != store.ChangedBlocked {
		t.Errorf("%+v", events)
	}
	op.State = 99
	if _, err := do[bool](r, op); !errors.Is(err, store.ErrInvalid) {
		t.Error(err)
	}
	op.State, op.Contact = 0, key(9)
	if _, err := do[bool](r, op); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
}

func TestRemoveContactTakesConversation(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[store.Accepted](r, accept(1, "in"))
	must[store.Enqueued](r, enqueue(1, "out", "$a"))
	kept := enqueue(1, "kept", "$b")
	kept.Conversation = store.ContactConversation(carol)
	must[store.Enqueued](r, kept)
	seq := r.lastSeq(alice)
	op := store.RemoveContact{Account: alice, Contact: bob}
	if !must[bool](r, op) || must[bool](r, op) {
		t.Error("a contact is removed once")
	}
	if diff := cmp.Diff([]store.EventKind{store.ContactRemoved}, r.kinds(alice, seq)); diff != "" {
		t.Error(diff)
	}
	if got := r.texts(alice, bob); len(got) != 0 {
		t.Errorf("%q", got)
	}
	if _, err := do[store.Accepted](r, accept(2, "late")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a message of a removed contact: %v", err)
	}
	if must[bool](r, store.MarkDelivered{Account: alice, Conversation: store.ContactConversation(bob), GUID: 1}) {
		t.Error("a removed message was delivered")
	}
	found, err := r.store.OutboxConversations(alice)
	if err != nil || len(found) != 1 || found[0] != store.ContactConversation(carol) {
		t.Errorf("%v %v", found, err)
	}
	must[store.Added](r, store.AddContact{Contact: store.Contact{Account: alice, ID: bob}})
	if got := must[store.Enqueued](r, enqueue(2, "again", "$c")); got.Message.Order != 1 {
		t.Errorf("%+v", got)
	}
	// The old source points at the place that another message has now.
	if got := must[store.Enqueued](r, enqueue(1, "out", "$a")); got.Duplicate {
		t.Errorf("%+v", got)
	}
	r.checked()
}

func TestRecordNodeKey(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	seq := r.lastSeq(alice)
	record := func(k byte, at store.Millis) store.NodeKeyRecorded {
		return must[store.NodeKeyRecorded](r, store.RecordNodeKey{Account: alice, Contact: bob, Key: nodeKey(k), Time: at})
	}
	keys := func() (found []store.KnownNode) {
		return get[store.Contact](r)(r.store.Contact(alice, bob)).NodeKeys
	}
	if got := record(1, 10); got != (store.NodeKeyRecorded{New: true}) {
		t.Errorf("first key: %+v", got)
	}
	if got := record(1, 20); got != (store.NodeKeyRecorded{}) {
		t.Errorf("known key: %+v", got)
	}
	if got := record(2, 15); got != (store.NodeKeyRecorded{New: true, Changed: true}) {
		t.Errorf("second key: %+v", got)
	}
	record(1, 5) // a clock that went back
	want := []store.KnownNode{{Key: nodeKey(1), FirstAuth: 10, LastAuth: 20}, {Key: nodeKey(2), FirstAuth: 15, LastAuth: 15}}
	if diff := cmp.Diff(want, keys()); diff != "" {
		t.Error(diff)
	}
	events := get[[]store.Event](r)(r.store.Events(alice, seq, 0))
	if len(events) != 1 || events[0].Kind != store.NodeKeyChanged || events[0].NodeKey != nodeKey(2) || events[0].Conversation.Contact() != bob {
		t.Errorf("%+v", events)
	}
	for i := range byte(store.MaxNodeKeys) {
		record(10+i, 100+store.Millis(i))
	}
	got := keys()
	if len(got) != store.MaxNodeKeys || got[0].Key != nodeKey(9+store.MaxNodeKeys) {
		t.Errorf("%+v", got)
	}
	if got := record(99, 0); !got.Changed || keys()[0].LastAuth != store.MillisOf(r.clock.now) {
		t.Errorf("%+v", got)
	}
	for name, test := range map[string]struct {
		op   store.RecordNodeKey
		want error
	}{
		"zero key": {store.RecordNodeKey{Account: alice, Contact: bob}, store.ErrInvalid},
		"stranger": {store.RecordNodeKey{Account: alice, Contact: key(9), Key: nodeKey(1)}, store.ErrNotFound},
	} {
		if _, err := do[store.NodeKeyRecorded](r, test.op); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoteForeignNode(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	seq := r.lastSeq(alice)
	must[any](r, store.NoteForeignNode{Account: alice, Node: nodeKey(7)})
	events := get[[]store.Event](r)(r.store.Events(alice, seq, 0))
	if len(events) != 1 || events[0].Kind != store.ForeignNodeAnnounced || events[0].NodeKey != nodeKey(7) || !events[0].Conversation.IsZero() {
		t.Errorf("%+v", events)
	}
	// It is remembered once, with when it was told last; the oldest is evicted.
	for n := range byte(store.MaxForeignNodes) {
		must[any](r, store.NoteForeignNode{Account: alice, Node: nodeKey(n + 10)})
	}
	must[any](r, store.NoteForeignNode{Account: alice, Node: nodeKey(12)})
	nodes := get[store.Account](r)(r.store.Account(alice)).ForeignNodes
	if len(nodes) != store.MaxForeignNodes || nodes[0].Key != nodeKey(10) || nodes[len(nodes)-1].Key != nodeKey(12) || nodes[2].Key != nodeKey(13) || nodes[0].Since == 0 {
		t.Errorf("remembered: %+v", nodes)
	}
	if _, err := do[any](r, store.NoteForeignNode{Account: alice}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("a zero key: %v", err)
	}
	if _, err := do[any](r, store.NoteForeignNode{Account: key(9), Node: nodeKey(7)}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no such account: %v", err)
	}
	r.checked()
}

func TestAddresses(t *testing.T) {
	r := newRig(t, store.Options{})
	if got, err := r.store.Addresses(bob); err != nil || len(got) != 0 {
		t.Errorf("%v %v", got, err)
	}
	want := make([]store.Address, store.MaxAddresses+3)
	for i := range want {
		want[i] = store.Address{Node: nodeKey(byte(i + 1)), Priority: uint8(i), Expires: 5, LastAuth: 6}
	}
	put := func(id identity.PublicKey, addresses []store.Address) {
		t.Helper()
		must[any](r, store.PutAddresses{Identity: id, Addresses: addresses})
	}
	put(bob, want)
	put(carol, want[:1])
	if diff := cmp.Diff(want[:store.MaxAddresses], get[[]store.Address](r)(r.store.Addresses(bob))); diff != "" {
		t.Error(diff)
	}
	r.restart()
	if diff := cmp.Diff(want[:1], get[[]store.Address](r)(r.store.Addresses(carol))); diff != "" {
		t.Error(diff)
	}
	put(bob, nil)
	if got := get[[]store.Address](r)(r.store.Addresses(bob)); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if _, err := do[any](r, store.PutAddresses{}); !errors.Is(err, store.ErrInvalid) {
		t.Error(err)
	}
	r.checked()
}

func TestRecords_InvalidUTF8_Kept(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	odd := "not \xff UTF-8 \x00"
	must[bool](r, store.UpdateContact{Account: alice, Contact: bob, Fields: store.FieldNickname, Nickname: odd})
	must[store.Enqueued](r, enqueue(1, odd, odd))
	got := get[store.Contact](r)(r.store.Contact(alice, bob))
	if diff := cmp.Diff(store.Contact{Nickname: odd}, got, cmpopts.IgnoreFields(store.Contact{}, "Account", "ID", "State", "Added", "NicknameSince")); diff != "" {
		t.Error(diff)
	}
	if again := must[store.Enqueued](r, enqueue(1, odd, odd)); !again.Duplicate || again.Message.Source != odd {
		t.Errorf("%+v", again)
	}
	r.checked()
}

func TestContactsAfter_Pages_AllOfTheAccount(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[store.Added](r, store.AddContact{Contact: store.Contact{Account: anna, ID: key(0xd1), State: store.ContactBlocked}})
	for _, account := range []identity.PublicKey{alice, anna} {
		want, err := r.store.Contacts(account)
		if err != nil {
			t.Fatal(err)
		}
		for limit := range 4 {
			var got []store.Contact
			for after := (identity.PublicKey{}); ; {
				page, err := r.store.ContactsAfter(account, after, limit)
				if err != nil || limit > 0 && len(page) > limit {
					t.Fatalf("%d contacts, %v", len(page), err)
				}
				if len(page) == 0 {
					break
				}
				got = append(got, page...)
				after = page[len(page)-1].ID
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
	}
}
