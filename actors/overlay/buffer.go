// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"sync"
	"sync/atomic"

	"github.com/mimird/mimird/proto/stream"
)

// Packet-sized buffers are reused: at full speed a stream would otherwise make
// the garbage collector's work the largest cost. Small ones are left to it.
const (
	segmentBuffer = stream.SegmentSize
	packetBuffer  = 1 << 16
	// smallBuffer is the largest size that is allocated exactly.
	smallBuffer = 2 << 10
)

var (
	segmentPool = sync.Pool{New: func() any { return new([segmentBuffer]byte) }}
	packetPool  = sync.Pool{New: func() any { return new([packetBuffer]byte) }}
)

// getBuffer returns a buffer of length n, at most packetBuffer. Its owner
// passes it to putBuffer once.
func getBuffer(n int) []byte {
	switch {
	case n <= smallBuffer:
		return make([]byte, n)
	case n <= segmentBuffer:
		return segmentPool.Get().(*[segmentBuffer]byte)[:n]
	default:
		return packetPool.Get().(*[packetBuffer]byte)[:n]
	}
}

// putBuffer takes back what getBuffer gave, as a slice from its beginning.
func putBuffer(b []byte) {
	switch cap(b) {
	case segmentBuffer:
		segmentPool.Put((*[segmentBuffer]byte)(b[:segmentBuffer]))
	case packetBuffer:
		packetPool.Put((*[packetBuffer]byte)(b[:packetBuffer]))
	}
}

// copyBuffer returns a buffer with the bytes of b.
func copyBuffer(b []byte) []byte {
	c := getBuffer(len(b))
	copy(c, b)
	return c
}

// memory is a bound on bytes that many connections share.
type memory struct {
	used  atomic.Int64
	limit int64
}

// take reserves n bytes, or reports that there is not enough.
func (m *memory) take(n int) bool {
	if m.used.Add(int64(n)) > m.limit {
		m.used.Add(-int64(n))
		return false
	}
	return true
}

// force reserves n bytes beyond the limit, for a stream that must make progress.
func (m *memory) force(n int) { m.used.Add(int64(n)) }

func (m *memory) give(n int) { m.used.Add(-int64(n)) }

// tight reports that less than a quarter is left.
func (m *memory) tight() bool { return m.used.Load() > m.limit/4*3 }
