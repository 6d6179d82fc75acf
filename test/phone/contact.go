// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

var (
	errUnanswered = errors.New("left unanswered: another session is the one")
	errYielded    = errors.New("yielded to a dial of the other side")
	errBusy       = errors.New("is being dialled already")
	errOff        = errors.New("the phone is off")
	errReplaced   = errors.New("replaced by a newer session")
	errBug        = errors.New("taken along by the end of the session it replaced")
)

// replaceBugTime is how long a session lives on that was taken out of the table by
// the end of the one it replaced.
const replaceBugTime = 3 * time.Second

// contact is somebody the phone has to do with. What changes is under Phone.mu.
type contact struct {
	key Key
	// wake tells the courier to look now.
	wake chan struct{}

	accepted bool // is in the list of contacts
	nodes    []place
	outbox   []outgoing // not acknowledged, in order
	posted   uint64
	used     map[GUID]struct{}
	asked    int64 // when the contact's profile was taken over, seconds
	live     *Session
	dial     *dialling
	incoming bool // a handshake of theirs is being completed
}

// outgoing is a message on its way, with a number that no other of the contact has.
// Guids are what a test wants them to be.
type outgoing struct {
	Message
	number uint64
}

// post puts a message into the outbox. The caller holds Phone.mu.
func (c *contact) post(m Message) {
	c.posted++
	c.outbox = append(c.outbox, outgoing{m, c.posted})
}

// place is a node where a contact was found.
type place struct {
	node  identity.NodeKey
	until time.Time
}

// dialling is a dial that is not a session yet.
type dialling struct {
	stop context.CancelFunc
	// final: the last OK is on its way, the other side may count the session.
	final bool
}

// contact returns what the phone knows about somebody.
func (p *Phone) contact(key Key) *contact {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.contacts[key]
	if c == nil {
		c = &contact{key: key, wake: make(chan struct{}, 1), used: make(map[GUID]struct{})}
		p.contacts[key] = c
		if r := p.on; r != nil {
			r.spawn(func() { r.courier(c) })
		}
	}
	return c
}

// AddContact puts somebody into the list of contacts.
func (p *Phone) AddContact(key Key) {
	c := p.contact(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	c.accepted = true
}

// Found tells the phone where a contact is, as if a tracker had.
func (p *Phone) Found(key Key, node identity.NodeKey) {
	c := p.contact(key)
	p.mu.Lock()
	defer p.mu.Unlock()
	c.nodes = []place{{node, time.Now().Add(24 * time.Hour)}}
}

// mayWrite is the permission flag: whether more is taken from somebody than
// contact requests.
func (p *Phone) mayWrite(c *contact) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.accepted || !p.opts.ContactsOnly
}

// Write sends a text to somebody, now or when there is a session.
func (p *Phone) Write(to Key, text string) GUID {
	return p.Post(to, Message{Payload: []byte(text)})
}

// React sends a reaction to a message.
func (p *Phone) React(to Key, emoji string, message GUID) GUID {
	return p.Post(to, Message{Type: Reaction, ReplyTo: message, Payload: react(emoji, message)})
}

// Post sends a message to somebody, now or when there is a session. What is missing
// of guid and time is filled in.
func (p *Phone) Post(to Key, m Message) GUID {
	c := p.contact(to)
	p.mu.Lock()
	c.accepted = true
	if m.SendTime == 0 {
		m.SendTime = time.Now().UnixMilli()
	}
	if m.GUID == 0 {
		m = c.fresh(m)
	}
	c.post(m)
	if p.quirks.Load().ReactionTwice && m.Type == Reaction {
		again := m
		again.SendTime /= 1000
		c.post(c.fresh(again))
	}
	live, r := c.live, p.on
	p.mu.Unlock()
	switch {
	case live != nil:
		poke(live.work)
	case r == nil:
	case p.quirks.Load().ParallelDials > 0:
		for range p.quirks.Load().ParallelDials {
			r.spawn(func() { _, _ = r.connect(r.ctx, c, false) }) // the courier tries again
		}
	default:
		poke(c.wake)
	}
	return m.GUID
}

// fresh gives a message a guid that no other has. Two equal texts in one
// millisecond would have the same.
func (c *contact) fresh(m Message) Message {
	for {
		m.GUID = guidOf(m.Payload, m.SendTime)
		if _, used := c.used[m.GUID]; !used && m.GUID != 0 {
			c.used[m.GUID] = struct{}{}
			return m
		}
		m.SendTime++
	}
}

// Waiting are the messages to somebody that have not been acknowledged.
func (p *Phone) Waiting(to Key) []Message {
	var messages []Message
	for _, m := range p.outbox(p.contact(to)) {
		messages = append(messages, m.Message)
	}
	return messages
}

func (p *Phone) outbox(c *contact) []outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(c.outbox)
}

// Session returns the session with somebody, nil when there is none.
func (p *Phone) Session(with Key) *Session {
	c := p.contact(with)
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.live
}

// Dial makes a session with somebody, unless there is one.
func (p *Phone) Dial(ctx context.Context, to Key) (*Session, error) {
	r := p.running()
	if r == nil {
		return nil, errOff
	}
	return r.connect(ctx, p.contact(to), true)
}

// Ask makes somebody a contact and sends them a contact request.
func (p *Phone) Ask(ctx context.Context, who Key, message string) error {
	p.AddContact(who)
	s, err := p.Dial(ctx, who)
	if err != nil {
		return err
	}
	return s.Send(Frame{Type: TypeContactRequest, Fields: Fields{
		"message": message, "nickname": p.opts.Name, "info": p.opts.Info, "avatar": p.opts.Avatar,
	}})
}

// poke leaves a sign for a goroutine that looks at it in time.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
