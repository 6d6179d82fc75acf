// SPDX-License-Identifier: MPL-2.0

package session

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/peer"
)

// Generation is one of the three generations of the peer protocol. Everything in which
// sessions differ by generation is decided here.
type Generation uint8

// The generations, as they are on the wire and in the store.
const (
	Gen1 = Generation(legacy.Gen1)
	Gen2 = Generation(legacy.Gen2)
	Gen3 = Generation(3)
)

const (
	// idle1 is how long a session of gen1 lives after the last received frame. Its apps
	// close it then too.
	idle1 = 2 * time.Minute
	// headStart is how long a newer generation is dialled before an older one is dialled
	// too, knownHeadStart the same for a node that was met in the older one.
	headStart      = 3 * time.Second
	knownHeadStart = time.Second
)

// generations returns all of them, the newest first.
func generations() []Generation { return []Generation{Gen3, Gen2, Gen1} }

// Kind is the carrier of the generation.
func (g Generation) Kind() overlay.Kind {
	switch g {
	case Gen1:
		return overlay.KindTCP
	case Gen2:
		return overlay.KindQUIC
	}
	return overlay.KindStream
}

// port is the port of peers. QUIC has no ports and ignores it.
func (g Generation) port() uint16 {
	if g == Gen1 {
		return legacy.Port
	}
	return peer.Port
}

// hasRoles says that streams begin with a role byte, and that large messages have
// a data stream.
func (g Generation) hasRoles() bool { return g == Gen3 }

// hasPings says that peers answer a ping.
func (g Generation) hasPings() bool { return g != Gen1 }

// hasRequests says that there are contact requests. Older apps add every peer as a
// contact.
func (g Generation) hasRequests() bool { return g == Gen3 }

// idle is how long a session lives without anything but pings.
func (g Generation) idle(standard time.Duration) time.Duration {
	if g == Gen1 {
		return min(standard, idle1)
	}
	return standard
}

// handshake is peer.Handshake, in the framing of a generation.
type handshake interface {
	Start() (peer.Progress, error)
	Drive(src *bufio.Reader, dst io.Writer, p peer.Progress) (peer.Event, error)
	Proceed() (peer.Progress, error)
}

// drive returns a handshake in the framing of the generation.
func (g Generation) drive(machine *peer.Handshake) handshake {
	if g == Gen3 {
		return machine
	}
	return legacy.Generation(g).NewHandshake(machine)
}

// checkAddress reports whether the address in a HELLO can be that of a device at the
// node.
func checkAddress(hs handshake, from overlay.Conn) bool {
	old, ok := hs.(*legacy.Handshake)
	return !ok || !old.Address().IsValid() || legacy.InSubnetOf(old.Address(), overlay.AddressOf(from.RemoteKey()))
}

// claimAddress puts our address into our HELLO when it is not the one that the peer
// sees: over the system's Yggdrasil, behind a router.
func claimAddress(hs handshake, over overlay.Conn) {
	old, ok := hs.(*legacy.Handshake)
	local, tcp := over.LocalAddr().(*net.TCPAddr)
	if ok && tcp {
		old.ClaimAddress(local.AddrPort().Addr())
	}
}

// subnetAddr returns the address of the device at the other end when it is behind the
// node; invalid when it is the node itself.
func subnetAddr(hs handshake, over overlay.Conn) netip.Addr {
	old, ok := hs.(*legacy.Handshake)
	if !ok {
		return netip.Addr{}
	}
	if claimed := old.Address(); claimed.IsValid() {
		return claimed // checkAddress has
	}
	remote, tcp := over.RemoteAddr().(*net.TCPAddr)
	if !tcp || !overlay.IsBehind(remote.AddrPort().Addr()) {
		return netip.Addr{}
	}
	return remote.AddrPort().Addr()
}

// askedEarly returns a request for our profile that arrived before the peer had
// authenticated; nil without one.
func askedEarly(hs handshake) *peer.InfoRequest {
	if old, ok := hs.(*legacy.Handshake); ok {
		return old.Asked()
	}
	return nil
}

// readFrame reads a frame of a session.
func (g Generation) readFrame(src *bufio.Reader, limits peer.Limits) (peer.Frame, error) {
	if g == Gen3 {
		return peer.ReadFrame(src, limits)
	}
	return legacy.Generation(g).ReadFrame(src, limits)
}

// encode returns the bytes of a frame; false when the generation does not have it, so it
// must not be sent.
func (g Generation) encode(f peer.Frame) ([]byte, bool) {
	if g == Gen3 {
		return f.AppendTo(nil), true
	}
	b, err := legacy.Generation(g).Append(nil, f)
	return b, err == nil
}

// readable returns a message that the peer can show: m itself, or a text that says the
// same to a person. false says that there is none, as for a reaction that is removed.
func (g Generation) readable(m peer.Message) (peer.Message, bool) {
	if g == Gen3 || legacy.Generation(g).Reads(m) {
		return m, true
	}
	text := ""
	switch m.Type {
	case peer.TypeReaction:
		if r, err := peer.ParseReaction(m.Payload); err == nil {
			text, m.ReplyTo = r.Emoji, r.Target
		}
	case peer.TypeImage, peer.TypeFile:
		if a, err := peer.ParseAttachment(m.Payload); err == nil {
			text = a.DisplayText()
		}
	}
	m.Type, m.Payload = peer.TypeText, []byte(text)
	return m, text != ""
}
