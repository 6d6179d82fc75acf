// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/mimird/mimird/proto/identity"
)

// One contact must not fill the disk until no messages are accepted from anybody. When
// the messages of a conversation take more than Options.ContactBytes, they may not take
// more than what is left on the disk for all others above its reserve. So a
// contact that writes without end is stopped at half of it, the next one at a quarter.

// shareSteps is how often a conversation is measured while it grows by
// Options.ContactBytes. Measuring reads indexes of tables.
const shareSteps = 64

// crowders are the conversations whose messages are refused at the moment.
type crowders struct {
	mu   sync.Mutex
	over map[Conversation]uint64 // what each takes
}

// set notes whether a conversation is too large, and reports whether that is new.
func (c *crowders) set(conversation Conversation, over bool, taken uint64) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, before := c.over[conversation]
	if !over {
		delete(c.over, conversation)
		return before
	}
	if c.over == nil {
		c.over = make(map[Conversation]uint64)
	}
	c.over[conversation] = taken
	return !before
}

// FullConversations returns the conversations whose contacts' messages are refused
// because they take most of the disk, see [ErrContactFull]. Left out are those for
// which there is space by now, and contacts that are blocked or removed: they may never
// write again.
func (s *Store) FullConversations() []Conversation {
	s.crowders.mu.Lock()
	over := maps.Clone(s.crowders.over)
	s.crowders.mu.Unlock()
	full := make([]Conversation, 0, len(over))
	for conversation, taken := range over {
		if taken <= s.space.left() || !s.maySend(conversation) {
			continue
		}
		full = append(full, conversation)
	}
	slices.SortFunc(full, func(a, b Conversation) int {
		return slices.Compare(append(a.Account[:], a.ID[:]...), append(b.Account[:], b.ID[:]...))
	})
	return full
}

// maySend reports whether anybody can still send messages to a conversation.
func (s *Store) maySend(conversation Conversation) bool {
	if conversation.ID.Kind() == KindGroup {
		_, err := s.Group(conversation.Account, conversation.ID)
		return !errors.Is(err, ErrNotFound)
	}
	c, err := s.Contact(conversation.Account, conversation.Contact())
	return !errors.Is(err, ErrNotFound) && (err != nil || c.State != ContactBlocked)
}

// needShare fails when a contact has taken its part of the disk.
func (t *txn) needShare(account identity.PublicKey, conversation ConversationID, size int) error {
	c, err := t.w.conversation(t, account, conversation)
	if err != nil {
		return err
	}
	s := t.w.store
	c.unmeasured += uint64(size) //nolint:gosec // a size
	if c.measured && c.unmeasured < s.opts.ContactBytes/shareSteps {
		return nil
	}
	prefix := conversationPrefix(account, tableMessage, conversation)
	taken, err := s.db.EstimateDiskUsage(prefix, prefixEnd(prefix))
	if err != nil {
		return rowError("measure a conversation", err)
	}
	over := taken > s.opts.ContactBytes && taken > s.space.left()
	if s.crowders.set(Conversation{account, conversation}, over, taken) && over {
		s.log.Warn("contact takes most of the disk, refusing their messages", "account", account.Short(), "contact", conversation.Short(), "bytes", taken)
	}
	if over {
		return fmt.Errorf("%w: %d bytes", ErrContactFull, taken)
	}
	c.measured, c.unmeasured = true, 0
	return nil
}
