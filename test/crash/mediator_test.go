// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/crash"
	"github.com/mimird/mimird/test/demo"
	"github.com/mimird/mimird/test/phone"
)

// mediatorCases are the points of our mediator, and at which passing it dies: while a
// group is set up, and with everything in motion.
var mediatorCases = map[crashpoint.Name][]int{
	crashpoint.BeforeMediated:   {3, 40},
	crashpoint.AfterMediated:    {3, 40},
	crashpoint.BeforeMediatedOK: {3, 40},
}

// Bar R03: a mediator is killed at every point. What it has said OK to is in the history,
// once and in order, and so is what its senders have repeated because it had not.
func TestMediatorKilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	for name, passings := range mediatorCases {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			w := newMediatorWorld(t, fmt.Sprintf("point %s: ", name))
			w.setUp()
			end := w.load()
			for _, passing := range passings {
				w.must(w.victim.Kill())
				w.dieAt(name, passing)
				w.must(w.victim.Launch())
				w.progress(4)
			}
			end()
			w.check()
		})
	}
}

// Bars R01, R02: a mediator is killed at random moments under load.
func TestMediatorKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	seed := drawSeed()
	w := newMediatorWorld(t, fmt.Sprintf("seed %d: ", seed))
	w.setUp()
	random := mathrand.New(mathrand.NewPCG(seed, 42)) //nolint:gosec // no secret
	end := w.load()
	for range *killsFlag {
		if random.IntN(2) == 0 {
			w.progress(1 + random.IntN(20))
		}
		w.run(soonest + time.Duration(random.Int64N(int64(latest-soonest))))
		w.kill()
		w.must(w.victim.Launch())
	}
	w.progress(1)
	end()
	w.check()
}

// mediatorWorld is a mediator that will die, and its clients in this process.
type mediatorWorld struct {
	*world
	network  *overlay.Network
	mediator identity.NodeKey
	writers  []*groupWriter
	readers  []*groupReader
}

