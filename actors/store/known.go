// SPDX-License-Identifier: MPL-2.0

package store

import "github.com/mimird/mimird/proto/identity"

// Limits of what the writer remembers of guids.
const (
	// maxKnown is how many guids all sets may have, 13 to 20 MB. A conversation that
	// finds no room goes without a set.
	maxKnown = 1 << 20
	// maxKnownRead is the longest conversation whose guids are read: that many take
	// some 10 ms, once.
	maxKnownRead = 16 << 10
)

// guidSet has a digest of every guid of a conversation, in either direction. The
// database needs long to say that it does not have something, and nearly every
// message is new. The set is trusted only when it says so too: it may have a guid
// that no message has, because of the digest or because an operation failed.
type guidSet map[uint32]struct{}

func (s guidSet) has(guid int64) bool {
	_, ok := s[digest(guid)]
	return ok
}

func digest(guid int64) uint32 { return uint32(guid) ^ uint32(guid>>32) }

// isNew reports whether it is certain that the conversation has no message with
// the guid. It has to be called before the operation changes anything.
func (t *txn) isNew(account, contact identity.PublicKey, guid int64) (bool, error) {
	c, err := t.w.conversation(t, account, contact)
	if err != nil {
		return false, err
	}
	if c.known == nil && c.lastOrder <= maxKnownRead && !c.crowded {
		if err := t.readKnown(c, account, contact); err != nil {
			return false, err
		}
	}
	return c.known != nil && !c.known.has(guid), nil
}

// readKnown makes the set of a conversation.
func (t *txn) readKnown(c *conversationState, account, contact identity.PublicKey) error {
	c.known = make(guidSet)
	err := t.scan(pairPrefix(account, tableRef, contact), func(key, _ []byte) error {
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

// know adds a guid to the set of its conversation, if it has one. When there is no
// room, the set goes for good: it would have to be read again.
func (w *writer) know(c *conversationState, guid int64) {
	switch {
	case c.known == nil || c.known.has(guid):
	case w.known >= maxKnown:
		w.forget(c)
		c.crowded = true
	default:
		c.known[digest(guid)] = struct{}{}
		w.known++
	}
}

// forget drops the set of a conversation.
func (w *writer) forget(c *conversationState) {
	w.known -= uint64(len(c.known))
	c.known = nil
}
