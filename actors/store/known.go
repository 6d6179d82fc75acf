// SPDX-License-Identifier: MPL-2.0

package store

import (
	"hash/maphash"

	"github.com/mimird/mimird/proto/identity"
)

// Limits of what the writer remembers of guids.
const (
	// maxKnown is how many guids all sets may have, 6 to 11 MB. A conversation
	// beyond that has no set.
	maxKnown = 1 << 20
	// maxKnownRead is the longest conversation whose guids are read: that many take
	// some 10 ms, once.
	maxKnownRead = 16 << 10
)

// guidSet has a digest of every guid of a conversation, in either direction. The
// database needs long to say that it does not have something, and nearly every
// message is new. The set is trusted only when it says so too: it may have a guid
// that no message has, because of the digest or because an operation failed.
//
// It is a hash table with open addressing: a look-up reads one line of memory, a
// map's reads several, and with many conversations none of them is in a cache.
type guidSet struct {
	slots []uint32 // digests, 0 for none; a power of two, at most three quarters in use
	used  uint64
}

func newGUIDSet() *guidSet { return &guidSet{slots: make([]uint32, 16)} }

// guidSeed keeps a sender, who chooses guids, from choosing their slots.
var guidSeed = maphash.MakeSeed()

// digest is never 0.
func digest(guid int64) uint32 { return max(uint32(maphash.Comparable(guidSeed, guid)), 1) }

// slot returns where a digest is, or the free slot where it would be.
func (s *guidSet) slot(digest uint32) *uint32 {
	last := uint32(len(s.slots) - 1)
	for i := digest & last; ; i = (i + 1) & last {
		if at := &s.slots[i]; *at == digest || *at == 0 {
			return at
		}
	}
}

func (s *guidSet) has(guid int64) bool { return *s.slot(digest(guid)) != 0 }

// add adds a guid that the set does not have.
func (s *guidSet) add(guid int64) {
	s.used++
	if 4*s.used > 3*uint64(len(s.slots)) {
		before := s.slots
		s.slots = make([]uint32, 2*len(before))
		for _, d := range before {
			if d != 0 {
				*s.slot(d) = d
			}
		}
	}
	d := digest(guid)
	*s.slot(d) = d
}

// size returns how many guids the set has; none has none.
func (s *guidSet) size() uint64 {
	if s == nil {
		return 0
	}
	return s.used
}

// isNew reports whether it is certain that the conversation has no message with
// the guid. It has to be called before the operation changes anything.
func (t *txn) isNew(account identity.PublicKey, conversation ConversationID, guid int64) (bool, error) {
	c, err := t.w.conversation(t, account, conversation)
	if err != nil {
		return false, err
	}
	if c.known == nil && c.lastOrder <= maxKnownRead && !c.crowded {
		if err := t.readKnown(c, account, conversation); err != nil {
			return false, err
		}
	}
	return c.known != nil && !c.known.has(guid), nil
}

// readKnown builds the set of a conversation.
func (t *txn) readKnown(c *conversationState, account identity.PublicKey, conversation ConversationID) error {
	c.known = newGUIDSet()
	if c.lastOrder == 0 { // there is no message: a scan would go through all that is not committed
		return nil
	}
	err := t.scan(conversationPrefix(account, tableRef, conversation), func(key, _ []byte) error {
		k, err := parseKey(key)
		if err == nil {
			t.w.know(c, k.message.GUID)
		}
		return err
	})
	if err != nil {
		t.w.forget(c)
	}
	return err
}

// know adds a guid to the set of its conversation, if it has one. When all sets are
// full, the set is dropped for good: it would have to be read again.
func (w *writer) know(c *conversationState, guid int64) {
	switch {
	case c.known == nil || c.known.has(guid):
	case w.known >= maxKnown:
		w.forget(c)
		c.crowded = true
	default:
		c.known.add(guid)
		w.known++
	}
}

// forget drops the set of a conversation.
func (w *writer) forget(c *conversationState) {
	w.known -= c.known.size()
	c.known = nil
}
