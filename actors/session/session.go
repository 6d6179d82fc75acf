// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Timers of a session. The apps ping after 50 s and give the answer 7 s, which is
// little for a mesh that has been quiet; we are more patient.
const (
	pingAfter = 50 * time.Second
	pongTime  = 25 * time.Second
	// mirrorTime is how long a session goes on after a message that a mirror does not
	// acknowledge: apps offer a message once in a session, and may have more to say.
	mirrorTime = 5 * time.Second
	// yieldAfter is how long a session has been quiet that ends in favour of another
	// device of the same contact.
	yieldAfter = 15 * time.Second
)

// Start says how a session begins: exactly one of the two.
type Start struct {
	// Dial are the nodes to try, best first, for patience each.
	Dial     []identity.NodeKey
	Patience time.Duration
	// Known are the generations in which nodes have been met.
	Known map[identity.NodeKey]Generation
	// Behind are addresses of devices behind nodes, for generation 1.
	Behind map[identity.NodeKey]netip.Addr
	// Accept is a stream whose initiator has proved its identity; going on with it
	// proves ours.
	Accept *Handoff
	// Allowed is whether the peer may do more than ask to be a contact.
	Allowed bool
}

// session is one peer connection to one device of a contact: dialling or the
// second half of an accepted handshake, then frames both ways until one side ends
// it. It is never restarted: after a failure its contact opens another.
//
// While it opens it does nothing that the other side would count before its
// contact has said complete, or has started it with an accepted stream; see
// crossing.
type session struct {
	// Fixed at creation.
	deps *Deps
	store.Conversation
	start Start

	// State.
	conn *peerConn // nil until the stream is open
	// place is what the pairTable knows of this session; nil before it is entered, and
	// for generations without data streams.
	place *pairSession
	live  bool
	// disconnected tells the files that the session has ended; see sessionFiles.
	disconnected func()
	allowed      bool
	// refused says that a message was read and forgotten, as the peer was not allowed.
	refused bool
	// strangerUntil is when the session ends because its peer is still a stranger;
	// zero when it is allowed.
	strangerUntil time.Time
	// waiting are the writes to the store that have not been answered yet.
	waiting   map[uint64]pendingWrite
	nextToken uint64
	inFlight  *inFlight    // the message that the peer has not acknowledged
	toServe   []servedFile // what the peer has asked for; the first is being sent
	served    bool         // the files that were owed have been looked for
	held      *heldProfile // the profile of the contact that is to be stored next; nil for none
	// mirror says that what comes is kept and not acknowledged; mirrored is when that
	// happened last.
	mirror   bool
	mirrored time.Time
	// pings and pongs count what was sent and what came. Our request has been read
	// when askedAt pongs have come; 0 while there is none.
	pings, pongs, askedAt uint64

	// lastFrame is when anything came, lastActivity when something other than a
	// ping or pong did.
	lastFrame, lastActivity time.Time
	pinged                  time.Time // when the unanswered ping was sent; zero without one
	probing                 bool      // the contact waits for a sign of life
	timer                   kernel.Timer
	due                     time.Time // when timer fires; it may be early, never late
	parallel                bool      // holds one of Table.parallel
	yielding                time.Time // when another pair began to wait for the node; zero without one
	ending                  error     // why it ends as soon as nothing is in doubt; nil while it does not
}

// pendingWrite is what to do when the store has answered.
type pendingWrite struct {
	ok     *peer.OK // to be sent when it went well, nil for none
	credit Credit
}

// inFlight is the message that was sent and is not acknowledged. It ends no session
// before until.
type inFlight struct {
	guid        peer.GUID
	sent, until time.Time
	onData      bool // it went over our data stream
}

type sessionDue struct{}

