// SPDX-License-Identifier: MPL-2.0

package store

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/proto/identity"
)

// Media returns what is known of the file of a message, or [ErrNotFound].
func (s *Store) Media(account identity.PublicKey, conversation ConversationID, id MessageID) (Media, error) {
	m := Media{Account: account, Conversation: conversation, Message: id}
	err := s.read(func(r rows) error { return loadRow(r, mediaKey(account, conversation, id), &m) })
	if err != nil {
		return Media{}, fmt.Errorf("file of message %s: %w", id, err)
	}
	return m, nil
}

// Transfer is a file in the queue of transfers.
type Transfer struct {
	Account      identity.PublicKey
	Conversation ConversationID
	Message      MessageID
	Due          Millis
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
			if !f(Transfer{Account: account, Conversation: k.conversation, Message: k.message, Due: Millis(k.number)}) {
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

// EachMedia calls f for every file of an account, in the order of conversations and
// messages, until it returns an error, which it returns. What f sees is as of the
// call.
func (s *Store) EachMedia(account identity.PublicKey, f func(Media) error) error {
	return s.eachMedia(account, func(r rows) iter.Seq2[row, error] { return scanKinds(r, account, tableMedia) }, f)
}

// EachMediaOf is EachMedia for the files of one conversation.
func (s *Store) EachMediaOf(account identity.PublicKey, conversation ConversationID, f func(Media) error) error {
	return s.eachMedia(account, func(r rows) iter.Seq2[row, error] {
		return scanPrefix(r, conversationPrefix(account, tableMedia, conversation))
	}, f)
}

func (s *Store) eachMedia(account identity.PublicKey, files func(rows) iter.Seq2[row, error], f func(Media) error) error {
	return s.read(func(r rows) error {
		for row, err := range files(r) {
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

// EachStored calls f for the files of all accounts that are in the media store and not
// on their way to a file server, in the order of [Media.Changed], the oldest first, until
// f returns false or an error, which it returns. What f sees is as of the call. It reads
// no more than f asks for.
func (s *Store) EachStored(f func(Media) (more bool, err error)) error {
	accounts, err := s.Accounts()
	if err != nil {
		return err
	}
	prefixes := make([][]byte, len(accounts))
	for i, a := range accounts {
		prefixes[i] = tablePrefix(a.ID, tableStored)
	}
	return s.read(func(r rows) error {
		for row, err := range scanMerged(r, prefixes) {
			if err != nil {
				return err
			}
			m, err := namedMedia(r, row.key)
			if err != nil {
				return err
			}
			if more, err := f(m); err != nil || !more {
				return err
			}
		}
		return nil
	})
}

// MediaOfFile returns what is known of a file of the media store, for each message that
// has it, of all accounts.
func (s *Store) MediaOfFile(hash media.Hash) ([]Media, error) {
	accounts, err := s.Accounts()
	if err != nil {
		return nil, err
	}
	var found []Media
	err = s.read(func(r rows) error {
		for _, a := range accounts {
			for row, err := range scanPrefix(r, filePrefix(a.ID, hash)) {
				if err != nil {
					return err
				}
				m, err := namedMedia(r, row.key)
				if err != nil {
					return err
				}
				found = append(found, m)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("messages with file %s: %w", hash.Short(), err)
	}
	return found, nil
}

// namedMedia reads the row that a row of an index names.
func namedMedia(r rows, key []byte) (Media, error) {
	k, err := parseKey(key)
	if err != nil {
		return Media{}, err
	}
	m := Media{Account: k.account, Conversation: k.conversation, Message: k.message}
	return m, missingIsCorrupt(loadRow(r, mediaKey(k.account, k.conversation, k.message), &m))
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
