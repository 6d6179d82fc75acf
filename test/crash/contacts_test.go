// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/demo"
	"github.com/mimird/mimird/test/phone"
)

// contact is somebody who talks to the node that dies.
type contact interface {
	// name is what their texts begin with, key their identity.
	name() string
	key() string
	// write accepts a text for the node: when it returns nil the text must arrive.
	write(ctx context.Context, text string) error
	// heard is what has come from the node, in order, repetitions included.
	heard() []string
	// waiting is how many texts the node has not acknowledged.
	waiting(ctx context.Context) (int, error)
	close() error
}

// nodeContact is another mimird.
type nodeContact struct {
	node   *demo.Node
	victim string // the identity of the node that dies

	stop      context.CancelFunc
	following sync.WaitGroup

	mu     sync.Mutex
	texts  []string
	failed error
}

// newNodeContact follows the event log of a node that runs.
func newNodeContact(node *demo.Node, victim string) *nodeContact {
	ctx, stop := context.WithCancel(context.Background())
	n := &nodeContact{node: node, victim: victim, stop: stop}
	n.following.Go(func() {
		err := node.Client.Follow(ctx, "-", 0, func(e control.Event) error {
			if e.Kind != "message_received" || e.Contact != victim {
				return nil
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.texts = append(n.texts, e.Message.Text)
			return nil
		})
		n.mu.Lock()
		defer n.mu.Unlock()
		n.failed = err
	})
	return n
}

func (n *nodeContact) name() string { return n.node.Name }
func (n *nodeContact) key() string  { return n.node.Account.ID }

func (n *nodeContact) write(ctx context.Context, text string) error {
	_, err := n.node.Client.Send(ctx, "-", n.victim, control.Text{Text: text, Source: text})
	return err
}

func (n *nodeContact) heard() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.texts)
}

func (n *nodeContact) waiting(ctx context.Context) (int, error) {
	accounts, err := n.node.Client.Accounts(ctx)
	if err != nil {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return accounts[0].Waiting, n.failed
}

func (n *nodeContact) close() error {
	n.stop()
	n.following.Wait()
	return n.node.Stop()
}

// phoneContact is a phone with the app, in the process of the test. It notes what
// the node has acknowledged, and what the node repeats.
type phoneContact struct {
	*phone.Phone
	victim  phone.Key
	network *overlay.Network
	stop    context.CancelFunc
	tasks   sync.WaitGroup
}

// impatience is how often the owner of the phone tries to connect while something
// waits. The app alone would let a minute pass.
const impatience = 250 * time.Millisecond

// newPhoneContact switches a phone on that knows where the node is.
func newPhoneContact(relay string, tracker identity.NodeKey, victim, victimNode string) (*phoneContact, error) {
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	owner, err := identity.ParsePublicKey(victim)
	if err != nil {
		return nil, err
	}
	node, err := identity.ParseNodeKey(victimNode)
	if err != nil {
		return nil, err
	}
	network, err := overlay.Open(overlay.Options{Key: key, Peers: []string{relay}})
	if err != nil {
		return nil, fmt.Errorf("connect the phone: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &phoneContact{
		Phone:  phone.New(phone.Options{Name: "carol", Quirks: phone.Quirks{PlainChallenges: true}, Trackers: []identity.NodeKey{tracker}}),
		victim: phone.Key(owner), network: network, stop: stop,
	}
	p.Found(p.victim, node)
	if err := p.on(); err != nil {
		stop()
		return nil, errors.Join(err, network.Close())
	}
	p.tasks.Go(func() { p.insist(ctx) })
	return p, nil
}

// on switches the phone on again after Phone.Stop.
func (p *phoneContact) on() error { return p.Start(p.network.Stream()) }

func (p *phoneContact) insist(ctx context.Context) {
	tick := time.NewTicker(impatience)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !p.Node().IsZero() && len(p.Waiting(p.victim)) > 0 && p.Session(p.victim) == nil {
			_, _ = p.Dial(ctx, p.victim) // if it fails there is a next time
		}
	}
}

func (p *phoneContact) name() string { return "carol" }
func (p *phoneContact) key() string  { return p.Key().String() }

func (p *phoneContact) write(_ context.Context, text string) error {
	p.Write(p.victim, text)
	return nil
}

func (p *phoneContact) heard() []string                      { return p.Page(p.victim).Texts() }
func (p *phoneContact) waiting(context.Context) (int, error) { return len(p.Waiting(p.victim)), nil }

func (p *phoneContact) close() error {
	p.stop()
	p.tasks.Wait()
	p.Stop()
	return p.network.Close()
}
