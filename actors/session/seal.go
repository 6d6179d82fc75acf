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

// What our nodes do against somebody who relays a handshake between them; see
// identity.Seal.

// HandshakeRelayed is a session's: the node has asked for a signature over a
// challenge that was made for another connection.
type HandshakeRelayed struct{ Node identity.NodeKey }

// secure is what a handshake over a stream needs to sign with care.
func (d *Deps) secure(s *stream) peer.Security {
	security := d.Keys.Security(s.RemoteKey())
	security.SealLocal, security.SealRemote = sealNames(d.Node, s)
	return security
}

// sealNames names both ends of a stream of our node in a form that both ends see. Streams of
// generations 2 and 3 prove the keys of their nodes. In generation 1 the ends see
// addresses; behind a router they do not see the same, so there is no name then.
func sealNames(own identity.NodeKey, s *stream) (local, remote identity.NodeKey) {
	if s.generation != Gen1 {
		return own, s.RemoteKey()
	}
	return addressName(s.LocalAddr()), addressName(s.RemoteAddr())
}

// addressName puts the address of a node in the place of its key; zero for one
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
