// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"net"
	"strconv"

	"github.com/mimird/mimird/proto/identity"
)

// Carrier is one generation's way to reach other nodes. Every method may be
// called from any goroutine at any time; Dial blocks and must not be called
// inside an actor, the others return at once.
type Carrier interface {
	// Key is the node key under which others reach this carrier.
	Key() identity.NodeKey
	// Dial opens a stream to a port of another node. It fails with ErrRefused
	// when that node has no listener there, ErrTimeout when it does not answer,
	// ErrSilenced while the silence rule forbids to send it anything, ErrBadPort,
	// ErrClosed, or the context's error.
	Dial(ctx context.Context, to identity.NodeKey, port uint16) (Conn, error)
	// Listen opens a port for streams: 1 to 255, once per port, or ErrPortTaken.
	Listen(port uint16) (Listener, error)
	// ListenDatagrams opens a port for datagrams. Datagram ports and stream
	// ports are separate. It fails with ErrPortTaken, ErrBadPort or ErrClosed.
	ListenDatagrams(port uint16) (Datagrams, error)
}

// Conn is a reliable, ordered stream of bytes between two nodes, both ways.
//
// Beyond net.Conn's contract: Read returns io.EOF after the other side's last
// byte, and ErrReset after buffered bytes have been read when the connection
// broke. Close returns at once; what was written before is still delivered in
// the background, and only the peer's silence or the carrier's end prevents it.
type Conn interface {
	net.Conn
	// RemoteKey is the other node's key. It is authentic.
	RemoteKey() identity.NodeKey
	// CloseWrite says that nothing more will be written. Reading goes on.
	CloseWrite() error
	// Abort ends the connection at once; the other side sees a reset. Bytes that
	// the peer has not acknowledged may be lost.
	Abort() error
}

// PromptWriter is a [Conn] that can be written to without waiting, so that one goroutine
// writes to many. The streams of the carrier ygg_stream are such.
type PromptWriter interface {
	// WriteNow takes all of p and reports true, or takes nothing: when there is no space for
	// it before the peer has acknowledged more, while another write is under way, and when
	// nothing can be written any more. Write then waits, or tells the error. A write
	// deadline does not matter.
	WriteNow(p []byte) bool
}

// Listener accepts streams on one port.
type Listener interface {
	// Accept returns the next stream. It fails with ErrClosed or the context's
	// error.
	Accept(ctx context.Context) (Conn, error)
	// Close ends Accept and resets streams that nobody has accepted.
	Close() error
	// Port is the port listened on.
	Port() uint16
}

// Datagrams sends and receives datagrams. There is neither order nor
// acknowledgment, and a datagram may be lost.
type Datagrams interface {
	// Send sends a datagram of at most stream.MaxPayload bytes. It fails with
	// ErrTooLarge, ErrSilenced or ErrClosed; success means "on its way".
	Send(to identity.NodeKey, port uint16, payload []byte) error
	// Receive returns the next datagram and its sender's key. The payload is the
	// caller's. It fails with ErrClosed or the context's error.
	Receive(ctx context.Context) (from identity.NodeKey, payload []byte, err error)
	// Close ends Receive and frees the port.
	Close() error
}

// Addr is one end of a Conn.
type Addr struct {
	Key  identity.NodeKey
	Port uint16
}

// Network names the carrier's protocol.
func (Addr) Network() string { return "ygg_stream" }

// String is the key in hex, a colon and the port.
func (a Addr) String() string {
	return a.Key.String() + ":" + strconv.Itoa(int(a.Port))
}
