// SPDX-License-Identifier: MPL-2.0

package store

import (
	"encoding/binary"
	"fmt"

	"github.com/mimird/mimird/proto/identity"
)

// Media returns what is known of the file of a message, or [ErrNotFound].
func (s *Store) Media(account, contact identity.PublicKey, id MessageID) (Media, error) {
	m := Media{Account: account, Contact: contact, Message: id}
	err := s.read(func(r rows) error { return loadRow(r, mediaKey(account, contact, id), &m) })
	if err != nil {
		return Media{}, fmt.Errorf("file of message %s: %w", id, err)
	}
	return m, nil
}

// Transfer is a file in the queue of transfers.
type Transfer struct {
	Account, Contact identity.PublicKey
	Message          MessageID
	Due              Millis
}

// EachTransfer calls f for the files of an account that are to be transferred and
// whose next attempt is due at from or later, those first that are due first, until
// f returns false. It reads no more than the queue itself.
func (s *Store) EachTransfer(account identity.PublicKey, from Millis, f func(Transfer) bool) error {
	err := s.read(func(r rows) error {
		prefix := tablePrefix(account, tableTransfer)
		begin := binary.BigEndian.AppendUint64(prefix[:len(prefix):len(prefix)], uint64(max(from, 0)))
		for row, err := range scan(r, begin, prefixEnd(prefix)) {
			if err != nil {
				return err
			}
			k, err := parseKey(row.key)
			if err != nil {
				return err
			}
			if !f(Transfer{Account: account, Contact: k.other, Message: k.message, Due: Millis(k.number)}) {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("transfers of account %s: %w", account.Short(), err)
	}
	return nil
}

// EachMedia calls f for every file of an account, in the order of contacts and
// messages, until it returns an error, which it returns. What f sees is as of the
// call.
func (s *Store) EachMedia(account identity.PublicKey, f func(Media) error) error {
	return s.eachMedia(account, tablePrefix(account, tableMedia), f)
}

// EachMediaOf is EachMedia for the files of one conversation.
func (s *Store) EachMediaOf(account, contact identity.PublicKey, f func(Media) error) error {
	return s.eachMedia(account, pairPrefix(account, tableMedia, contact), f)
}

func (s *Store) eachMedia(account identity.PublicKey, prefix []byte, f func(Media) error) error {
	return s.read(func(r rows) error {
		for row, err := range scanPrefix(r, prefix) {
			m, err := mediaRow(account, row, err)
			if err != nil {
				return err
			}
			if err := f(m); err != nil {
				return err
			}
		}
		return nil
	})
}

// HostedFiles returns what is on our file server.
func (s *Store) HostedFiles() ([]HostedFile, error) {
	var found []HostedFile
	err := s.read(func(r rows) error {
		for row, err := range scanPrefix(r, []byte{spaceHosted}) {
			if err != nil {
				return err
			}
			k, err := parseKey(row.key)
			if err != nil {
				return err
			}
			file := HostedFile{Hash: k.hash}
			if err := row.load(&file); err != nil {
				return err
			}
			found = append(found, file)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("hosted files: %w", err)
	}
	return found, nil
}
