// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/test/phone"
)

const (
	// streamsEach is how many streams a stranger wants at a time.
	streamsEach = 8
	// startSpread is the time within which those begin who compute much: they are to
	// load the node, not the machine that plays all of them.
	startSpread = 8 * time.Second
	// openAtOnce is how many strangers join the network at a time.
	openAtOnce = 16
	// ygg_stream's flags, see rawStranger.
	rawSYN = 0x01
	rawACK = 0x02
)

// namedAttack is one way to attack.
type namedAttack struct {
	name string
	run  func(context.Context)
}

// strangers are the attackers.
type strangers struct {
	at    startReport // the node
	nodes []*stranger
	count atomic.Uint64 // identities
}

// stranger is one node key.
type stranger struct {
	*overlay.Network
	layer overlay.PacketLayer
	quic  overlay.Carrier
}

// newStrangers makes the strangers join the network, all as neighbours of the node.
func newStrangers(ctx context.Context, at startReport, keys int) (*strangers, error) {
	s := &strangers{at: at, nodes: make([]*stranger, keys)}
	found := func(n *stranger) {
		if l := s.line(ctx, n.Stream()); l != nil { // it has found the way
			l.Abort()
		}
	}
	next := make(chan int)
	errs := make([]error, openAtOnce)
	var workers sync.WaitGroup
	for w := range errs {
		workers.Go(func() {
			for i := range next {
				var err error
				s.nodes[i], err = newStranger(at.Listen)
				errs[w] = errors.Join(errs[w], err)
				if err == nil {
					found(s.nodes[i])
				}
			}
		})
	}
	for i := range keys {
		if ctx.Err() == nil {
			next <- i
		}
	}
	close(next)
	workers.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func newStranger(peer string) (*stranger, error) {
	s := &stranger{}
	var err error
	if s.Network, err = openWith(peer, func(l overlay.PacketLayer) overlay.PacketLayer {
		s.layer = l
		return l
	}); err != nil {
		return nil, err
	}
	if err := s.Enable(overlay.KindQUIC); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.quic, _ = s.CarrierOf(overlay.KindQUIC)
	return s, nil
}

func (s *strangers) close() {
	var all sync.WaitGroup
	for _, n := range s.nodes {
		if n != nil {
			all.Go(func() { _ = n.Close() })
		}
	}
	all.Wait()
}

// attacks are the ways to attack, one by one.
func (s *strangers) attacks() []namedAttack {
	return []namedAttack{
		{"hold_streams", s.each(1, s.holdStreams)},
		{"contact_requests", s.each(8, s.ask)},
		{"gaps", s.each(8, s.gaps)},
		{"silent_streams", s.each(1, s.silent)},
		{"half_open", s.each(1, s.halfOpen)},
		{"early_data", s.each(1, s.earlyData)},
		{"quic", s.each(1, s.overQUIC)},
	}
}

// each runs an attacker for one in so many node keys.
func (s *strangers) each(oneIn int, attack func(context.Context, *stranger)) func(context.Context) {
	return func(ctx context.Context) {
		var all sync.WaitGroup
		for i := 0; i < len(s.nodes); i += oneIn {
			all.Go(func() { attack(ctx, s.nodes[i]) })
		}
		all.Wait()
	}
}

// together runs all of them at once.
func (s *strangers) together(attacks []namedAttack) func(context.Context) {
	return func(ctx context.Context) {
		var all sync.WaitGroup
		for _, a := range attacks {
			all.Go(func() { a.run(ctx) })
		}
		all.Wait()
	}
}

// pause waits, and returns false at the end of the attack.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// line opens a stream that ends with the attack; nil when that fails.
func (s *strangers) line(ctx context.Context, over overlay.Carrier) *phone.Line {
	dialCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	l, err := phone.DialLine(dialCtx, over, s.at.Node)
	if err != nil {
		return nil
	}
	context.AfterFunc(ctx, l.Abort)
	return l
}

// session logs in with an identity that nobody has seen; nil when that fails.
func (s *strangers) session(ctx context.Context, from *stranger) *phone.Line {
	l := s.line(ctx, from.Stream())
	if l == nil {
		return nil
	}
	h := &phone.Handshake{
		Identity: phone.IdentityOf(fmt.Sprint("stranger ", s.count.Add(1))),
		Receiver: phone.Key(s.at.Account),
	}
	_, err := l.Write([]byte{phone.RoleControl})
	if err == nil {
		err = h.Initiate(l)
	}
	if err != nil {
		l.Abort()
		return nil
	}
	return l
}

// holdStreams holds as many sessions as it gets, with a frame in 30 s each.
func (s *strangers) holdStreams(ctx context.Context, from *stranger) {
	var all sync.WaitGroup
	for range streamsEach {
		all.Go(func() {
			pause(ctx, rand.N(startSpread))
			for pause(ctx, 500*time.Millisecond) {
				l := s.session(ctx, from)
				for l != nil && l.Send(phone.Frame{Type: phone.TypePing}) == nil && pause(ctx, 30*time.Second) {
				}
			}
		})
	}
	all.Wait()
}

// ask sends contact requests without an end.
func (s *strangers) ask(ctx context.Context, from *stranger) {
	f := phone.Frame{Type: phone.TypeContactRequest, Fields: phone.Fields{
		"message": "let me in", "nickname": "x", "avatar": bytes.Repeat([]byte{1}, 40<<10),
	}}
	for pause(ctx, 100*time.Millisecond) {
		l := s.session(ctx, from)
		for l != nil && l.Send(f) == nil && ctx.Err() == nil {
		}
	}
}

// silent opens streams and says nothing.
func (s *strangers) silent(ctx context.Context, from *stranger) {
	s.many(ctx, from, func(*phone.Line) {})
}

// earlyData opens data streams without a session.
func (s *strangers) earlyData(ctx context.Context, from *stranger) {
	s.many(ctx, from, func(l *phone.Line) { _, _ = l.Write(append([]byte{phone.RoleData}, make([]byte, 4096)...)) })
}

// many opens streams again and again, and has eight at a time.
func (s *strangers) many(ctx context.Context, from *stranger, begin func(*phone.Line)) {
	var open []*phone.Line
	for pause(ctx, time.Second) {
		l := s.line(ctx, from.Stream())
		if l == nil {
			continue
		}
		begin(l)
		if open = append(open, l); len(open) >= streamsEach {
			open[0].Abort()
			open = open[1:]
		}
	}
}

// overQUIC opens streams over QUIC and sends what nobody reads.
func (s *strangers) overQUIC(ctx context.Context, from *stranger) {
	pause(ctx, rand.N(startSpread))
	for pause(ctx, 5*time.Second) {
		for range 2 * streamsEach {
			if l := s.line(ctx, from.quic); l != nil {
				go func() { _, _ = l.Write(make([]byte, 256<<10)) }() // until the attack ends
			}
		}
	}
}

// raw sends a packet of ygg_stream.
func (s *strangers) raw(from *stranger, port uint16, seq uint32, flags byte, payload []byte) {
	b := binary.BigEndian.AppendUint16(nil, port)
	b = binary.BigEndian.AppendUint16(b, phone.Port)
	b = binary.BigEndian.AppendUint32(b, seq)
	b = append(b, 0, 0, 0, 0, flags, 0x08, 0, 0)
	_ = from.layer.WritePacket(append(b, payload...), s.at.Node)
}

// gaps opens streams whose first byte never comes.
func (s *strangers) gaps(ctx context.Context, from *stranger) {
	payload := make([]byte, 16<<10)
	for port := uint16(50000); pause(ctx, time.Second); port += streamsEach {
		for i := range uint16(streamsEach) {
			s.raw(from, port+i, 0, rawSYN, nil)
		}
		pause(ctx, 200*time.Millisecond)
		for i := range uint16(streamsEach) {
			s.raw(from, port+i, 0, rawACK, nil)
			for j := range uint32(30) {
				s.raw(from, port+i, 16+j*uint32(len(payload)), rawACK, payload)
			}
		}
	}
}

// halfOpen begins streams and does not complete them.
func (s *strangers) halfOpen(ctx context.Context, from *stranger) {
	for port := uint16(60000); pause(ctx, 500*time.Millisecond); port++ {
		s.raw(from, max(port, 60000), 0, rawSYN, nil)
	}
}
