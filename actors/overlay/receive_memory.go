// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"sync/atomic"
	"time"
)

const (
	// strangerEarlyBytes is what a node without an accepted contact may have waiting
	// behind gaps, in all its streams together.
	strangerEarlyBytes = 128 << 10
	// gapTime is how long segments wait behind a gap of a stranger's stream. They are
	// dropped then and come again, as if the network had lost them too. A contact's are
	// dropped only when memory is short: a link that was down for seconds leaves gaps
	// as well.
	gapTime = 2 * time.Second
)

// receiveMemory is what all streams of a node hold for their readers, whatever their
// carrier. Two things have a share of it that they cannot exceed, a quarter each:
// what waits behind gaps, and what strangers have sent.
type receiveMemory struct {
	total, early, strangers memory
}

func newReceiveMemory(limit int) *receiveMemory {
	m := &receiveMemory{}
	m.total.limit = int64(limit)
	m.early.limit = m.total.limit / 4
	m.strangers.limit = m.total.limit / 4
	return m
}

// streamMemory is the part of one stream. Its owner serialises calls.
type streamMemory struct {
	all *receiveMemory
	// earlyOfNode is what waits behind gaps in all streams of the node.
	earlyOfNode *atomic.Int64
	// stranger says whether the node is a stranger's at this moment; nil is never.
	stranger func() bool
	// asStranger are the bytes that were taken while it was.
	asStranger int
}

func newStreamMemory(all *receiveMemory, earlyOfNode *atomic.Int64, stranger func() bool) *streamMemory {
	return &streamMemory{all: all, earlyOfNode: earlyOfNode, stranger: stranger}
}

func (m *streamMemory) ofStranger() bool { return m.stranger != nil && m.stranger() }

// take reserves n bytes, or reports that there is not enough.
func (m *streamMemory) take(n int) bool {
	if m.ofStranger() {
		if !m.all.strangers.take(n) {
			return false
		}
		m.asStranger += n
	}
	if !m.all.total.take(n) {
		m.giveAsStranger(n)
		return false
	}
	return true
}

// force reserves n bytes beyond the limit, for a stream that must make progress. A
// stranger's is held to the size of a handshake's frames.
func (m *streamMemory) force(n int) bool {
	if m.ofStranger() {
		if n > smallBuffer {
			return false
		}
		m.all.strangers.force(n)
		m.asStranger += n
	}
	m.all.total.force(n)
	return true
}

func (m *streamMemory) give(n int) {
	m.giveAsStranger(n)
	m.all.total.give(n)
}

func (m *streamMemory) giveAsStranger(n int) {
	n = min(n, m.asStranger)
	m.asStranger -= n
	m.all.strangers.give(n)
}

// takeEarly is take for a segment that waits behind a gap.
func (m *streamMemory) takeEarly(n int) bool {
	if m.earlyOfNode.Add(int64(n)) > strangerEarlyBytes && m.ofStranger() {
		m.earlyOfNode.Add(-int64(n))
		return false
	}
	if !m.all.early.take(n) {
		m.earlyOfNode.Add(-int64(n))
		return false
	}
	if !m.take(n) {
		m.earlyOfNode.Add(-int64(n))
		m.all.early.give(n)
		return false
	}
	return true
}

func (m *streamMemory) giveEarly(n int) {
	m.earlyOfNode.Add(-int64(n))
	m.all.early.give(n)
	m.give(n)
}

// tight reports that the stream is to get a small window: memory is short, or it is
// a stranger's.
func (m *streamMemory) tight() bool { return m.all.total.tight() || m.ofStranger() }

// dropsGap reports that segments that have waited for gapTime are to be dropped.
func (m *streamMemory) dropsGap() bool {
	return m.ofStranger() || m.all.early.used.Load() > m.all.early.limit/2
}
