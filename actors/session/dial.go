// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/session/attribution"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

const (
	// dialTime is the time to open a data stream, maxDialled the bound of nodes that one
	// session dials.
	dialTime   = attribution.OpenTime
	maxDialled = 8
)

// dialCarrier is a carrier to dial over.
type dialCarrier struct {
	generation Generation
	carrier    overlay.Carrier
}

// carriers returns the carriers that run, the newest generation first.
func (d *Deps) carriers() []dialCarrier {
	var all []dialCarrier
	for _, g := range generations() {
		if c, ok := d.Network.Carrier(g.Kind()); ok {
			all = append(all, dialCarrier{g, c})
		}
	}
	return all
}

// dialer opens a control stream to one of several nodes and runs the handshake up to the
// step after which the peer counts the session.
type dialer struct {
	carriers    []dialCarrier // the newest generation first
	nodes       []identity.NodeKey
	known       map[identity.NodeKey]Generation // of nodes that were met
	subnetAddrs map[identity.NodeKey]netip.Addr // of devices behind nodes
	patience    time.Duration                   // for each stream to open
	config      peer.InitiatorConfig
	secure      func(*stream) peer.Security
	// report is called with the error of each failed handshake.
	report func(identity.NodeKey, error)
}

// dial tries the nodes in order and returns the first that authenticates as the contact.
func (d *dialer) dial(ctx context.Context) (*peerConn, error) {
	var failed attemptErrors
	for i, node := range d.nodes {
		if i >= maxDialled {
			break
		}
		p, err := d.try(ctx, node)
		if err == nil {
			return p, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failed = append(failed, fmt.Errorf("node %s: %w", node.Short(), err))
	}
	return nil, failed
}

// attemptErrors are the errors of all nodes, in one line.
type attemptErrors []error

func (e attemptErrors) Error() string {
	text := []string{errUnreachable.Error()}
	for _, err := range e {
		text = append(text, err.Error())
	}
	return strings.Join(text, "; ")
}

func (e attemptErrors) Unwrap() []error { return e }

// over dials a node over one carrier.
func (d *dialer) over(ctx context.Context, via dialCarrier, node identity.NodeKey) (*peerConn, error) {
	dialCtx, cancel := context.WithTimeout(ctx, d.patience)
	defer cancel()
	conn, err := d.open(dialCtx, via, node)
	if err != nil {
		if dialCtx.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w within %v", overlay.ErrTimeout, d.patience)
		}
		return nil, fmt.Errorf("dial: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Abort() }) // ends a blocked read
	defer stop()
	p, err := d.handshake(newStream(conn, via.generation))
	if err != nil {
		_ = conn.Abort() // the protocol has no error for the peer
		d.report(node, err)
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return p, nil
}

// open opens a stream to a node or, in gen1, to the device behind it.
func (d *dialer) open(ctx context.Context, via dialCarrier, node identity.NodeKey) (overlay.Conn, error) {
	port := via.generation.port()
	if device := d.subnetAddrs[node]; device.IsValid() && via.generation == Gen1 {
		if tcp, ok := via.carrier.(overlay.AddressCarrier); ok {
			return tcp.DialAddress(ctx, netip.AddrPortFrom(device, port))
		}
	}
	return via.carrier.Dial(ctx, node, port)
}

func (d *dialer) handshake(s *stream) (*peerConn, error) {
	if err := s.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return nil, err
	}
	if s.generation.hasRoles() {
		// The role byte is a write of its own, as in the apps.
		if _, err := s.Write([]byte{byte(peer.RoleControl)}); err != nil {
			return nil, err
		}
	}
	config := d.config
	config.Security = d.secure(s)
	hs := s.generation.drive(peer.NewInitiator(config))
	claimAddress(hs, s)
	progress, err := hs.Start()
	if err != nil {
		return nil, err
	}
	if _, err := hs.Drive(s.reader, s, progress); err != nil {
		return nil, err
	}
	return newPeerConn(s, hs), nil
}

// try dials a node over every carrier. It is not known which generation a node speaks,
// and a node does not answer in another one. So each older generation begins after a head
// start of the newer one, or when that has failed. The first that authenticates as the
// contact is returned.
func (d *dialer) try(ctx context.Context, node identity.NodeKey) (*peerConn, error) {
	if len(d.carriers) == 1 {
		return d.over(ctx, d.carriers[0], node)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		conn *peerConn
		err  error
	}
	outcomes := make(chan outcome, len(d.carriers))
	before := make(chan struct{}) // closed when the carrier before has failed
	close(before)
	for i, via := range d.carriers {
		wait, failed := d.delay(i, node), make(chan struct{})
		go func(before <-chan struct{}) {
			timer := time.NewTimer(wait)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-before:
			case <-ctx.Done():
			}
			conn, err := d.over(ctx, via, node)
			if err != nil {
				err = fmt.Errorf("%s: %w", via.generation.Kind(), err)
			}
			outcomes <- outcome{conn, err}
			if err != nil {
				close(failed)
			}
		}(before)
		before = failed
	}
	var taken *peerConn
	var failed attemptErrors
	// It waits for all goroutines, and resets the streams after the first.
	for range d.carriers {
		o := <-outcomes
		switch {
		case o.err != nil:
			failed = append(failed, o.err)
		case taken == nil:
			taken = o.conn
			cancel()
		default:
			_ = o.conn.stream.Abort() // the peer does not count it before our OK
		}
	}
	if taken == nil {
		return nil, failed
	}
	return taken, nil
}

// delay is after which time a carrier begins at the latest.
func (d *dialer) delay(i int, node identity.NodeKey) time.Duration {
	known, met := d.known[node]
	if met && d.carriers[i].generation == known {
		return min(time.Duration(i)*headStart, knownHeadStart)
	}
	return time.Duration(i) * headStart
}
