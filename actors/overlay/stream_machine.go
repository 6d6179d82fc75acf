// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"net"
	"time"

	"github.com/mimird/mimird/proto/stream"
)

const (
	// openLimit is how long an opening may take on either side.
	openLimit = 10 * time.Second
	// finRepeats is how often a FIN is repeated without an answer. The reference
	// answers it once at most.
	finRepeats = 5
	// restartAge is the age from which a SYN for an open stream means that its
	// peer restarted and counts its ports from the beginning again.
	restartAge = 15 * time.Second
	// farewell is how long a stream that both sides have ended, or that we have
	// closed, still answers for itself.
	farewell = 5 * time.Second
	// closeLimit is how long a closed stream waits for the other side's end.
	closeLimit = 10 * time.Second
	// lingerLimit is how long a closed stream waits for a peer that lives but
	// takes no more bytes.
	lingerLimit = time.Minute
)

// synPauses are the pauses after each SYN; the sum is openLimit.
var synPauses = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 3 * time.Second}

type machineState uint8

const (
	stateSYNSent machineState = iota
	stateSYNReceived
	stateOpen
	stateDead
)

// machine is one stream's state. It knows neither clocks nor sockets nor
// locks: events go in with the time since the carrier's start, packets are
// fetched with next. Its owner serialises calls.
//
// The reference's names for its states follow from the fields: FIN_WAIT is
// finSent, CLOSE_WAIT is receiver.finished.
type machine struct {
	local, remote uint16
	state         machineState
	// acceptor: the other side opened the stream.
	acceptor bool
	// err says why the machine is dead.
	err error

	sender   sender
	receiver receiver

	// openedAt is when the state became stateOpen.
	openedAt time.Duration
	// began is when the opening began, synAt when the next SYN or its answer is
	// due, syns how many have left.
	began, synAt time.Duration
	syns         int
	// owed are the flags of a packet of the opening, or of an RST, to send now.
	owed stream.Flags

	// ending: nothing more will be written. closed: nothing will be read either.
	ending, closed bool
	// finSent and finAcknowledged follow our FIN, finCount counts its packets,
	// finAt is when it is due again.
	finSent, finAcknowledged bool
	finCount                 int
	finAt                    time.Duration
	// The reference acknowledges a FIN without counting it. That cannot be told
	// from an acknowledgment that was under way already, and to believe it would
	// leave others waiting for an end that got lost. So it counts only together
	// with the FIN of a peer that is the reference, which has no ACK flag; until
	// then ours is repeated to it a few times for nothing.
	finHalfAcknowledged, bareFIN bool
	// endAt is when the machine dies by itself, lingerAt when it gives up on
	// bytes that the peer does not take; 0 is never.
	endAt, lingerAt time.Duration
}

// newDialer returns a machine that opens a stream.
func newDialer(local, remote uint16, memory *streamMemory, now time.Duration) *machine {
	m := newMachine(local, remote, memory, now)
	m.state = stateSYNSent
	m.synAt = now
	m.expire(now)
	return m
}

// newAcceptor returns a machine that answers a SYN.
func newAcceptor(syn stream.Header, memory *streamMemory, now time.Duration) *machine {
	m := newMachine(syn.DestinationPort, syn.SourcePort, memory, now)
	m.state = stateSYNReceived
	m.acceptor = true
	m.sender.window = int(syn.Window)
	m.endAt = now + openLimit
	m.synAt = now
	m.expire(now)
	return m
}

func newMachine(local, remote uint16, memory *streamMemory, now time.Duration) *machine {
	return &machine{
		local: local, remote: remote, began: now,
		sender: newSender(),
		receiver: receiver{
			memory: memory, edge: stream.DefaultWindow, advertised: stream.DefaultWindow,
		},
	}
}

// verdict is what a packet means beyond the stream it was sent to.
type verdict uint8

const (
	// handled: nothing further.
	handled verdict = iota
	// restarted: the packet is the SYN of a new stream in this one's place.
	restarted
)

