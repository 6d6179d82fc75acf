// SPDX-License-Identifier: MPL-2.0

// Package contact is one conversation of an account with a contact, or for a moment
// with a stranger: it decides which connection becomes the session, dials, delivers the
// outbox in order, answers contact requests and calls, and holds devices that only a
// handshake speaks for. It reads the store and writes to it through the store actor; it
// starts sessions (actors/session) and asks the resolver. The account starts one actor
// for each contact; [Table] and [Nodes] are for the node's status and limits.
package contact

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/mimird/mimird/actors/session"

	"github.com/mimird/mimird/actors/answering"
	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

const (
	// reconnectAfter is the pause after a session that broke: an app ends both sessions
	// when two have crossed, and needs a moment.
	reconnectAfter = 5 * time.Second
	// holdTime is how long an incoming stream waits for our own dial, or for a sign
	// of life from the session there is. With the rest of the handshake it must fit
	// the 15 s after which the app forgets its dial.
	holdTime = 5 * time.Second
	// seenEvery is how exact LastSeen is.
	seenEvery = time.Minute
	// refusedRetry is the pause after the store has refused a write.
	refusedRetry = 15 * time.Second
	// impatience is how long after a failed attempt a new message starts the next one,
	// whatever the pause.
	impatience = 15 * time.Second
)

// contact is one contact of an account, or for a moment a stranger who has
// connected. It decides which of several streams becomes the session, dials when the
// outbox has a message, and sends the outbox in order, one message at a time.
//
// The outbox is in the store. The actor keeps only what it is doing about it, so a
// restart loses nothing.
type contact struct {
	// Fixed at creation.
	deps *Deps
	store.Conversation

	// State.
	record     store.Contact // as it was read last
	known      bool          // there is a record
	crossing   crossing
	devices    devices          // nodes from which the contact has never connected
	heldStream *session.Handoff // the incoming stream that crossing knows of
	dialling   kernel.Ref       // the session that dials
	incoming   kernel.Ref       // the session that accepts
	live       kernel.Ref       // the session that is open
	liveNode   identity.NodeKey
	// liveGeneration is the generation of the session, liveSubnetAddr the address of the
	// device when it lies behind liveNode.
	liveGeneration session.Generation
	liveSubnetAddr netip.Addr
	sessions       uint64 // names of children

	// undelivered is a position in the outbox below which every message is delivered.
	// Positions begin anew when the contact is removed and added again.
	undelivered uint64
	sending     peer.GUID // the message that live was told to send; 0 for none
	// acking has the operations that the store has not answered yet, of messages that
	// are not sent again: they are delivered, or cannot be sent.
	acking map[peer.GUID]store.Op
	// resolving says that the resolver was asked for addresses. The answer clears it,
	// or kernel.Unanswered does.
	resolving bool
	attempts  int // failed in a row
	// sessionsWithoutAck counts the sessions in a row in which nothing was acknowledged.
	sessionsWithoutAck int
	failedAt           time.Time // of the last attempt
	retry              kernel.Timer
	patience           kernel.Timer // see nextToSend
	retryPending       bool         // retry is running
	// wantRedial asks for one session although the outbox is empty: the contact has a
	// message for us that we have refused. It is then told that it is a contact.
	wantRedial bool
	// wantTurn asks for one session too: the contact may have to send a message again
	// that could not be attributed, or waits for a file that needs the node to itself.
	wantTurn bool
	// answerSent and requestSent say that live was told to send the answer, or the
	// request, that the contact's row owes.
	answerSent, requestSent bool
	// answerUnsaved and requestUnsaved say that it was sent and that the store has not
	// noted it yet: until then the row still owes it.
	answerUnsaved, requestUnsaved bool
	receiving                     bool // the store was told to keep a request of theirs
	// unstored are the credits of frames that wait for the store.
	unstored unstoredFrames
	call     call
	seenAt   time.Time // when LastSeen was stored last
}

