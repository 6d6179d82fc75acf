// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"errors"
	"time"

	"github.com/mimird/mimird/actors/contact"
	"github.com/mimird/mimird/actors/group"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Status is what an operator wants to see of a running node.
type Status struct {
	// Overlay is false in Running while the overlay actor is down.
	Overlay  overlay.Status
	Running  bool
	Trackers []resolver.TrackerStatus
	// TrackersV1 are those of version 1, in the order of the options.
	TrackersV1 []resolver.TrackerV1Status
	Sessions   int
	// StrayReactions counts, since the start, the reactions to messages that the
	// conversation does not have: older ones than this node, or of other conversations.
	// They are shown nowhere.
	StrayReactions uint64
	// CrowdedGUIDs counts, since the start, the messages that were not taken because
	// their guid had store.MaxVariants contents already.
	CrowdedGUIDs uint64
	DiskLow      bool
	// FullConversations are those whose contacts' messages are refused, because they
	// take most of the disk.
	FullConversations []store.Conversation
	Alarms            []Alarm
	// KeyProblems are accounts and roles whose key file is lost.
	KeyProblems []KeyProblem
	// ForeignNodes are nodes that trackers give for our accounts and that are not ours.
	// It is empty while nobody abuses a signature.
	ForeignNodes []resolver.ForeignNode
	// Suspicions are attempts of the last day to be somebody else; Suspected counts
	// all since the start.
	Suspicions []contact.Suspicion
	Suspected  uint64
	// Mediators are the connections of accounts to mediators.
	Mediators []group.MediatorStatus
	// MissedInvites counts, since the start, the invites to groups that were not stored.
	MissedInvites uint64
	// ServerOnly is a process without accounts; its Overlay and Trackers are empty.
	ServerOnly bool
	// Tracker is the tracker role's own node, nil without that role.
	Tracker *overlay.Status
	// Files is the own node of the role of a file server, nil without that role.
	Files *overlay.Status
	// Mediator is the mediator that this node is, nil without that role.
	Mediator *MediatorStatus
}

// Status asks the parts of a running node.
func (n *Node) Status(ctx context.Context) (Status, error) {
	if n.root.IsZero() {
		return Status{}, ErrNotRunning
	}
	trackers, err := n.trackers(ctx)
	if err != nil {
		return Status{}, err
	}
	alarms, err := kernel.Ask[[]Alarm](ctx, n.root, alarmsRequest{})
	if err != nil {
		return Status{}, err
	}
	s := Status{
		Trackers: trackers, TrackersV1: n.trackersV1.Status(), Alarms: alarms, ForeignNodes: n.foreign.Current(time.Now()),
		Sessions: n.contacts.Online(), StrayReactions: n.sessions.StrayReactions(), CrowdedGUIDs: n.sessions.CrowdedGUIDs(), DiskLow: n.store.DiskLow(), ServerOnly: n.opts.OpenNetwork == nil,
		FullConversations: n.store.FullConversations(),
	}
	s.Mediators, s.MissedInvites = n.groups.Mediators(), n.groups.MissedInvites()
	s.Suspicions, s.Suspected = n.contacts.Suspicions(time.Now())
	if s.KeyProblems, err = n.KeyProblems(); err != nil {
		return Status{}, err
	}
	s.Overlay, s.Running = n.net.Status()
	if role, ok := n.trackerNet.Status(); ok {
		s.Tracker = &role
	}
	if role, ok := n.filesNet.Status(); ok {
		s.Files = &role
	}
	if s.Mediator, err = n.mediatorStatus(ctx); err != nil {
		return Status{}, err
	}
	return s, nil
}

// trackersPatience is how long a status waits for the resolver, which may be in
// back-off for two minutes.
const trackersPatience = 2 * time.Second

// trackers asks the resolver how trackers answer. While it does not say, none answers.
func (n *Node) trackers(ctx context.Context) ([]resolver.TrackerStatus, error) {
	if n.opts.OpenNetwork == nil {
		return nil, nil
	}
	soon, cancel := context.WithTimeout(ctx, trackersPatience)
	defer cancel()
	trackers, err := kernel.Ask[[]resolver.TrackerStatus](soon, n.root, resolver.StatusRequest{})
	if err == nil || ctx.Err() != nil || errors.Is(err, kernel.ErrStopped) {
		return trackers, err
	}
	for _, address := range n.opts.Trackers {
		trackers = append(trackers, resolver.TrackerStatus{Address: address})
	}
	return trackers, nil
}

// DiskLow reports whether the disk is almost full, so that no new messages are accepted.
// It may be called from any goroutine, also inside actors.
func (n *Node) DiskLow() bool { return n.store.DiskLow() }

// Part returns the actor of one of Options.Parts, so that its maker can ask it
// things.
func (n *Node) Part(ctx context.Context, name string) (kernel.Ref, error) {
	if n.root.IsZero() {
		return kernel.Ref{}, ErrNotRunning
	}
	return kernel.Ask[kernel.Ref](ctx, n.root, partRequest{name})
}

// Presence says whether a contact can be reached at this moment.
func (n *Node) Presence(account, contact identity.PublicKey) contact.Presence {
	return n.contacts.Presence(store.ConversationWith(account, contact))
}

// PresenceVersion grows whenever the presence of a contact changes: who compares it need
// not compare them all.
func (n *Node) PresenceVersion() uint64 { return n.contacts.PresenceVersion() }

// OnlineContacts returns the contacts of an account with a live session, in no order.
func (n *Node) OnlineContacts(account identity.PublicKey) []identity.PublicKey {
	return n.contacts.OnlineOf(account)
}

// Waiting counts the messages of an account that have not been delivered.
func (n *Node) Waiting(account identity.PublicKey) (int, error) {
	size, err := n.store.OutboxSize(account, store.ConversationID{})
	return size.Messages, err
}

// Alive asks the root of the supervision tree whether it handles messages, and fails when
// it does not before ctx ends.
func (n *Node) Alive(ctx context.Context) error {
	if n.root.IsZero() {
		return ErrNotRunning
	}
	_, err := kernel.Ask[ready](ctx, n.root, readyRequest{})
	return err
}

// ActorStats returns the counters of the node's actors, by kind.
func (n *Node) ActorStats() []kernel.ActorStats { return n.system.Stats() }
