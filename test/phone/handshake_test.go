// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"testing"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// tapped is one end of a pipe that keeps what is written to it.
type tapped struct {
	net.Conn
	written bytes.Buffer
}

var _ overlay.Conn = (*tapped)(nil)

func (c *tapped) Write(b []byte) (int, error) {
	c.written.Write(b)
	return c.Conn.Write(b)
}

func (c *tapped) RemoteKey() identity.NodeKey { return identity.NodeKey{} }
func (c *tapped) CloseWrite() error           { return nil }
func (c *tapped) Abort() error                { return c.Close() }

func pipe(t *testing.T) (a, b *tapped) {
	t.Helper()
	one, two := net.Pipe()
	t.Cleanup(func() { _, _ = one.Close(), two.Close() })
	return &tapped{Conn: one}, &tapped{Conn: two}
}

// shake has an initiator and an acceptor meet on a pipe.
func shake(t *testing.T, initiator, acceptor *Handshake) (initiated, accepted string, errs [2]error) {
	t.Helper()
	a, b := pipe(t)
	done := make(chan error)
	go func() {
		l := NewLine(b)
		_, err := l.ReadBytes(1, handshakeTime)
		if err == nil {
			err = acceptor.Accept(l)
		}
		if err != nil {
			l.Close()
		}
		done <- err
	}()
	l := NewLine(a)
	_, err := l.Write([]byte{RoleControl})
	if err == nil {
		err = initiator.Initiate(l)
	}
	if err != nil {
		l.Close()
	}
	return hex.EncodeToString(a.written.Bytes()), hex.EncodeToString(b.written.Bytes()), [2]error{err, <-done}
}

func TestVectorsHandshake(t *testing.T) {
	all := vectors(t, "peer.json")
	i, a := all["handshake-initiator-bytes"], all["handshake-acceptor-bytes"]
	initiator := &Handshake{Identity: i.seed(t, "seed_a"), Receiver: Key(i.bytes(t, "identity_b")), Challenge: i.bytes(t, "challenge2")}
	acceptor := &Handshake{Identity: a.seed(t, "seed_b"), Challenge: a.bytes(t, "challenge")}
	initiated, accepted, errs := shake(t, initiator, acceptor)
	if errs != [2]error{} {
		t.Fatal(errs)
	}
	if initiated != i.out(t) {
		t.Errorf("the initiator wrote\n%s, want\n%s", initiated, i.out(t))
	}
	if accepted != a.out(t) {
		t.Errorf("the acceptor wrote\n%s, want\n%s", accepted, a.out(t))
	}
	if acceptor.Remote != initiator.Identity.Key() {
		t.Errorf("the acceptor knows %v", acceptor.Remote)
	}
}

// Each lie is seen by the side that has to see it.
func TestHandshakeLies(t *testing.T) {
	alice, bob, mallory := IdentityOf("alice"), IdentityOf("bob"), IdentityOf("mallory")
	tests := map[string]struct {
		initiator, acceptor Handshake
		seenBy              int
	}{
		"the initiator signs with another key":      {initiator: Handshake{Sign: mallory.Sign}, seenBy: 1},
		"the initiator claims another key":          {initiator: Handshake{Hello: Fields{"own": mallory.Key()}}, seenBy: 1},
		"the initiator wants somebody else":         {initiator: Handshake{Receiver: mallory.Key()}, seenBy: 1},
		"the acceptor is somebody else":             {acceptor: Handshake{Sign: mallory.Sign}, seenBy: 0},
		"the initiator's signature is short":        {initiator: Handshake{Sign: func([]byte) []byte { return make([]byte, 63) }}, seenBy: 1},
		"the acceptor's challenge has 31 bytes":     {acceptor: Handshake{Challenge: make([]byte, 31)}, seenBy: 0},
		"the initiator's challenge has 33 bytes":    {initiator: Handshake{Challenge: make([]byte, 33)}, seenBy: 1},
		"the initiator gives up before its last OK": {initiator: Handshake{Gate: Before(TypeOK)}, seenBy: 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			i, a := test.initiator, test.acceptor
			i.Identity, a.Identity = alice, bob
			if i.Receiver == (Key{}) {
				i.Receiver = bob.Key()
			}
			_, _, errs := shake(t, &i, &a)
			if err := errs[test.seenBy]; !errors.Is(err, errProtocol) && !errors.Is(err, ErrStopped) {
				t.Errorf("%v", errs)
			}
			if errs[1-test.seenBy] == nil {
				t.Errorf("the liar was content")
			}
		})
	}
}
