// SPDX-License-Identifier: MPL-2.0

package backup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"filippo.io/age"
)

// ageHeader is how an encrypted backup begins.
const ageHeader = "age-encryption.org/v1\n"

// maxWork bounds how long a backup may make us try its passphrase: 2^22 is some
// ten seconds.
const maxWork = 22

// workForTest is 0 in the program: age's own choice.
var workForTest int

// SetWorkForTest makes a passphrase as cheap to try as 2 to the power of work. It
// panics outside of a test, so that no real backup is written that way.
func SetWorkForTest(work int) {
	if !testing.Testing() {
		panic("backup: a cheap passphrase is for tests")
	}
	workForTest = work
}

// ErrPassphrase means that a backup was not encrypted with this passphrase.
var ErrPassphrase = errors.New("this is not the passphrase of the backup")

// Encrypt returns a writer that encrypts to w with a passphrase. What was written
// is complete when it was closed; w stays open.
func Encrypt(w io.Writer, passphrase string) (io.WriteCloser, error) {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, fmt.Errorf("encrypt backup: %w", err)
	}
	if workForTest > 0 {
		recipient.SetWorkFactor(workForTest)
	}
	encrypted, err := age.Encrypt(w, recipient)
	if err != nil {
		return nil, fmt.Errorf("encrypt backup: %w", err)
	}
	return encrypted, nil
}

// Decrypt returns what a backup is when it was encrypted, else the backup itself.
// passphrase is asked for only when it is needed.
func Decrypt(r io.Reader, passphrase func() (string, error)) (io.Reader, error) {
	buffered := bufio.NewReader(r)
	begin, err := buffered.Peek(len(ageHeader))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	if !bytes.Equal(begin, []byte(ageHeader)) {
		return buffered, nil
	}
	secret, err := passphrase()
	if err != nil {
		return nil, err
	}
	own, err := age.NewScryptIdentity(secret)
	if err != nil {
		return nil, fmt.Errorf("decrypt backup: %w", err)
	}
	own.SetMaxWorkFactor(maxWork)
	plain, err := age.Decrypt(buffered, own)
	if noMatch := new(age.NoIdentityMatchError); errors.As(err, &noMatch) {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt backup: %w", err)
	}
	return plain, nil
}