// The account's messages to a contact actor, which also gets inbound and
// uplink.Changed.
type (
	// Look says that the contact or its outbox has changed in the store.
	Look struct{}
	// ProfileChanged says that the account has another profile.
	ProfileChanged struct{}
	// RoleChanged says that the account has another role: its sessions begin anew.
	RoleChanged struct{}
)

type (
	retryDue struct{}
	// patienceOver: messages may overtake a file, see nextToSend.
	patienceOver struct{}
	// outcomeDue tells the store once more the outcome of a message.
	outcomeDue struct{ GUID peer.GUID }
	// holdOver: the stream was held for holdTime.
	holdOver struct{ stream *session.Handoff }
)

// Deps is what the contact actors of a node use. The node builds it before
// it starts the first account.
type Deps struct {
	// Store is for reading; Writer is the actor that writes to it.
	Store  *store.Store
	Writer kernel.Ref
	// Resolver answers lookup.
	Resolver kernel.Ref
	// Network says whether there are links.
	Network *uplink.Cell
	// Now is the wall clock, for what is stored.
	Now  func() time.Time
	Log  *strangerlog.Log
	Keys *keyring.Ring
	// Nodes gets the node keys of accepted contacts.
	Nodes *Nodes
	Table *Table
	// Sessions is what sessions use; its Table says when a pair may have one, and its Files
	// get the files of messages between accounts of this node, too.
	Sessions *session.Deps
	// CallRing is Options.CallRing, Patience MediaOptions.Patience.
	CallRing, Patience time.Duration
	// Answering is the answering machine.
	Answering *answering.Machine
}

func (d *Deps) nowMillis() store.Millis { return store.MillisOf(d.Now()) }

// NewSpec makes the spec of a contact's actor.
func NewSpec(d *Deps, p store.Conversation) kernel.Spec {
	return kernel.Spec{Name: p.Contact().String(), Kind: "contact", New: func() kernel.Actor {
		return &contact{
			deps: d, Conversation: p,
			crossing: newCrossing(p.Account, p.Contact()), acking: make(map[peer.GUID]store.Op),
		}
	}}
}

func (x *contact) Started(c *kernel.Context) error {
	if err := x.read(); err != nil {
		return err
	}
	x.deliver(c)
	return nil
}

func (x *contact) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case session.Inbound:
		x.onInbound(c, msg)
	case uplink.Changed:
		x.onOverlayChanged(c, msg)
	case Look:
		x.onChanged(c)
	case resolver.Addresses:
		x.onAddresses(c, msg)
	case kernel.Unanswered:
		x.onUnanswered(c, msg)
	case session.Ready:
		x.onSessionReady(c)
	case session.Live:
		x.onSessionLive(c, msg)
	case session.Alive:
		x.knownNodeMet()
		x.act(c, x.crossing.liveAnswered())
	case holdDue:
		x.onHoldDue(c)
	case holdStreamOver:
		x.onHoldStreamOver(msg)
	case session.HandshakeRelayed:
		x.onHandshakeRelayed(c, msg)
	case session.Acked:
		x.onAcked(c, msg)
	case session.Undeliverable:
		x.onUndeliverable(c, msg)
	case session.TurnCame:
		x.onTurnCame(c, msg)
	case session.Requested:
		x.onContactRequested(c, msg)
	case session.Answered:
		x.onContactAnswered(c, msg)
	case session.Responded:
		x.onResponded(c, msg)
	case session.RequestDelivered:
		x.onRequestDelivered(c)
	case session.CallOffered:
		x.onCallOffered(c)
		msg.Credit.Release()
	case session.CallHung:
		x.onCallHung(c)
		msg.Credit.Release()
	case ringOver:
		x.onRingOver(c)
	case ProfileChanged:
		if !x.live.IsZero() && x.allowed() {
			c.Tell(x.live, session.TellProfile{})
		}
	case RoleChanged:
		x.stopSessions(c)
	case holdOver:
		x.onHoldOver(c, msg)
	case patienceOver:
		x.deliver(c)
	case outcomeDue:
		x.tellOutcome(c, msg.GUID)
	case retryDue:
		x.retryOver()
		x.deliver(c)
	case store.Written:
		x.onWritten(c, msg)
	case kernel.ChildStopped:
		x.onSessionEnded(c, msg)
	}
}

