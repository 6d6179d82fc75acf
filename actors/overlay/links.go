// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/yggdrasil-network/yggdrasil-go/src/core"

	"github.com/mimird/mimird/proto/identity"
)

const (
	// peerBackoff is the longest pause between two attempts to reach a
	// configured peer that does not say otherwise. Yggdrasil's own is 68 minutes.
	peerBackoff = time.Minute
	minBackoff  = 5 * time.Second
	// maxPassword is the longest password of a link.
	maxPassword = 64
)

// Errors of AddPeer and RemovePeer.
var (
	// ErrPeerKnown says that a peer with this address is configured already.
	ErrPeerKnown = errors.New("peer is configured already")
	// ErrPeerUnknown says that no peer has that address.
	ErrPeerUnknown = errors.New("peer is not configured")
)

var errListenerEnded = errors.New("listener ended by itself, as when there are too many open files")

// configuredPeer is an entry of the configuration or of AddPeer.
type configuredPeer struct {
	// uri is the address without options, which is how Yggdrasil tells peers
	// apart; the bare scheme when the entry cannot be read.
	uri   string
	sintf string
	err   error
}

// linkListener accepts links of other Yggdrasil nodes.
type linkListener struct {
	url      *url.URL
	listener *core.Listener
}

// addr is the listener's URI with its real port.
func (l linkListener) addr() string {
	u := *l.url
	if u.Host != "" {
		u.Host = l.listener.Addr().String()
	}
	return linkName(&u)
}

// AddPeer keeps a link to another Yggdrasil node. When the peer is known, it
// is dialled at once and ErrPeerKnown returned.
func (n *Network) AddPeer(uri string) error { return n.addPeer(uri, "") }

// RemovePeer ends a link and forgets it. The URI's options do not matter.
func (n *Network) RemovePeer(uri string) error {
	u, err := url.Parse(uri)
	if err != nil {
		return fmt.Errorf("remove peer: %w", hideURL(err))
	}
	name := linkName(u)
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.IndexFunc(n.peers, func(p *configuredPeer) bool { return p.uri == name && p.sintf == "" })
	if i < 0 {
		return ErrPeerUnknown
	}
	p := n.peers[i]
	n.peers = slices.Delete(n.peers, i, i+1)
	if p.err != nil {
		return nil
	}
	// The error of closing a connection that is going away says nothing.
	if err := n.layer.core.RemovePeer(u, ""); errors.Is(err, core.ErrLinkNotConfigured) {
		return ErrPeerUnknown
	}
	return nil
}

// RetryPeersNow dials all peers that are down at once, for example after the
// machine woke up.
func (n *Network) RetryPeersNow() { n.layer.core.RetryPeersNow() }

func (n *Network) addPeer(uri, sintf string) error {
	u, err := parsePeer(uri)
	if err != nil {
		return fmt.Errorf("add peer: %w", err)
	}
	name := linkName(u)
	n.mu.Lock()
	defer n.mu.Unlock()
	known := slices.ContainsFunc(n.peers, func(p *configuredPeer) bool {
		return p.uri == name && p.sintf == sintf && p.err == nil
	})
	switch err := n.layer.core.AddPeer(u, sintf); {
	case known, errors.Is(err, core.ErrLinkAlreadyConfigured):
		return ErrPeerKnown
	case err != nil:
		return fmt.Errorf("add peer %s: %w", name, err)
	}
	n.peers = append(n.peers, &configuredPeer{uri: name, sintf: sintf})
	return nil
}

// configure adds a peer of the configuration. What cannot be used stays
// visible.
func (n *Network) configure(uri, sintf string) {
	err := n.addPeer(uri, sintf)
	if err == nil || errors.Is(err, ErrPeerKnown) {
		return
	}
	name := nameOf(uri)
	n.logger.Error("ignoring an unusable peer of the configuration", "uri", name, "err", err)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers = append(n.peers, &configuredPeer{uri: name, sintf: sintf, err: err})
}

// listen opens a listener of the configuration. A listener that cannot be
// opened stays visible, and is retried when that may help.
func (n *Network) listen(uri string) {
	l, err := n.openListener(uri)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.listeners = append(n.listeners, l)
		return
	}
	name := nameOf(uri)
	n.listenErrors[name] = err
	if _, ok := errors.AsType[*net.OpError](err); ok {
		n.logger.Error("opening a listener failed, retrying", "uri", name, "err", err)
		n.unopened = append(n.unopened, uri)
		return
	}
	n.logger.Error("ignoring an unusable listener of the configuration", "uri", name, "err", err)
}

// noteEndedListeners finds the listeners that have ended by themselves. They are
// shown, and retried.
func (n *Network) noteEndedListeners() (any bool) {
	for _, addr := range n.layer.logger.endedListeners() {
		n.mu.Lock()
		i := slices.IndexFunc(n.listeners, func(l linkListener) bool { return l.listener.Addr().String() == addr })
		if i >= 0 {
			uri := n.listeners[i].url.String()
			n.listeners = slices.Delete(n.listeners, i, i+1)
			n.listenErrors[nameOf(uri)] = errListenerEnded
			n.unopened = append(n.unopened, uri)
			n.logger.Error("listener ended, retrying", "uri", nameOf(uri))
			any = true
		}
		n.mu.Unlock()
	}
	return any
}

