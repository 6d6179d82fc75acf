// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

const (
	handshakeRounds = 5
	// handshakesPerRound are done by handshakeWorkers at a time, fewer than the
	// streams that a node may have open to us.
	handshakesPerRound = 128
	handshakeWorkers   = 2
)

// sessionFigures measure the beginning of a session.
func sessionFigures() []figure {
	return []figure{{"session-handshakes", measureHandshakes}, {"session-receive", measureReceive}}
}

// measureHandshakes counts the handshakes that a whole node completes, with dialling
// and over a real Yggdrasil link, and compares them with what nobody can do
// without: both sides' signatures and their verification. Both sides run on the
// same cores.
func measureHandshakes(ctx context.Context) (_ result, err error) {
	rig, err := newNodeRig(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, rig.close()) }()
	var callers []phone.Identity
	for range handshakeRounds * handshakesPerRound {
		caller := randomIdentity()
		if _, err := rig.node.AddContact(ctx, rig.account, identity.Link{Key: identity.PublicKey(caller.Key())}); err != nil {
			return result{}, err
		}
		callers = append(callers, caller)
	}
	// A node that has a stream with us may send more than one that has none.
	standing, err := rig.dial(ctx)
	if err != nil {
		return result{}, err
	}
	defer standing.Close()

	var ours, signatures []float64
	for round := range handshakeRounds {
		mine := callers[round*handshakesPerRound : (round+1)*handshakesPerRound]
		rate, err := perSecond(len(mine), func(i int) error { return rig.handshake(ctx, mine[i]) })
		if err != nil {
			return result{}, err
		}
		bare, err := perSecond(len(mine), func(i int) error { return proveBoth(mine[i], rig.owner) })
		if err != nil {
			return result{}, err
		}
		ours, signatures = append(ours, rate), append(signatures, bare)
	}
	rate, bare := median(ours), median(signatures)
	return result{
		ratio:    rate / bare,
		baseline: "the signatures of both sides alone",
		detail:   fmt.Sprintf("%.0f handshakes/s with dialling, signatures for %.0f/s", rate, bare),
	}, nil
}

// perSecond does something n times with a few workers.
func perSecond(n int, do func(i int) error) (float64, error) {
	next := make(chan int)
	errs := make([]error, n)
	var workers sync.WaitGroup
	begun := time.Now()
	for range handshakeWorkers {
		workers.Go(func() {
			for i := range next {
				errs[i] = do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	workers.Wait()
	return float64(n) / time.Since(begun).Seconds(), errors.Join(errs...)
}

// proveBoth is the cryptography of a handshake.
func proveBoth(a, b phone.Identity) error {
	for _, who := range []phone.Identity{a, b} {
		var challenge [32]byte
		_, _ = rand.Read(challenge[:]) // never fails
		key := who.Key()
		if !ed25519.Verify(key[:], challenge[:], who.Sign(challenge[:])) {
			return errors.New("signature does not verify")
		}
	}
	return nil
}

func randomIdentity() phone.Identity {
	var seed [ed25519.SeedSize]byte
	_, _ = rand.Read(seed[:]) // never fails
	return phone.NewIdentity(seed)
}

// nodeRig is a node with one account, and a second Yggdrasil node from where
// phones call it.
type nodeRig struct {
	dir  string
	opts node.Options
	node *node.Node
	// listening is where the node's Yggdrasil can be joined.
	listening []string
	phones    *overlay.Network // the phones' Yggdrasil node
	account   identity.PublicKey
	owner     phone.Identity // stands for the account in baselines
}

// newNodeRig starts a node, with some options changed, and waits until it can be
// reached.
func newNodeRig(ctx context.Context, change ...func(*node.Options)) (_ *nodeRig, err error) {
	dir, err := os.MkdirTemp("", "mimird-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a place for the node: %w", err)
	}
	rig := &nodeRig{dir: dir, owner: randomIdentity()}
	defer func() {
		if err != nil {
			err = errors.Join(err, rig.close())
		}
	}()
	listening := make(chan []string, 1)
	opts := node.Options{
		Dir: dir,
		OpenNetwork: func(key identity.NodePrivateKey) (uplink.Network, error) {
			network, err := overlay.Open(overlay.Options{Key: key, Listen: []string{"tcp://127.0.0.1:0"}})
			if err == nil {
				select {
				case listening <- network.ListenAddrs():
				default: // it was started again
				}
			}
			return network, err
		},
	}
	for _, f := range change {
		f(&opts)
	}
	rig.opts = opts
	if rig.node, err = node.Open(opts); err != nil {
		return nil, err
	}
	if err := rig.node.Start(ctx); err != nil {
		return nil, err
	}
	account, err := rig.node.CreateAccount(ctx, "bench")
	if err != nil {
		return nil, err
	}
	rig.account = account.ID
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	select {
	case rig.listening = <-listening:
		rig.phones, err = overlay.Open(overlay.Options{Key: key, Peers: rig.listening})
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	line, err := rig.dial(ctx)
	if err != nil {
		return nil, err
	}
	line.Close()
	return rig, nil
}

// restart stops the node, does something to its data, and starts it again.
func (r *nodeRig) restart(ctx context.Context, meanwhile func() error) error {
	if err := r.stop(); err != nil {
		return err
	}
	if err := meanwhile(); err != nil {
		return err
	}
	opened, err := node.Open(r.opts)
	if err != nil {
		return err
	}
	r.node = opened
	return r.node.Start(ctx)
}

func (r *nodeRig) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stopped := r.node
	r.node = nil
	return errors.Join(stopped.Stop(ctx), stopped.Close())
}

func (r *nodeRig) close() error {
	var errs []error
	if r.node != nil {
		errs = append(errs, r.stop())
	}
	if r.phones != nil {
		errs = append(errs, r.phones.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

// dial opens a stream to the node.
func (r *nodeRig) dial(ctx context.Context) (*phone.Line, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		line, err := phone.DialLine(ctx, r.phones.Stream(), r.node.Key())
		if err == nil || !errors.Is(err, overlay.ErrTimeout) || ctx.Err() != nil {
			return line, err
		}
	}
}

// handshake calls the node, lets both sides prove who they are, and hangs up.
func (r *nodeRig) handshake(ctx context.Context, caller phone.Identity) error {
	line, err := r.dial(ctx)
	if err != nil {
		return err
	}
	defer line.Close()
	if _, err := line.Write([]byte{0}); err != nil {
		return err
	}
	h := phone.Handshake{Identity: caller, Receiver: phone.Key(r.account)}
	return h.Initiate(line)
}
