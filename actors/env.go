// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"log/slog"
	"sync/atomic"

	"github.com/mimird/mimird/actors/strangerlog"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
)

// env is what the actors of one node share. The node actor fills in the addresses
// before it spawns whoever needs them; nothing in here changes afterwards, except
// inside the parts that say so.
type env struct {
	opts  Options
	log   *slog.Logger
	store *store.Store // for reading
	keys  *keyring
	net   *networkCell
	// trackerNet is the tracker role's network.
	trackerNet *networkCell
	// filesNet is the file server's network.
	filesNet *networkCell
	presence *presence
	// pairs knows which pairs have a session with each node, owedFiles what they asked for.
	pairs     *pairTable
	owedFiles *owedFiles
	// contactNodes are the node keys of accepted contacts.
	contactNodes *contactNodes
	// profiles limits how often contacts change their profiles.
	profiles *profileLimiter
	// strangerLog has every log line whose number a stranger decides.
	strangerLog *strangerlog.Log
	elsewhere   *elsewhere
	// askers are strangers to whom a signature was given.
	askers askers
	// suspicions are attempts to be somebody else.
	suspicions suspicions
	// heldDevices are nodes of contacts that nothing speaks for yet.
	heldDevices heldDevices
	// oldTrackers is how those of the options answer.
	oldTrackers *oldTrackers
	requests    *requestGuard
	// strangers are the sessions with identities that are not accepted contacts.
	strangers *strangerSessions
	media     *media.Store
	progress  *progressTable
	fetches   *fetchTable
	silent    *silentServers
	// placements keeps who places files in the media store and who removes them apart.
	placements *placements
	// strayReactions and crowdedGUIDs are for the status.
	strayReactions, crowdedGUIDs atomic.Uint64
	// parallel bounds the live sessions of the whole node.
	parallel *kernel.Credits

	writer   kernel.Ref // the store actor
	resolver kernel.Ref
}

// networkCell holds the network that runs at this moment. The overlay actor
// changes it; whoever needs a carrier asks each time.
type networkCell struct {
	current atomic.Pointer[networkHandle]
	// up says that there are links to the network.
	up atomic.Bool
}

type networkHandle struct{ Network }

func (n *networkCell) set(net Network) { n.current.Store(&networkHandle{net}) }

func (n *networkCell) clear() {
	n.up.Store(false)
	n.current.Store(nil)
}

// Carrier returns the carrier of a kind; false while the overlay is not running, or
// when the carrier is off.
func (n *networkCell) Carrier(kind overlay.Kind) (overlay.Carrier, bool) {
	h := n.current.Load()
	if h == nil {
		return nil, false
	}
	if kind == overlay.KindStream {
		return h.Stream(), true
	}
	if net, ok := h.Network.(interface {
		CarrierOf(kind overlay.Kind) (overlay.Carrier, bool)
	}); ok {
		return net.CarrierOf(kind)
	}
	return nil, false
}

// TCP returns the TCP carrier with the methods that only it has; false as for Carrier.
func (n *networkCell) TCP() (overlay.AddressCarrier, bool) {
	c, ok := n.Carrier(overlay.KindTCP)
	if !ok {
		return nil, false
	}
	tcp, ok := c.(overlay.AddressCarrier)
	return tcp, ok
}

// Up reports whether there are links to the network.
func (n *networkCell) Up() bool { return n.up.Load() }

// status returns false while the overlay is not running.
func (n *networkCell) status() (overlay.Status, bool) {
	if h := n.current.Load(); h != nil {
		return h.Status(), true
	}
	return overlay.Status{}, false
}

// nowMillis is the wall clock in the unit of the wire and of the store. It is for
// what is written down only: it may jump, and nothing may wait for it.
func (e *env) nowMillis() store.Millis { return store.MillisOf(e.opts.Now()) }