func (x *contact) Stopping(*kernel.Context) {
	if x.heldStream != nil {
		x.heldStream.Drop()
	}
	x.dropDevices()
	x.deps.Table.presence.forget(x.Conversation)
}

// read reads the contact from the store.
func (x *contact) read() error {
	record, err := x.deps.Store.Contact(x.Account, x.Contact())
	if record.Added != x.record.Added {
		x.undelivered = 0
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		x.record, x.known = store.Contact{}, false
	case err != nil:
		return fmt.Errorf("read contact: %w", err)
	default:
		x.record, x.known = record, true
	}
	if !x.allowed() { // else Nodes has them
		for _, n := range x.record.NodeKeys {
			x.deps.Keys.KnowStranger(n.Key)
		}
	}
	x.deps.Nodes.set(x.Conversation, x.acceptedNodes())
	return nil
}

// acceptedNodes returns the node keys of an accepted contact, with the one that the
// store is about to note.
func (x *contact) acceptedNodes() []identity.NodeKey {
	nodes := nodesOfContact(x.record)
	if x.allowed() && !x.liveNode.IsZero() && !slices.Contains(nodes, x.liveNode) {
		nodes = append(nodes[max(0, len(nodes)-store.MaxNodeKeys+1):], x.liveNode)
	}
	return nodes
}

// logInfo writes a log line about the contact. Lines about strangers are limited:
// there can be any number of them.
func (x *contact) logInfo(c *kernel.Context, event string, args ...any) {
	if x.allowed() {
		c.Log().Info(event, args...)
		return
	}
	x.deps.Log.Info(event, append(args, "account", x.Account.Short(), "contact", x.Contact().Short())...)
}

func (x *contact) allowed() bool { return x.known && x.record.State == store.ContactAccepted }

// onChanged reads the contact again, and continues with its outbox.
func (x *contact) onChanged(c *kernel.Context) {
	was, known := x.allowed(), x.known
	if err := x.read(); err != nil {
		c.Fail(err)
	}
	x.devicesRead(c)
	if x.known && x.record.State == store.ContactBlocked || known && !x.known {
		x.stopSessions(c) // blocked, or removed
	}
	if !x.allowed() {
		x.stopRinging()
	}
	if now := x.allowed(); now != was && !x.live.IsZero() {
		c.Tell(x.live, session.Permit{Allowed: now})
		x.recordNode(c)
		if now && x.record.Owed == store.AnswerNone {
			// The contact has not asked. An app that accepts messages from contacts only
			// makes us one of them when it reads this.
			c.Tell(x.live, session.Respond{Accepted: true})
		}
	}
	x.sendOwed(c)
	if x.retryPending && time.Since(x.failedAt) > impatience {
		x.stopRetry()
	}
	x.deliver(c)
	x.stopIfStranger(c)
}

// stopIfStranger ends the actor of a stranger who is not connected any more.
func (x *contact) stopIfStranger(c *kernel.Context) {
	if !x.known && len(c.Children()) == 0 && x.heldStream == nil {
		c.StopSelf(nil)
	}
}

func (x *contact) stopSessions(c *kernel.Context) {
	for _, child := range c.Children() {
		c.Stop(child)
	}
}

// deliver sends the next message of the outbox, or connects when there is no session.
func (x *contact) deliver(c *kernel.Context) {
	if !x.allowed() || x.sending != 0 {
		return
	}
	local := x.local(c)
	if local {
		x.sendOwedLocally(c)
	}
	next, ok := x.nextToSend(c)
	if !ok {
		if !local && x.wantsSession() && x.live.IsZero() {
			x.connect(c)
		}
		return
	}
	guid := peer.GUID(next.ID.GUID)
	if _, done := x.acking[guid]; done {
		return // continues when the store has noted it
	}
	if local {
		x.deliverLocally(c, next)
		return
	}
	if x.live.IsZero() {
		x.connect(c)
		return
	}
	x.sending = guid
	c.Tell(x.live, session.Deliver{Message: next})
}

