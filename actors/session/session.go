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
	"github.com/mimird/mimird/actors/session/attribution"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

const (
	// pingAfter is the idle time before a ping, pongTime the time for its answer. The
	// apps have 50 s and 7 s; 7 s is little for a mesh that was idle.
	pingAfter = 50 * time.Second
	pongTime  = 25 * time.Second
	// mirrorTime is how long a session continues after a message that a mirror does not
	// acknowledge: apps send a message once in a session, and may have others.
	mirrorTime = 5 * time.Second
	// yieldAfter is the idle time after which a session ends in favour of another device
	// of the same contact.
	yieldAfter = 15 * time.Second
)

// Start says how a session begins. Either Dial or Accept is set.
type Start struct {
	// Dial are the nodes to try, best first; each has Patience to answer.
	Dial     []identity.NodeKey
	Patience time.Duration
	// Known are the generations that nodes spoke when they were met.
	Known map[identity.NodeKey]Generation
	// SubnetAddrs are the addresses of devices behind nodes, for gen1.
	SubnetAddrs map[identity.NodeKey]netip.Addr
	// Accept is a stream whose initiator has proved its identity.
	Accept *Handoff
	// Allowed says that the peer may do more than send a contact request.
	Allowed bool
}

// session is a connection to one device of a contact: it dials, or runs the second half
// of an accepted handshake, then exchanges frames until one side ends it. It is never
// restarted: after a failure its contact opens another.
//
// A peer counts a session from a step of the handshake on, see [attribution.Table]. A session
// that dials takes this step when its contact sends [Complete]; the contact decides
// between crossing dials.
type session struct {
	// Fixed at creation.
	deps *Deps
	store.Conversation
	start Start

	// State.
	conn *peerConn // nil until the stream is open
	// place is the entry in the table of sessions; nil before the session is entered, and in
	// generations without data streams.
	place *attribution.Session
	live  bool
	// disconnected tells Deps.Files that the session has ended.
	disconnected func()
	allowed      bool
	// refused says that a message was read and not stored, because the peer was a
	// stranger.
	refused bool
	// strangerUntil is when the session ends because its peer is still a stranger;
	// zero when it is allowed.
	strangerUntil time.Time
	// waiting are the writes that the store has not answered.
	waiting   map[uint64]pendingWrite
	nextToken uint64
	inFlight  *inFlight    // the message that the peer has not acknowledged
	toServe   []servedFile // files that the peer has requested; the first is being sent
	served    bool         // the owed files were read
	held      *heldProfile // the profile of the contact that is to be stored next; nil for none
	call      *call        // the call of the contact that was answered; nil for none
	// mirror says that messages are stored and not acknowledged; mirrored is when that
	// last happened.
	mirror   bool
	mirrored time.Time
	// pings and pongs count the sent and the received ones. Our contact request was
	// read when there are askedAt pongs; 0 without a request.
	pings, pongs, askedAt uint64

	// lastFrame is when the last frame arrived, lastActivity when the last one arrived
	// that was neither PING nor PONG.
	lastFrame, lastActivity time.Time
	pinged                  time.Time // when the unanswered ping was sent; zero if none is
	probing                 bool      // the contact waits for Alive
	timer                   kernel.Timer
	due                     time.Time // when timer fires: at the next deadline or before
	parallel                bool      // holds one of Table.parallel
	yielding                time.Time // when another pair began to wait for the node; zero if none waits
	ending                  error     // why the session ends when nothing is in flight; nil unless it will
}

// pendingWrite is what is done when the store answers.
type pendingWrite struct {
	ok     *peer.OK // to be sent after the commit, nil for none
	credit Credit
}

// inFlight is the message that was sent and is not acknowledged. It does not end the
// session before until.
type inFlight struct {
	guid        peer.GUID
	sent, until time.Time
	onData      bool // sent on our data stream
}

type sessionDue struct{}

