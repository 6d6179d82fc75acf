// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/trackerserver"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/test/poll"
)

const (
	// nodesAccounts of each node are contacts of all accounts of the other one: so many
	// conversations by so many.
	nodesAccounts = 10
	nodesRounds   = 3
	// nodesTexts are written in all conversations together in a round, oneTexts in a single
	// one.
	nodesTexts = 1000
	oneTexts   = 150
)

// nodesFigures measure texts between two nodes of ours, from the outbox of one to the disk of
// the other. Both are in this process.
func nodesFigures() []figure {
	return []figure{
		{"nodes-1-conversation", func(ctx context.Context) (result, error) {
			return measureNodes(ctx, 1, oneTexts, "the disk's own append+fdatasync", func(ctx context.Context, dir string) (float64, error) {
				return appendRate(ctx, filepath.Join(dir, "append"), storeSlice)
			})
		}},
		{"nodes-100-conversations", func(ctx context.Context) (result, error) {
			return measureNodes(ctx, nodesAccounts, nodesTexts, "store-accept-100-writers", func(ctx context.Context, dir string) (_ float64, err error) {
				rig, err := newStoreRig(filepath.Join(dir, "store"), nodesAccounts*nodesAccounts)
				if err != nil {
					return 0, err
				}
				defer func() { err = errors.Join(err, rig.close(), os.RemoveAll(filepath.Join(dir, "store"))) }()
				return rig.acceptRate(ctx, storeSlice)
			})
		}},
	}
}

func measureNodes(ctx context.Context, accounts, texts int, baseline string, bare func(ctx context.Context, dir string) (float64, error)) (_ result, err error) {
	dir, err := storeDir()
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	pair, err := newNodePair(ctx, dir, accounts)
	if err != nil {
		return result{}, errors.Join(err, pair.close())
	}
	defer func() { err = errors.Join(err, pair.close()) }()
	if err := pair.exchange(ctx, accounts*accounts); err != nil { // the sessions begin
		return result{}, err
	}
	var ours, disk, used []float64
	for range nodesRounds {
		rate, err := bare(ctx, dir)
		if err != nil {
			return result{}, err
		}
		begun := time.Now()
		processor, err := processorTime(func() error { return pair.exchange(ctx, texts) })
		if err != nil {
			return result{}, err
		}
		ours = append(ours, float64(texts)/time.Since(begun).Seconds())
		disk, used = append(disk, rate), append(used, processor.Seconds()*1e6/float64(texts))
	}
	got, base := median(ours), median(disk)
	return result{
		ratio:    got / base,
		baseline: baseline,
		detail: fmt.Sprintf("%.0f texts/s in %d conversations, the baseline %.0f/s; %.0f us of processor time for a text, both nodes and the network",
			got, accounts*accounts, base, median(used)),
	}, nil
}

// nodePair is two nodes with a Yggdrasil link, and a tracker beside them.
type nodePair struct {
	nodes    []*node.Node // the tracker, the receiver, the sender
	accounts [2][]identity.PublicKey
}

func newNodePair(ctx context.Context, dir string, accounts int) (*nodePair, error) {
	p := &nodePair{}
	opened := make(chan *overlay.Network, 1)
	var peers []string
	open := func(key identity.NodePrivateKey) (uplink.Network, error) {
		n, err := overlay.Open(overlay.Options{Key: key, Listen: []string{"tcp://127.0.0.1:0"}, Peers: peers})
		if err == nil {
			opened <- n
		}
		return n, err
	}
	start := func(name string, opts node.Options) (*node.Node, error) {
		opts.Dir = filepath.Join(dir, name)
		n, err := node.Open(opts)
		if err != nil {
			return nil, err
		}
		p.nodes = append(p.nodes, n)
		if err := n.Start(ctx); err != nil {
			return nil, err
		}
		select {
		case network := <-opened:
			peers = network.ListenAddrs() // of the next one
			return n, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	role, err := start("tracker", node.Options{Tracker: &trackerserver.Options{OpenNetwork: open}})
	if err != nil {
		return p, err
	}
	key, _ := role.TrackerKey()
	opts := node.Options{OpenNetwork: open, Trackers: []tracker.Address{{Node: key, Port: tracker.Port}}}
	for i, name := range []string{"receiver", "sender"} {
		n, err := start(name, opts)
		if err != nil {
			return p, err
		}
		for a := range accounts {
			account, err := n.CreateAccount(ctx, fmt.Sprint(name, " ", a))
			if err != nil {
				return p, err
			}
			p.accounts[i] = append(p.accounts[i], account.ID)
		}
	}
	for i, accounts := range p.accounts {
		for _, account := range accounts {
			for _, contact := range p.accounts[1-i] {
				if _, err := p.nodes[1+i].AddContact(ctx, account, identity.Link{Key: contact}); err != nil {
					return p, err
				}
			}
		}
	}
	return p, nil
}

// exchange writes texts in all conversations, in turn, and waits until the receiver has them.
func (p *nodePair) exchange(ctx context.Context, texts int) error {
	receiver, sender := p.nodes[1], p.nodes[2]
	arrived := func() (n uint64, err error) {
		for _, account := range p.accounts[0] {
			for _, contact := range p.accounts[1] {
				messages, err := receiver.Messages(account, contact, 0, 1)
				if err != nil {
					return 0, err
				}
				if len(messages) > 0 {
					n += messages[0].Order
				}
			}
		}
		return n, nil
	}
	events := func() (n uint64, err error) { // costs less, and there is at least one for each text
		for _, account := range p.accounts[0] {
			last, err := receiver.LastEvent(account)
			if err != nil {
				return 0, err
			}
			n += last
		}
		return n, nil
	}
	before, err := arrived()
	if err != nil {
		return err
	}
	eventsBefore, err := events()
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(100)
	for i := range texts {
		conversation := i % (len(p.accounts[0]) * len(p.accounts[1]))
		to, from := p.accounts[0][conversation/len(p.accounts[1])], p.accounts[1][conversation%len(p.accounts[1])]
		group.Go(func() error {
			_, err := sender.Send(ctx, node.Outgoing{Account: from, Contact: to, Payload: make([]byte, storePayload)})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*matrixPatience)
	defer cancel()
	var now uint64
	done := poll.Until(ctx, func() bool {
		if now, err = events(); err != nil || now < eventsBefore+uint64(texts) {
			return err != nil
		}
		now, err = arrived()
		return err != nil || now >= before+uint64(texts)
	})
	if err == nil && !done {
		err = fmt.Errorf("%d of %d texts have arrived: %w", now-before, texts, ctx.Err())
	}
	return err
}

func (p *nodePair) close() error {
	var errs []error
	for i := len(p.nodes) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		errs = append(errs, p.nodes[i].Stop(ctx), p.nodes[i].Close())
		cancel()
	}
	return errors.Join(errs...)
}