// NewSpec makes the actor's spec.
func NewSpec(name string, d *Deps, p store.Conversation, start Start) kernel.Spec {
	return kernel.Spec{Name: name, Kind: "session", Once: true, New: func() kernel.Actor {
		return &session{deps: d, Conversation: p, start: start, allowed: start.Allowed, waiting: make(map[uint64]pendingWrite)}
	}}
}

func (s *session) Started(c *kernel.Context) error {
	if s.start.Accept != nil {
		return s.startAccepted(c)
	}
	return s.startDial(c)
}

func (s *session) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case dialled:
		s.onDialled(c, msg)
	case accepted:
		s.onLive(c, false)
	case Complete:
		s.onComplete(c)
	case HandshakeRelayed:
		c.Tell(c.Parent(), msg)
	case Deliver:
		s.onDeliver(c, msg)
	case Probe:
		s.onProbe(c, msg)
	case Permit:
		s.onPermit(c, msg)
	case RequestStored:
		s.onRequestStored(c)
	case endStranger:
		s.onEndStranger(c)
	case Respond:
		s.onRespond(c, msg)
	case Ask:
		s.onAsk(c, msg)
	case DeclineCall:
		s.send(c, peer.CallAnswer{Accepted: false})
	case TellProfile:
		s.onTellProfile(c)
	case profileDue:
		s.onProfileDue(c)
	case Replace:
		s.end(c, ErrReplaced)
	case dataStream:
		s.onDataStream(c, msg)
	case yieldTurn:
		s.onYieldTurn(c)
	case endShared:
		s.endUndoubted(c, ErrSharedNode)
	case frameRead:
		s.onFrame(c, msg)
	case requestFile:
		s.send(c, msg.Request)
	case fileTaken:
		s.onFileTaken(c, msg)
	case fileRead:
		s.send(c, msg.Message)
	case store.Written:
		s.onWritten(c, msg)
	case sessionDue:
		s.onDue(c)
	case kernel.TaskDone:
		s.onTaskDone(c, msg)
	}
}

func (s *session) Stopping(c *kernel.Context) {
	if s.place != nil {
		s.place.leave()
	}
	if s.live {
		s.disconnected()
	}
	s.deps.Table.strangers.leave(c.Self())
	if s.parallel {
		s.deps.Table.parallel.Release(1)
	}
	if s.conn != nil {
		s.conn.close()
	}
	if s.start.Accept != nil {
		s.start.Accept.Drop()
	}
}

// startDial looks for the contact at the given nodes.
func (s *session) startDial(c *kernel.Context) error {
	key, ok := s.deps.Keys.Account(s.Account)
	if !ok {
		return kernel.Fatal(keyring.ErrUnknownAccount)
	}
	carriers := s.deps.carriers()
	if len(carriers) == 0 {
		return kernel.Fatal(uplink.ErrOffline)
	}
	account, err := s.deps.Store.Account(s.Account)
	if err != nil {
		return kernel.Fatal(fmt.Errorf("read account: %w", err))
	}
	d := dialer{
		carriers: carriers, nodes: s.start.Dial, known: s.start.Known, behind: s.start.Behind, patience: s.start.Patience,
		config: peer.InitiatorConfig{Key: key, Remote: s.Contact(), ClientID: account.ClientID},
		secure: s.deps.secure,
	}
	inbox := c.Inbox()
	d.report = func(node identity.NodeKey, err error) { reportRelay(inbox, node, err) }
	c.Go("dial", func(ctx context.Context) error {
		conn, err := d.dial(ctx)
		if err != nil {
			return err
		}
		if !inbox.Tell(dialled{conn}) {
			_ = conn.stream.Abort() // nobody wants it any more
		}
		return nil
	})
	return nil
}

// onDialled: both sides have proved who they are, and the other side counts
// nothing before our final OK.
func (s *session) onDialled(c *kernel.Context, msg dialled) {
	s.conn = msg.conn
	c.Tell(c.Parent(), Ready{Node: s.conn.node})
}

