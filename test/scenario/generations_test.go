// SPDX-License-Identifier: MPL-2.0

package scenario_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
)

// speak makes the network of a node run carriers. Without KindStream the node is
// one of another time: nobody reaches it over ygg_stream, and it reaches nobody,
// trackers apart.
func speak(o *node.Options, kinds ...overlay.Kind) {
	open := o.OpenNetwork
	o.OpenNetwork = func(key identity.NodePrivateKey) (uplink.Network, error) {
		n, err := open(key)
		if err != nil {
			return nil, err
		}
		gen3 := false
		for _, kind := range kinds {
			gen3 = gen3 || kind == overlay.KindStream
			if err := n.(*overlay.Network).Enable(kind); err != nil {
				return nil, err
			}
		}
		if gen3 {
			return n, nil
		}
		return oldNetwork{n.(*overlay.Network)}, nil
	}
}

// oldNetwork is a network whose stream carrier is good for datagrams only.
type oldNetwork struct{ *overlay.Network }

func (n oldNetwork) Stream() overlay.Carrier { return mute{n.Network.Stream()} }

type mute struct{ overlay.Carrier }

func (mute) Dial(ctx context.Context, _ identity.NodeKey, _ uint16) (overlay.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (mute) Listen(port uint16) (overlay.Listener, error) {
	return &silentListener{port: port, closed: make(chan struct{})}, nil
}

// silentListener accepts nothing.
type silentListener struct {
	port   uint16
	once   sync.Once
	closed chan struct{}
}

func (l *silentListener) Port() uint16 { return l.port }

func (l *silentListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *silentListener) Accept(ctx context.Context) (overlay.Conn, error) {
	select {
	case <-l.closed:
		return nil, overlay.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Three nodes speak one generation each and a fourth one all of them: the old ones
// talk with the young one. All that is between them is a program that is not ours, the
// one of the Yggdrasil project.
func TestScenarioThreeGenerations(t *testing.T) {
	relay := startForeignRelay(t)
	sides := [][]overlay.Kind{{overlay.KindTCP}, {overlay.KindQUIC}, {overlay.KindStream}, overlay.Kinds()}
	w := newUnlinkedWorld(t, len(sides), func(i int, o *node.Options) { speak(o, sides[i]...) })
	for _, n := range append(w.networks, w.role) {
		if err := n.AddPeer(relay + "?maxbackoff=5s"); err != nil {
			t.Fatal(err)
		}
	}
	w.befriend()
	young, each, begin := w.nodes[3], 10, time.Now()
	for i := range each {
		for _, old := range w.nodes[:3] {
			w.say(old, young, i)
			w.say(young, old, i)
		}
	}
	for i, old := range w.nodes[:3] {
		w.arrives(old, young, each)
		w.arrives(young, old, each)
		c, err := young.Contact(young.account.ID, old.account.ID)
		if err != nil || len(c.NodeKeys) == 0 || int(c.NodeKeys[0].Generation) != i+1 {
			t.Errorf("the young one has met %+v in generation %d, error %v", c.NodeKeys, i+1, err)
		}
	}
	for _, n := range w.networks {
		if links := n.Links(); links != 1 {
			t.Errorf("a node has %d links, want the one to the relay", links)
		}
	}
	t.Logf("scenario  gen1, gen2 and gen3: %d messages in %v, lost 0 doubled 0", 6*each, time.Since(begin).Round(time.Second))
}

// arrives waits until all that from has written to n is there, once and in order.
func (w *world) arrives(n, from *member, count int) {
	w.t.Helper()
	watch := n.WatchEvents()
	defer watch.Close()
	timeout := time.NewTimer(time.Until(w.deadline))
	defer timeout.Stop()
	for len(w.heard(n, from)) < count {
		select {
		case <-watch.C():
		case <-timeout.C:
			w.t.Fatalf("%d of %d messages have arrived", len(w.heard(n, from)), count)
		}
	}
	for i, text := range w.heard(n, from) {
		if text != fmt.Sprint(i) {
			w.t.Fatalf("message %d is %q", i, text)
		}
	}
}

// The scenarios of gen3 over the carriers of the older ones, with -all;
// TestScenarioThreeGenerations is for every day.
func TestScenarioOldCarriers(t *testing.T) {
	if !*all {
		return
	}
	for _, kind := range []overlay.Kind{overlay.KindQUIC, overlay.KindTCP} {
		for _, size := range []int{2, 5} {
			for _, s := range shapes {
				for _, flapping := range []bool{false, true} {
					if size == 2 && s.name != "chain" {
						continue
					}
					name := fmt.Sprintf("%-6s %2d nodes, %-5s, %s", kind, size, s.name, map[bool]string{false: "stable", true: "flapping"}[flapping])
					t.Run(name, func(t *testing.T) {
						everybodyTalks(t, name, s.links(size), size, flapping, func(_ int, o *node.Options) { speak(o, kind) })
					})
				}
			}
		}
	}
}
