// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// keepEvery is how often the keeper looks at links while some are wanted, and
	// lookEvery how often it looks at everything else. Only quiet links are looked at
	// every time: while one comes up, Yggdrasil's answer may be wrong.
	keepEvery = time.Second
	lookEvery = 5 * time.Second
	quietTime = time.Second
	// listenEvery is how often the keeper retries a listener that could not be opened,
	// because the port is in use or the address is not there yet, or that has ended.
	listenEvery = 5 * time.Second
)

// keeper looks after the links of a Network: it chooses among the peers, opens
// listeners that could not be opened or have ended, and retries everything at once when
// the machine was asleep or has come to another network.
type keeper struct {
	net    *Network
	choice *choice // nil when all peers are wanted
	cancel context.CancelFunc
	done   sync.WaitGroup

	// For the keeper's goroutine.
	looked, listened time.Time
	host             hostWatch
	spares           atomic.Pointer[[]string]
}

func newKeeper(n *Network, peers []string, want int) *keeper {
	k := &keeper{net: n}
	now := time.Now()
	k.looked, k.listened = now, now
	k.host.check(now, addresses())
	var candidates []*candidate
	for _, uri := range peers {
		name := nameOf(uri)
		known := slices.ContainsFunc(candidates, func(p *candidate) bool { return p.name == name })
		switch _, err := parsePeer(uri); {
		case err != nil:
			n.configure(uri, "") // shown with its error
		case !known:
			candidates = append(candidates, &candidate{uri: uri, name: name})
		}
	}
	if want > 0 && want < len(candidates) {
		k.choice = newChoice(want, candidates, now)
		k.choose(now)
	} else {
		for _, p := range candidates {
			n.configure(p.uri, "")
		}
	}
	return k
}

func (k *keeper) start() {
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	k.done.Go(func() {
		ticks := time.NewTicker(keepEvery)
		defer ticks.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticks.C:
				k.keep(time.Now())
			}
		}
	})
}

func (k *keeper) close() {
	k.cancel()
	k.done.Wait()
}

// keep does what is due.
func (k *keeper) keep(now time.Time) {
	look := now.Sub(k.looked) >= lookEvery
	if look {
		k.looked = now
		if what := k.host.check(now, addresses()); what != "" {
			k.changed(what)
		}
	}
	quiet := k.net.layer.logger.quiet(now, quietTime)
	if k.choice != nil && (look || quiet && k.net.Links() < k.choice.want) {
		k.choose(now)
	}
	if k.net.noteEndedListeners() {
		k.listened = now // what ended it may be over in a while
	}
	if now.Sub(k.listened) >= listenEvery {
		k.listened = now
		k.net.listenAgain()
	}
}

func (k *keeper) changed(what string) {
	k.net.logger.Info("retrying all peers", "reason", what)
	if k.choice != nil {
		k.choice.changed()
	}
	k.net.RetryPeersNow()
}

// choose passes the links to the choice, and connects and disconnects as it says.
func (k *keeper) choose(now time.Time) {
	seen := make(map[string]linkSeen)
	for _, p := range k.net.layer.peers() {
		if !p.Inbound {
			seen[nameOf(p.URI)] = linkSeen{up: p.Up, latency: p.Latency}
		}
	}
	add, drop := k.choice.step(now, seen)
	for _, p := range drop {
		k.net.logger.Info("disconnecting from a peer, others are better", "uri", p.name)
		if err := k.net.RemovePeer(p.uri); err != nil && !errors.Is(err, ErrPeerUnknown) {
			k.net.logger.Warn("disconnecting from a peer failed", "uri", p.name, "err", err)
		}
	}
	for _, p := range add {
		if err := k.net.addPeer(p.uri, ""); err != nil {
			p.refused() // Yggdrasil has not let go of it yet; the next turn asks again
		}
	}
	var spares []string
	for _, p := range k.choice.candidates {
		if p.asked.IsZero() {
			spares = append(spares, p.name)
		}
	}
	slices.Sort(spares)
	k.spares.Store(&spares)
}