// NewSpec returns the spec of a session of a conversation, to be a child of the actor of
// the contact.
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
	case DeclineCall, AnswerCall, SendAudio, HangUp:
		s.onCallCommand(c, msg)
	case TellProfile:
		s.onTellProfile(c)
	case profileDue:
		s.onProfileDue(c)
	case Replace:
		s.end(c, ErrReplaced)
	case dataStream:
		s.onDataStream(c, msg)
	case attribution.Yield:
		s.onYieldTurn(c)
	case attribution.EndShared:
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
		s.place.Leave()
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

// startDial dials the nodes in a goroutine.
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
		carriers: carriers, nodes: s.start.Dial, known: s.start.Known, subnetAddrs: s.start.SubnetAddrs, patience: s.start.Patience,
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
			_ = conn.stream.Abort() // the session has ended
		}
		return nil
	})
	return nil
}

// onDialled asks the contact whether the session may complete: both sides have proved
// their identities, and the peer does not count the session before our final OK.
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
	// After this the peer opens its data stream.
	s.onLive(c, true)
	for _, f := range p.Send {
		s.send(c, f)
	}
	s.greet(c)
	if early := askedEarly(s.conn.hs); early != nil {
		s.onInfoRequest(c, *early)
	}
}

// startAccepted continues a handshake whose first half the listener has run.
func (s *session) startAccepted(c *kernel.Context) error {
	if !s.start.Accept.claim() {
		c.StopSelf(errHandedOffLate)
		return nil
	}
	conn, inbox := newPeerConn(s.start.Accept.stream, s.start.Accept.hs), c.Inbox()
	s.conn = conn
	if err := s.enter(c); err != nil {
		_ = conn.stream.Abort() // not answered, so the peer does not count it
		// Not a failure to be logged: strangers can cause it at any rate.
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
		s.place.GoLive()
	}
	self := c.Self()
	s.disconnected = s.deps.Files.Connected(s.Conversation, func(r peer.FileRequest) { self.Tell(requestFile{r}) })
	conn, inbox := s.conn, c.Inbox()
	c.Go("read", func(ctx context.Context) error { return conn.readFrames(ctx, inbox) })
	s.schedule(c)
	c.Tell(c.Parent(), Live{
		Node: conn.node, Generation: s.generation(), SubnetAddr: subnetAddr(conn.hs, conn.stream), Dialled: dialled,
	})
	if !dialled {
		s.greet(c)
	}
}

// greet requests the contact's profile, as the apps do at the start of a session.
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

// end ends the session. The contact gets the reason as the error of the child.
func (s *session) end(c *kernel.Context, reason error) {
	_, unanswered := errors.AsType[*TurnError](reason)
	if s.conn != nil && (unanswered || errors.Is(reason, ErrReplaced) || errors.Is(reason, errPingTimeout) || wire.ViolationCode(reason) != "") {
		_ = s.conn.stream.Abort() // instead of a graceful close
	}
	if errors.Is(reason, ErrSharedNode) && len(s.toServe) > 0 {
		s.deps.Table.owed.put(s.Conversation, s.toServe, time.Now()) // the contact does not request them again
	}
	c.StopSelf(reason)
}

func (s *session) onTaskDone(c *kernel.Context, msg kernel.TaskDone) {
	switch {
	case msg.Name == taskSendFile:
		s.onServed(c, msg.Err)
	case msg.Err == nil:
	case msg.Name == taskTakeFile:
		c.Log().Warn("file from the contact was not stored", "err", msg.Err)
	case msg.Name == taskData || msg.Name == taskSendData:
		s.onDataDone(c, msg)
	default:
		s.end(c, fmt.Errorf("%s: %w", msg.Name, msg.Err))
	}
}