// receive handles a packet and owns its payload. mayOpen is false while
// the listener's queue is full. It returns a verdict and how many bytes
// the packet shows to have left the network.
func (m *machine) receive(p stream.Packet, mayOpen bool, now time.Duration) (verdict, int) {
	switch m.state {
	case stateSYNSent:
		m.receiveOpening(p, now)
	case stateSYNReceived:
		if m.receiveAccepting(p, mayOpen, now) {
			return handled, m.receiveOpen(p, now)
		}
	case stateOpen:
		if p.Flags&(stream.SYN|stream.ACK|stream.RST) == stream.SYN {
			putBuffer(p.Payload)
			return m.receiveSYN(now), 0
		}
		return handled, m.receiveOpen(p, now)
	case stateDead:
	}
	putBuffer(p.Payload)
	return handled, 0
}

// receiveOpening waits for the answer to our SYN.
func (m *machine) receiveOpening(p stream.Packet, now time.Duration) {
	switch {
	case p.Flags.Has(stream.RST):
		m.die(ErrRefused)
	case p.Flags.Has(stream.SYN | stream.ACK):
		m.open(now)
		m.sender.window = int(p.Window)
		// The third packet of the handshake has no payload.
		m.receiver.duplicates = 1
	}
}

// receiveAccepting waits for the answer to our SYN-ACK and reports whether the
// packet is to be handled as one of an open stream.
func (m *machine) receiveAccepting(p stream.Packet, mayOpen bool, now time.Duration) bool {
	switch {
	case p.Flags.Has(stream.RST):
		m.die(ErrReset)
	case p.Flags&(stream.ACK|stream.SYN) != stream.ACK:
		m.owed = stream.SYN | stream.ACK
		m.syns = max(m.syns, 2) // the round trip cannot be measured any more
	case mayOpen:
		m.open(now)
		m.sender.window = int(p.Window)
		return true
	}
	return false
}

func (m *machine) open(now time.Duration) {
	m.state = stateOpen
	m.openedAt = now
	m.endAt, m.synAt = 0, 0
	if m.syns == 1 {
		m.sender.congestion.rtt.sample(now-m.began, now)
	}
}

// receiveSYN handles the SYN of a peer that does not know the stream.
func (m *machine) receiveSYN(now time.Duration) verdict {
	switch {
	case !m.acceptor:
	case now-m.openedAt >= restartAge, m.over():
		return restarted
	case m.receiver.next == 0 && m.sender.highest == 0:
		// Nothing has flowed: to the peer this stream is as good as a new one.
		m.owed = stream.SYN | stream.ACK
	}
	// Otherwise a late copy, or a peer that restarted just now: an answer would
	// join its new stream to the bytes of the old one.
	return handled
}

// receiveOpen handles a packet of an open stream and owns its payload.
func (m *machine) receiveOpen(p stream.Packet, now time.Duration) (left int) {
	if p.Flags.Has(stream.RST) {
		putBuffer(p.Payload)
		m.reset()
		return 0
	}
	m.sender.heard()
	control := p.Flags.Has(stream.SYN) || p.Flags.Has(stream.FIN)
	if p.Flags.Has(stream.ACK) {
		left = m.receiveACK(p, len(p.Payload) == 0 && !control, now)
	}
	switch {
	case p.Flags.Has(stream.SYN):
		// A repeated SYN-ACK: our acknowledgment of the first one was lost.
		m.receiver.ackNow = true
	case p.Flags.Has(stream.FIN):
		m.receiver.finish(uint64(p.Sequence))
		m.bareFIN = !p.Flags.Has(stream.ACK)
	case len(p.Payload) > 0:
		if uint64(p.Sequence)+uint64(len(p.Payload)) > 1<<32-2 {
			// The reference would count from 0 again and break.
			putBuffer(p.Payload)
			m.abort(ErrExhausted)
			return left
		}
		m.receiver.accept(uint64(p.Sequence), p.Payload, now)
		m.settle(now)
		return left
	}
	putBuffer(p.Payload)
	m.settle(now)
	return left
}

