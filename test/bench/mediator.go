// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
)

const (
	fanSubscribers = 500
	fanNodes       = 4
	fanMessages    = 40 // in a round
	fanBlob        = 300
	fanRounds      = 7
	fanPatience    = time.Minute
	fanGroup       = mediator.ChatID(42)
	quietGroup     = mediator.ChatID(43) // only the sender is in it
	plainPort      = 43

	acceptSenders  = 100 // each in a group of its own, from firstSenders on
	acceptMessages = 10  // of each in a round
	acceptRounds   = 7
	firstSenders   = mediator.ChatID(1000)
)

func mediatorFigures() []figure {
	return []figure{
		{"mediator-fanout", func(ctx context.Context) (result, error) { return mediatorFanOut(ctx, clockTime) }},
		{"mediator-fanout-processor", func(ctx context.Context) (result, error) { return mediatorFanOut(ctx, processorTime) }},
		{"mediator-accept", mediatorAccept},
	}
}

// clockTime returns how long f takes.
func clockTime(f func() error) (time.Duration, error) {
	begun := time.Now()
	err := f()
	return time.Since(begun), err
}

// mediatorFanOut compares a message that a mediator pushes to 500 subscribers with writing
// the bytes of the push to 500 streams: what it takes, as measure says, until all have it. What a
// message takes that nobody is subscribed to is subtracted: its way to the mediator and to
// the disk. The network is in memory.
func mediatorFanOut(ctx context.Context, measure func(func() error) (time.Duration, error)) (_ result, err error) {
	f := &fanOut{net: memnet.New(memnet.Options{}), limits: overlay.Limits{Connections: 8192, ConnectionsPerKey: 1024, HalfOpen: 1024, Backlog: 256}}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.open(ctx); err != nil {
		return result{}, err
	}
	if err := errors.Join(f.connect(ctx), f.connectPlain(ctx)); err != nil {
		return result{}, err
	}
	var ours, accepted, plain []float64
	for range fanRounds {
		for _, m := range []struct {
			into *[]float64
			send func() error
			to   []*fanReader
		}{
			{&ours, func() error { return f.sender.send(fanGroup) }, f.subscribers},
			{&accepted, func() error { return f.sender.send(quietGroup) }, nil},
			{&plain, f.writePlain, f.plainReaders},
		} {
			took, err := measure(func() error { return f.round(ctx, m.send, m.to) })
			if err != nil {
				return result{}, err
			}
			*m.into = append(*m.into, took.Seconds()/fanMessages)
		}
	}
	a, b, c := median(ours), median(accepted), median(plain)
	return result{
		ratio:    c / max(a-b, 1e-6),
		baseline: fmt.Sprintf("writing the same bytes to %d streams", fanSubscribers),
		detail:   fmt.Sprintf("%.1f ms until all have a message, of which %.1f ms until it is accepted; %.1f ms for plain bytes", a*1e3, b*1e3, c*1e3),
	}, nil
}

// mediatorAccept compares how many messages a mediator accepts from 100 clients at once with
// what the store alone does for 100 callers. Each waits for the answer to its last one.
func mediatorAccept(ctx context.Context) (_ result, err error) {
	f := &fanOut{net: memnet.New(memnet.Options{}), limits: overlay.Limits{Connections: 8192, ConnectionsPerKey: 1024, HalfOpen: 1024, Backlog: 256}}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.open(ctx); err != nil {
		return result{}, err
	}
	var senders []*fanSender
	var keys []identity.PublicKey
	for i := range acceptSenders {
		s, who, err := f.owner(ctx, i, firstSenders+mediator.ChatID(i))
		if err != nil {
			return result{}, err
		}
		senders, keys = append(senders, s), append(keys, who)
	}
	guid := int64(1 << 40)
	var ours, bare []float64
	for range acceptRounds {
		rate, err := atOnce(func(i int) error { return senders[i].send(firstSenders + mediator.ChatID(i)) })
		if err != nil {
			return result{}, err
		}
		ours = append(ours, rate)
		base := guid
		guid += acceptSenders * acceptMessages
		var next atomic.Int64
		rate, err = atOnce(func(i int) error {
			seconds := int64(1)
			_, err := store.Do[store.MediatorSent](ctx, f.writer, store.SendMediatorMessage{
				Group: firstSenders + mediator.ChatID(i), Author: keys[i], GUID: base + next.Add(1), Time: &seconds, Blob: make([]byte, fanBlob),
			})
			return err
		})
		if err != nil {
			return result{}, err
		}
		bare = append(bare, rate)
	}
	a, b := median(ours), median(bare)
	return result{
		ratio:    a / b,
		baseline: fmt.Sprintf("the store with %d callers", acceptSenders),
		detail:   fmt.Sprintf("ours %.0f messages/s, the store %.0f/s", a, b),
	}, nil
}