func newMediatorWorld(t *testing.T, note string) *mediatorWorld {
	t.Helper()
	dir, err := os.MkdirTemp("", "crash-") //nolint:usetesting // the paths of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	w := &mediatorWorld{world: &world{t: t, dir: dir, note: note}}
	t.Cleanup(func() {
		w.showLogs()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	w.relay = "tcp://" + w.freeAddress()
	nodeKey, err := identity.GenerateNodePrivateKey(rand.Reader)
	w.must(err)
	w.network, err = overlay.Open(overlay.Options{Key: nodeKey, Listen: []string{w.relay}})
	w.must(err)
	t.Cleanup(func() { w.must(w.network.Close()) })
	w.victim, err = demo.NewNode(program, dir, "alice", fmt.Sprintf("roles: [node, mediator]\nlog: {level: debug}\nyggdrasil: {peers: [%q]}\n", w.relay))
	w.must(err)
	t.Cleanup(func() { w.must(w.victim.Stop()) })
	w.must(w.victim.Start(w.soon()))
	status, err := w.victim.Client.Status(w.soon())
	w.must(err)
	if status.MediatorRole == nil {
		t.Fatal("it is not a mediator")
	}
	w.mediator, err = identity.ParseNodeKey(status.MediatorRole.Key)
	w.must(err)
	return w
}

// connect logs in, also while the mediator is down: it tries until ctx ends.
func (w *mediatorWorld) connect(ctx context.Context, who phone.Identity) (*phone.MediatorClient, error) {
	for {
		soon, cancel := context.WithTimeout(ctx, 5*time.Second)
		c, err := phone.DialMediator(soon, w.network.Stream(), w.mediator)
		if err == nil {
			if err = c.Login(soon, who); err == nil {
				cancel()
				return c, nil
			}
			c.Close()
		}
		cancel()
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

// Commands and tags of the protocol.
const (
	mAdd, mSend, mSince, mSubscribe                          = 0x20, 0x30, 0x36, 0x35
	mChat, mID, mGUID, mSinceID, mUser, mBlob, mLimit, mTime = 0x10, 0x11, 0x12, 0x14, 0x15, 0x23, 0x30, 0x32
)

// setUp creates two groups of an owner and a member each. All four write, and somebody
// reads each group.
func (w *mediatorWorld) setUp() {
	w.t.Helper()
	for g := range 2 {
		owner, member := phone.IdentityOf(fmt.Sprint("owner ", g)), phone.IdentityOf(fmt.Sprint("member ", g))
		c, err := w.connect(w.soon(), owner)
		w.must(err)
		chat, err := c.CreateChat(w.soon(), owner, fmt.Sprint("group ", g), "")
		w.must(err)
		key := member.Key()
		f, err := c.Call(w.soon(), mAdd, phone.U64(mChat, chat), phone.TLV{Tag: mUser, Value: key[:]})
		w.must(err)
		if f.Status != 0 {
			w.t.Fatal(f.Refusal())
		}
		c.Close()
		for i, who := range []phone.Identity{owner, member} {
			w.writers = append(w.writers, &groupWriter{w: w, who: who, chat: chat, name: fmt.Sprintf("%d-%d", g, i), first: int64(i+1) << 32})
		}
		w.readers = append(w.readers, &groupReader{w: w, who: member, chat: chat})
	}
}

// load has everybody write and read until end is called, which returns when everything
// that was begun is done.
func (w *mediatorWorld) load() (end func()) {
	writing, stop := context.WithCancel(context.Background())
	reading, stopReading := context.WithCancel(context.Background())
	var writers, readers sync.WaitGroup
	for _, one := range w.writers {
		writers.Go(func() { one.run(writing) })
	}
	for _, one := range w.readers {
		readers.Go(func() { one.run(reading) })
	}
	ended := sync.OnceFunc(func() {
		stop()
		writers.Wait()
		for _, one := range w.readers {
			if !poll(nil, func() bool { return one.complete() }) {
				w.t.Errorf("%sa reader got %d messages only", w.note, len(one.texts()))
			}
		}
		stopReading()
		readers.Wait()
	})
	w.t.Cleanup(ended)
	return ended
}

// progress returns when more messages of every writer were acknowledged.
func (w *mediatorWorld) progress(more int) {
	w.t.Helper()
	for _, one := range w.writers {
		want := len(one.acknowledged()) + more
		if !poll(w.victim.Process().Ended(), func() bool { return len(one.acknowledged()) >= want }) {
			w.t.Fatalf("%swriter %s does not get on: %v (the node has ended: %v)", w.note, one.name, one.problem(), w.victim.Process().Err())
		}
	}
}

// groupWriter sends numbered messages to a group, one after the other, each until it is
// acknowledged.
type groupWriter struct {
	w     *mediatorWorld
	who   phone.Identity
	chat  uint64
	name  string
	first int64 // of the guids

	mu  sync.Mutex
	ids []uint64 // that were acknowledged, of the first messages
	err error
}

func (g *groupWriter) text(i int) string { return fmt.Sprintf("%s: message %d", g.name, i) }

func (g *groupWriter) acknowledged() []uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]uint64(nil), g.ids...)
}

func (g *groupWriter) problem() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// run writes until ctx ends, and then finishes what it has begun.
func (g *groupWriter) run(ctx context.Context) {
	finish, cancel := context.WithTimeout(context.Background(), 10*patience)
	defer cancel()
	var c *phone.MediatorClient
	for i := 0; ctx.Err() == nil; i++ {
		for {
			var err error
			if c == nil {
				c, err = g.w.connect(finish, g.who)
			}
			var id uint64
			if err == nil {
				id, err = g.send(finish, c, i)
			}
			g.mu.Lock()
			if g.err = err; err == nil {
				g.ids = append(g.ids, id)
			}
			g.mu.Unlock()
			if err == nil {
				break
			}
			if c != nil {
				c.Close()
				c = nil
			}
			if finish.Err() != nil {
				g.w.t.Errorf("%s%s: %v", g.w.note, g.name, err)
				return
			}
		}
	}
	if c != nil {
		c.Close()
	}
}

func (g *groupWriter) send(ctx context.Context, c *phone.MediatorClient, i int) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	number := uint64(g.first + int64(i))
	f, err := c.Call(ctx, mSend, phone.U64(mChat, g.chat), phone.U64(mGUID, number), phone.U64(mTime, 1000), phone.TLV{Tag: mBlob, Value: []byte(g.text(i))})
	if err == nil && f.Status != 0 {
		err = errors.New(f.Refusal())
	}
	if err == nil && f.Number(mGUID) != number {
		err = fmt.Errorf("guid %d instead of %d", f.Number(mGUID), number)
	}
	return f.Number(mID), err
}

