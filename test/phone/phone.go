// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
)

// How long a phone waits for what, as the apps do.
const (
	streamTime    = 10 * time.Second // for a stream to open
	pingEvery     = 50 * time.Second
	pongTime      = 7 * time.Second
	idleTime      = 600 * time.Second // without a frame other than PING and PONG
	probeTime     = 5 * time.Second   // for a sign of life from a session that another one wants to replace
	earlyDataTime = 10 * time.Second  // for a data stream to get its session
	firstRetry    = 60 * time.Second
	laterRetry    = 120 * time.Second
	// maxAbandoned bounds the streams that a silent phone has lost interest in. The
	// oldest are reset.
	maxAbandoned = 64
)

// Options are what makes one phone different from another.
type Options struct {
	// Name is the owner's nickname; it makes the identity too, unless there is a Seed.
	Name string
	Seed *[ed25519.SeedSize]byte
	// Info and Avatar are the rest of the profile, ProfileTime when it changed, in
	// seconds since 1970; 0 means when the phone was created.
	Info        string
	Avatar      []byte
	ProfileTime int64
	// ContactsOnly: does not take messages from strangers.
	ContactsOnly bool
	// Trackers that the phone asks and tells. Without any it finds only contacts whose
	// node it was told with Found, or whose identity key is their node key.
	Trackers []identity.NodeKey
	Quirks   Quirks
	// Log gets one line for each event; nil discards them.
	Log func(format string, args ...any)
}

// Phone is a phone with the app. It remembers its contacts, what it has not sent
// yet, and everything it has seen, also while it is off.
type Phone struct {
	*ledger
	opts   Options
	id     Identity
	quirks atomic.Pointer[Quirks]

	mu       sync.Mutex
	contacts map[Key]*contact
	issued   map[[32]byte]struct{} // challenges
	on       *running              // nil while the phone is off
}

// running is a phone that is on.
type running struct {
	*Phone
	carrier  overlay.Carrier
	listener overlay.Listener
	trackers *trackers
	ctx      context.Context
	stop     context.CancelFunc
	tasks    sync.WaitGroup

	lists     sync.Mutex // guards what follows
	over      bool
	abandoned []*Line
	sessions  map[*Session]struct{}
	forgotten map[identity.NodeKey]bool // see Quirks.ForgetsNode
}

// New makes a phone. It is off.
func New(opts Options) *Phone {
	p := &Phone{ledger: newLedger(), opts: opts, id: IdentityOf(opts.Name), contacts: make(map[Key]*contact), issued: make(map[[32]byte]struct{})}
	if opts.Seed != nil {
		p.id = NewIdentity(*opts.Seed)
	}
	p.SetQuirks(opts.Quirks)
	if opts.ProfileTime == 0 {
		p.opts.ProfileTime = time.Now().Unix()
	}
	return p
}

// SetQuirks changes what the phone does from now on. Streams keep the way in which
// they are written to.
func (p *Phone) SetQuirks(q Quirks) { p.quirks.Store(&q) }