func (s *session) onComplete(c *kernel.Context) {
	if s.conn == nil || s.live {
		return
	}
	if err := s.enter(c); err != nil {
		s.end(c, err)
		return
	}
	p, err := s.conn.hs.Proceed()
	if err != nil {
		s.end(c, fmt.Errorf("complete the handshake: %w", err))
		return
	}
	// The data stream of the peer is on its way as soon as it has this.
	s.onLive(c, true)
	for _, f := range p.Send {
		s.send(c, f)
	}
	s.greet(c)
	if early := askedEarly(s.conn.hs); early != nil {
		s.onInfoRequest(c, *early)
	}
}

// startAccepted goes on with a handshake whose first half the listener has run.
func (s *session) startAccepted(c *kernel.Context) error {
	if !s.start.Accept.claim() {
		c.StopSelf(errHandedOverLate)
		return nil
	}
	conn, inbox := newPeerConn(s.start.Accept.stream, s.start.Accept.hs), c.Inbox()
	s.conn = conn
	if err := s.enter(c); err != nil {
		_ = conn.stream.Abort() // left unanswered: the other side counts nothing
		// No failure of ours: strangers can make this happen as often as they like.
		c.StopSelf(err)
		return nil
	}
	s.strangerStanding(c)
	c.Go("accept", func(ctx context.Context) error {
		p, err := conn.hs.Proceed()
		if err == nil {
			_, err = conn.hs.Drive(conn.stream.reader, conn.stream, p)
		}
		if err != nil {
			reportRelay(inbox, conn.node, err)
			return fmt.Errorf("accept the handshake: %w", err)
		}
		inbox.Tell(accepted{})
		return nil
	})
	return nil
}

// onLive begins the session proper.
func (s *session) onLive(c *kernel.Context, dialled bool) {
	if !s.deps.Table.parallel.TryAcquire(1) {
		s.end(c, fmt.Errorf("session refused: %w", overlay.ErrTooMany))
		return
	}
	account, err := s.deps.Store.Account(s.Account)
	if err != nil {
		s.deps.Table.parallel.Release(1)
		s.end(c, fmt.Errorf("read account: %w", err))
		return
	}
	s.mirror = account.Role == store.RoleMirror
	s.parallel, s.live = true, true
	s.lastFrame, s.lastActivity = time.Now(), time.Now()
	s.conn.permission.set(s.allowed)
	s.strangerStanding(c)
	if s.place != nil {
		s.place.goLive()
	}
	self := c.Self()
	s.disconnected = s.deps.Files.Connected(s.Conversation, func(r peer.FileRequest) { self.Tell(requestFile{r}) })
	conn, inbox := s.conn, c.Inbox()
	c.Go("read", func(ctx context.Context) error { return conn.readFrames(ctx, inbox) })
	s.schedule(c)
	c.Tell(c.Parent(), Live{
		Node: conn.node, Generation: s.generation(), Behind: behind(conn.hs, conn.stream), Dialled: dialled,
	})
	if !dialled {
		s.greet(c)
	}
}

// greet asks for the contact's profile, as the apps do at the start of a session.
func (s *session) greet(c *kernel.Context) {
	if !s.live || !s.allowed {
		return
	}
	contact, err := s.deps.Store.Contact(s.Account, s.Contact())
	if err != nil {
		return // not a contact yet
	}
	s.send(c, peer.InfoRequest{Since: profileSeconds(contact.ProfileTime)})
}

// end ends the session for a reason that its contact is told.
func (s *session) end(c *kernel.Context, reason error) {
	_, unanswered := errors.AsType[*TurnError](reason)
	if s.conn != nil && (unanswered || errors.Is(reason, ErrReplaced) || errors.Is(reason, errPingTimeout) || wire.ViolationCode(reason) != "") {
		_ = s.conn.stream.Abort() // no use in a graceful end
	}
	if errors.Is(reason, ErrSharedNode) && len(s.toServe) > 0 {
		s.deps.Table.owed.put(s.Conversation, s.toServe, time.Now()) // the contact does not ask again
	}
	c.StopSelf(reason)
}

