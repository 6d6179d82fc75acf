// SPDX-License-Identifier: MPL-2.0

package store

import (
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

// Transfers returns a page of the files of an account that are to be transferred,
// those first that are due first.
func (s *Store) Transfers(account identity.PublicKey, limit int) ([]Media, error) {
	var found []Media
	err := s.read(func(r rows) (err error) {
		found, err = page(scanPrefix(r, tablePrefix(account, tableTransfer)), limit, func(row row) (Media, int, error) {
			k, err := parseKey(row.key)
			if err != nil {
				return Media{}, 0, err
			}
			m := Media{Account: account, Contact: k.other, Message: k.message}
			return m, len(row.key), promised(loadRow(r, mediaKey(account, k.other, k.message), &m))
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("transfers of account %s: %w", account.Short(), err)
	}
	return found, nil
}

// EachMedia calls f for every file of an account, in the order of contacts and
// messages, until it returns an error, which it returns. What f sees is as of the
// call.
func (s *Store) EachMedia(account identity.PublicKey, f func(Media) error) error {
	return s.read(func(r rows) error {
		for row, err := range scanPrefix(r, tablePrefix(account, tableMedia)) {
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
