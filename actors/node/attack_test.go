// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// lineCounter counts the log lines that an operator sees.
type lineCounter struct {
	slog.Handler
	lines *atomic.Int64
}

func (h lineCounter) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}

func (h lineCounter) Handle(ctx context.Context, r slog.Record) error {
	h.lines.Add(1)
	return h.Handler.Handle(ctx, r)
}

func (h lineCounter) WithAttrs(a []slog.Attr) slog.Handler {
	return lineCounter{h.Handler.WithAttrs(a), h.lines}
}

func (h lineCounter) WithGroup(g string) slog.Handler {
	return lineCounter{h.Handler.WithGroup(g), h.lines}
}

// siege is a node that strangers attack in every way at once. test/attack does the
// same at full size over real Yggdrasil nodes.
type siege struct {
	t       *testing.T
	w       *actorstest.World
	n       *actorstest.Node
	ctx     context.Context
	workers sync.WaitGroup
	lines   atomic.Int64
}

func (s *siege) carrier() *memnet.Node {
	return s.w.Net.Node(overlay.Limits{ConnectionsPerKey: 1000})
}

// each runs an attacker with a node of its own for each of n.
func (s *siege) each(n int, attack func(i int, from *memnet.Node)) {
	for i := range n {
		s.workers.Go(func() {
			from := s.carrier()
			defer func() { _ = from.Close() }()
			attack(i, from)
		})
	}
}

// pause waits, and returns false at the end of the attack.
func (s *siege) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// session completes a handshake; nil when the node does not let it.
func (s *siege) session(from *memnet.Node, name string) *phone.Line {
	ctx, cancel := context.WithTimeout(s.ctx, 15*time.Second)
	defer cancel()
	l, err := phone.DialLine(ctx, from, s.n.Key())
	if err != nil {
		return nil
	}
	h := &phone.Handshake{Identity: phone.IdentityOf(name), Receiver: phone.Key(s.n.Account.ID)}
	if _, err = l.Write([]byte{phone.RoleControl}); err == nil {
		err = h.Initiate(l)
	}
	if err != nil {
		l.Abort()
		return nil
	}
	return l
}

// holdStreams keeps as many sessions as it gets, with a frame in 30 s each.
func (s *siege) holdStreams(node int, from *memnet.Node) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for s.pause(200 * time.Millisecond) {
				l := s.session(from, fmt.Sprint("holder ", node, " ", i))
				if l == nil {
					continue
				}
				if i == 0 {
					// It could be for each of the identities at this node.
					s.ambiguous(from)
				}
				for l.Send(phone.Frame{Type: phone.TypePing}) == nil && s.pause(30*time.Second) {
				}
				l.Abort()
			}
		})
	}
	all.Wait()
}

// ambiguous opens a data stream with a frame on it.
func (s *siege) ambiguous(from *memnet.Node) {
	ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
	defer cancel()
	if l, err := phone.DialLine(ctx, from, s.n.Key()); err == nil {
		_, _ = l.Write(append([]byte{phone.RoleData}, make([]byte, 100)...)) // it ends with the node
	}
}

// ask floods the node with contact requests.
func (s *siege) ask(node int, from *memnet.Node) {
	f := phone.Frame{Type: phone.TypeContactRequest, Fields: phone.Fields{
		"message": "let me in", "nickname": "x", "avatar": bytes.Repeat([]byte{1}, 40<<10),
	}}
	for i := 0; s.pause(10 * time.Millisecond); i++ {
		l := s.session(from, fmt.Sprint("asker ", node, " ", i))
		if l == nil {
			continue
		}
		stop := context.AfterFunc(s.ctx, l.Abort) // ends a write that waits
		for l.Send(f) == nil {
		}
		stop()
		l.Abort()
	}
}

// rawNode sends packets of ygg_stream, and reads none. It knows of the protocol only
// what is in them.
type rawNode struct {
	*memnet.Endpoint
	to *actorstest.Node
}

// raw makes one that ends with the attack.
func (s *siege) raw() *rawNode {
	r := &rawNode{Endpoint: s.w.Net.NewEndpoint(), to: s.n}
	context.AfterFunc(s.ctx, func() { _ = r.Close() })
	return r
}

const (
	rawSYN = 0x01
	rawACK = 0x02
)

