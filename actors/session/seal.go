// SPDX-License-Identifier: MPL-2.0

package session

import (
	"errors"
	"net"
	"net/netip"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// secure returns what a handshake over a stream must not sign. Its challenges have a seal
// with the names of both ends, against an attacker who relays a handshake between two
// nodes; see identity.Seal.
func (d *Deps) secure(s *stream) peer.Security {
	security := d.Keys.Security(s.RemoteKey())
	security.SealLocal, security.SealRemote = sealNames(d.Node, s)
	return security
}

// sealNames returns names of both ends of a stream that are equal at both ends. Streams of
// gen2 and gen3 prove the keys of their nodes. In gen1 the ends see addresses; behind a
// router they see different ones, and the name is zero.
func sealNames(own identity.NodeKey, s *stream) (local, remote identity.NodeKey) {
	if s.generation != Gen1 {
		return own, s.RemoteKey()
	}
	return addressName(s.LocalAddr()), addressName(s.RemoteAddr())
}

// addressName returns the address of a node in the form of a key; zero for an address
// behind a router.
func addressName(a net.Addr) (name identity.NodeKey) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return name
	}
	address, ok := netip.AddrFromSlice(tcp.IP.To16())
	if !ok || address.As16()[0] != 0x02 {
		return name
	}
	raw := address.As16()
	copy(name[:], raw[:])
	return name
}

// reportRelay tells the owner of inbox when a handshake with a node failed because
// it was relayed. It may be called from any goroutine.
func reportRelay(inbox kernel.Inbox, node identity.NodeKey, err error) {
	if errors.Is(err, identity.ErrRelayed) {
		inbox.Tell(HandshakeRelayed{node})
	}
}