// InMemory makes a phone and starts it on a node of a network in memory. It is
// stopped with the test.
func InMemory(t testing.TB, net *memnet.Net, opts Options) *Phone {
	t.Helper()
	node := net.Node(overlay.Limits{ConnectionsPerKey: 2 * maxAbandoned})
	t.Cleanup(func() { _ = node.Close() })
	p := New(opts)
	if err := p.Start(node); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// Key is the phone's identity.
func (p *Phone) Key() Key { return p.id.Key() }

// Identity is the phone's identity with its secret, for tests that speak for it.
func (p *Phone) Identity() Identity { return p.id }

// Link is what the phone's owner gives to others.
func (p *Phone) Link() string { return p.Key().Link(p.opts.Name) }

// Node is where the phone can be reached while it is on.
func (p *Phone) Node() identity.NodeKey {
	if r := p.running(); r != nil {
		return r.carrier.Key()
	}
	return identity.NodeKey{}
}

// Start switches the phone on: it listens, announces itself, and tries to get rid
// of what it has not sent. The carrier stays the caller's.
func (p *Phone) Start(carrier overlay.Carrier) error {
	listener, err := carrier.Listen(Port)
	if err != nil {
		return fmt.Errorf("start phone: %w", err)
	}
	r := &running{Phone: p, carrier: carrier, listener: listener, sessions: make(map[*Session]struct{}), forgotten: make(map[identity.NodeKey]bool)}
	if len(p.opts.Trackers) > 0 {
		if r.trackers, err = newTrackers(carrier, p.opts.Trackers); err != nil {
			_ = listener.Close()
			return fmt.Errorf("start phone: %w", err)
		}
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.on = r
	r.spawn(r.accept)
	if r.trackers != nil {
		r.spawn(func() { r.trackers.keepAnnouncing(r.ctx, p.id, carrier.Key(), p.noteAnnounced) })
	}
	for _, c := range p.contacts {
		r.spawn(func() { r.courier(c) })
	}
	return nil
}

// Stop switches the phone off: it ends its sessions in order and waits until
// nothing of it runs. It may be started again.
func (p *Phone) Stop() {
	p.mu.Lock()
	r := p.on
	p.on = nil
	p.mu.Unlock()
	if r == nil {
		return
	}
	r.lists.Lock()
	r.over = true
	sessions, abandoned := slices.Collect(maps.Keys(r.sessions)), r.abandoned
	r.lists.Unlock()
	for _, s := range sessions {
		s.end(errStopped)
	}
	for _, l := range abandoned {
		l.Abort()
	}
	r.stop()
	_ = r.listener.Close()
	if r.trackers != nil {
		r.trackers.close()
	}
	r.tasks.Wait()
}

var errStopped = errors.New("the phone was switched off")

func (p *Phone) running() *running {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.on
}

func (p *Phone) log(format string, args ...any) {
	if p.opts.Log != nil {
		p.opts.Log("%s: "+format, append([]any{p.opts.Name}, args...)...)
	}
}

// spawn runs a task that Stop waits for. It does nothing when the phone is being
// switched off.
func (r *running) spawn(task func()) {
	r.lists.Lock()
	defer r.lists.Unlock()
	if !r.over {
		r.tasks.Go(task)
	}
}

// abandon drops a line after something went wrong on it.
func (r *running) abandon(l *Line) {
	r.lists.Lock()
	defer r.lists.Unlock()
	if r.over || !r.quirks.Load().Silent {
		l.Abort()
		return
	}
	r.abandoned = append(r.abandoned, l)
	if len(r.abandoned) > maxAbandoned {
		r.abandoned[0].Abort()
		r.abandoned = r.abandoned[1:]
	}
}

// accept takes streams from other nodes.
func (r *running) accept() {
	for {
		conn, err := r.listener.Accept(r.ctx)
		if err != nil {
			return
		}
		r.spawn(func() {
			l := r.line(conn)
			defer context.AfterFunc(r.ctx, l.interrupt)()
			r.greet(l)
		})
	}
}

// line is a stream that writes as the phone's quirks want it.
func (r *running) line(conn overlay.Conn) *Line {
	l := NewLine(conn)
	switch q := r.quirks.Load(); {
	case q.ByteByByte:
		l.split = singleBytes
	case q.HeaderApart:
		l.split = afterHeader
	}
	return l
}

// greet finds out what a stream is for.
func (r *running) greet(l *Line) {
	role, err := l.ReadBytes(1, handshakeTime)
	switch {
	case err != nil:
		r.failed(fmt.Errorf("role byte from %v: %w", l.Node().Short(), err))
		r.abandon(l)
	case role[0] == RoleControl:
		r.greetControl(l)
	case role[0] == RoleData:
		r.greetData(l)
	default:
		r.failed(fmt.Errorf("role byte %02x from %v", role[0], l.Node().Short()))
		r.abandon(l)
	}
}

// greetControl is the acceptor's side of a new session.
func (r *running) greetControl(l *Line) {
	var admitted *contact
	h := r.handshake(l)
	h.Gate = func(next Type) error {
		if next != TypeOK {
			return nil
		}
		c := r.contact(h.Remote)
		if !r.admit(c) {
			return errUnanswered
		}
		admitted = c
		return nil
	}
	if err := h.Accept(l); err != nil {
		if admitted != nil {
			r.admitted(admitted, nil)
		}
		r.log("handshake of %v: %v", l.Node().Short(), err)
		r.failed(fmt.Errorf("accept %v: %w", l.Node().Short(), err))
		r.abandon(l)
		return
	}
	s := newSession(r, admitted, l)
	r.admitted(admitted, s)
	s.run()
}

// handshake prepares a handshake that signs nothing that could be used elsewhere:
// a signer of 32 bytes must not know what they are.
func (r *running) handshake(l *Line) *Handshake {
	h := &Handshake{Identity: r.id, Challenge: drawChallenge()}
	if r.quirks.Load().PlainChallenges {
		h.Challenge = PlainChallenge()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.issued[[32]byte(h.Challenge)] = struct{}{}
	h.Sign = func(challenge []byte) []byte {
		if r.recognises([32]byte(challenge), l) {
			return nil
		}
		return r.id.Sign(challenge)
	}
	return h
}

// recognises reports whether a challenge is a key that the phone knows, or one that
// it has drawn itself.
func (r *running) recognises(challenge [32]byte, l *Line) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := []identity.NodeKey{r.carrier.Key(), l.Node(), identity.NodeKey(r.id.Key())}
	known = append(known, r.opts.Trackers...)
	for _, c := range r.contacts {
		for _, p := range c.nodes {
			known = append(known, p.node)
		}
	}
	_, own := r.issued[challenge]
	return own || slices.Contains(known, identity.NodeKey(challenge))
}

// greetData reads a data stream. It names nobody, so it belongs to the newest session
// with its node, of any contact.
func (r *running) greetData(l *Line) {
	var s *Session
	find := func() bool {
		s = r.sessionAt(l.Node())
		return s != nil
	}
	if r.quirks.Load().ForgetsNode && r.forgot(l.Node()) {
		r.failed(fmt.Errorf("%w: %v", errForgotten, l.Node().Short()))
		r.abandon(l)
		return
	}
	if !find() && !r.quirks.Load().DropsEarlyData {
		ctx, cancel := context.WithTimeout(r.ctx, earlyDataTime)
		defer cancel()
		_ = r.Await(ctx, find) // s says whether it came
	}
	if s == nil {
		r.failed(fmt.Errorf("data stream from %v without a session", l.Node().Short()))
		r.abandon(l)
		return
	}
	s.readData(l)
}

// sessionAt is the newest session with a node.
func (r *running) sessionAt(node identity.NodeKey) *Session {
	r.lists.Lock()
	defer r.lists.Unlock()
	var newest *Session
	for s := range r.sessions {
		if s.line.Node() == node && (newest == nil || s.number > newest.number) {
			newest = s
		}
	}
	return newest
}

// forgot reports whether a session with a node has ended since the newest began.
func (r *running) forgot(node identity.NodeKey) bool {
	r.lists.Lock()
	defer r.lists.Unlock()
	return r.forgotten[node]
}
