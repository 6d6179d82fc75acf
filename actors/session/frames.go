// SPDX-License-Identifier: MPL-2.0

package session

import (
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// What a session does with the frames of its peer. Every frame's credit is released
// exactly once: here, in onWritten for what goes to the store, or by the contact
// actor for what is passed on to it.

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