// schedule starts the timer for the next deadline. Frames postpone deadlines without
// touching the timer; onDue then finds nothing due and schedules again, so a busy session
// does not restart timers.
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
	if s.call != nil {
		sooner(s.callDue())
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

// onDue handles the deadline that has passed: of a pong, of an acknowledgment, of the
// session itself, or of the next ping.
func (s *session) onDue(c *kernel.Context) {
	now := time.Now()
	s.due = time.Time{}
	if s.call != nil && !now.Before(s.callDue()) {
		s.onCallDue(c, now)
	}
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
	// In a generation without pings the session does not answer, so it is replaced: an app
	// dials only after it has lost the session.
	if s.live && s.pinged.IsZero() && s.generation().hasPings() {
		s.ping(c)
	}
}

// quiet reports whether the session can end without repeating any work.
func (s *session) quiet() bool {
	return s.live && s.call == nil && s.inFlight == nil && len(s.waiting) == 0 && len(s.toServe) == 0 && time.Since(s.lastActivity) >= yieldAfter
}

// generation is that of the peer. The stream has to be open.
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
		s.place.SetKnown(msg.Allowed)
	}
	switch {
	case newly && s.refused:
		// The peer sends a refused message again only in another session.
		s.end(c, ErrRefused)
	case newly:
		s.greet(c)
	}
}

// send queues a frame. It ends the session when the queue is full, because the peer does
// not read.
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
	s.pinged = time.Time{} // any frame proves that the peer is there
	if s.probing {
		s.probing = false
		c.Tell(c.Parent(), Alive{})
	}
	switch msg.frame.(type) {
	case peer.Ping, peer.Pong:
	default:
		s.lastActivity = s.lastFrame
	}
	s.callHeard(msg.frame)
	if !s.onPeerFrame(c, msg) {
		msg.credit.Release()
	}
	s.serveOwed(c)
}

// onPeerFrame handles a frame of the peer and reports whether its credit is released
// later: in onWritten for an operation of the store, by the contact actor for an event.
func (s *session) onPeerFrame(c *kernel.Context, msg frameRead) (later bool) {
	switch f := msg.frame.(type) {
	case peer.Ping:
		s.send(c, peer.Pong{})
	case peer.OK:
		s.onOK(c, f)
	case peer.ContactRequest:
		return s.forward(c, Requested{Request: f, Credit: msg.credit})
	case peer.ContactResponse:
		return s.forward(c, Answered{Accepted: f.Accepted, Credit: msg.credit})
	case peer.Message:
		return s.onMessage(c, f, msg.credit)
	case peer.InfoRequest:
		s.onInfoRequest(c, f)
	case peer.InfoResponse:
		return s.onInfoResponse(c, f, msg.credit)
	case peer.CallOffer, peer.CallHang, peer.CallPacket:
		return s.onCallFrame(c, msg)
	case peer.FileRequest:
		s.onFileRequest(c, f)
	case peer.Pong:
		s.onPong(c)
	case peer.Unknown:
		if f.Type == peer.FrameMessage {
			s.onSkippedMessage(c)
		}
	default:
		// An answer to a call, as we make none.
	}
	return false
}

// forward tells the contact actor of a frame. That actor releases the credit, which
// bounds its mailbox.
func (s *session) forward(c *kernel.Context, msg any) (later bool) {
	c.Tell(c.Parent(), msg)
	return true
}

// onSkippedMessage handles a message of a stranger, whose payload the reader has
// skipped. If the stranger is a contact by now, the session ends: the peer sends the
// message again only in another one.
func (s *session) onSkippedMessage(c *kernel.Context) {
	s.refused = true
	if s.allowed {
		s.end(c, ErrRefused)
	}
}

// onMessage stores a message; OK follows its commit. A message of a stranger is neither
// stored nor acknowledged, as in the apps: the sender keeps it and sends it again later.
func (s *session) onMessage(c *kernel.Context, m peer.Message, credit Credit) (later bool) {
	if !s.allowed {
		s.refused = true
		return false
	}
	if m.Type == peer.TypeFileResponse {
		return s.onFileResponse(c, m, credit)
	}
	crashpoint.At(crashpoint.AfterDecode)
	then := pendingWrite{ok: &peer.OK{ID: m.GUID}, credit: credit}
	if s.mirror {
		then.ok = nil
		s.mirrored = time.Now()
		s.schedule(c)
	}
	s.write(c, AcceptOp(s.Conversation, m, s.deps.nowMillis(), s.deps.Files.Incoming(s.Conversation, m)), then)
	return true
}

