// SPDX-License-Identifier: MPL-2.0

package kernel

import "sync"

// envelope is one message in a mailbox.
type envelope struct {
	msg    any
	sender Ref
	ctx    *Context // when set, the one incarnation it is for
	timer  *timer   // when set, the timer it comes from
}

// queue is the user lane of a mailbox: first in, first out, in chunks from a
// pool, so that an empty queue holds nothing and a burst leaves nothing behind.
type queue struct {
	head, tail *chunk
	first      uint16 // index of the oldest message in head
	next       uint16 // index of the first free place in tail
	len        int
}

const chunkLen = 32

type chunk struct {
	next *chunk
	slot [chunkLen]envelope
}

var chunks = sync.Pool{New: func() any { return new(chunk) }}

func (q *queue) push(e envelope) {
	switch {
	case q.tail == nil:
		q.tail = chunks.Get().(*chunk)
		q.head = q.tail
	case q.next == chunkLen:
		q.tail.next = chunks.Get().(*chunk)
		q.tail, q.next = q.tail.next, 0
	}
	q.tail.slot[q.next] = e
	q.next++
	q.len++
}

// pop takes the oldest message of a queue that is not empty.
func (q *queue) pop() envelope {
	h := q.head
	e := h.slot[q.first]
	h.slot[q.first] = envelope{}
	q.first++
	q.len--
	if q.len == 0 {
		*q = queue{}
		chunks.Put(h)
	} else if q.first == chunkLen {
		q.head, q.first = h.next, 0
		h.next = nil
		chunks.Put(h)
	}
	return e
}