func (s *session) onTaskDone(c *kernel.Context, msg kernel.TaskDone) {
	switch {
	case msg.Name == taskSendFile:
		s.onServed(c, msg.Err)
	case msg.Err == nil:
	case msg.Name == taskTakeFile:
		c.Log().Warn("A file from the contact was not taken", "err", msg.Err)
	case msg.Name == taskData || msg.Name == taskSendData:
		s.onDataDone(c, msg)
	default:
		s.end(c, fmt.Errorf("%s: %w", msg.Name, msg.Err))
	}
}

// schedule makes sure that onDue runs when the next timer is over. Frames push
// timers back without a word; onDue then finds nothing to do and looks ahead
// again, so that a busy session costs no timers.
func (s *session) schedule(c *kernel.Context) {
	next := s.lastUse().Add(s.generation().idle(s.deps.Idle))
	sooner := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	switch {
	case !s.pinged.IsZero():
		sooner(s.pongDue())
	case s.generation().hasPings():
		sooner(s.lastByte().Add(pingAfter))
	}
	if !s.strangerUntil.IsZero() {
		sooner(s.strangerUntil)
	}
	if !s.yielding.IsZero() {
		sooner(s.yieldDue())
	}
	if s.inFlight != nil {
		sooner(s.ackDue())
	} else if !s.mirrored.IsZero() {
		sooner(s.mirrored.Add(mirrorTime))
	}
	if !s.due.IsZero() && !next.Before(s.due) {
		return
	}
	s.timer.Stop()
	s.due = next
	s.timer = c.After(time.Until(next), sessionDue{})
}

// onDue keeps the timers: the pong and the acknowledgment that are waited for,
// the idle end, the next ping.
func (s *session) onDue(c *kernel.Context) {
	now := time.Now()
	s.due = time.Time{}
	switch {
	case !s.pinged.IsZero() && !now.Before(s.pongDue()):
		s.end(c, errPingTimeout)
		return
	case s.inFlight != nil && !now.Before(s.ackDue()):
		s.end(c, ErrNotAnswering)
		return
	case s.inFlight == nil && !s.mirrored.IsZero() && now.Sub(s.mirrored) >= mirrorTime:
		s.end(c, ErrMirrored)
		return
	case !s.strangerUntil.IsZero() && !now.Before(s.strangerUntil):
		s.end(c, errStrangerTime)
		return
	case !s.yielding.IsZero() && s.mayYield(now):
		s.endUndoubted(c, ErrYielded)
	case now.Sub(s.lastUse()) >= s.generation().idle(s.deps.Idle):
		s.end(c, ErrIdle)
		return
	case s.pinged.IsZero() && s.generation().hasPings() && now.Sub(s.lastByte()) >= pingAfter:
		s.ping(c)
	}
	s.schedule(c)
}

func (s *session) ping(c *kernel.Context) {
	s.pinged = time.Now()
	s.pings++
	s.send(c, peer.Ping{})
	s.schedule(c)
}

func (s *session) onProbe(c *kernel.Context, msg Probe) {
	if msg.Yield && s.quiet() {
		s.end(c, ErrOtherDevice)
		return
	}
	s.probing = true
	// Without pings no answer is the answer: apps that dial have lost the session.
	if s.live && s.pinged.IsZero() && s.generation().hasPings() {
		s.ping(c)
	}
}

// quiet reports whether nothing is under way that would have to be repeated after
// the session's end.
func (s *session) quiet() bool {
	return s.live && s.inFlight == nil && len(s.waiting) == 0 && len(s.toServe) == 0 && time.Since(s.lastActivity) >= yieldAfter
}

// generation is the other side's; the stream is open.
func (s *session) generation() Generation { return s.conn.stream.generation }

