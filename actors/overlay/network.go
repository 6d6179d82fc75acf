// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"fmt"
	"log/slog"
	"regexp"
	"sync"

	"github.com/yggdrasil-network/yggdrasil-go/src/multicast"

	"github.com/mimird/mimird/proto/identity"
)

// Network is an embedded Yggdrasil node with its carriers. Its methods may be
// called from any goroutine; those that ask Yggdrasil (Status, AddPeer,
// RemovePeer, RetryPeersNow, Close) wait for its actors and must not be called
// inside an actor of ours.
type Network struct {
	layer     *coreLayer
	stack     *Stack
	logger    *slog.Logger
	returns   *returnPaths
	multicast *multicast.Multicast // nil when off
	keeper    *keeper

	mu        sync.Mutex
	peers     []*configuredPeer
	listeners []linkListener
	// listenErrors are the listeners that could not be opened, by URI; unopened those
	// of them that the keeper retries, with their options.
	listenErrors map[string]error
	unopened     []string
	closeOnce    sync.Once
}

// Open starts a Yggdrasil node and its carriers. Peers and listeners that
// cannot be used are logged and shown in Status; they do not make it fail.
func Open(opts Options) (*Network, error) {
	logger := opts.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	layer, err := newCore(opts.Key, logger)
	if err != nil {
		return nil, err
	}
	n := &Network{layer: layer, logger: logger, listenErrors: make(map[string]error), returns: newReturnPaths(layer)}
	var packets PacketLayer = layer
	if opts.LayerForTest != nil {
		packets = opts.LayerForTest(layer)
	}
	// The stack reads before links come up.
	n.stack = NewStack(packets, opts.Limits, logger)
	for _, uri := range opts.Listen {
		n.listen(uri)
	}
	n.keeper = newKeeper(n, opts.Peers, opts.Connected)
	for sintf, uris := range opts.InterfacePeers {
		for _, uri := range uris {
			n.configure(uri, sintf)
		}
	}
	n.discover(opts.Multicast)
	n.keeper.start()
	return n, nil
}

// Key is the node's public key.
func (n *Network) Key() identity.NodeKey { return n.layer.key }

// Stream is the carrier of gen3.
func (n *Network) Stream() Carrier { return n.stack.Stream() }

// Links is the number of links that are up. Unlike Status it may be called
// anywhere, also inside an actor.
func (n *Network) Links() int { return int(n.layer.logger.links.Load()) }

// Failed is closed when the node has failed and must be opened anew. Close does
// not close it.
func (n *Network) Failed() <-chan struct{} { return n.stack.Failed() }

// Err says why the node has failed, nil while it has not.
func (n *Network) Err() error { return n.stack.Err() }

// Close resets all streams, closes all links and ends the node. To open it
// again with the same key, wait a second: Yggdrasil tells sessions apart by
// the clock's seconds.
func (n *Network) Close() error {
	var err error
	n.closeOnce.Do(func() {
		n.keeper.close()
		if n.multicast != nil {
			// An error means that its socket was closed already.
			_ = n.multicast.Stop()
		}
		n.returns.close()
		err = n.stack.Close()
	})
	return err
}

// discover starts local discovery.
func (n *Network) discover(interfaces []MulticastInterface) {
	var options []multicast.SetupOption
	for _, i := range interfaces {
		re, err := regexp.Compile(i.Regex)
		if err != nil {
			n.logger.Error("ignoring a multicast interface with an unusable name pattern", "text", i.Regex, "err", err)
			continue
		}
		options = append(options, multicast.MulticastInterface{
			Regex: re, Beacon: i.Beacon, Listen: i.Listen,
		})
	}
	if len(options) == 0 {
		return
	}
	m, err := multicast.New(n.layer.core, n.layer.logger, options...)
	if err != nil {
		n.logger.Error("local discovery cannot start", "err", fmt.Errorf("start multicast: %w", err))
		return
	}
	n.multicast = m
}