// nextToSend returns the first message that may be sent now. A message with a file is
// held until the file is on the file server. The messages behind it wait too, so that
// a conversation arrives as it was written, but only for deps.Patience after the file
// was queued. Then they overtake it, as they do in the apps at once.
func (x *contact) nextToSend(c *kernel.Context) (store.Message, bool) {
	x.patience.Stop()
	first := true
	for m, err := range x.deps.Store.UndeliveredFrom(x.Account, x.ID, x.undelivered) {
		if err != nil {
			c.Fail(fmt.Errorf("read outbox: %w", err))
		}
		if first {
			x.undelivered, first = m.Order, false
		}
		if !m.Held {
			return m, true
		}
		patience := x.deps.Patience
		left := patience - x.deps.Now().Sub(m.Created.Time())
		// More than all of it is left when the clock was set back: then nobody waits.
		if left > 0 && left <= patience {
			x.patience = c.After(left, patienceOver{})
			break
		}
	}
	return store.Message{}, false
}

func (x *contact) sessionSpec(start session.Start) kernel.Spec {
	x.sessions++
	return session.NewSpec("session-"+strconv.FormatUint(x.sessions, 10), x.deps.Sessions, x.Conversation, start)
}

// onInbound gets a stream whose initiator has proved to be this contact.
func (x *contact) onInbound(c *kernel.Context, msg session.Inbound) {
	if x.known && x.record.State == store.ContactBlocked {
		msg.Stream.Drop()
		return
	}
	if (!x.known || x.record.State == store.ContactStranger) && x.strangers(c) == store.StrangersRefuse {
		msg.Stream.Drop()
		x.stopIfStranger(c)
		return
	}
	if x.holdsDevice(c, msg) {
		return
	}
	verdict := x.crossing.arrived()
	if verdict == dropIncoming {
		msg.Stream.Drop() // the held stream stays held
		return
	}
	x.heldStream = msg.Stream
	x.act(c, verdict)
	if x.heldStream != nil {
		c.After(holdTime, holdOver{x.heldStream})
	}
}

func (x *contact) onHoldOver(c *kernel.Context, msg holdOver) {
	if msg.stream == x.heldStream { // else crossing has decided, and another one may be held
		x.act(c, x.crossing.holdExpired())
	}
}

// act does what crossing has decided.
func (x *contact) act(c *kernel.Context, v verdict) {
	switch v {
	case doNothing, holdIncoming:
	case holdAndProbe:
		// Another device of the contact may have a message: a quiet session ends for it.
		c.Tell(x.live, session.Probe{Yield: x.heldStream.Node() != x.liveNode})
	case dropIncoming:
		x.heldStream.Drop()
		x.heldStream = nil
	case acceptIncoming:
		x.accept(c)
	case stopDialAndAccept:
		c.Stop(x.dialling)
		x.dialling = kernel.Ref{}
		x.accept(c)
	case abortLiveAndAccept:
		c.Tell(x.live, session.Replace{})
		x.forgetLive(c)
		x.showPresence(session.ErrReplaced)
		x.accept(c)
	case completeDial:
		c.Tell(x.dialling, session.Complete{})
	case stopDial:
		c.Stop(x.dialling)
		x.dialling = kernel.Ref{}
	}
}

// accept starts a session on the held stream.
func (x *contact) accept(c *kernel.Context) {
	stream := x.heldStream
	x.heldStream = nil
	session, err := c.Spawn(x.sessionSpec(session.Start{Accept: stream, Allowed: x.allowed()}))
	if err != nil {
		stream.Drop()
		c.Fail(fmt.Errorf("start session: %w", err))
	}
	x.incoming = session
}

func (x *contact) onSessionReady(c *kernel.Context) {
	if c.Sender() != x.dialling {
		return // it was stopped meanwhile
	}
	x.act(c, x.crossing.dialReady())
}