// groupReader follows a group as a client should: it fetches after each subscription, and
// moves on only along what it has fetched.
type groupReader struct {
	w    *mediatorWorld
	who  phone.Identity
	chat uint64

	mu   sync.Mutex
	last uint64
	read []string
}

func (g *groupReader) texts() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string(nil), g.read...)
}

// complete reports whether everything that was acknowledged in the group was read.
func (g *groupReader) complete() bool {
	want := 0
	for _, one := range g.w.writers {
		if one.chat == g.chat {
			want += len(one.acknowledged())
		}
	}
	return len(g.texts()) >= want
}

func (g *groupReader) run(ctx context.Context) {
	for ctx.Err() == nil {
		c, err := g.w.connect(ctx, g.who)
		if err != nil {
			continue
		}
		_, err = c.Call(ctx, mSubscribe, phone.U64(mChat, g.chat))
		for pushes := 0; err == nil && ctx.Err() == nil; {
			if err = g.fetch(ctx, c); err != nil {
				break
			}
			// A push, or a while, says that there may be more.
			soon, cancel := context.WithTimeout(ctx, time.Second)
			_, waited := c.Await(soon, func(phone.MediatorFrame) bool { pushes--; return pushes < 0 })
			cancel()
			pushes = len(c.Pushes())
			if waited != nil && !errors.Is(waited, context.DeadlineExceeded) {
				err = waited
			}
		}
		c.Close()
	}
}

func (g *groupReader) fetch(ctx context.Context, c *phone.MediatorClient) error {
	for {
		g.mu.Lock()
		last := g.last
		g.mu.Unlock()
		soon, cancel := context.WithTimeout(ctx, 10*time.Second)
		f, err := c.Call(soon, mSince, phone.U64(mChat, g.chat), phone.U64(mSinceID, last), phone.U32(mLimit, 100))
		cancel()
		if err != nil {
			return err
		}
		n := 0
		g.mu.Lock()
		for _, field := range f.Fields() {
			switch field.Tag {
			case mID:
				if id := binary.BigEndian.Uint64(field.Value); id > g.last {
					g.last = id
					n++
				}
			case mBlob:
				if strings.Contains(string(field.Value), ": message ") {
					g.read = append(g.read, string(field.Value))
				}
			}
		}
		g.mu.Unlock()
		if n == 0 {
			return nil
		}
	}
}

// check compares the history of each group, and what its reader got, with what was
// acknowledged, and has the program check its store.
func (w *mediatorWorld) check() {
	w.t.Helper()
	for _, reader := range w.readers {
		c, err := w.connect(w.soon(), reader.who)
		w.must(err)
		whole := &groupReader{w: w, who: reader.who, chat: reader.chat}
		w.must(whole.fetch(w.soon(), c))
		c.Close()
		for _, one := range w.writers {
			if one.chat != reader.chat {
				continue
			}
			var accepted []string
			for i := range one.acknowledged() {
				accepted = append(accepted, one.text(i))
			}
			for where, read := range map[string][]string{"history": whole.texts(), "reader": reader.texts()} {
				var arrived []string
				for _, text := range read {
					if strings.HasPrefix(text, one.name+": ") {
						arrived = append(arrived, text)
					}
				}
				d := crash.Compare(accepted, arrived)
				w.t.Logf("%s%s of %s: %s", w.note, where, one.name, d)
				if len(accepted) < 8 || len(d.Lost)+len(d.Doubled)+len(d.Reordered)+len(d.Unknown) > 0 {
					w.t.Errorf("%s%s of %s, %d acknowledged: lost %q, doubled %q, reordered %q, unknown %q",
						w.note, where, one.name, len(accepted), d.Lost, d.Doubled, d.Reordered, d.Unknown)
				}
			}
		}
	}
	w.must(w.victim.Stop())
	out, err := exec.CommandContext(w.soon(), program, "check", "--data", w.victim.Dir).CombinedOutput()
	if err != nil {
		w.t.Errorf("%scheck: %v: %s", w.note, err, out)
	}
}