// AcceptOp is the operation that stores a message in the conversation that it was
// received in, however it came. file is the row of its file, nil for none. A missing guid
// is derived from the content, as in the app.
func AcceptOp(to store.Conversation, m peer.Message, received store.Millis, file *store.Media) store.AcceptMessage {
	if m.GUID == 0 {
		m.GUID = peer.AppGUID(m.Payload, m.SendTime)
	}
	return store.AcceptMessage{
		Account: to.Account, Conversation: to.ID,
		GUID: int64(m.GUID), Type: int32(m.Type), ReplyTo: int64(m.ReplyTo),
		SendTime: store.Millis(peer.NormalizeSendTime(m.SendTime)), EditTime: store.Millis(m.EditTime),
		Received: received, Payload: m.Payload, Reaction: ParseReaction(m.Type, m.Payload), Media: file,
	}
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
		return // an unchanged profile is not answered
	}
	s.send(c, peer.InfoResponse{Time: changed, Profile: profileOf(account)})
}

// profileSeconds is the time of a profile in the protocol's terms: 0 is never.
func profileSeconds(m store.Millis) int64 { return int64(m) / 1000 }

// profileTime converts the time of a contact's profile. A time in the future, by our
// clock, would suppress later changes until then, so it becomes now.
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

// onWritten acknowledges a message: the commit is synced, so it is accepted.
func (s *session) onWritten(c *kernel.Context, msg store.Written) {
	then, ok := s.waiting[msg.Token]
	if !ok {
		return
	}
	delete(s.waiting, msg.Token)
	then.credit.Release()
	if msg.Err != nil {
		// The app sends a message again only in another session.
		s.end(c, msg.Err)
		return
	}
	accepted, _ := msg.Result.(store.Accepted)
	switch {
	case accepted.Crowded:
		s.deps.noteCrowded(s.Conversation)
		return // not accepted, so no OK
	case accepted.Stray:
		s.deps.Table.stray.Add(1)
	}
	if then.ok != nil {
		crashpoint.At(crashpoint.BeforeOK)
		s.send(c, *then.ok)
	}
	s.endUndoubted(c, s.ending)
}

// onDeliver sends a message of the outbox. There is one at a time: apps show a repeated
// message twice, so at most one may be unacknowledged when a connection breaks.
func (s *session) onDeliver(c *kernel.Context, msg Deliver) {
	if !s.live || s.inFlight != nil || s.ending != nil {
		return
	}
	m := msg.Message
	frame := peer.Message{
		// Older versions of this program queued any time that Matrix said.
		GUID: peer.GUID(m.ID.GUID), ReplyTo: peer.GUID(m.ReplyTo), SendTime: int64(store.PlausibleTime(m.SendTime, m.Created)),
		EditTime: int64(m.EditTime), Type: peer.MessageType(m.Type), Payload: m.Payload,
	}
	frame, ok := s.generation().readable(frame)
	if !ok {
		c.Log().Info("message left out: the contact's app cannot show it", "type", m.Type)
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

// onTooLarge handles a message that is too large for a control frame, which older
// versions of this program queued. It waits for a data stream; in a generation without
// data streams it fails.
func (s *session) onTooLarge(c *kernel.Context, m peer.Message) {
	s.inFlight = nil
	if s.place == nil {
		c.Tell(c.Parent(), Undeliverable{GUID: m.GUID, Reason: "the message is too large for the contact's app"})
		return
	}
	s.claimNode(c)
}

// onOK handles an acknowledgment. It ignores one for a message that was not sent in this
// session.
func (s *session) onOK(c *kernel.Context, f peer.OK) {
	if s.inFlight == nil || s.inFlight.guid != f.ID {
		return
	}
	if s.inFlight.onData {
		s.place.DataRead()
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

// onAsk sends a contact request. Requests are not acknowledged, so a ping follows it: the
// peer reads in order, and has the request when it answers the ping.
func (s *session) onAsk(c *kernel.Context, msg Ask) {
	account, err := s.deps.Store.Account(s.Account)
	if err != nil {
		s.end(c, fmt.Errorf("read account: %w", err))
		return
	}
	if !s.generation().hasRequests() {
		// In this generation a session makes us a contact.
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

// onTellProfile sends our profile, which has changed. Apps accept it like the answer to a
// request.
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
