// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"container/list"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/stream"
)

const (
	// maxArriving is how many packets wait for a stream, the reference's number.
	// The network has delivered what overflows, so it counts as lost.
	maxArriving = 64
	// writerBurst is how many packets a caller of Write sends by itself before
	// the scheduler goes on: other calls may keep adding to them.
	writerBurst = 16
)

// streamConn is one stream: a machine, the lock around it, and what connects
// it to the network, the clock and its users.
//
// A call that changes the machine calls update afterwards, which sends what is due and
// wakes readers and writers. An idle stream has no goroutine and no buffers.
type streamConn struct {
	carrier  *streamCarrier
	key      streamKey
	peer     *peer
	listener *streamListener // nil when we dialled
	place    *place
	// halfOpen is where the stream is in halfOpenIn, under the carrier's lock.
	halfOpen   *list.Element
	halfOpenIn *list.List
	task       task
	turn       turn
	// opened is closed when a dialled stream is open or dead.
	opened chan struct{}
	// lingering says that the stream is over and may be displaced.
	lingering atomic.Bool

	arriving struct {
		sync.Mutex
		packets ring[stream.Packet]
	}

	mu sync.Mutex
	m  *machine
	// announced: opened is closed, or the listener has the stream.
	announced bool
	forgotten bool
	// pumping: a goroutine is sending what is due; what becomes due is sent as well.
	pumping bool
	// writing keeps concurrent writes apart.
	writing  bool
	readable sync.Cond
	writable sync.Cond
	reading  deadline
	writes   deadline
	timer    *time.Timer
	timerAt  time.Duration // when timer fires, 0 when it is not set
}

func newStreamConn(s *streamCarrier, key streamKey, p *peer, m *machine) *streamConn {
	c := &streamConn{carrier: s, key: key, peer: p, m: m}
	c.task.run = c.run
	c.turn.wake = func() { s.scheduler.schedule(&c.task) }
	c.readable.L = &c.mu
	c.writable.L = &c.mu
	return c
}

// begin sends the first packet.
func (c *streamConn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.update(0)
}

// arrive takes a packet from the reader; it does not block.
func (c *streamConn) arrive(p stream.Packet) {
	a := &c.arriving
	a.Lock()
	full := a.packets.len() >= maxArriving
	if !full {
		p.Payload = copyBuffer(p.Payload)
		full = !c.takeArriving(cap(p.Payload))
		if full {
			putBuffer(p.Payload)
		} else {
			a.packets.push(p)
		}
	}
	a.Unlock()
	if full {
		return
	}
	c.carrier.scheduler.schedule(&c.task)
}

// takeArriving reserves memory for a packet. Strangers leave half to contacts.
func (c *streamConn) takeArriving(n int) bool {
	m := &c.carrier.arriving
	if m.used.Load() > m.limit/2 && c.carrier.contacts.stranger(c.key.node) {
		return false
	}
	return m.take(n)
}

func (c *streamConn) nextArrived() (stream.Packet, bool) {
	a := &c.arriving
	a.Lock()
	defer a.Unlock()
	if a.packets.len() == 0 {
		return stream.Packet{}, false
	}
	p := a.packets.pop()
	c.carrier.arriving.give(cap(p.Payload))
	return p, true
}

// run handles what has arrived and what is due. The scheduler calls it.
func (c *streamConn) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		p, ok := c.nextArrived()
		if !ok {
			break
		}
		c.handle(p)
		if c.m.receiver.ackNow || c.m.receiver.duplicates > 0 {
			// Each packet gets the acknowledgment it is owed.
			c.pump(0)
		}
	}
	c.m.expire(c.carrier.now())
	c.update(0)
}

// handle gives one packet to the machine and owns its payload.
func (c *streamConn) handle(p stream.Packet) {
	opening := c.m.state == stateSYNReceived
	if opening && c.listener.isClosed() {
		c.m.abort(ErrClosed)
	}
	reserved := opening && c.listener.reserve(c.carrier.contacts.stranger(c.key.node))
	verdict, left := c.m.receive(p, reserved, c.carrier.now())
	if reserved {
		c.accepted()
	}
	if left > 0 {
		c.carrier.burst.give(left)
	}
	if verdict == restarted {
		c.m.die(ErrReset)
		c.update(0)
		c.carrier.mu.Lock()
		c.carrier.addStrayLocked(c.key.node, p)
		c.carrier.mu.Unlock()
	}
}

