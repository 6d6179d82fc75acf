// SPDX-License-Identifier: MPL-2.0

package mediatorlink_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"io"
	"sync"
	"testing"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/fakemediator"
)

// The bytes are those of the fake that groups are tested with.
type (
	call = fakemediator.Call
	line = fakemediator.Line
)

// fakeMediator is a mediator that does what a test says. It logs everybody in; handle
// answers the rest.
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

func newFakeMediator(t *testing.T, net *memnet.Net) *fakeMediator {
	t.Helper()
	f := &fakeMediator{t: t, node: net.Node(overlay.Limits{}), nonces: make(map[string][]byte)}
	f.handle = func(l *line, q call) { l.OK(q) }
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
	l := fakemediator.NewLine(conn)
	f.mu.Lock()
	f.lines = append(f.lines, l)
	f.mu.Unlock()
	for {
		q, err := fakemediator.ReadCall(in)
		if err != nil {
			l.Close()
			return
		}
		f.answer(l, q)
	}
}

func (f *fakeMediator) answer(l *line, q call) {
	switch q.Command {
	case 0x01:
		f.mu.Lock()
		f.logins++
		nonce := make([]byte, 32)
		nonce[0], nonce[31] = byte(f.logins), 0xff // no point of the curve
		if f.nonce != nil {
			nonce = f.nonce(f.logins)
		}
		f.nonces[string(q.Fields[0x01])] = nonce
		f.mu.Unlock()
		l.OK(q, fakemediator.Field(0x03, nonce))
	case 0x02:
		f.mu.Lock()
		nonce, login := f.nonces[string(q.Fields[0x01])], f.logins
		f.mu.Unlock()
		text := ""
		if f.auth != nil {
			text = f.auth(login)
		}
		switch {
		case text != "":
			l.Refuse(q, text)
		case !ed25519.Verify(q.Fields[0x01], nonce, q.Fields[0x02]) || string(q.Fields[0x03]) != string(nonce):
			l.Refuse(q, "invalid signature")
		default:
			l.OK(q)
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
		if q.Command == command {
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

// pushMessage pushes a text of n bytes with a message id.
func pushMessage(l *line, id uint64, n int) {
	number := int64(id) //nolint:gosec // of a test
	payload := fakemediator.Number(0x10, 7)
	payload = append(payload, fakemediator.Number(0x11, number)...)
	payload = append(payload, fakemediator.Number(0x12, number)...)
	payload = append(payload, fakemediator.Number(0x32, 1)...)
	payload = append(payload, fakemediator.Field(0x01, make([]byte, 32))...)
	l.Push(0x32, append(payload, fakemediator.Field(0x23, make([]byte, n))...))
}

func pushInvite(l *line, id uint64) {
	number := int64(id) //nolint:gosec // of a test
	payload := fakemediator.Number(0x13, number)
	payload = append(payload, fakemediator.Number(0x10, 7)...)
	payload = append(payload, fakemediator.Field(0x01, make([]byte, 32))...)
	payload = append(payload, fakemediator.Number(0x32, 1)...)
	payload = append(payload, fakemediator.Field(0x20, []byte("Choir"))...)
	payload = append(payload, fakemediator.Field(0x21, nil)...)
	l.Push(0x41, append(payload, fakemediator.Field(0x25, make([]byte, 92))...))
}
