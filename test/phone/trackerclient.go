// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// What the apps' core does with trackers.
const (
	firstEstimate = 50 * time.Millisecond // of a tracker's latency
	silencePoints = 25 * time.Millisecond // added when it does not answer
	replyWait     = 5 * time.Second       // for each of up to
	replyTries    = 16                    // datagrams that are looked at
	announceRetry = 60 * time.Second
	announceAs    = 1 // priority and client id of every app
)

// errNoTracker says that no tracker has answered.
var errNoTracker = errors.New("no tracker answers")

// trackers asks trackers, one question at a time: the one that is expected to
// answer soonest is pinged first, and asked when it answers.
type trackers struct {
	port     overlay.Datagrams
	list     []*trackerState
	question chan struct{} // the right to ask
}

type trackerState struct {
	node     identity.NodeKey
	estimate time.Duration
}

func newTrackers(carrier overlay.Carrier, nodes []identity.NodeKey) (*trackers, error) {
	port, err := carrier.ListenDatagrams(trackerPort)
	if err != nil {
		return nil, err
	}
	t := &trackers{port: port, question: make(chan struct{}, 1)}
	for _, node := range nodes {
		t.list = append(t.list, &trackerState{node, firstEstimate})
	}
	return t, nil
}

func (t *trackers) close() { _ = t.port.Close() }

// Announce tells one of the trackers that an identity is at the carrier's node, as a
// phone does while it is on.
func Announce(ctx context.Context, carrier overlay.Carrier, nodes []identity.NodeKey, id Identity) error {
	t, err := newTrackers(carrier, nodes)
	if err != nil {
		return err
	}
	defer t.close()
	_, err = t.announce(ctx, id, carrier.Key())
	return err
}

// announce tells a tracker where the identity is and returns for how long the
// tracker remembers it.
func (t *trackers) announce(ctx context.Context, id Identity, node identity.NodeKey) (time.Duration, error) {
	r, err := t.ask(ctx, commandAnnounce, func(n nonce) []byte {
		return announceRequest(n, id, node, announceAs, announceAs)
	})
	if err != nil {
		return 0, fmt.Errorf("announce: %w", err)
	}
	secs, err := r.ttl()
	return time.Duration(min(secs, 24*60*60)) * time.Second, err
}

// lookup asks a tracker where an identity is.
func (t *trackers) lookup(ctx context.Context, id Key) ([]record, error) {
	r, err := t.ask(ctx, commandGetAddrs, func(n nonce) []byte { return getAddrsRequest(n, id) })
	if err != nil {
		return nil, fmt.Errorf("look up %v: %w", id, err)
	}
	return r.addresses(id)
}

func (t *trackers) ask(ctx context.Context, command byte, make func(nonce) []byte) (reply, error) {
	select {
	case t.question <- struct{}{}:
		defer func() { <-t.question }()
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
	best, err := t.best(ctx)
	if err != nil {
		return reply{}, err
	}
	return t.exchange(ctx, best, command, make)
}

// best pings trackers, the quickest first, and returns the first that answers.
func (t *trackers) best(ctx context.Context) (identity.NodeKey, error) {
	slices.SortStableFunc(t.list, func(a, b *trackerState) int { return int(a.estimate - b.estimate) })
	for _, one := range t.list {
		sent := time.Now()
		ping, stop := context.WithTimeout(ctx, replyWait)
		_, err := t.exchange(ping, one.node, commandPing, pingRequest)
		stop()
		if err == nil {
			one.estimate = time.Since(sent)
			return one.node, nil
		}
		one.estimate += silencePoints
	}
	return identity.NodeKey{}, errors.Join(errNoTracker, ctx.Err())
}

// exchange sends one request and waits for its answer.
func (t *trackers) exchange(ctx context.Context, to identity.NodeKey, command byte, make func(nonce) []byte) (reply, error) {
	var n nonce
	_, _ = rand.Read(n[:]) // never fails, see crypto/rand
	if err := t.port.Send(to, trackerPort, make(n)); err != nil {
		return reply{}, err
	}
	for range replyTries {
		wait, stop := context.WithTimeout(ctx, replyWait)
		from, b, err := t.port.Receive(wait)
		stop()
		if err != nil {
			return reply{}, err
		}
		if from != to || len(b) < 5 || nonce(b[:4]) != n || b[4] != command {
			continue
		}
		return splitReply(b)
	}
	return reply{}, errNoTracker
}

// keepAnnouncing tells trackers where the identity is, again and again.
func (t *trackers) keepAnnouncing(ctx context.Context, id Identity, node identity.NodeKey, announced func()) {
	for {
		pause, err := t.announce(ctx, id, node)
		if err != nil {
			pause = announceRetry
		} else {
			announced()
		}
		if !sleep(ctx, pause) {
			return
		}
	}
}

// sleep waits, or returns false when the context ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