func (x *contact) onSessionLive(c *kernel.Context, msg session.Live) {
	switch c.Sender() {
	case x.dialling:
		x.dialling = kernel.Ref{}
		x.live = c.Sender()
		x.act(c, x.crossing.dialCompleted())
	case x.incoming:
		x.incoming = kernel.Ref{}
		x.live = c.Sender()
		x.crossing.incomingCompleted()
	default:
		return // it was stopped meanwhile
	}
	x.liveNode, x.liveGeneration, x.liveSubnetAddr = msg.Node, msg.Generation, msg.SubnetAddr
	x.attempts = 0
	x.stopRetry()
	x.knownNodeMet()
	if x.devices.dialFirst == msg.Node {
		x.devices.dialFirst = identity.NodeKey{}
	}
	x.deps.Keys.KnowStranger(msg.Node)
	direction := "accepted"
	if msg.Dialled {
		direction = "dialled"
	}
	x.logInfo(c, "session opened", "node", msg.Node.Short(), "kind", msg.Generation.Kind(), "type", direction)
	x.recordNode(c)
	if !x.known && x.strangers(c) == store.StrangersAccept {
		c.Tell(x.deps.Writer, store.Write{Op: store.AddContact{Contact: store.Contact{
			Account: x.Account, ID: x.Contact(), State: store.ContactAccepted, Added: x.deps.nowMillis(),
		}}})
	}
	x.noteSeen(c)
	x.deps.Table.presence.set(x.Conversation, Presence{Online: true, Since: time.Now(), Node: msg.Node})
	// The contact's state can have changed while the session opened.
	c.Tell(x.live, session.Permit{Allowed: x.allowed()})
	if x.wantRedial && x.allowed() && x.record.Owed == store.AnswerNone {
		c.Tell(x.live, session.Respond{Accepted: true})
	}
	x.wantRedial, x.wantTurn = false, false
	x.sendOwed(c)
	x.deliver(c)
}

// onHandshakeRelayed raises the alarm, once for a while.
func (x *contact) onHandshakeRelayed(c *kernel.Context, msg session.HandshakeRelayed) {
	if !x.deps.Table.suspicions.note(SuspicionRelay, x.Conversation, msg.Node, !x.allowed(), time.Now()) {
		return
	}
	c.Log().Error("handshake relayed: challenge of another connection, nothing was signed", "node", msg.Node.Short())
	c.Tell(x.deps.Writer, store.Write{Op: store.NoteHandshakeRelayed{Account: x.Account, Remote: x.Contact(), Node: msg.Node}})
}

// recordNode stores the node of a contact, for the next dial. Those of strangers are
// not stored: a new one would be an event.
func (x *contact) recordNode(c *kernel.Context) {
	if x.allowed() {
		x.deps.Nodes.add(x.Conversation, x.liveNode)
		x.addKnownNode(x.liveNode, x.liveGeneration)
		c.Tell(x.deps.Writer, store.Write{Op: store.RecordNodeKey{
			Account: x.Account, Contact: x.Contact(), Key: x.liveNode, Generation: uint8(x.liveGeneration), SubnetAddr: store.IPv6Of(x.liveSubnetAddr), Time: x.deps.nowMillis(),
		}})
	}
}

func (x *contact) onAcked(c *kernel.Context, msg session.Acked) {
	crashpoint.At(crashpoint.BeforeDelivered)
	x.noteSeen(c)
	x.sessionsWithoutAck = 0
	x.acking[msg.GUID] = store.MarkDelivered{
		Account: x.Account, Conversation: x.ID, GUID: int64(msg.GUID), Time: x.deps.nowMillis(),
	}
	x.tellOutcome(c, msg.GUID)
}

// tellOutcome tells the store the outcome of a message.
func (x *contact) tellOutcome(c *kernel.Context, guid peer.GUID) {
	if op := x.acking[guid]; op != nil {
		c.Tell(x.deps.Writer, store.Write{Token: uint64(guid), Op: op})
	}
}