func (s *session) onPermit(c *kernel.Context, msg Permit) {
	newly := msg.Allowed && !s.allowed
	s.allowed = msg.Allowed
	if s.live {
		s.conn.permission.set(s.allowed)
		s.strangerStanding(c)
		s.schedule(c)
	}
	if s.place != nil {
		s.place.setKnown(msg.Allowed)
	}
	switch {
	case newly && s.refused:
		// The peer sends what we have refused only over another session.
		s.end(c, ErrRefused)
	case newly:
		s.greet(c)
	}
}

// send queues a frame. A peer that does not read what we send is ended: our
// answers to it must not pile up.
func (s *session) send(c *kernel.Context, f peer.Frame) {
	if !s.live {
		return
	}
	start, ok := s.conn.enqueue(f)
	if !ok {
		s.end(c, errWriteBlocked)
		return
	}
	if start {
		conn := s.conn
		c.Go("write", func(context.Context) error { return conn.writeQueued() })
	}
}

func (s *session) onFrame(c *kernel.Context, msg frameRead) {
	s.lastFrame = time.Now()
	s.pinged = time.Time{} // whatever came, the peer is alive
	if s.probing {
		s.probing = false
		c.Tell(c.Parent(), Alive{})
	}
	switch msg.frame.(type) {
	case peer.Ping, peer.Pong:
	default:
		s.lastActivity = s.lastFrame
	}
	if !s.onPeerFrame(c, msg) {
		msg.credit.Release()
	}
	s.serveOwed(c)
}

// onPeerFrame reports whether the frame's credit is released later.
func (s *session) onPeerFrame(c *kernel.Context, msg frameRead) (later bool) {
	switch f := msg.frame.(type) {
	case peer.Ping:
		s.send(c, peer.Pong{})
	case peer.OK:
		s.onOK(c, f)
	case peer.ContactRequest:
		return s.passOn(c, Requested{Request: f, Credit: msg.credit})
	case peer.ContactResponse:
		return s.passOn(c, Answered{Accepted: f.Accepted, Credit: msg.credit})
	case peer.Message:
		return s.onMessage(c, f, msg.credit)
	case peer.InfoRequest:
		s.onInfoRequest(c, f)
	case peer.InfoResponse:
		return s.onInfoResponse(c, f, msg.credit)
	case peer.CallOffer:
		return s.passOn(c, CallOffered{Credit: msg.credit})
	case peer.CallHang:
		return s.passOn(c, CallHung{Credit: msg.credit})
	case peer.FileRequest:
		s.onFileRequest(c, f)
	case peer.Pong:
		s.onPong(c)
	case peer.Unknown:
		if f.Type == peer.FrameMessage {
			s.onSkippedMessage(c)
		}
	default:
		// Calls without an offer.
	}
	return false
}

// passOn tells the contact actor of a frame. That actor releases the credit: its
// mailbox has no bound of its own.
func (s *session) passOn(c *kernel.Context, msg any) (later bool) {
	c.Tell(c.Parent(), msg)
	return true
}

// onSkippedMessage: the reader has passed over a message, as the peer was a stranger.
// One that has become a contact meanwhile sends it again only over another session.
func (s *session) onSkippedMessage(c *kernel.Context) {
	s.refused = true
	if s.allowed {
		s.end(c, ErrRefused)
	}
}

