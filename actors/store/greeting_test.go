// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/mimird/mimird/actors/store"
)

// A greeting belongs to one account, is replaced, and goes with the account.
func TestSetGreeting(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[any](r, store.PutAccount{Account: store.Account{ID: key(8), Name: "other"}})
	if _, err := r.store.Greeting(alice); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("without a greeting: %v", err)
	}
	if changed := must[bool](r, store.SetGreeting{Account: alice}); changed {
		t.Error("a greeting that was not there is removed")
	}
	seq := r.lastSeq(alice)
	must[bool](r, store.SetGreeting{Account: alice, Greeting: []byte("first"), Length: 1})
	must[bool](r, store.SetGreeting{Account: alice, Greeting: []byte("second"), Length: 2})
	must[bool](r, store.SetGreeting{Account: key(8), Greeting: []byte("of another"), Length: 3})
	if got := get[[]byte](r)(r.store.Greeting(alice)); !bytes.Equal(got, []byte("second")) {
		t.Errorf("%q", got)
	}
	if a := get[store.Account](r)(r.store.Account(alice)); a.Greeting != 2 {
		t.Errorf("%+v", a)
	}
	if events := get[[]store.Event](r)(r.store.Events(alice, seq, 0)); len(events) != 2 || events[1].Kind != store.AccountChanged {
		t.Errorf("%+v", events)
	}
	r.checked()
	must[bool](r, store.SetGreeting{Account: alice})
	if _, err := r.store.Greeting(alice); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a removed greeting: %v", err)
	}
	r.checked()
	must[bool](r, store.RemoveAccount{Account: key(8)})
	if _, err := r.store.Greeting(key(8)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the greeting of a removed account: %v", err)
	}
	r.checked()
	for name, test := range map[string]struct {
		op   store.SetGreeting
		want error
	}{
		"no account": {store.SetGreeting{Account: key(9), Greeting: []byte("x"), Length: 1}, store.ErrNotFound},
		"no length":  {store.SetGreeting{Account: alice, Greeting: []byte("x")}, store.ErrInvalid},
		"no audio":   {store.SetGreeting{Account: alice, Length: 1}, store.ErrInvalid},
		"too large":  {store.SetGreeting{Account: alice, Greeting: make([]byte, store.MaxGreeting+1), Length: 1}, store.ErrInvalid},
	} {
		if _, err := do[any](r, test.op); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
