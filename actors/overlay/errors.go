// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrClosed is returned after the network, listener or datagram port in
	// question has been closed. A closed Conn returns net.ErrClosed.
	ErrClosed = errors.New("overlay is closed")
	// ErrRefused says that the node answered and has no listener on the port.
	ErrRefused = errors.New("connection refused by the remote node")
	// ErrTimeout says that the node did not answer, or stopped answering. It is not
	// os.ErrDeadlineExceeded: the stream has ended, so waiting longer does not help.
	ErrTimeout = errors.New("remote node does not answer")
	// ErrSilenced matches every SilencedError.
	ErrSilenced = errors.New("node is unreachable, next attempt not yet due")
	// ErrReset says that the other side ended the connection abruptly.
	ErrReset = errors.New("connection reset by the remote node")
	// ErrExhausted says that a connection has carried all bytes that its
	// sequence numbers allow. Close it and dial again.
	ErrExhausted = errors.New("connection has used up its sequence numbers")
	// ErrPortTaken says that the port has a listener already.
	ErrPortTaken = errors.New("port is taken")
	// ErrBadPort says that a port cannot be used for this purpose.
	ErrBadPort = errors.New("port cannot be used")
	// ErrTooLarge says that a datagram does not fit into a packet.
	ErrTooLarge = errors.New("datagram is too large")
	// ErrTooMany says that a limit on connections is reached.
	ErrTooMany = errors.New("too many connections")
)

// SilencedError says for how long the silence rule forbids to send anything to
// a node: after two unanswered attempts our packets would only keep alive an
// encryption session that the node has lost.
type SilencedError struct {
	// Remaining is the time until the next attempt is allowed.
	Remaining time.Duration
}

// Error tells the remaining time.
func (e *SilencedError) Error() string {
	return fmt.Sprintf("%v: next attempt in %v", ErrSilenced, e.Remaining.Round(time.Second))
}

// Is makes errors.Is(err, ErrSilenced) true.
func (e *SilencedError) Is(target error) bool { return target == ErrSilenced }
