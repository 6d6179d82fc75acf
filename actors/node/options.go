// SPDX-License-Identifier: MPL-2.0

package node

import (
	"log/slog"
	"time"

	"github.com/mimird/mimird/actors/answering"
	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/retention"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/trackerserver"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

// Options is what a [Node] is made from. Only Dir is required, and OpenNetwork
// unless the process is a server only.
type Options struct {
	// Dir is the data directory; it is created, mode 0700, when it does not exist.
	Dir    string
	Logger *slog.Logger

	// OpenNetwork joins the overlay under the node's key. It is called at every
	// start of the overlay actor, also after a failure, and must not block on the
	// network. Without it there are no accounts: the process plays only the role of
	// a server.
	OpenNetwork func(key identity.NodePrivateKey) (uplink.Network, error)
	// OpenStore opens the store; nil means store.Open. Tests put it into memory.
	OpenStore func(store.Options) (*store.Store, error)
	// Trackers are asked for contacts and told about our accounts.
	Trackers []tracker.Address
	// TrackersV1 are those of version 1, of gen1 and gen2. They are reached over the
	// carriers of their generation.
	TrackersV1 []resolver.TrackerV1

	// SessionIdle is how long a session lives without anything but pings. Default
	// 10 min, which is what the apps use.
	SessionIdle time.Duration
	// CallRing is how long a call rings before it is declined, less than 60 s; 0
	// declines at once. Nobody can take it here: it is for people who want the caller
	// to hear that much.
	CallRing time.Duration
	// Answering configures the answering machine, which accounts with a greeting have.
	Answering answering.Options
	// MaxSessions bounds the live sessions of the node. Default 10,000.
	MaxSessions int
	// MaxOutbox bounds the undelivered messages of an account. Default 100,000.
	MaxOutbox int

	// RefusePointChallenges refuses to sign anything that could be a public key at
	// all: nobody gets a signature that could announce a node then. Half of all
	// challenges of the apps look like one, so that every second handshake with them
	// fails.
	RefusePointChallenges bool
	// OwnDevices are the node keys of other devices of our accounts. A record of
	// ours with another node key raises an alarm; see Status.ForeignNodes.
	OwnDevices []identity.NodeKey

	// Mediators are those that every account is connected to, so that invites to groups
	// arrive. New groups are on the first one. Without any, accounts are connected to the
	// mediators of the groups that they are in.
	Mediators []identity.NodeKey

	// Retention says how long messages and events stay; without it they stay for ever.
	Retention retention.Policy

	// Media configures the files of messages.
	Media transfer.Options
	// Tracker, when set, makes this node a tracker too.
	Tracker *trackerserver.Options
	// Files, when set, makes this node a file server too.
	Files *fileserver.Options
	// Mediator, when set, makes this node a mediator too.
	Mediator *mediatorserver.Options
	// ReplaceNodeKeys takes another node key than the store remembers, or creates one
	// where it is missing, instead of failing with [ErrNodeKey].
	ReplaceNodeKeys bool
	// Parts are further children of the node actor: the control API, the bridge.
	// They start after everything else, in this order, and stop in the reverse one.
	Parts []Part

	// Now is the wall clock; nil means time.Now. Only what is written down comes from
	// it: whatever waits uses a clock that does not jump.
	Now func() time.Time
	// BeforeReceive is called in every actor's turn before a message is handled.
	// Tests panic in it to see a part restarted.
	BeforeReceive func(actor kernel.Ref, msg any)
}

// Part is an actor that belongs to a node and is made by somebody else.
type Part struct {
	// Name is the actor's name and kind, a lower-case word.
	Name string
	// New makes the actor; see kernel.Spec.
	New func(n *Node) kernel.Actor
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.OpenStore == nil {
		o.OpenStore = store.Open
	}
	if o.SessionIdle <= 0 {
		o.SessionIdle = 10 * time.Minute
	}
	if o.MaxSessions <= 0 {
		o.MaxSessions = 10_000
	}
	if o.MaxOutbox <= 0 {
		o.MaxOutbox = 100_000
	}
	o.Media = o.Media.WithDefaults()
	return o
}