// atOnce calls f for each of the senders, acceptMessages times one after the other, and
// returns how many calls there were in a second.
func atOnce(f func(i int) error) (perSecond float64, err error) {
	var group errgroup.Group
	begun := time.Now()
	for i := range acceptSenders {
		group.Go(func() error {
			for range acceptMessages {
				if err := f(i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return acceptSenders * acceptMessages / time.Since(begun).Seconds(), err
}

// fanOut is a mediator in memory with its subscribers, and as many plain streams.
type fanOut struct {
	net    *memnet.Net
	limits overlay.Limits
	server *memnet.Node
	nodes  []*memnet.Node

	dir     string
	store   *store.Store
	writer  kernel.Ref
	systems []*kernel.System
	cell    uplink.Cell

	subscribers, plainReaders []*fanReader
	sender                    *fanSender
	plain                     []overlay.Conn // at the server
	frame                     []byte
	reading                   sync.WaitGroup
}

// fanReader counts the messages that arrive over a stream.
type fanReader struct {
	conn overlay.Conn
	in   *bufio.Reader
	got  chan struct{}
}

// fanSender is a client that has logged in.
type fanSender struct {
	conn overlay.Conn
	in   *bufio.Reader
	guid peer.GUID
}

type memNetwork struct {
	*memnet.Node
	failed chan struct{}
}

func (n *memNetwork) Stream() overlay.Carrier { return n.Carrier }
func (n *memNetwork) Links() int              { return 1 }
func (n *memNetwork) Status() overlay.Status  { return overlay.Status{Key: n.Key()} }
func (n *memNetwork) Failed() <-chan struct{} { return n.failed }
func (n *memNetwork) Err() error              { return nil }

// Close leaves the node to fanOut, which has plain streams there too.
func (n *memNetwork) Close() error { return nil }

func (f *fanOut) open(ctx context.Context) error {
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		return err
	}
	f.server = f.net.NodeAt(key.Key(), f.limits)
	if f.dir, err = storeDir(); err != nil {
		return err
	}
	if f.store, err = store.Open(store.Options{Dir: filepath.Join(f.dir, "store")}); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	spawn := func(name string, actor func() kernel.Actor) (kernel.Ref, error) {
		system := kernel.NewSystem(kernel.Options{Logger: log})
		f.systems = append(f.systems, system)
		return system.Spawn(kernel.Spec{Name: name, Kind: name, New: actor})
	}
	f.writer, err = spawn("store", func() kernel.Actor { return store.NewActor(f.store) })
	if err != nil {
		return err
	}
	opts := mediatorserver.Options{Rate: 1e6, Burst: 1e6, OpenNetwork: func(identity.NodePrivateKey) (uplink.Network, error) {
		return &memNetwork{Node: f.server, failed: make(chan struct{})}, nil
	}}
	ref, err := spawn("mediator", func() kernel.Actor {
		return mediatorserver.NewActor(mediatorserver.Deps{
			Key: key, Cell: &f.cell, Store: f.store, Writer: f.writer, Now: time.Now, Log: log, Strangers: strangerlog.New(log),
		}, opts)
	})
	if err != nil {
		return err
	}
	if _, err := mediatorserver.Status(ctx, ref); err != nil { // it listens
		return err
	}
	for range fanNodes {
		f.nodes = append(f.nodes, f.net.Node(f.limits))
	}
	return nil
}

// owner logs in a client from one of the nodes, who owns groups.
func (f *fanOut) owner(ctx context.Context, i int, groups ...mediator.ChatID) (*fanSender, identity.PublicKey, error) {
	who, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		return nil, identity.PublicKey{}, err
	}
	for _, group := range groups {
		if _, err := store.Do[bool](ctx, f.writer, store.CreateMediatorGroup{Group: store.MediatorGroup{ID: group, Owner: who.Public()}}); err != nil {
			return nil, identity.PublicKey{}, err
		}
	}
	s, err := f.login(ctx, f.nodes[i%fanNodes], who)
	return s, who.Public(), err
}

// connect logs in a sender and the subscribers, all members of the group.
func (f *fanOut) connect(ctx context.Context) (err error) {
	if f.sender, _, err = f.owner(ctx, 0, fanGroup, quietGroup); err != nil {
		return err
	}
	mediatorKey := identity.PublicKey(f.server.Key())
	for i := range fanSubscribers {
		who, err := identity.GeneratePrivateKey(rand.Reader)
		if err != nil {
			return err
		}
		_, err = store.Do[store.MediatorMessage](ctx, f.writer, store.AddMediatorMember{
			MediatorChange: store.MediatorChange{Mediator: mediatorKey, Actor: mediatorKey, Group: fanGroup}, User: who.Public(),
		})
		if err != nil {
			return err
		}
		s, err := f.login(ctx, f.nodes[i%fanNodes], who)
		if err != nil {
			return err
		}
		if err := s.call(&mediator.Subscribe{Chat: fanGroup}, &mediator.LastMessage{}); err != nil {
			return err
		}
		f.subscribers = append(f.subscribers, f.read(s.conn, s.in))
	}
	return nil
}

func (f *fanOut) login(ctx context.Context, node *memnet.Node, who identity.PrivateKey) (*fanSender, error) {
	conn, err := node.Dial(ctx, f.server.Key(), mediator.Port)
	if err != nil {
		return nil, err
	}
	s := &fanSender{conn: conn, in: bufio.NewReader(conn)}
	if _, err := conn.Write(mediator.Opening[:]); err != nil {
		return nil, err
	}
	var nonce mediator.Nonce
	if err := s.call(&mediator.GetNonce{Identity: who.Public()}, &nonce); err != nil {
		return nil, err
	}
	signature, err := who.SignServerNonce(nonce.Nonce, identity.GuardFunc(func([32]byte) bool { return false }))
	if err != nil {
		return nil, err
	}
	return s, s.call(&mediator.Auth{Identity: who.Public(), Nonce: nonce.Nonce, Signature: signature}, nil)
}

// call sends a request and returns its answer; pushes before it are dropped.
func (s *fanSender) call(q mediator.Request, into mediator.Result) error {
	if _, err := s.conn.Write(mediator.AppendRequest(nil, 1, q)); err != nil {
		return err
	}
	for {
		answer, err := mediator.ReadAnswer(s.in, 1<<20)
		if err != nil {
			return err
		}
		if !answer.IsPush() {
			return answer.Parse(into)
		}
	}
}

// send sends a message to a group and returns when it is accepted.
func (s *fanSender) send(group mediator.ChatID) error {
	s.guid++
	seconds := int64(1)
	return s.call(&mediator.SendMessage{Chat: group, GUID: s.guid, Time: &seconds, Blob: make([]byte, fanBlob)}, &mediator.Sent{})
}

// connectPlain opens streams past the mediator.
func (f *fanOut) connectPlain(ctx context.Context) error {
	listener, err := f.server.Listen(plainPort)
	if err != nil {
		return err
	}
	for i := range fanSubscribers {
		conn, err := f.nodes[i%fanNodes].Dial(ctx, f.server.Key(), plainPort)
		if err != nil {
			return err
		}
		accepted, err := listener.Accept(ctx)
		if err != nil {
			return err
		}
		f.plain = append(f.plain, accepted)
		f.plainReaders = append(f.plainReaders, f.read(conn, bufio.NewReader(conn)))
	}
	f.frame = mediator.AppendPush(nil, &mediator.GotMessage{Chat: fanGroup, Message: mediator.Message{ID: 1, Blob: make([]byte, fanBlob)}})
	return nil
}

// read counts the messages of a stream until it ends.
func (f *fanOut) read(conn overlay.Conn, in *bufio.Reader) *fanReader {
	r := &fanReader{conn: conn, in: in, got: make(chan struct{}, fanMessages)}
	f.reading.Go(func() {
		for {
			answer, err := mediator.ReadAnswer(in, 1<<20)
			if err != nil {
				return
			}
			push, err := answer.Push()
			if m, ok := push.(*mediator.GotMessage); ok && err == nil && m.Message.ID > 0 {
				r.got <- struct{}{}
			}
		}
	})
	return r
}

// round sends messages, each when everybody has the one before.
func (f *fanOut) round(ctx context.Context, send func() error, to []*fanReader) error {
	ctx, cancel := context.WithTimeout(ctx, fanPatience)
	defer cancel()
	for range fanMessages {
		if err := send(); err != nil {
			return err
		}
		for _, r := range to {
			select {
			case <-r.got:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// writePlain writes what is pushed for a message.
func (f *fanOut) writePlain() error {
	for _, conn := range f.plain {
		if _, err := conn.Write(f.frame); err != nil {
			return err
		}
	}
	return nil
}

func (f *fanOut) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), fanPatience)
	defer cancel()
	var err error
	for i := len(f.systems) - 1; i >= 0; i-- {
		err = errors.Join(err, f.systems[i].Stop(ctx))
	}
	for _, node := range append(f.nodes, f.server) {
		if node != nil {
			err = errors.Join(err, node.Close())
		}
	}
	f.reading.Wait()
	if f.store != nil {
		err = errors.Join(err, f.store.Close())
	}
	if f.dir != "" {
		err = errors.Join(err, os.RemoveAll(f.dir))
	}
	f.net.Close()
	return err
}