// listenAgain retries the listeners that could not be opened or have ended.
func (n *Network) listenAgain() {
	n.mu.Lock()
	again := slices.Clone(n.unopened)
	n.mu.Unlock()
	for _, uri := range again {
		l, err := n.openListener(uri)
		name := nameOf(uri)
		n.mu.Lock()
		n.listenErrors[name] = err
		if err == nil {
			n.logger.Info("listener is open", "uri", name)
			delete(n.listenErrors, name)
			n.listeners = append(n.listeners, l)
			n.unopened = slices.DeleteFunc(n.unopened, func(u string) bool { return u == uri })
		}
		n.mu.Unlock()
	}
}

func (n *Network) openListener(uri string) (linkListener, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return linkListener{}, hideURL(err)
	}
	if err := checkOptions(u.Query()); err != nil {
		return linkListener{}, err
	}
	l, err := n.layer.core.Listen(u, "")
	return linkListener{url: u, listener: l}, err
}

// parsePeer checks what Yggdrasil accepts silently or finds out only when
// it dials, and bounds its back-off.
func parsePeer(uri string) (*url.URL, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, hideURL(err)
	}
	switch u.Scheme {
	case "tcp", "tls", "quic", "socks", "sockstls":
		if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" {
			return nil, errors.New("peer needs a host and a port")
		}
	case "ws", "wss":
		if u.Host == "" {
			return nil, errors.New("peer needs a host")
		}
	case "unix":
		if u.Path == "" {
			return nil, errors.New("peer needs a path")
		}
	default:
		return nil, fmt.Errorf("peer has unknown scheme %.16q", u.Scheme)
	}
	options := u.Query()
	if err := checkOptions(options); err != nil {
		return nil, err
	}
	if options.Get("maxbackoff") == "" {
		options.Set("maxbackoff", peerBackoff.String())
		u.RawQuery = options.Encode()
	}
	return u, nil
}

func checkOptions(options url.Values) error {
	for _, key := range options["key"] {
		if raw, err := hex.DecodeString(key); err != nil || len(raw) != identity.KeySize {
			return errors.New("option key is not 64 hex digits")
		}
	}
	if p := options.Get("priority"); p != "" {
		if _, err := strconv.ParseUint(p, 10, 8); err != nil {
			return errors.New("option priority is not a number from 0 to 255")
		}
	}
	if len(options.Get("password")) > maxPassword {
		return fmt.Errorf("option password is longer than %d bytes", maxPassword)
	}
	if b := options.Get("maxbackoff"); b != "" {
		if d, err := time.ParseDuration(b); err != nil || d < minBackoff {
			return fmt.Errorf("option maxbackoff is not a duration of at least %v", minBackoff)
		}
	}
	return nil
}

// linkName is the address by which Yggdrasil tells links apart. It has no
// passwords in it: those are options, or hidden.
func linkName(u *url.URL) string {
	name := *u
	name.RawQuery = ""
	return name.Redacted()
}

// nameOf is the linkName of a URI that may not be one.
func nameOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return "(unreadable)"
	}
	return linkName(u)
}

// hideURL takes the text out of an error of url.Parse: it may hold a password.
func hideURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return fmt.Errorf("address cannot be read: %w", e.Err)
	}
	return errors.New("address cannot be read")
}

// ListenAddrs are the addresses on which other Yggdrasil nodes can connect, as
// URIs with their real ports.
func (n *Network) ListenAddrs() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	addrs := make([]string, 0, len(n.listeners))
	for _, l := range n.listeners {
		addrs = append(addrs, l.addr())
	}
	return addrs
}

// Status asks for the state of the node and its links.
func (n *Network) Status() Status {
	ip, _ := netip.AddrFromSlice(n.layer.core.Address())
	s := Status{
		Key: n.Key(), IPv6: ip, Listening: n.ListenAddrs(),
		Streams: n.stack.Streams(),
	}
	for _, p := range n.layer.peers() {
		status := PeerStatus{
			URI: nameOf(p.URI), Up: p.Up, Inbound: p.Inbound, Latency: p.Latency, Cost: p.Cost,
			RX: p.RXBytes, TX: p.TXBytes, Uptime: p.Uptime, LastError: p.LastError,
		}
		copy(status.Key[:], p.Key)
		s.Peers = append(s.Peers, status)
	}
	if spares := n.keeper.spares.Load(); spares != nil {
		s.Spares = slices.Clone(*spares)
	}
	n.mu.Lock()
	s.ListenErrors = maps.Clone(n.listenErrors)
	for _, p := range n.peers {
		if p.err != nil {
			s.Peers = append(s.Peers, PeerStatus{URI: p.uri, Interface: p.sintf, LastError: p.err})
		}
	}
	n.mu.Unlock()
	slices.SortFunc(s.Peers, func(a, b PeerStatus) int {
		return cmp.Or(strings.Compare(a.URI, b.URI), strings.Compare(a.Interface, b.Interface))
	})
	return s
}
