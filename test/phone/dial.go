// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

// courier dials a contact while there is something to send and no session. Its
// pauses are the apps', and up to a quarter more: two phones that got in each
// other's way must not meet again and again.
func (r *running) courier(c *contact) {
	pause := firstRetry
	for {
		if r.wanted(c) {
			_, err := r.connect(r.ctx, c, true)
			if err != nil {
				r.log("dial %v: %v", c.key, err)
			}
		}
		timer := time.NewTimer(pause + rand.N(pause/4))
		select {
		case <-timer.C:
			pause = laterRetry
		case <-c.wake:
			timer.Stop()
			pause = firstRetry
		case <-r.ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (r *running) wanted(c *contact) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(c.outbox) > 0 && c.live == nil && c.dial == nil && !c.incoming
}

// connect makes a session. A guarded dial is the only one, does nothing when there
// is a session, and yields to a dial of the other side.
func (r *running) connect(ctx context.Context, c *contact, guarded bool) (*Session, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(r.ctx, stop)()
	d := &dialling{stop: stop}
	r.mu.Lock()
	if guarded {
		if c.live != nil {
			defer r.mu.Unlock()
			return c.live, nil
		}
		if c.dial != nil || c.incoming {
			r.mu.Unlock()
			return nil, errBusy
		}
		c.dial = d
	}
	r.mu.Unlock()
	s, err := r.dial(ctx, c, d)
	r.mu.Lock()
	if c.dial == d {
		c.dial = nil
	}
	r.mu.Unlock()
	if err != nil {
		r.failed(fmt.Errorf("dial %v: %w", c.key, err))
		return nil, err
	}
	r.establish(c, s)
	r.spawn(s.run)
	return s, nil
}

// dial opens a stream to the contact and does the initiator's part.
func (r *running) dial(ctx context.Context, c *contact, d *dialling) (*Session, error) {
	l, err := r.reach(ctx, c)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, l.interrupt)()
	s := newSession(r, c, l)
	h := r.handshake(l)
	h.Receiver = c.key
	h.Gate = func(next Type) error {
		if next != TypeOK {
			return nil
		}
		if r.quirks.Load().EarlyDataStream {
			if err := s.openData(ctx); err != nil {
				return err
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		d.final = true
		if ctx.Err() != nil {
			return errYielded
		}
		return nil
	}
	if _, err = l.Write([]byte{RoleControl}); err == nil {
		err = h.Initiate(l)
	}
	if err != nil {
		s.vanish(err)
		if ctx.Err() != nil && r.ctx.Err() == nil {
			err = errYielded
		}
		return nil, err
	}
	return s, nil
}

// reach opens a stream to the contact: at the nodes it was found at before, then
// where trackers say, and as a last resort where its node key is its identity key.
// The first stream that opens is the one, whatever comes of it.
func (r *running) reach(ctx context.Context, c *contact) (*Line, error) {
	var tried []identity.NodeKey
	var failures []error
	try := func(nodes []identity.NodeKey) *Line {
		for _, node := range nodes {
			if slices.Contains(tried, node) || node == r.carrier.Key() {
				continue
			}
			tried = append(tried, node)
			conn, err := r.carrier.Dial(ctx, node, Port)
			if err == nil {
				return r.line(conn)
			}
			failures = append(failures, fmt.Errorf("%v: %w", node.Short(), err))
		}
		return nil
	}
	if l := try(r.known(c)); l != nil {
		return l, nil
	}
	if r.trackers != nil {
		found, err := r.trackers.lookup(ctx, c.key)
		if err != nil {
			failures = append(failures, err)
		}
		if len(found) > 0 {
			r.remember(c, found)
		}
		if l := try(r.known(c)); l != nil {
			return l, nil
		}
	}
	if len(tried) == 0 {
		if l := try([]identity.NodeKey{identity.NodeKey(c.key)}); l != nil {
			return l, nil
		}
	}
	return nil, errors.Join(failures...)
}

// known are the nodes where the contact was found and that have not expired.
func (r *running) known(c *contact) []identity.NodeKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	var nodes []identity.NodeKey
	for _, p := range c.nodes {
		if time.Now().Before(p.until) {
			nodes = append(nodes, p.node)
		}
	}
	return nodes
}

func (r *running) remember(c *contact, found []record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.nodes = nil
	for _, rec := range found {
		life := time.Duration(min(rec.ExpiresMS, 24*60*60*1000)) * time.Millisecond
		c.nodes = append(c.nodes, place{rec.Node, time.Now().Add(life)})
	}
}