// accepted gives a stream that has just opened to its listener, or gives the
// reserved place back.
func (c *streamConn) accepted() {
	if c.m.state != stateOpen {
		c.listener.release()
		return
	}
	c.announced = true
	c.carrier.mu.Lock()
	c.carrier.halfOpen.remove(c)
	c.carrier.mu.Unlock()
	c.carrier.peers.established(c.peer)
	if !c.listener.deliver(c) {
		c.m.abort(ErrClosed)
	}
}

// update sends what is due, wakes who waits and sets the timer. It is called
// with the lock held and releases it while it sends. limit bounds the packets
// sent by this call, 0 does not.
func (c *streamConn) update(limit int) {
	c.pump(limit)
	m := c.m
	dead := m.state == stateDead
	if dead || m.receiver.buffered > 0 || m.receiver.finished {
		c.readable.Broadcast()
	}
	if dead || m.sender.pendingBytes <= maxPending/2 {
		c.writable.Broadcast()
	}
	if c.opened != nil && !c.announced && m.state != stateSYNSent {
		c.announced = true
		if !dead {
			c.carrier.peers.established(c.peer)
		}
		close(c.opened)
	}
	if dead && !c.forgotten {
		c.forgotten = true
		c.carrier.forget(c)
	}
	if over := m.over(); over != c.lingering.Load() {
		c.lingering.Store(over)
	}
	c.setTimer()
}

// pump sends what is due, see update. Only one caller at a time does, so that
// packets leave in order.
func (c *streamConn) pump(limit int) {
	if c.pumping {
		return
	}
	c.pumping = true
	defer func() { c.pumping = false }()
	scratch := scratchPool.Get().(*[stream.HeaderSize + stream.SegmentSize]byte)
	defer scratchPool.Put(scratch)
	for sent := 0; ; sent++ {
		if limit > 0 && sent == limit {
			c.carrier.scheduler.schedule(&c.task)
			return
		}
		now := c.carrier.now()
		n := c.m.next(scratch[:], now, c.peer.cold(now), c.allow)
		if n == 0 {
			return
		}
		if c.peer.silent(now) > 0 {
			continue // lost, as everything else sent now would be
		}
		c.mu.Unlock()
		err := c.carrier.layer.WritePacket(scratch[:n], c.key.node)
		c.mu.Lock()
		if err != nil {
			c.m.die(ErrClosed)
		}
	}
}

var scratchPool = sync.Pool{New: func() any { return new([stream.HeaderSize + stream.SegmentSize]byte) }}

func (c *streamConn) allow(n int) bool { return c.carrier.burst.take(&c.turn, n) }

// setTimer makes run happen in time. A timer that fires too early does no
// harm, so it is only ever moved forward.
func (c *streamConn) setTimer() {
	now := c.carrier.now()
	at := c.m.deadline(now)
	switch {
	case c.m.state == stateDead:
		if c.timer != nil {
			c.timer.Stop()
		}
	case at == 0:
		if c.timerAt == 0 {
			c.m.trim()
			c.arriving.Lock()
			c.arriving.packets.trim()
			c.arriving.Unlock()
		}
	case c.timerAt != 0 && c.timerAt <= at:
	case c.timer == nil:
		c.timerAt = at
		c.timer = time.AfterFunc(at-now, c.fire)
	default:
		c.timerAt = at
		c.timer.Reset(at - now)
	}
}

func (c *streamConn) fire() {
	c.mu.Lock()
	c.timerAt = 0
	c.mu.Unlock()
	c.carrier.scheduler.schedule(&c.task)
}

