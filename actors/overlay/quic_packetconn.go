// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"net"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/stream"
)

// quicAddr is the address of a node. It keeps its text, by which quic-go compares
// the sender of every packet with the other side of its connection.
type quicAddr struct {
	key  identity.NodeKey
	text string
}

func newQUICAddr(key identity.NodeKey) *quicAddr { return &quicAddr{key, key.String()} }

// Network names the network.
func (*quicAddr) Network() string { return "yggdrasil" }

// String is the key in hex.
func (a *quicAddr) String() string { return a.text }

// quicAddrs is how many addresses are kept.
const quicAddrs = 128

// quicPacketConn is the packet layer as quic-go wants it. The goroutine in which
// quic-go reads becomes the reader of the layer, for all carriers: it neither waits
// for the network nor sends, as PacketLayer demands.
type quicPacketConn struct {
	layer PacketLayer
	peers *peerTable
	// handed gets the stack's reader, once, with its first packet.
	handed chan *packetReader
	// closed ends waiting for it, done says that nothing is read any more.
	closed, done chan struct{}

	// The goroutine that reads owns these.
	reader *packetReader
	ended  bool
	addrs  map[identity.NodeKey]*quicAddr
}

func newQUICPacketConn(layer PacketLayer, peers *peerTable) *quicPacketConn {
	return &quicPacketConn{
		layer: layer, peers: peers,
		handed: make(chan *packetReader, 1), closed: make(chan struct{}), done: make(chan struct{}),
		addrs: make(map[identity.NodeKey]*quicAddr),
	}
}

// read gives the stack's reader to quic-go until the layer ends.
func (p *quicPacketConn) read(r *packetReader) {
	p.handed <- r
	<-p.done
}

// close ends quic-go's reading when it has never begun. The layer is closed.
func (p *quicPacketConn) close() { close(p.closed) }

// ReadFrom returns the next packet of QUIC, and dispatches all others meanwhile.
// One goroutine calls it.
func (p *quicPacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for p.next() {
		packet := p.reader.packet
		if stream.Classify(packet[0]) == stream.ClassTraffic && len(packet) > 1 && isQUIC(packet[1:]) {
			return copy(b, packet[1:]), p.addr(p.reader.from), nil
		}
		p.reader.dispatch()
	}
	return 0, nil, net.ErrClosed
}

func (p *quicPacketConn) next() bool {
	switch {
	case p.ended:
		return false
	case p.reader != nil:
		p.ended = !p.reader.next()
	default:
		select {
		case p.reader = <-p.handed: // with a packet
		case <-p.closed:
			p.ended = true
		}
	}
	if p.ended {
		close(p.done)
	}
	return !p.ended
}

func (p *quicPacketConn) addr(key identity.NodeKey) *quicAddr {
	a := p.addrs[key]
	if a == nil {
		if len(p.addrs) >= quicAddrs {
			clear(p.addrs)
		}
		a = newQUICAddr(key)
		p.addrs[key] = a
	}
	return a
}

// WriteTo never fails because of the network: quic-go would close the connection.
func (p *quicPacketConn) WriteTo(b []byte, to net.Addr) (int, error) {
	addr, ok := to.(*quicAddr)
	if !ok {
		return 0, ErrBadAddress
	}
	// An error means that the layer is closed, which its reader sees as well, or
	// that the node must be left alone; then it is a packet that was lost.
	_ = sendTraffic(p.layer, p.peers, addr.key, b)
	return len(b), nil
}

func (p *quicPacketConn) LocalAddr() net.Addr { return newQUICAddr(p.layer.Key()) }

// Close and the deadlines do nothing: what ends reading is the end of the layer.
func (p *quicPacketConn) Close() error                     { return nil }
func (p *quicPacketConn) SetDeadline(time.Time) error      { return nil }
func (p *quicPacketConn) SetReadDeadline(time.Time) error  { return nil }
func (p *quicPacketConn) SetWriteDeadline(time.Time) error { return nil }

// SetReadBuffer and SetWriteBuffer spare quic-go a warning.
func (p *quicPacketConn) SetReadBuffer(int) error  { return nil }
func (p *quicPacketConn) SetWriteBuffer(int) error { return nil }
