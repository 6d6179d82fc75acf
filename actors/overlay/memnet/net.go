// SPDX-License-Identifier: MPL-2.0

package memnet

import (
	"container/heap"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// defaultQueue is how many bytes wait on a link, or for a node to read them.
const defaultQueue = 1 << 20

// Options configure a Net.
type Options struct {
	// Seed of everything random.
	Seed uint64
	// Link is how nodes are connected that SetLink was not called for.
	Link Link
	// Queue is how many bytes wait for a node to read them, beyond which the
	// oldest packets are dropped; 0 means 1 MiB. Yggdrasil has 131,070.
	Queue int
}

// Link is how packets travel from one node to another. The zero value delivers
// everything at once.
type Link struct {
	// Delay of every packet.
	Delay time.Duration
	// Jitter is the largest additional delay. Packets overtake each other.
	Jitter time.Duration
	// Loss and Duplicate are probabilities from 0 to 1.
	Loss, Duplicate float64
	// Rate is the capacity in bytes per second, 0 is without limit. What exceeds
	// it waits, up to Queue bytes (0 means 1 MiB); the rest is dropped.
	Rate, Queue int
	// Cut drops everything.
	Cut bool
}

// Packet is a packet on its way, as Watch shows it.
type Packet struct {
	From, To identity.NodeKey
	Payload  []byte
	// Lost says that it will not arrive.
	Lost bool
}

// Net is a network in memory.
type Net struct {
	opts Options

	mu     sync.Mutex
	nodes  map[identity.NodeKey]*Endpoint
	links  map[path]*link
	keys   *rand.Rand
	watch  func(Packet)
	flying flights
	sent   uint64
	closed bool
	wake   chan struct{}
	pilot  sync.WaitGroup
}

type path struct{ from, to identity.NodeKey }

// link is one direction between two nodes.
type link struct {
	Link
	random *rand.Rand
	// busy is until when packets before are being sent.
	busy time.Time
}

// New returns a network without nodes.
func New(opts Options) *Net {
	if opts.Queue == 0 {
		opts.Queue = defaultQueue
	}
	n := &Net{
		opts:  opts,
		nodes: make(map[identity.NodeKey]*Endpoint),
		links: make(map[path]*link),
		keys:  rand.New(rand.NewPCG(opts.Seed, 1)),
		wake:  make(chan struct{}, 1),
	}
	n.pilot.Go(n.deliver)
	return n
}

// SetLink sets both directions between two nodes.
func (n *Net) SetLink(a, b identity.NodeKey, l Link) {
	n.SetPath(a, b, l)
	n.SetPath(b, a, l)
}

// SetPath sets the direction from one node to another.
func (n *Net) SetPath(from, to identity.NodeKey, l Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(path{from, to}).Link = l
}

// Cut cuts both directions between two nodes. Packets under way arrive.
func (n *Net) Cut(a, b identity.NodeKey) { n.cut(a, b, true) }

// Heal ends Cut.
func (n *Net) Heal(a, b identity.NodeKey) { n.cut(a, b, false) }

func (n *Net) cut(a, b identity.NodeKey, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.link(path{a, b}).Cut = cut
	n.link(path{b, a}).Cut = cut
}

// Watch calls f for every packet that is sent, nil for none. f must not call
// the Net; the payload is valid during the call.
func (n *Net) Watch(f func(Packet)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watch = f
}

// Close ends the network after its nodes have been closed.
func (n *Net) Close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.wakePilot()
	n.pilot.Wait()
}

// newKey returns a random node key.
func (n *Net) newKey() (key identity.NodeKey) {
	for i := 0; i < len(key); i += 8 {
		binary.LittleEndian.PutUint64(key[i:], n.keys.Uint64())
	}
	return key
}

func (n *Net) link(p path) *link {
	l := n.links[p]
	if l == nil {
		seed := binary.LittleEndian.Uint64(p.from[:]) ^ binary.BigEndian.Uint64(p.to[:])
		l = &link{Link: n.opts.Link, random: rand.New(rand.NewPCG(n.opts.Seed, seed))}
		n.links[p] = l
	}
	return l
}

