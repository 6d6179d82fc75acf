// SPDX-License-Identifier: MPL-2.0

package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/tracker"
)

const (
	// joinTime is how long the second node gets to find a peer, dialTime how long each
	// dial may take and askTime each question: paths through a network that has just
	// begun take a while.
	joinTime = 20 * time.Second
	dialTime = 20 * time.Second
	askTime  = 10 * time.Second
	// askEvery is how often a question is repeated, as datagrams are lost.
	askEvery = 2 * time.Second
	lookEach = 50 * time.Millisecond
)

// Errors of what the second node sees.
var (
	errNoAnswer  = errors.New("no answer")
	errOtherNode = errors.New("it answers, and does not lead to this node")
)

// Question is what the second node is to reach.
type Question struct {
	// Peers are the Yggdrasil peers to join by.
	Peers []string
	// Node is the node that is looked at, zero for none; Accounts are identities that it
	// has, which trackers should lead to it.
	Node     identity.NodeKey
	Accounts []identity.PublicKey
	Trackers []tracker.Address
	Files    identity.NodeKey
}

// Look starts a second node in this process, under a key of its own, looks at everything
// in the question, and ends it. It takes at most about a minute.
func Look(ctx context.Context, q Question) (Outside, error) {
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		return Outside{}, fmt.Errorf("draw key: %w", err)
	}
	network, err := overlay.Open(overlay.Options{Key: key, Peers: q.Peers})
	if err != nil {
		return Outside{}, fmt.Errorf("open network: %w", err)
	}
	out := Outside{}
	joining, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	if out.Connected = joined(joining, network); out.Connected {
		out, err = look(ctx, network.Stream(), q)
	}
	return out, errors.Join(err, network.Close())
}

// joined waits until a network has a peer.
func joined(ctx context.Context, network *overlay.Network) bool {
	again := time.NewTicker(lookEach)
	defer again.Stop()
	for {
		if slices.ContainsFunc(network.Status().Peers, func(p overlay.PeerStatus) bool { return p.Up }) {
			return true
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return false
		}
	}
}

// look asks and dials what is in the question.
func look(ctx context.Context, carrier overlay.Carrier, q Question) (Outside, error) {
	out := Outside{Connected: true, Trackers: make([]error, len(q.Trackers))}
	if !q.Node.IsZero() {
		out.Node = dial(ctx, carrier, q.Node, peer.Port)
	}
	if !q.Files.IsZero() {
		out.Files = dial(ctx, carrier, q.Files, files.Port)
	}
	port, err := carrier.ListenDatagrams(tracker.Port)
	if err != nil {
		return out, fmt.Errorf("listen for trackers: %w", err)
	}
	for i, t := range q.Trackers {
		out.Trackers[i] = ask(ctx, port, t, q)
	}
	return out, port.Close()
}

func dial(ctx context.Context, carrier overlay.Carrier, to identity.NodeKey, port uint16) error {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	for {
		conn, err := carrier.Dial(ctx, to, port)
		switch {
		case err == nil:
			return conn.Close()
		case errors.Is(err, overlay.ErrTimeout) && ctx.Err() == nil:
			continue // there may be no path yet
		case ctx.Err() != nil:
			return errNoAnswer
		}
		return err
	}
}

// ask asks a tracker where the first account is, or only whether the tracker is there.
func ask(ctx context.Context, port overlay.Datagrams, t tracker.Address, q Question) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	nonce, err := tracker.DrawNonce(rand.Reader)
	if err != nil {
		return err
	}
	var request tracker.Request = tracker.Ping{Nonce: nonce}
	lookUp := len(q.Accounts) > 0 && !q.Node.IsZero()
	if lookUp {
		request = tracker.Lookup{Nonce: nonce, Identity: q.Accounts[0]}
	}
	for ctx.Err() == nil {
		if err := port.Send(t.Node, t.Port, request.AppendTo(nil)); err != nil && !errors.Is(err, overlay.ErrSilenced) {
			return err
		}
		reply, err := answerOf(ctx, port, t.Node, nonce)
		if err != nil {
			continue // lost, or there is no path yet
		}
		if !lookUp {
			return nil
		}
		found, err := reply.Lookup(q.Accounts[0])
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(found.Records, func(r tracker.Record) bool { return r.Node == q.Node }) {
			return errOtherNode
		}
		return nil
	}
	return errNoAnswer
}

// answerOf waits for the answer to one datagram.
func answerOf(ctx context.Context, port overlay.Datagrams, from identity.NodeKey, nonce tracker.Nonce) (tracker.Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, askEvery)
	defer cancel()
	for {
		sender, datagram, err := port.Receive(ctx)
		if err != nil {
			return tracker.Reply{}, err
		}
		if reply, ok := tracker.SplitReply(datagram); ok && sender == from && reply.Nonce == nonce {
			return reply, nil
		}
	}
}
