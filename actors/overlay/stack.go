// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"log/slog"
	"sync"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/stream"
)

// Stack runs the carriers of one node over its packet layer. It owns the layer,
// and one goroutine at a time reads from it.
type Stack struct {
	layer  PacketLayer
	peers  *peerTable
	limits Limits
	logger *slog.Logger
	stream *streamCarrier
	// contacts and places are shared by all carriers.
	contacts *contactIndex
	places   *places
	memory   *receiveMemory
	// traffic has the carriers that Enable starts.
	traffic traffic
	// handlers are called by the reader, by class of packet. They must neither
	// block nor write packets nor keep the packet: they copy it to a bounded queue
	// or drop it; nil drops.
	handlers map[stream.Class]packetHandler

	reader    sync.WaitGroup
	closeOnce sync.Once
	closing   chan struct{}
	failed    chan struct{}
	err       error // set before failed is closed
}

type packetHandler func(from identity.NodeKey, packet []byte)

// NewStack starts the carriers over a packet layer. Zero limits get defaults, a
// nil logger discards.
func NewStack(layer PacketLayer, limits Limits, logger *slog.Logger) *Stack {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	limits = limits.withDefaults()
	start := time.Now()
	s := &Stack{
		layer:   layer,
		peers:   newPeerTable(start, limits),
		limits:  limits,
		logger:  logger,
		closing: make(chan struct{}),
		failed:  make(chan struct{}),
	}
	s.contacts = new(contactIndex)
	s.places = newPlaces(s.contacts, limits)
	s.memory = newReceiveMemory(limits.ReceiveMemory)
	s.stream = newStreamCarrier(layer, s.peers, s.places, s.memory, limits, logger, start)
	s.handlers = map[stream.Class]packetHandler{
		stream.ClassStream:  s.stream.receive,
		stream.ClassTraffic: s.traffic.receive,
	}
	s.reader.Go(s.read)
	return s
}

// Stream is the carrier of gen3.
func (s *Stack) Stream() Carrier { return s.stream }

// Failed is closed when the packet layer has failed; Close does not close it.
func (s *Stack) Failed() <-chan struct{} { return s.failed }

// Err says why the packet layer has failed, nil while it has not.
func (s *Stack) Err() error {
	select {
	case <-s.failed:
		return s.err
	default:
		return nil
	}
}

// Streams is the number of streams in all states.
func (s *Stack) Streams() int { return s.stream.count() }

// Dropped counts packets thrown away because their sender sent too many.
func (s *Stack) Dropped() uint64 { return s.peers.dropped.Load() }

// Close resets all streams, ends all listeners and closes the packet layer.
func (s *Stack) Close() error {
	var err error
	s.closeOnce.Do(func() {
		close(s.closing)
		s.stream.shutdown(true)
		s.traffic.close(true)
		err = s.layer.Close()
		s.stream.wait()
		s.traffic.wait()
		s.reader.Wait()
	})
	return err
}

// read dispatches packets and does nothing else, see PacketLayer.ReadPacket. When
// QUIC starts, it leaves that to the reader of quic-go: a packet that crosses to
// another goroutine waits for it to wake up, which takes longer than all other work
// on it.
func (s *Stack) read() {
	r := &packetReader{stack: s, buf: make([]byte, 1<<16)}
	for r.next() {
		if c := s.traffic.quic.Load(); c != nil {
			c.packets.read(r)
			return
		}
		r.dispatch()
	}
}

// packetReader reads from the layer. It belongs to one goroutine at a time.
type packetReader struct {
	stack  *Stack
	buf    []byte
	from   identity.NodeKey
	packet []byte // in buf, of from
}

// next reads a packet that may be handled. It returns false when the layer has
// ended, and has told the stack.
func (r *packetReader) next() bool {
	for {
		n, from, err := r.stack.layer.ReadPacket(r.buf)
		if err != nil {
			r.stack.fail(err)
			return false
		}
		if n > 0 && r.stack.peers.admit(from) {
			r.from, r.packet = from, r.buf[:n]
			return true
		}
	}
}

// dispatch passes the packet to the handler of its class.
func (r *packetReader) dispatch() {
	if handle := r.stack.handlers[stream.Classify(r.packet[0])]; handle != nil {
		handle(r.from, r.packet)
	}
}

func (s *Stack) fail(err error) {
	select {
	case <-s.closing:
	default:
		s.err = err
		close(s.failed)
		// Not here: ending streams writes packets, even if they go nowhere.
		s.reader.Go(func() {
			s.stream.shutdown(false)
			s.traffic.close(false)
		})
	}
}