func (r *rawNode) send(port uint16, seq uint32, flags byte, payload []byte) {
	b := binary.BigEndian.AppendUint16(nil, port)
	b = binary.BigEndian.AppendUint16(b, phone.Port)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0, flags, 0x08, 0, 0)
	_ = r.WritePacket(append(b, payload...), r.to.Key())
}

// churn opens streams with new node keys, again and again, and says nothing, or that
// they are data streams, or does not complete the opening.
func (s *siege) churn(int, *memnet.Node) {
	for i := 0; s.pause(20 * time.Millisecond); i++ {
		r := s.raw()
		r.send(49152, 0, rawSYN, nil)
		if i%3 == 0 || !s.pause(20*time.Millisecond) {
			continue
		}
		r.send(49152, 0, rawACK, nil)
		if i%3 == 1 {
			r.send(49152, 0, rawACK, []byte{phone.RoleData, 1, 2, 3})
		}
	}
}

// gaps opens streams whose first byte never comes.
func (s *siege) gaps(int, *memnet.Node) {
	r := s.raw()
	payload := make([]byte, 16<<10)
	for port := uint16(49152); s.pause(time.Second); port += 8 {
		for i := range uint16(8) {
			r.send(port+i, 0, rawSYN, nil)
		}
		s.pause(100 * time.Millisecond)
		for i := range uint16(8) {
			r.send(port+i, 0, rawACK, nil)
			for j := range uint32(30) {
				r.send(port+i, 16+j*uint32(len(payload)), rawACK, payload)
			}
		}
	}
}

// Bars R26, S04, S10 and S14: strangers attack in every way at once, for 40 s. A
// contact logs in within 2 s all the time and its messages arrive, the heap grows by
// 64 MiB at most, attackers included, and the log by a line a second.
func TestAttack_AllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &siege{t: t, w: actorstest.New(t, memnet.Options{Link: memnet.Link{Delay: 5 * time.Millisecond, Rate: 2 << 20}})}
		s.w.Limits = overlay.Limits{Connections: 256, ReceiveMemory: 8 << 20} // in small
		s.n = s.w.Node("owner", func(o *node.Options) {
			o.Logger = slog.New(lineCounter{slog.DiscardHandler, &s.lines})
		})
		s.n.AwaitAnnounced()
		key := phone.Key(s.n.Account.ID)
		friend := s.w.Phone("friend", phone.Quirks{})
		s.n.AddPhone(friend.Key())
		friend.Write(key, "before")
		friend.Eventually(t, time.Minute, "the friend has been there", func() bool { return len(friend.Waiting(key)) == 0 })
		friend.Session(key).Close()
		virtual.Sleep(time.Second)

		heap := heapInUse()
		s.lines.Store(0)
		ctx, end := context.WithCancel(t.Context())
		s.ctx = ctx
		s.each(48, s.holdStreams)
		s.each(4, s.ask)
		s.each(8, s.churn)
		s.each(4, s.gaps)
		began := time.Now()
		for i := range 4 {
			virtual.Sleep(10 * time.Second)
			start := time.Now()
			session, err := friend.Dial(t.Context(), key)
			if took := time.Since(start); err != nil || took > 2*time.Second {
				t.Errorf("login %d took %v: %v", i, took, err)
				continue
			}
			friend.Write(key, fmt.Sprint("during ", i))
			friend.Eventually(t, 2*time.Second, "its message is there", func() bool { return len(friend.Waiting(key)) == 0 })
			session.Close()
		}
		grown := heapInUse() - heap
		if grown > 64<<20 {
			t.Errorf("the heap has grown by %d MiB", grown>>20)
		}
		t.Logf("heap +%d MiB, %d log lines", grown>>20, s.lines.Load())
		seconds := int64(time.Since(began) / time.Second)
		if got := s.lines.Load(); got > seconds {
			t.Errorf("%d log lines in %d s", got, seconds)
		}
		if got := s.n.StrangerSessionsForTest(); got > 128 {
			t.Errorf("%d sessions with strangers", got)
		}
		if got := s.n.MailboxDepthForTest("contact"); got > 128*20 {
			t.Errorf("%d messages wait in the mailboxes of contacts", got)
		}
		end()
		s.workers.Wait()
	})
}

// heapInUse is what the heap holds after a collection.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