// onStoreRefused retries when the store has refused a write. A full disk does not fail
// the actor, and neither a delivered message nor one that cannot be sent is sent again.
func (x *contact) onStoreRefused(c *kernel.Context, msg store.Written) {
	x.deps.Log.Warn("store refused a write", "account", x.Account.Short(), "contact", x.Contact().Short(), "err", msg.Err)
	guid := peer.GUID(msg.Token)
	if guid == 0 {
		return
	}
	if x.acking[guid] != nil {
		c.After(refusedRetry, outcomeDue{guid})
		return
	}
	if x.sending == guid { // to another account of this node
		x.sending = 0
	}
	x.failedAt = time.Now()
	x.retryAfter(c, refusedRetry)
}

// onWritten gets the store's answer. The token is the guid for the outcome of a message
// and for a message to another account of this node, else 0.
func (x *contact) onWritten(c *kernel.Context, msg store.Written) {
	if msg.Err != nil {
		x.receiving, x.answerUnsaved, x.requestUnsaved = false, false, false
		x.unstored.releaseAll()
	}
	switch {
	case isRefusal(msg.Err):
		x.onStoreRefused(c, msg)
		return
	case msg.Err != nil && !errors.Is(msg.Err, store.ErrNotFound):
		c.Fail(fmt.Errorf("store: %w", msg.Err))
	}
	switch r := msg.Result.(type) {
	case store.NodeKeyRecorded:
		if r.Changed {
			c.Log().Warn("contact connected from a new node", "node", x.liveNode.Short())
		}
		if r.New { // there is no event for the first one
			if err := x.read(); err != nil {
				c.Fail(err)
			}
		}
	case store.Requested:
		x.onRequested(c, r)
	case store.AnswerMarked:
		x.unstored.answerStored()
	case store.Settled:
		x.answerUnsaved = false
		x.onChanged(c) // something else may be owed now
	case store.AskMarked:
		x.requestUnsaved = false
		x.onChanged(c)
	case store.Accepted:
		if r.Crowded {
			x.sending = 0
			c.Tell(x.deps.Writer, store.Write{Op: store.FailMessage{
				Account: x.Account, Conversation: x.ID, GUID: int64(msg.Token), Time: x.deps.nowMillis(),
				Reason: "its id has too many contents at the other account",
			}})
			return
		}
		x.onAcked(c, session.Acked{GUID: peer.GUID(msg.Token)}) // the other account of this node has it
		return
	}
	guid := peer.GUID(msg.Token)
	if guid == 0 {
		return
	}
	delete(x.acking, guid)
	if x.sending == guid {
		x.sending = 0
	}
	x.deliver(c)
}

// onSessionEnded decides when to connect again. The message that was being sent is sent
// again over the next session.
func (x *contact) onSessionEnded(c *kernel.Context, msg kernel.ChildStopped) {
	c.Log().Debug("child ended", "child", msg.Name, "err", msg.Err)
	turn, refused := errors.AsType[*session.TurnError](msg.Err)
	switch msg.Child {
	case x.dialling:
		x.dialling = kernel.Ref{}
		x.act(c, x.crossing.dialEnded())
		if refused {
			x.noteTurn(msg.Err)
			x.waitForTurn(c, turn.Wait)
		} else {
			x.onAttemptFailed(c, msg.Err)
		}
	case x.incoming:
		x.incoming = kernel.Ref{}
		x.crossing.incomingEnded()
		x.showPresence(msg.Err)
		if refused && x.live.IsZero() {
			x.noteTurn(msg.Err)
			x.waitForTurn(c, turn.Wait)
		} else {
			x.deliver(c)
		}
	case x.live:
		x.logInfo(c, "session closed", "node", x.liveNode.Short(), "err", msg.Err)
		x.forgetLive(c)
		x.showPresence(msg.Err)
		x.noteSeen(c)
		x.act(c, x.crossing.liveEnded())
		x.wantRedial = errors.Is(msg.Err, session.ErrRefused)
		x.noteTurn(msg.Err)
		switch {
		case errors.Is(msg.Err, session.ErrIdle), errors.Is(msg.Err, session.ErrMirrored), errors.Is(msg.Err, session.ErrYielded), errors.Is(msg.Err, session.ErrOtherDevice):
			x.deliver(c)
		case errors.Is(msg.Err, session.ErrNotAnswering):
			// Most likely we are not a contact of theirs yet: each attempt costs a session,
			// and the message is sent in vain.
			x.sessionsWithoutAck++
			x.retryAfter(c, kernel.Backoff{Min: reconnectAfter, Max: lastRetry}.Delay(x.sessionsWithoutAck))
		default:
			x.retryAfter(c, kernel.Jitter(reconnectAfter))
		}
	case x.call.machine:
		x.onMachineStopped(c, msg.Err)
	}
	x.stopIfStranger(c)
}

