// SPDX-License-Identifier: MPL-2.0

package overlay

import "container/list"

// halfOpenStreams are streams whose opening is not complete. When there are too many
// the oldest is evicted, a stranger's before a contact's; a quarter is reserved for
// contacts. The carrier's lock guards it.
type halfOpenStreams struct {
	contacts *contactIndex
	limit    int
	lists    [2]list.List // of *streamConn, the oldest first: contacts', strangers'
}

func (h *halfOpenStreams) of(stranger bool) *list.List {
	if stranger {
		return &h.lists[1]
	}
	return &h.lists[0]
}

// add adds a stream and returns the one that is evicted for it, nil for
// none. The owner of an evicted stream removes it.
func (h *halfOpenStreams) add(c *streamConn) (oldest *streamConn) {
	stranger := !h.contacts.known() || h.contacts.stranger(c.key.node)
	own, contacts, strangers := h.of(stranger), h.of(false), h.of(true)
	switch {
	case stranger && strangers.Len() >= h.contacts.strangersOf(h.limit):
		oldest = strangers.Front().Value.(*streamConn)
	case contacts.Len()+strangers.Len() < h.limit:
	case strangers.Len() > 0:
		oldest = strangers.Front().Value.(*streamConn)
	case !stranger:
		oldest = contacts.Front().Value.(*streamConn)
	}
	c.halfOpen = own.PushBack(c)
	c.halfOpenIn = own
	return oldest
}

// remove removes a stream that is open, or gone.
func (h *halfOpenStreams) remove(c *streamConn) {
	if c.halfOpen != nil {
		c.halfOpenIn.Remove(c.halfOpen)
		c.halfOpen, c.halfOpenIn = nil, nil
	}
}