// Read implements net.Conn.
func (c *streamConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.m.closed:
			return 0, net.ErrClosed
		case c.reading.passed:
			return 0, os.ErrDeadlineExceeded
		}
		n, done := c.m.read(p, c.carrier.now())
		switch {
		case n > 0:
			if c.m.receiver.ackNow {
				c.update(writerBurst)
			}
			return n, nil
		case done && c.m.receiver.finished:
			return 0, io.EOF
		case done:
			return 0, c.m.failure()
		case len(p) == 0:
			return 0, nil
		}
		c.readable.Wait()
	}
}

// Write implements net.Conn. It returns when p has been buffered; delivery
// goes on in the background.
func (c *streamConn) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.writing {
		if err := c.writeError(); err != nil {
			return 0, err
		}
		c.writable.Wait()
	}
	c.writing = true
	defer func() {
		c.writing = false
		c.writable.Broadcast()
	}()
	for {
		if err := c.writeError(); err != nil {
			return n, err
		}
		if n == len(p) {
			return n, nil
		}
		taken := c.m.sender.write(p[n:])
		n += taken
		switch {
		case taken > 0:
			c.update(writerBurst)
		case c.m.sender.written >= maxBytes:
			return n, ErrExhausted
		default:
			c.writable.Wait()
		}
	}
}

// WriteNow implements [PromptWriter].
func (c *streamConn) WriteNow(p []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing || !c.m.writable() || !c.m.sender.fits(len(p)) {
		return false
	}
	c.m.sender.write(p)
	c.update(writerBurst)
	return true
}

func (c *streamConn) writeError() error {
	switch {
	case c.m.state == stateDead:
		return c.m.failure()
	case !c.m.writable():
		return net.ErrClosed
	case c.writes.passed:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Close implements net.Conn; see Conn.
func (c *streamConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m.closed {
		return nil
	}
	c.m.close(c.carrier.now())
	c.reading.stop()
	c.writes.stop()
	c.readable.Broadcast()
	c.writable.Broadcast()
	c.update(writerBurst)
	return nil
}

// CloseWrite implements Conn.
func (c *streamConn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m.closed {
		return net.ErrClosed
	}
	c.m.end()
	c.update(writerBurst)
	c.writable.Broadcast()
	return nil
}

// Abort implements Conn.
func (c *streamConn) Abort() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading.stop()
	c.writes.stop()
	c.m.abort(net.ErrClosed)
	c.m.close(c.carrier.now())
	c.update(0)
	return nil
}

// RemoteKey implements Conn.
func (c *streamConn) RemoteKey() identity.NodeKey { return c.key.node }

// LocalAddr implements net.Conn.
func (c *streamConn) LocalAddr() net.Addr { return Addr{c.carrier.Key(), c.key.local} }

// RemoteAddr implements net.Conn.
func (c *streamConn) RemoteAddr() net.Addr { return Addr{c.key.node, c.key.remote} }

// dead reports that the stream has ended with nothing left to read.
func (c *streamConn) dead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m.state == stateDead && c.m.receiver.buffered == 0
}

// attempts is the number of SYNs sent.
func (c *streamConn) attempts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m.syns
}

// openError is the result of dialling, once opened is closed.
func (c *streamConn) openError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m.err
}

// abandon ends a stream that did not open without a packet: it could only keep
// an encryption session alive that the other side has lost.
func (c *streamConn) abandon(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m.state == stateOpen {
		c.m.abort(err)
	} else {
		c.m.die(err)
	}
	c.m.close(c.carrier.now())
	c.update(0)
}

// expel ends a stream that the carrier has forgotten, without a packet.
func (c *streamConn) expel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m.die(ErrReset)
	c.update(0)
}

// evict ends a stream that is evicted for another one, without a packet.
func (c *streamConn) evict() {
	c.carrier.forget(c)
	c.expel()
}

// shutdown ends a stream because the carrier ends, with an RST if reset is set.
func (c *streamConn) shutdown(reset bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading.stop()
	c.writes.stop()
	if reset {
		c.m.abort(ErrClosed)
	} else {
		c.m.die(ErrClosed)
	}
	c.update(0)
}
