// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

const (
	// tcpMTU is the largest IPv6 packet. What a packet costs hardly depends on its
	// size, so 1,280 bytes as on other links would be a third as fast; with 64 KiB
	// only one fits into the queues of the network, which stalls. The other side's
	// smaller one wins.
	tcpMTU = 16384
	// tcpQueue is how many packets wait to be sent; the network stack sends again
	// what did not fit.
	tcpQueue = 512
	// tcpBuffer bounds what a connection holds for its reader and its writer.
	tcpBuffer = 1 << 20
	// tcpStrangerBuffer is the same of a stream that a stranger has opened.
	tcpStrangerBuffer = 64 << 10
	// tcpSilence is how long the other side may acknowledge nothing.
	tcpSilence = time.Minute
	// An idle connection is asked every tcpProbe whether it is still there.
	tcpProbe       = 45 * time.Second
	tcpProbes      = 4
	ipv6HeaderSize = header.IPv6MinimumSize
	protocolTCP    = uint8(header.TCPProtocolNumber)
	protocolUDP    = uint8(header.UDPProtocolNumber)
	protocolICMP   = uint8(header.ICMPv6ProtocolNumber)
	theInterface   = tcpip.NICID(1)
)

// aLongTimeAgo is a deadline that is over.
var aLongTimeAgo = time.Unix(1, 0)

// ipStack is the network stack. It sends by queueing, so giving it a packet never
// waits for the layer.
type ipStack struct {
	stack *stack.Stack
	link  *channel.Endpoint
}

func newIPStack(own netip.Addr) (*ipStack, error) {
	s := stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv6.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol},
	})
	ip := &ipStack{stack: s, link: channel.New(tcpQueue, tcpMTU, "")}
	if err := ip.configure(own); err != nil {
		ip.close()
		return nil, err
	}
	return ip, nil
}

func (ip *ipStack) configure(own netip.Addr) error {
	sack, congestion := tcpip.TCPSACKEnabled(true), tcpip.CongestionControlOption("cubic")
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: tcpBuffer, Max: tcpBuffer}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: tcpBuffer, Max: tcpBuffer}
	for _, option := range []tcpip.SettableTransportProtocolOption{&sack, &congestion, &receive, &send} {
		if problem := ip.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); problem != nil {
			return fmt.Errorf("configure TCP: %v", problem)
		}
	}
	if problem := ip.stack.CreateNIC(theInterface, ip.link); problem != nil {
		return fmt.Errorf("make network interface: %v", problem)
	}
	address := tcpip.ProtocolAddress{
		Protocol:          ipv6.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom16(own.As16()).WithPrefix(),
	}
	if problem := ip.stack.AddProtocolAddress(theInterface, address, stack.AddressProperties{}); problem != nil {
		return fmt.Errorf("add address: %v", problem)
	}
	range7, err := tcpip.NewSubnet(tcpip.AddrFrom16([16]byte{0x02}), tcpip.MaskFromBytes(append([]byte{0xfe}, make([]byte, 15)...)))
	if err != nil {
		return fmt.Errorf("make route: %w", err)
	}
	ip.stack.SetRouteTable([]tcpip.Route{{Destination: range7, NIC: theInterface}})
	return nil
}

// deliver gives the stack a packet; it copies it.
func (ip *ipStack) deliver(packet []byte) {
	p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
	defer p.DecRef()
	ip.link.InjectInbound(ipv6.ProtocolNumber, p)
}

// next waits for a packet to be sent. When ctx has ended it returns what there is
// still, then false. The caller gives the packet to putBuffer.
func (ip *ipStack) next(ctx context.Context) ([]byte, bool) {
	p := ip.link.ReadContext(ctx)
	if p == nil {
		if p = ip.link.Read(); p == nil {
			return nil, false
		}
	}
	defer p.DecRef()
	packet := getBuffer(p.Size())
	n := 0
	for _, part := range p.AsSlices() {
		n += copy(packet[n:], part)
	}
	return packet, true
}

// drop forgets what waits to be sent.
func (ip *ipStack) drop() { ip.link.Drain() }

func (ip *ipStack) close() {
	ip.link.Close()
	ip.stack.Destroy() // waits for its goroutines
	ip.link.Drain()
}

// setTCPOptions makes a connection end when nobody answers.
func setTCPOptions(ep tcpip.Endpoint) {
	silence, idle, interval := tcpip.TCPUserTimeoutOption(tcpSilence), tcpip.KeepaliveIdleOption(tcpProbe), tcpip.KeepaliveIntervalOption(tcpProbe/tcpProbes)
	for _, option := range []tcpip.SettableSocketOption{&silence, &idle, &interval} {
		_ = ep.SetSockOpt(option) // cannot fail
	}
	_ = ep.SetSockOptInt(tcpip.KeepaliveCountOption, tcpProbes) // cannot fail
	ep.SocketOptions().SetKeepAlive(true)
	ep.SocketOptions().SetDelayOption(false) // frames are written whole
}

func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{Addr: tcpip.AddrFrom16(a.Addr().As16()), Port: a.Port()}
}

func addressOf(a tcpip.Address) netip.Addr {
	address, _ := netip.AddrFromSlice(a.AsSlice())
	return address
}

// ipHeader is what decides about a packet.
type ipHeader struct {
	source, destination netip.Addr
	protocol            uint8
	port                uint16 // the receiver's, of TCP and UDP
}

// parseIP reads the header of a packet without extension headers, which nobody
// sends with TCP and UDP.
func parseIP(packet []byte) (ipHeader, bool) {
	if len(packet) < ipv6HeaderSize+4 || packet[0]>>4 != 6 {
		return ipHeader{}, false
	}
	h := header.IPv6(packet)
	return ipHeader{
		source: addressOf(h.SourceAddress()), destination: addressOf(h.DestinationAddress()),
		protocol: h.NextHeader(), port: uint16(packet[ipv6HeaderSize+2])<<8 | uint16(packet[ipv6HeaderSize+3]),
	}, true
}

// isICMPError reports whether an ICMP packet says that one of ours did not arrive.
func isICMPError(packet []byte) bool {
	t := header.ICMPv6Type(packet[ipv6HeaderSize])
	return t >= header.ICMPv6DstUnreachable && t <= header.ICMPv6ParamProblem
}
