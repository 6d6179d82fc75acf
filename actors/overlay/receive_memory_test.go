// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"sync/atomic"
	"testing"

	"github.com/mimird/mimird/proto/stream"
)

// Segments behind a gap that share their bytes take the memory of one.
func TestReceiver_OverlapsCountOnce(t *testing.T) {
	shared := newReceiveMemory(1 << 30)
	m := openMachine(t, shared)
	for i := range uint32(60) {
		h := stream.Header{Sequence: i + 1, Flags: stream.ACK}
		m.receive(stream.Packet{Header: h, Payload: getBuffer(stream.MaxPayload)}, false, 1)
	}
	if used := shared.early.used.Load(); used > packetBuffer {
		t.Errorf("%d bytes are reserved for %d different ones", used, stream.MaxPayload+60)
	}
}

// Strangers have a quarter of the receive memory together, and gaps have a quarter:
// a contact's stream still gets what it needs. All is given back, also
// when a stranger has become a contact meanwhile.
func TestReceiveMemory_Shares(t *testing.T) {
	all := newReceiveMemory(4 << 20)
	isStranger := true
	strangers := newStreamMemory(all, new(atomic.Int64), func() bool { return isStranger })
	contact := newStreamMemory(all, new(atomic.Int64), func() bool { return false })
	taken := 0
	for strangers.take(segmentBuffer) {
		taken += segmentBuffer
	}
	if taken != 1<<20 {
		t.Errorf("strangers have %d bytes, want a quarter", taken)
	}
	if strangers.force(segmentBuffer) {
		t.Error("a stranger gets more than its share")
	}
	early := 0
	for contact.takeEarly(segmentBuffer) {
		early += segmentBuffer
	}
	if early != 1<<20 {
		t.Errorf("%d bytes wait behind gaps, want a quarter", early)
	}
	if contact.tight() || !contact.take(segmentBuffer) {
		t.Error("nothing is left for a stream in order")
	}
	isStranger = false
	contact.giveEarly(early)
	contact.give(segmentBuffer)
	strangers.give(taken)
	for name, m := range map[string]*memory{"total": &all.total, "early": &all.early, "strangers": &all.strangers} {
		if used := m.used.Load(); used != 0 {
			t.Errorf("%s: %d bytes are still reserved", name, used)
		}
	}
}