// onMessage stores a message; OK follows its commit. A message from somebody who
// may not write is read and forgotten, without OK, as the apps do: the sender
// keeps it and sends it again when that has changed.
func (s *session) onMessage(c *kernel.Context, m peer.Message, credit Credit) (later bool) {
	if !s.allowed {
		s.refused = true
		return false
	}
	if m.Type == peer.TypeFileResponse {
		return s.onFileResponse(c, m, credit)
	}
	crashpoint.At(crashpoint.AfterDecode)
	guid := m.GUID
	if guid == 0 {
		// The app makes one from the content for a message that lacks it.
		guid = peer.AppGUID(m.Payload, m.SendTime)
	}
	then := pendingWrite{ok: &peer.OK{ID: m.GUID}, credit: credit}
	if s.mirror {
		then.ok = nil
		s.mirrored = time.Now()
		s.schedule(c)
	}
	s.write(c, store.AcceptMessage{
		Account: s.Account, Conversation: s.ID,
		GUID: int64(guid), Type: int32(m.Type), ReplyTo: int64(m.ReplyTo),
		SendTime: store.Millis(peer.NormalizeSendTime(m.SendTime)), EditTime: store.Millis(m.EditTime),
		Received: s.deps.nowMillis(), Payload: m.Payload, Reaction: ParseReaction(m.Type, m.Payload), Media: s.deps.Files.Incoming(s.Conversation, m),
	}, then)
	return true
}

// ParseReaction reads the payload of a reaction for the store; nil for other types. One
// that cannot be read is stored as a message and counts nowhere.
func ParseReaction(t peer.MessageType, payload []byte) *store.ReactionTo {
	if t != peer.TypeReaction {
		return nil
	}
	r, err := peer.ParseReaction(payload)
	if err != nil {
		return nil
	}
	return &store.ReactionTo{Target: int64(r.Target), Emoji: r.Emoji}
}

func (s *session) onInfoRequest(c *kernel.Context, f peer.InfoRequest) {
	if !s.allowed {
		return
	}
	account, err := s.deps.Store.Account(s.Account)
	if err != nil {
		s.end(c, err)
		return
	}
	changed := profileSeconds(account.ProfileTime)
	if changed <= f.Since {
		return // by the protocol there is no answer then
	}
	s.send(c, peer.InfoResponse{Time: changed, Profile: profileOf(account)})
}

// profileSeconds is the time of a profile in the protocol's terms: 0 is never.
func profileSeconds(m store.Millis) int64 { return int64(m) / 1000 }

// profileTime is the time of a contact's profile, which is theirs. One that is
// ahead of our clock would hide what they change until then, so it counts as now.
func profileTime(seconds int64, now time.Time) store.Millis {
	return store.Millis(max(0, min(seconds, now.Unix()))) * 1000
}

func profileOf(a store.Account) peer.Profile {
	return peer.Profile{Nickname: a.Name, Info: a.Info, Avatar: a.Avatar}
}

func (s *session) write(c *kernel.Context, op store.Op, then pendingWrite) {
	s.nextToken++
	s.waiting[s.nextToken] = then
	c.Tell(s.deps.Writer, store.Write{Token: s.nextToken, Op: op})
}

// onWritten is the moment of acceptance: the commit is synced, so the peer may be
// told.
func (s *session) onWritten(c *kernel.Context, msg store.Written) {
	then, ok := s.waiting[msg.Token]
	if !ok {
		return
	}
	delete(s.waiting, msg.Token)
	then.credit.Release()
	if msg.Err != nil {
		// During a session the app never sends a message again, so the session must
		// end for it to be offered once more.
		s.end(c, msg.Err)
		return
	}
	accepted, _ := msg.Result.(store.Accepted)
	switch {
	case accepted.Crowded:
		s.deps.noteCrowded(s.Conversation)
		return // not ours, so no OK
	case accepted.Stray:
		s.deps.Table.stray.Add(1)
	}
	if then.ok != nil {
		crashpoint.At(crashpoint.BeforeOK)
		s.send(c, *then.ok)
	}
	s.endUndoubted(c, s.ending)
}

