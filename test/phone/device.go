// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bufio"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
)

// Device is one node with several phones: identities that share a node key, as of a
// family or of a node with several accounts. What comes to the peer port is given to
// the phone that HELLO names, and a data stream to the phone whose session with that
// node is the newest, as nothing else is known of it.
type Device struct {
	carrier overlay.Carrier
	control overlay.Listener
	replies overlay.Datagrams
	stop    context.CancelFunc
	tasks   sync.WaitGroup

	mu     sync.Mutex
	phones []*Phone
	seats  map[Key]*seat
}

// seat is what one phone has of the device: it is the carrier that the phone uses.
type seat struct {
	overlay.Carrier
	device  *Device
	streams chan overlay.Conn
	replies chan datagram
	closed  chan struct{}
	close   func()
}

type datagram struct {
	from    identity.NodeKey
	payload []byte
}

// helloSize is a role byte and HELLO as far as the receiver's key.
const helloSize = 1 + headerSize + 4 + 4 + 32 + 4 + 32

// DeviceInMemory makes phones and starts them on one node of a network in memory.
// They are stopped with the test.
func DeviceInMemory(t testing.TB, net *memnet.Net, phones ...Options) []*Phone {
	t.Helper()
	node := net.Node(overlay.Limits{ConnectionsPerKey: 2 * maxAbandoned})
	t.Cleanup(func() { _ = node.Close() })
	d, err := newDevice(node.Carrier)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	for _, opts := range phones {
		p := New(opts)
		if err := p.Start(d.seat(p)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Stop)
	}
	return d.phones
}

func newDevice(carrier overlay.Carrier) (*Device, error) {
	control, err := carrier.Listen(Port)
	if err != nil {
		return nil, err
	}
	replies, err := carrier.ListenDatagrams(trackerPort)
	if err != nil {
		_ = control.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	d := &Device{carrier: carrier, control: control, replies: replies, stop: stop, seats: make(map[Key]*seat)}
	d.tasks.Go(func() { d.acceptStreams(ctx) })
	d.tasks.Go(func() { d.receiveReplies(ctx) })
	return d, nil
}

func (d *Device) close() {
	d.stop()
	_ = d.control.Close()
	_ = d.replies.Close()
	d.tasks.Wait()
}

// seat adds a phone to the device.
func (d *Device) seat(p *Phone) *seat {
	s := &seat{
		Carrier: d.carrier, device: d, streams: make(chan overlay.Conn, maxAbandoned), replies: make(chan datagram, maxAbandoned),
		closed: make(chan struct{}),
	}
	s.close = sync.OnceFunc(func() { close(s.closed) })
	d.mu.Lock()
	defer d.mu.Unlock()
	d.phones = append(d.phones, p)
	d.seats[p.Key()] = s
	return s
}

// acceptStreams reads from each stream until it is known whose it is.
func (d *Device) acceptStreams(ctx context.Context) {
	for {
		conn, err := d.control.Accept(ctx)
		if err != nil {
			return
		}
		d.tasks.Go(func() {
			c := &begunConn{Conn: conn, in: bufio.NewReader(conn)}
			defer context.AfterFunc(ctx, func() { _ = conn.Abort() })()
			if s := d.find(ctx, c); s == nil || !s.take(c) {
				_ = conn.Abort()
			}
		})
	}
}

// find returns the seat of the phone that a stream is for, nil when it is for none.
func (d *Device) find(ctx context.Context, c *begunConn) *seat {
	_ = c.SetReadDeadline(time.Now().Add(handshakeTime))
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	role, err := c.in.Peek(1)
	if err != nil {
		return nil
	}
	if role[0] == RoleData {
		return d.newest(ctx, c.RemoteKey())
	}
	hello, err := c.in.Peek(helloSize)
	if err != nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seats[Key(hello[helloSize-32:])]
}

// newest waits until a phone has a session with a node, and returns the seat of the
// one whose session is the newest.
func (d *Device) newest(ctx context.Context, node identity.NodeKey) *seat {
	for tried := time.Duration(0); tried < earlyDataTime; tried += earlyDataLook {
		var found *Session
		var at *seat
		d.mu.Lock()
		for _, p := range d.phones {
			if r := p.running(); r != nil {
				if s := r.sessionAt(node); s != nil && (found == nil || s.number > found.number) {
					found, at = s, d.seats[p.Key()]
				}
			}
		}
		d.mu.Unlock()
		if at != nil || !sleep(ctx, earlyDataLook) {
			return at
		}
	}
	return nil
}

const earlyDataLook = 50 * time.Millisecond

// receiveReplies gives what trackers say to every phone: each knows its own questions.
func (d *Device) receiveReplies(ctx context.Context) {
	for {
		from, payload, err := d.replies.Receive(ctx)
		if err != nil {
			return
		}
		d.mu.Lock()
		for _, s := range d.seats {
			select {
			case s.replies <- datagram{from, payload}:
			default: // as lost on the way
			}
		}
		d.mu.Unlock()
	}
}

func (s *seat) take(c overlay.Conn) bool {
	select {
	case s.streams <- c:
		return true
	case <-s.closed:
		return false
	}
}

// Listen implements overlay.Carrier.
func (s *seat) Listen(uint16) (overlay.Listener, error) { return seatListener{s}, nil }

// ListenDatagrams implements overlay.Carrier.
func (s *seat) ListenDatagrams(uint16) (overlay.Datagrams, error) { return seatDatagrams{s}, nil }

type seatListener struct{ *seat }

// Accept implements overlay.Listener.
func (l seatListener) Accept(ctx context.Context) (overlay.Conn, error) {
	select {
	case c := <-l.streams:
		return c, nil
	case <-l.closed:
		return nil, errOff
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close implements overlay.Listener. The seat is not used again.
func (l seatListener) Close() error { l.close(); return nil }

// Port implements overlay.Listener.
func (seatListener) Port() uint16 { return Port }

type seatDatagrams struct{ *seat }

// Send implements overlay.Datagrams.
func (s seatDatagrams) Send(to identity.NodeKey, port uint16, payload []byte) error {
	return s.device.replies.Send(to, port, payload)
}

// Receive implements overlay.Datagrams.
func (s seatDatagrams) Receive(ctx context.Context) (identity.NodeKey, []byte, error) {
	select {
	case r := <-s.replies:
		return r.from, r.payload, nil
	case <-s.closed:
		return identity.NodeKey{}, nil, errOff
	case <-ctx.Done():
		return identity.NodeKey{}, nil, ctx.Err()
	}
}

// Close implements overlay.Datagrams.
func (seatDatagrams) Close() error { return nil }

// begunConn is a stream whose beginning has been looked at.
type begunConn struct {
	overlay.Conn
	in *bufio.Reader
}

func (c *begunConn) Read(b []byte) (int, error) { return c.in.Read(b) }

// sessionNumbers counts the sessions of all phones, so that the newest of several is
// known.
var sessionNumbers atomic.Uint64

var errForgotten = errors.New("data stream from a node that was forgotten with a session")