// receiveACK handles the acknowledgment of a packet. pure says that it carries
// nothing else.
func (m *machine) receiveACK(p stream.Packet, pure bool, now time.Duration) int {
	ack := p.Acknowledgment
	s := &m.sender
	switch {
	case !m.finSent:
	case ack == s.highest+1:
		m.finAcknowledged, m.finAt = true, 0
		ack = s.highest
	case ack == s.highest && pure:
		m.finHalfAcknowledged = true
	}
	left := s.acknowledge(ack, p.Window, pure, now)
	if left > 0 && m.lingerAt != 0 {
		m.lingerAt = now + lingerLimit
	}
	return left
}

// settle sets when a stream ends that has nothing left to do.
func (m *machine) settle(now time.Duration) {
	if m.state != stateOpen || m.endAt != 0 {
		return
	}
	if m.closed && m.lingerAt == 0 {
		m.lingerAt = now + lingerLimit
	}
	if m.finHalfAcknowledged && m.bareFIN {
		m.finAcknowledged, m.finAt = true, 0
	}
	finished := m.finSent && (m.finAcknowledged || m.finCount > finRepeats)
	switch {
	case finished && m.receiver.finished:
		m.endAt = now + farewell
	case finished && m.closed:
		m.endAt = now + closeLimit
	}
}

// over says that only the stream's farewell is left: all bytes have arrived, and
// nobody here reads any more.
func (m *machine) over() bool {
	return m.state == stateDead || m.state == stateOpen && (m.endAt != 0 || m.closed && m.finSent)
}

// expire does what is due.
func (m *machine) expire(now time.Duration) {
	switch m.state {
	case stateSYNSent:
		if now < m.synAt {
			return
		}
		if m.syns == len(synPauses) {
			m.die(ErrTimeout)
			return
		}
		m.owed = stream.SYN
		m.synAt = now + synPauses[m.syns]
		m.syns++
	case stateSYNReceived:
		// The reference does not repeat its answer. Ours does, for a dialler that
		// waits for the other side to speak and whose third packet was lost.
		switch {
		case now >= m.endAt:
			m.abort(ErrTimeout)
		case now >= m.synAt && m.syns < len(synPauses):
			m.owed = stream.SYN | stream.ACK
			m.synAt = now + synPauses[m.syns]
			m.syns++
		}
	case stateOpen:
		m.receiver.expire(now)
		if !m.sender.expire(now) {
			m.abort(ErrTimeout)
			return
		}
		if m.finAt != 0 && now >= m.finAt {
			m.finAt = 0
			m.sender.retry()
			if m.finCount <= finRepeats {
				m.owed = stream.FIN
			}
		}
		m.settle(now)
		switch {
		case m.endAt != 0:
			if now >= m.endAt {
				m.die(net.ErrClosed)
			}
		case m.lingerAt != 0 && now >= m.lingerAt:
			m.abort(ErrTimeout)
		}
	case stateDead:
	}
}

// deadline is when expire must be called next, 0 when only events matter.
func (m *machine) deadline(now time.Duration) time.Duration {
	var earliest time.Duration
	consider := func(at time.Duration) {
		if at != 0 && (earliest == 0 || at < earliest) {
			earliest = at
		}
	}
	switch m.state {
	case stateSYNSent:
		consider(m.synAt)
	case stateSYNReceived:
		consider(m.endAt)
		if m.syns < len(synPauses) {
			consider(m.synAt)
		}
	case stateOpen:
		m.sender.await(now)
		consider(m.sender.timeoutAt)
		consider(m.sender.probeAt)
		consider(m.receiver.ackAt)
		consider(m.receiver.updateAt)
		if m.receiver.gapAt != 0 {
			consider(m.receiver.gapAt + gapTime)
		}
		consider(m.finAt)
		consider(m.endAt)
		if m.endAt == 0 {
			consider(m.lingerAt)
		}
	case stateDead:
	}
	return earliest
}

