// SPDX-License-Identifier: MPL-2.0

package mediatorlink_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"io"
	"sync"
	"testing"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
)

// call is a request as it arrived at a fake mediator.
type call struct {
	command byte
	id      uint16
	fields  map[byte][]byte
}

// fakeMediator is a mediator written from the description of the protocol, with bytes of
// its own. It logs everybody in; handle answers the rest.
type fakeMediator struct {
	t    *testing.T
	node *memnet.Node

	mu     sync.Mutex
	nonces map[string][]byte
	logins int
	calls  []call
	lines  []*line

	// nonce, when set, chooses the nonce of a login.
	nonce func(login int) []byte
	// auth, when set, answers AUTH; "" accepts.
	auth func(login int) string
	// handle answers the requests after the login.
	handle func(l *line, q call)
}

// line is a connection to a fake mediator.
type line struct {
	conn overlay.Conn
	mu   sync.Mutex
}

func newFakeMediator(t *testing.T, net *memnet.Net) *fakeMediator {
	t.Helper()
	f := &fakeMediator{t: t, node: net.Node(overlay.Limits{}), nonces: make(map[string][]byte)}
	f.handle = func(l *line, q call) { l.ok(q.id, nil) }
	listener, err := f.node.Listen(42)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept(context.Background())
			if err != nil {
				return
			}
			serving.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		if err := f.node.Close(); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	return f
}

func (f *fakeMediator) serve(conn overlay.Conn) {
	in := bufio.NewReader(conn)
	var opening [2]byte
	if _, err := io.ReadFull(in, opening[:]); err != nil || opening != [2]byte{1, 0} {
		_ = conn.Abort()
		return
	}
	l := &line{conn: conn}
	f.mu.Lock()
	f.lines = append(f.lines, l)
	f.mu.Unlock()
	for {
		var header [7]byte
		if _, err := io.ReadFull(in, header[:]); err != nil {
			_ = conn.Abort()
			return
		}
		payload := make([]byte, binary.BigEndian.Uint32(header[3:]))
		if _, err := io.ReadFull(in, payload); err != nil {
			return
		}
		f.answer(l, call{header[0], binary.BigEndian.Uint16(header[1:]), parseFields(payload)})
	}
}

func (f *fakeMediator) answer(l *line, q call) {
	switch q.command {
	case 0x01:
		f.mu.Lock()
		f.logins++
		nonce := make([]byte, 32)
		nonce[0], nonce[31] = byte(f.logins), 0xff // no point of the curve
		if f.nonce != nil {
			nonce = f.nonce(f.logins)
		}
		f.nonces[string(q.fields[0x01])] = nonce
		f.mu.Unlock()
		l.ok(q.id, field(0x03, nonce))
	case 0x02:
		f.mu.Lock()
		nonce, login := f.nonces[string(q.fields[0x01])], f.logins
		f.mu.Unlock()
		text := ""
		if f.auth != nil {
			text = f.auth(login)
		}
		switch {
		case text != "":
			l.refuse(q.id, text)
		case !ed25519.Verify(q.fields[0x01], nonce, q.fields[0x02]) || string(q.fields[0x03]) != string(nonce):
			l.refuse(q.id, "invalid signature")
		default:
			l.ok(q.id, nil)
		}
	default:
		f.mu.Lock()
		f.calls = append(f.calls, q)
		handle := f.handle
		f.mu.Unlock()
		handle(l, q)
	}
}

// count returns how many requests with a command have arrived.
func (f *fakeMediator) count(command byte) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, q := range f.calls {
		if q.command == command {
			n++
		}
	}
	return n
}

// last returns the newest connection.
func (f *fakeMediator) last() *line {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lines[len(f.lines)-1]
}

func (f *fakeMediator) key() identity.NodeKey { return f.node.Key() }

func (l *line) write(first byte, id uint16, payload []byte) {
	b := append([]byte{first}, byte(id>>8), byte(id))
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload))) //nolint:gosec // of a test
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.conn.Write(append(b, payload...)) // a client that is gone does not matter
}

func (l *line) ok(id uint16, payload []byte)     { l.write(0, id, payload) }
func (l *line) push(code uint16, payload []byte) { l.write(2, code, payload) }
func (l *line) refuse(id uint16, text string) {
	l.write(1, id, append([]byte{byte(len(text) >> 8), byte(len(text))}, text...))
}

// pushMessage pushes a text of n bytes with a message id.
func (l *line) pushMessage(id uint64, n int) {
	payload := field(0x10, number(7))
	payload = append(payload, field(0x11, number(id))...)
	payload = append(payload, field(0x12, number(id))...)
	payload = append(payload, field(0x32, number(1))...)
	payload = append(payload, field(0x01, make([]byte, 32))...)
	l.push(0x32, append(payload, field(0x23, make([]byte, n))...))
}

func (l *line) pushInvite(id uint64) {
	payload := field(0x13, number(id))
	payload = append(payload, field(0x10, number(7))...)
	payload = append(payload, field(0x01, make([]byte, 32))...)
	payload = append(payload, field(0x32, number(1))...)
	payload = append(payload, field(0x20, []byte("Choir"))...)
	payload = append(payload, field(0x21, nil)...)
	l.push(0x41, append(payload, field(0x25, make([]byte, 92))...))
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func field(tag byte, value []byte) []byte {
	b := []byte{tag}
	n := len(value)
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(append(b, byte(n)), value...)
}

func parseFields(b []byte) map[byte][]byte {
	fields := make(map[byte][]byte)
	for len(b) > 1 {
		tag, n, shift := b[0], 0, 0
		b = b[1:]
		for {
			n |= int(b[0]&0x7f) << shift
			more := b[0] >= 0x80
			b, shift = b[1:], shift+7
			if !more {
				break
			}
		}
		fields[tag], b = b[:n], b[n:]
	}
	return fields
}
