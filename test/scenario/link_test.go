// SPDX-License-Identifier: MPL-2.0

package scenario_test

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/test/poll"
)

// shape says how nodes are linked: pairs of their numbers.
type shape struct {
	name  string
	links func(n int) [][2]int
}

var shapes = []shape{{"chain", chain}, {"star", star}, {"mesh", mesh}}

func chain(n int) (links [][2]int) {
	for i := range n - 1 {
		links = append(links, [2]int{i, i + 1})
	}
	return links
}

func star(n int) (links [][2]int) {
	for i := range n - 1 {
		links = append(links, [2]int{0, i + 1})
	}
	return links
}

func mesh(n int) (links [][2]int) {
	for i := range n {
		for j := range i {
			links = append(links, [2]int{j, i})
		}
	}
	return links
}

// link stands between two nodes and can be cut.
type link struct {
	listener net.Listener
	target   string
	done     sync.WaitGroup
	cuts     atomic.Int32

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{}
}

func newLink(target string) (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{listener: listener, target: target, conns: make(map[net.Conn]struct{})}
	l.done.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			l.done.Go(func() { l.carry(c) })
		}
	})
	return l, nil
}

func (l *link) close() {
	_ = l.listener.Close()
	l.setCut(true)
	l.done.Wait()
}

func (l *link) carry(c net.Conn) {
	defer c.Close()
	d, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	defer d.Close()
	l.mu.Lock()
	cut := l.cut
	l.conns[c], l.conns[d] = struct{}{}, struct{}{}
	l.mu.Unlock()
	if cut {
		return
	}
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{c, d}, {d, c}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // ends with the link
			_ = pair[0].Close()
		})
	}
	both.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	delete(l.conns, d)
}

func (l *link) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if !cut {
		return
	}
	l.cuts.Add(1)
	for c := range l.conns {
		_ = c.Close()
	}
}

// flapping cuts and mends links.
type flapping struct {
	changed chan struct{} // has a value after a change
	ended   chan struct{} // closed
}

// flap cuts every link at random moments for a time, and leaves all of them whole.
func (w *world) flap(d time.Duration) *flapping {
	f := &flapping{changed: make(chan struct{}, 1), ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		w.cutAtRandom(d, f.changed)
	}()
	return f
}

// awaitChange waits until a link was cut or mended since the last call, or until
// flapping has ended.
func (f *flapping) awaitChange() {
	select {
	case <-f.changed:
	case <-f.ended:
	}
}

func (w *world) cutAtRandom(d time.Duration, changed chan<- struct{}) {
	end := time.Now().Add(d)
	ctx := w.t.Context()
	set := func(l *link, cut bool) {
		l.setCut(cut)
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	var all sync.WaitGroup
	for i, l := range w.links {
		random := rand.New(rand.NewPCG(*seed, uint64(i)))
		between := func(least, most time.Duration) {
			poll.Pass(ctx, least+time.Duration(random.Int64N(int64(most-least))))
		}
		all.Go(func() {
			for time.Now().Before(end) && ctx.Err() == nil {
				between(3*time.Second, 7*time.Second)
				set(l, true)
				between(time.Second, 5*time.Second)
				set(l, false)
			}
		})
	}
	all.Wait()
}

func (w *world) cuts() (n int) {
	for _, l := range w.links {
		n += int(l.cuts.Load())
	}
	return n
}