// next writes the next packet to send into buf, which holds a full segment,
// and returns its length, 0 when there is nothing to send. See nextSegment for
// cold and allow.
func (m *machine) next(buf []byte, now time.Duration, cold bool, allow func(int) bool) int {
	if m.owed != 0 && m.owed != stream.FIN {
		return m.nextOwed(buf)
	}
	if m.state != stateOpen {
		return 0
	}
	if m.receiver.duplicates > 0 {
		m.receiver.duplicates--
		return m.packet(buf, stream.ACK, 0, nil, now)
	}
	if seg := m.sender.nextSegment(now, cold, allow); seg != nil {
		return m.packet(buf, stream.ACK, seg.seq, seg.data, now)
	}
	if s := &m.sender; s.probe && s.una > 0 && s.unacked() == 0 {
		// A byte that was acknowledged before: the answer tells the window.
		s.probe = false
		return m.packet(buf, stream.ACK, s.una-1, []byte{s.lastByte}, now)
	}
	if m.finDue() {
		return m.nextFIN(buf, now)
	}
	if m.receiver.ackNow {
		return m.packet(buf, stream.ACK, 0, nil, now)
	}
	return 0
}

// nextOwed writes a packet of the opening or an RST.
func (m *machine) nextOwed(buf []byte) int {
	h := stream.ControlHeader(m.local, m.remote, m.owed)
	m.owed = 0
	return len(h.AppendTo(buf[:0]))
}

// finDue says that a FIN is to be sent: only after everything else has been
// acknowledged, because the reference loses what is missing when it arrives.
func (m *machine) finDue() bool {
	if m.owed == stream.FIN {
		return true
	}
	return m.ending && !m.finSent && m.sender.idle()
}

func (m *machine) nextFIN(buf []byte, now time.Duration) int {
	m.owed = 0
	m.finSent = true
	m.finCount++
	m.finAt = now + m.sender.timeout()
	return m.packet(buf, stream.FIN|stream.ACK, m.sender.highest, nil, now)
}

// packet writes a packet with the current acknowledgment.
func (m *machine) packet(buf []byte, flags stream.Flags, seq uint32, payload []byte, now time.Duration) int {
	h := stream.Header{SourcePort: m.local, DestinationPort: m.remote, Sequence: seq, Flags: flags}
	h.Acknowledgment, h.Window = m.receiver.acknowledge(now)
	return len(append(h.AppendTo(buf[:0]), payload...))
}

// end says that nothing more will be written.
func (m *machine) end() { m.ending = true }

// close says that nothing more will be written or read.
func (m *machine) close(now time.Duration) {
	m.ending, m.closed = true, true
	m.receiver.drop()
	m.settle(now)
}

// abort ends the stream with an RST.
func (m *machine) abort(err error) {
	if m.state == stateDead {
		return
	}
	m.die(err)
	m.owed = stream.RST
}

// reset handles an RST. After both ends it says nothing new.
func (m *machine) reset() {
	if m.receiver.finished && m.finSent {
		m.die(net.ErrClosed)
		return
	}
	m.die(ErrReset)
}

// die ends the stream. What has arrived in order can still be read.
func (m *machine) die(err error) {
	m.state = stateDead
	m.err = err
	m.owed = 0
	m.sender.drop()
	m.receiver.dropEarly()
	if m.closed {
		m.receiver.drop()
	}
}

// read moves arrived bytes to p. It returns 0 when there are none yet, and
// done when there will be none.
func (m *machine) read(p []byte, now time.Duration) (n int, done bool) {
	n = m.receiver.read(p, now)
	return n, n == 0 && m.receiver.buffered == 0 && (m.receiver.finished || m.state == stateDead)
}

// writable says that bytes may still be written.
func (m *machine) writable() bool { return m.state != stateDead && !m.ending }

// failure is what Write returns once nothing can be written, Read after the
// last byte.
func (m *machine) failure() error {
	switch {
	case m.closed:
		return net.ErrClosed
	case m.state == stateDead:
		return m.err
	}
	return nil
}

// trim gives back memory that only a busy stream needs.
func (m *machine) trim() {
	m.sender.segments.trim()
	m.sender.pending.trim()
	m.receiver.chunks.trim()
}
