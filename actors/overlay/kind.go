// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"errors"
	"fmt"
)

// Kind names a carrier, one for each generation of Mimir.
type Kind string

// The carriers.
const (
	// KindTCP is gen1: TCP between the IPv6 addresses of nodes.
	KindTCP Kind = "tcp"
	// KindQUIC is gen2: QUIC in the packets of nodes.
	KindQUIC Kind = "quic"
	// KindStream is gen3: ygg_stream.
	KindStream Kind = "stream"
)

// Kinds returns all carriers, the newest first.
func Kinds() []Kind { return []Kind{KindStream, KindQUIC, KindTCP} }

// ErrNoCarrier says that a carrier does not run on this node.
var ErrNoCarrier = errors.New("the carrier does not run")

// Enable starts a further carrier; its packets were dropped before. KindStream
// always runs.
func (s *Stack) Enable(kind Kind) error {
	s.traffic.mu.Lock()
	defer s.traffic.mu.Unlock()
	select {
	case <-s.closing:
		return ErrClosed
	default:
	}
	switch kind {
	case KindStream:
		return nil
	case KindTCP:
		if s.traffic.tcp.Load() != nil || s.traffic.system.Load() != nil {
			return nil
		}
		c, err := newTCPCarrier(s.layer, s.peers, s.places, s.limits, s.logger)
		if err != nil {
			return fmt.Errorf("start carrier %s: %w", kind, err)
		}
		s.traffic.tcp.Store(c)
		return nil
	case KindQUIC:
		if s.traffic.quic.Load() != nil {
			return nil
		}
		c, err := newQUICCarrier(s.layer, s.peers, s.places, s.memory, s.limits, s.logger)
		if err != nil {
			return fmt.Errorf("start carrier %s: %w", kind, err)
		}
		s.traffic.quic.Store(c)
		return nil
	}
	return fmt.Errorf("start carrier: unknown kind %.64q", string(kind))
}

// EnableSystem starts the carrier KindTCP over the Yggdrasil of a system in place of
// ours; nil is the system that the program runs on. Enabling does not use it yet: while
// it has no Yggdrasil address, dials fail and listeners wait.
func (s *Stack) EnableSystem(system System) error {
	s.traffic.mu.Lock()
	defer s.traffic.mu.Unlock()
	select {
	case <-s.closing:
		return ErrClosed
	default:
	}
	if system == nil {
		system = operatingSystem{}
	}
	if s.traffic.tcp.Load() == nil && s.traffic.system.Load() == nil {
		s.traffic.system.Store(newSystemCarrier(s.layer, system, s.places, s.limits, s.logger))
	}
	return nil
}

// CarrierOf returns a carrier, or false when it was not enabled.
func (s *Stack) CarrierOf(kind Kind) (Carrier, bool) {
	switch kind {
	case KindStream:
		return s.stream, true
	case KindTCP:
		if c, ok := s.TCP(); ok {
			return c, true
		}
	case KindQUIC:
		if c := s.traffic.quic.Load(); c != nil {
			return c, true
		}
	}
	return nil, false
}

// TCP returns the carrier of gen1, which can dial addresses too, or false
// when it was not enabled.
func (s *Stack) TCP() (AddressCarrier, bool) {
	if c := s.traffic.system.Load(); c != nil {
		return c, true
	}
	c := s.traffic.tcp.Load()
	return c, c != nil
}

// Enable starts a further carrier; see [Stack.Enable].
func (n *Network) Enable(kind Kind) error { return n.stack.Enable(kind) }

// EnableSystem starts KindTCP over the system's Yggdrasil; see [Stack.EnableSystem].
func (n *Network) EnableSystem(system System) error { return n.stack.EnableSystem(system) }

// CarrierOf returns a carrier, or false when it was not enabled.
func (n *Network) CarrierOf(kind Kind) (Carrier, bool) { return n.stack.CarrierOf(kind) }

// TCP returns the carrier of gen1; see [Stack.TCP].
func (n *Network) TCP() (AddressCarrier, bool) { return n.stack.TCP() }