// send decides a packet's fate.
func (n *Net) send(from, to identity.NodeKey, payload []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(path{from, to})
	// Every packet draws the same numbers, whether it arrives or not.
	lost := l.random.Float64() < l.Loss
	twice := l.random.Float64() < l.Duplicate
	jitter := [2]float64{l.random.Float64(), l.random.Float64()}
	now := time.Now()
	free := now
	if l.Rate > 0 {
		queue := l.Queue
		if queue == 0 {
			queue = defaultQueue
		}
		if l.busy.After(now) {
			free = l.busy
		}
		if free.Sub(now).Seconds()*float64(l.Rate) > float64(queue) {
			lost = true
		}
	}
	lost = lost || l.Cut || n.closed
	if n.watch != nil {
		n.watch(Packet{From: from, To: to, Payload: payload, Lost: lost})
	}
	if lost {
		return
	}
	if l.Rate > 0 {
		free = free.Add(time.Duration(float64(len(payload)) / float64(l.Rate) * float64(time.Second)))
		l.busy = free
	}
	n.schedule(flight{to: to, from: from, payload: payload, at: free.Add(l.Delay + scale(l.Jitter, jitter[0]))}, now)
	if twice {
		n.schedule(flight{to: to, from: from, payload: payload, at: free.Add(l.Delay + scale(l.Jitter, jitter[1]))}, now)
	}
}

func scale(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }

// schedule delivers a packet at once or when its time comes.
func (n *Net) schedule(f flight, now time.Time) {
	f.payload = append([]byte(nil), f.payload...)
	if !f.at.After(now) {
		n.land(f)
		return
	}
	n.sent++
	f.order = n.sent
	heap.Push(&n.flying, f)
	if n.flying[0].order == f.order {
		n.wakePilot()
	}
}

func (n *Net) land(f flight) {
	if node := n.nodes[f.to]; node != nil {
		node.arrive(f.from, f.payload)
	}
}

func (n *Net) wakePilot() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// deliver lands packets when their time comes.
func (n *Net) deliver() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		n.mu.Lock()
		if n.closed {
			n.mu.Unlock()
			return
		}
		now := time.Now()
		for len(n.flying) > 0 && !n.flying[0].at.After(now) {
			n.land(heap.Pop(&n.flying).(flight))
		}
		timer.Stop()
		if len(n.flying) > 0 {
			timer.Reset(n.flying[0].at.Sub(now))
		}
		n.mu.Unlock()
		select {
		case <-timer.C:
		case <-n.wake:
		}
	}
}

// flight is a packet under way.
type flight struct {
	from, to identity.NodeKey
	payload  []byte
	at       time.Time
	order    uint64
}

// flights is a heap, the earliest first, in the order sent among equals.
type flights []flight

func (f flights) Len() int { return len(f) }
func (f flights) Less(i, j int) bool {
	if f[i].at.Equal(f[j].at) {
		return f[i].order < f[j].order
	}
	return f[i].at.Before(f[j].at)
}
func (f flights) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flights) Push(x any)   { *f = append(*f, x.(flight)) }
func (f *flights) Pop() any {
	last := (*f)[len(*f)-1]
	(*f)[len(*f)-1] = flight{}
	*f = (*f)[:len(*f)-1]
	return last
}

// Node is a node of the network that runs the real carrier code.
type Node struct {
	overlay.Carrier
	// Endpoint is what the carrier stands on.
	Endpoint *Endpoint
	stack    *overlay.Stack
}

// Node adds a node with a random key.
func (n *Net) Node(limits overlay.Limits) *Node { return newNode(n.NewEndpoint(), limits) }

// NodeAt adds a node with the given key; one that has it already is cut off, as
// when a process is killed and started again.
func (n *Net) NodeAt(key identity.NodeKey, limits overlay.Limits) *Node {
	e := &Endpoint{net: n, key: key}
	return newNode(e.restart(), limits)
}

func newNode(e *Endpoint, limits overlay.Limits) *Node {
	stack := overlay.NewStack(e, limits, nil)
	return &Node{Carrier: stack.Stream(), Endpoint: e, stack: stack}
}

// Stack gives access to what is behind the carrier.
func (d *Node) Stack() *overlay.Stack { return d.stack }

// Close ends the node: its streams are reset.
func (d *Node) Close() error { return d.stack.Close() }
