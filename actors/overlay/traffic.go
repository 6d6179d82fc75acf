// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"net"
	"sync"
	"sync/atomic"

	"github.com/mimird/mimird/proto/identity"
)

const (
	// trafficType is the first byte of a packet of Yggdrasil's own traffic.
	trafficType = 0x01
	// queuedPackets and queuedBytes bound what a carrier has not looked at; beyond
	// it packets are dropped, and the protocols above send them again.
	queuedPackets = 2048
	queuedBytes   = 4 << 20
)

// traffic dispatches what arrives as Yggdrasil's own traffic to its carrier.
type traffic struct {
	mu   sync.Mutex // held while a carrier starts
	tcp  atomic.Pointer[tcpCarrier]
	quic atomic.Pointer[quicCarrier]
	// system takes the place of tcp. What it carries does not come through here.
	system atomic.Pointer[systemCarrier]
}

// receive passes a packet to its carrier; see packetHandler. Those of QUIC do not
// come here: as long as QUIC runs, its reader picks them out.
func (t *traffic) receive(from identity.NodeKey, packet []byte) {
	packet = packet[1:] // the type, which the caller has looked at
	if c := t.tcp.Load(); c != nil && len(packet) > 0 && isIPv6(packet) {
		c.receive(from, packet)
	}
}

// isIPv6 and isQUIC tell packets of carriers apart. IPv6 begins with its version, 6.
// QUIC begins with a set bit 7 or 6 and, since nobody sets the spin bit, never with 6.
func isIPv6(packet []byte) bool { return packet[0]>>4 == 6 }
func isQUIC(packet []byte) bool { return packet[0] >= 0x40 && !isIPv6(packet) }

// close ends the carriers. reset tells the other sides.
func (t *traffic) close(reset bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.tcp.Load(); c != nil {
		c.shutdown(reset)
	}
	if c := t.quic.Load(); c != nil {
		c.shutdown(reset)
	}
	if c := t.system.Load(); c != nil {
		c.shutdown()
	}
}

// wait waits, after the layer has been closed, for those who read from it.
func (t *traffic) wait() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.quic.Load(); c != nil {
		c.wait()
	}
}

// sendTraffic sends a packet as Yggdrasil's own traffic, unless the silence rule
// forbids it.
func sendTraffic(layer PacketLayer, peers *peerTable, to identity.NodeKey, packet []byte) error {
	if remaining := peers.silent(to); remaining > 0 {
		return &SilencedError{Remaining: remaining}
	}
	if len(packet) >= smallBuffer {
		buf := getBuffer(1 + len(packet))
		defer putBuffer(buf)
		return writeTraffic(layer, to, buf, packet)
	}
	// All that QUIC sends is small, and frequent, so buffers are reused.
	small := trafficPool.Get().(*[smallBuffer]byte)
	defer trafficPool.Put(small)
	return writeTraffic(layer, to, small[:1+len(packet)], packet)
}

var trafficPool = sync.Pool{New: func() any { return new([smallBuffer]byte) }}

// writeTraffic sends a packet from a buffer that is longer by one.
func writeTraffic(layer PacketLayer, to identity.NodeKey, buf, packet []byte) error {
	buf[0] = trafficType
	copy(buf[1:], packet)
	return layer.WritePacket(buf, to)
}

// packetQueue holds packets between the reader of the layer, which must not wait,
// and a goroutine of a carrier. When it is full new packets are dropped.
type packetQueue struct {
	mu      sync.Mutex
	arrived sync.Cond
	packets ring[queuedPacket]
	bytes   int
	closed  bool
}

type queuedPacket struct {
	from identity.NodeKey
	data []byte // from getBuffer
}

func newPacketQueue() *packetQueue {
	q := &packetQueue{}
	q.arrived.L = &q.mu
	return q
}

// arrive queues a copy of a packet.
func (q *packetQueue) arrive(from identity.NodeKey, packet []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.packets.len() >= queuedPackets || q.bytes+len(packet) > queuedBytes {
		return
	}
	q.packets.push(queuedPacket{from, copyBuffer(packet)})
	q.bytes += len(packet)
	q.arrived.Signal()
}

// next waits for a packet, which the caller gives to putBuffer. It fails with
// net.ErrClosed.
func (q *packetQueue) next() (queuedPacket, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.closed:
			return queuedPacket{}, net.ErrClosed
		case q.packets.len() > 0:
			p := q.packets.pop()
			q.bytes -= len(p.data)
			if q.packets.len() == 0 {
				q.packets.trim()
			}
			return p, nil
		}
		q.arrived.Wait()
	}
}

// close ends next, and drops what waits.
func (q *packetQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.packets = ring[queuedPacket]{}
	q.arrived.Broadcast()
}