// inTurn returns the nodes at which the contact may be dialled now. When there are
// none, wait is the time to the next attempt; turnCame comes when it is its turn
// earlier. See session.Table: some nodes get one conversation at a time.
func (x *contact) inTurn(c *kernel.Context, nodes []identity.NodeKey) (now []identity.NodeKey, wait time.Duration) {
	for _, node := range nodes {
		w := x.deps.Sessions.Table.Wait(node, x.Conversation, c.Self())
		switch {
		case w == 0:
			now = append(now, node)
		case wait == 0 || w < wait:
			wait = w
		}
	}
	return now, wait
}

// waitForTurn postpones the attempt, which has not failed.
func (x *contact) waitForTurn(c *kernel.Context, wait time.Duration) {
	x.showPresence(&session.TurnError{Wait: wait})
	x.retryAfter(c, wait)
}

// onTurnCame: the node is free, or will be in a moment.
func (x *contact) onTurnCame(c *kernel.Context, msg session.TurnCame) {
	if !x.live.IsZero() {
		return
	}
	x.stopRetry()
	if msg.Wait > 0 {
		x.retryAfter(c, msg.Wait)
		return
	}
	x.deliver(c)
}

// noteTurn asks for another session, also with an empty outbox, when a session ended
// for a reason after which the contact has something to send again.
func (x *contact) noteTurn(reason error) {
	_, refused := errors.AsType[*session.TurnError](reason)
	if refused || errors.Is(reason, session.ErrSharedNode) || x.deps.Sessions.Table.OwesFiles(x.Conversation) {
		x.wantTurn = x.allowed()
	}
}

func (x *contact) onUndeliverable(c *kernel.Context, msg session.Undeliverable) {
	if c.Sender() != x.live || x.sending != msg.GUID {
		return
	}
	x.acking[msg.GUID] = store.FailMessage{
		Account: x.Account, Conversation: x.ID, GUID: int64(msg.GUID), Time: x.deps.nowMillis(), Reason: msg.Reason,
	}
	x.tellOutcome(c, msg.GUID)
}

func (x *contact) forgetLive(c *kernel.Context) {
	x.loseCall(c)
	x.live, x.sending = kernel.Ref{}, 0
	x.answerSent, x.requestSent = false, false
}

// noteSeen stores LastSeen, at most once in seenEvery.
func (x *contact) noteSeen(c *kernel.Context) {
	if !x.known || time.Since(x.seenAt) < seenEvery {
		return
	}
	x.seenAt = time.Now()
	c.Tell(x.deps.Writer, store.Write{Op: store.UpdateContact{
		Account: x.Account, Contact: x.Contact(), Fields: store.FieldLastSeen, LastSeen: x.deps.nowMillis(),
	}})
}

func (x *contact) showPresence(reason error) {
	if !x.live.IsZero() {
		return
	}
	x.deps.Table.presence.update(x.Conversation, func(p *Presence) {
		*p = Presence{NextAttempt: p.NextAttempt, LastError: p.LastError}
		if reason != nil {
			p.LastError = reason.Error()
		}
	})
}
