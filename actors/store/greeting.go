// SPDX-License-Identifier: MPL-2.0

package store

import (
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

// MaxGreeting is the largest greeting of an answering machine, in bytes.
const MaxGreeting = 1 << 20

// SetGreeting gives an account the greeting that its answering machine plays, which turns
// the machine on; an empty one turns it off. Length is how long it plays, more than 0 with
// a greeting. The result is whether anything changed.
//
// Errors: [ErrNotFound] for an unknown account, [ErrInvalid].
type SetGreeting struct {
	Account  identity.PublicKey
	Greeting []byte
	Length   Millis
}

func (op SetGreeting) size() int { return opOverhead + len(op.Greeting) }

func (op SetGreeting) apply(t *txn) (any, error) {
	if len(op.Greeting) > MaxGreeting || (len(op.Greeting) > 0) != (op.Length > 0) {
		return nil, fmt.Errorf("greeting of %d bytes, %d ms: %w", len(op.Greeting), op.Length, ErrInvalid)
	}
	acc := Account{ID: op.Account}
	old, err := t.load(accountKey(op.Account), &acc)
	if err != nil {
		return nil, err
	}
	if acc.Greeting == 0 && op.Length == 0 {
		return false, nil
	}
	if op.Length > 0 {
		t.putRaw(greetingKey(op.Account), op.Greeting)
	} else {
		t.delete(greetingKey(op.Account))
	}
	acc.Greeting = op.Length
	if err := t.update(accountKey(op.Account), old, acc); err != nil {
		return nil, err
	}
	return true, t.event(Event{Account: op.Account, Kind: AccountChanged})
}

// Greeting returns the greeting of an account's answering machine. Errors: [ErrNotFound]
// when it has none. It must not be changed.
func (s *Store) Greeting(account identity.PublicKey) (greeting []byte, err error) {
	err = s.read(func(r rows) error {
		greeting, err = getRow(r, greetingKey(account))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("greeting of account %s: %w", account.Short(), err)
	}
	return greeting, nil
}
