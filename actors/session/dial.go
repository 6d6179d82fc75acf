// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// dialCarrier is a carrier to dial over.
type dialCarrier struct {
	generation Generation
	carrier    overlay.Carrier
}

// carriers returns those that run, the newest generation first.
func (d *Deps) carriers() []dialCarrier {
	var all []dialCarrier
	for _, g := range generations() {
		if c, ok := d.Network.Carrier(g.Kind()); ok {
			all = append(all, dialCarrier{g, c})
		}
	}
	return all
}

// try dials a node over every carrier. Nobody says which generation a node speaks,
// and one that speaks none of it is silent: so the next older generation begins
// after a head start of the newer one, or when that has failed. The first that
// proves to be the contact is taken.
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
	// All are waited for: whoever comes too late is turned away.
	for range d.carriers {
		o := <-outcomes
		switch {
		case o.err != nil:
			failed = append(failed, o.err)
		case taken == nil:
			taken = o.conn
			cancel()
		default:
			_ = o.conn.stream.Abort() // the other side counts nothing before our OK
		}
	}
	if taken == nil {
		return nil, failed
	}
	return taken, nil
}

// delay is when a carrier begins at the latest.
func (d *dialer) delay(i int, node identity.NodeKey) time.Duration {
	known, met := d.known[node]
	if met && d.carriers[i].generation == known {
		return min(time.Duration(i)*headStart, knownHeadStart)
	}
	return time.Duration(i) * headStart
}