// onDeliver sends a message of the outbox. There is one at a time: the apps show
// a repeated message twice, so at most one may be in doubt when a connection
// breaks.
func (s *session) onDeliver(c *kernel.Context, msg Deliver) {
	if !s.live || s.inFlight != nil || s.ending != nil {
		return
	}
	m := msg.Message
	frame := peer.Message{
		// Older versions queued any time that Matrix claimed.
		GUID: peer.GUID(m.ID.GUID), ReplyTo: peer.GUID(m.ReplyTo), SendTime: int64(store.PlausibleTime(m.SendTime, m.Created)),
		EditTime: int64(m.EditTime), Type: peer.MessageType(m.Type), Payload: m.Payload,
	}
	frame, ok := s.generation().readable(frame)
	if !ok {
		c.Log().Info("A message that the contact's app cannot show was left out", "type", m.Type)
		c.Tell(c.Parent(), Acked{GUID: frame.GUID})
		return
	}
	crashpoint.At(crashpoint.BeforeSend)
	now := time.Now()
	s.inFlight = &inFlight{guid: frame.GUID, sent: now, until: now.Add(ackTime)}
	switch large := len(frame.Payload) > wire.DataStreamThreshold; {
	case large && s.mayUseData():
		s.sendData(c, frame)
	case len(frame.Payload) > wire.MaxControlPayload:
		s.onTooLarge(c, frame)
	default:
		s.inFlight.until = s.inFlight.until.Add(transferTime(int64(len(frame.Payload))))
		s.send(c, frame)
	}
	s.schedule(c)
}

// onTooLarge: a message that no control frame carries, from a version that queued
// such. It waits for a data stream, or is given up where there is none.
func (s *session) onTooLarge(c *kernel.Context, m peer.Message) {
	s.inFlight = nil
	if s.place == nil {
		c.Tell(c.Parent(), Undeliverable{GUID: m.GUID, Reason: "the message is too large for the contact's app"})
		return
	}
	s.claimNode(c)
}

// onOK ignores what we did not send over this session: an OK for it proves
// nothing.
func (s *session) onOK(c *kernel.Context, f peer.OK) {
	if s.inFlight == nil || s.inFlight.guid != f.ID {
		return
	}
	if s.inFlight.onData {
		s.place.dataRead()
	}
	s.inFlight = nil
	c.Tell(c.Parent(), Acked{GUID: f.ID})
	s.endUndoubted(c, s.ending)
}

func (s *session) onRespond(c *kernel.Context, msg Respond) {
	s.send(c, peer.ContactResponse{Accepted: msg.Accepted})
	if msg.Owed {
		c.Tell(c.Parent(), Responded{Accepted: msg.Accepted})
	}
}

// onAsk sends a contact request. Nothing acknowledges it, so a ping goes with it:
// the peer reads in order, and has the request when it answers the ping.
func (s *session) onAsk(c *kernel.Context, msg Ask) {
	account, err := s.deps.Store.Account(s.Account)
	if err != nil {
		s.end(c, fmt.Errorf("read account: %w", err))
		return
	}
	if !s.generation().hasRequests() {
		// That we are here makes us a contact.
		c.Tell(c.Parent(), RequestDelivered{})
		c.Tell(c.Parent(), Answered{Accepted: true})
		return
	}
	s.send(c, peer.ContactRequest{Message: msg.Text, Profile: profileOf(account)})
	s.ping(c)
	s.askedAt = s.pings
}

func (s *session) onPong(c *kernel.Context) {
	s.pongs++
	if s.askedAt != 0 && s.pongs >= s.askedAt {
		s.askedAt = 0
		c.Tell(c.Parent(), RequestDelivered{})
	}
}

// onTellProfile sends our profile unasked, as it has changed. Apps take it like
// the answer to a question.
func (s *session) onTellProfile(c *kernel.Context) {
	if !s.live || !s.allowed {
		return
	}
	account, err := s.deps.Store.Account(s.Account)
	if err != nil {
		s.end(c, fmt.Errorf("read account: %w", err))
		return
	}
	s.send(c, peer.InfoResponse{Time: profileSeconds(account.ProfileTime), Profile: profileOf(account)})
}
