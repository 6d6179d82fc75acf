// SPDX-License-Identifier: MPL-2.0

package session

import (
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/proto/peer"
)

// A call that somebody answers: the session moves its audio between the peer and the actor
// that has the call, and watches over it with the timers of the apps. Nothing of a call is
// stored or repeated: it ends with its session.

const (
	// callPing is the time between two pings in a call, callSilence how long a peer may be
	// silent: only PONG and other frames count, not PING, as in the apps. In a generation
	// without pings the audio alone counts, which a muted phone does not send.
	callPing        = 2 * time.Second
	callSilence     = 3500 * time.Millisecond
	callSilenceGen1 = 15 * time.Second
	// maxQueuedAudio is how many bytes may be queued for a peer when audio is sent.
	maxQueuedAudio = 64 << 10
)

// Commands and events of a call. The events go to the actor of [AnswerCall], which
// releases the credit of a packet when it has handled it.
type (
	// AnswerCall accepts the call of the contact; Call is the actor that has it from now
	// on.
	AnswerCall struct{ Call kernel.Ref }
	// SendAudio sends a packet of audio to the caller. It is dropped when the caller does
	// not read, and when the call is over.
	SendAudio struct{ Data []byte }
	// HangUp ends the call; [CallOver] follows.
	HangUp struct{}

	// CallPacket is a packet of audio of the caller.
	CallPacket struct {
		Data   []byte
		Credit Credit
	}
	// CallOver says that the call is over: one side has hung up, or the caller is silent.
	// It is the last event of a call. When the session ends first, the actor of the contact
	// tells it.
	CallOver struct{ Silent bool }
)

// call is a call that was answered.
type call struct {
	actor kernel.Ref
	// heard is when the last frame but PING arrived, pinged when we last sent one.
	heard, pinged time.Time
}

// onCallCommand handles what the actor of a call, or that of the contact, wants.
func (s *session) onCallCommand(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case DeclineCall:
		s.send(c, peer.CallAnswer{Accepted: false})
	case AnswerCall:
		if !s.live || s.call != nil {
			c.Tell(msg.Call, CallOver{})
			return
		}
		now := time.Now()
		s.call = &call{actor: msg.Call, heard: now, pinged: now}
		s.send(c, peer.CallAnswer{Accepted: true})
		s.schedule(c)
	case SendAudio:
		if s.call != nil && s.conn.queuedBytes() < maxQueuedAudio {
			s.send(c, peer.CallPacket{Data: msg.Data})
		}
	case HangUp:
		if s.call != nil {
			s.send(c, peer.CallHang{})
			s.endCall(c, CallOver{})
		}
	}
}

// onCallFrame handles a frame of a call, and reports whether its credit is released later.
func (s *session) onCallFrame(c *kernel.Context, msg frameRead) (later bool) {
	switch f := msg.frame.(type) {
	case peer.CallOffer:
		if s.call != nil {
			return false // a call is under way: no answer, as in the apps
		}
		return s.forward(c, CallOffered{Credit: msg.credit})
	case peer.CallHang:
		if s.call == nil {
			return s.forward(c, CallHung{Credit: msg.credit})
		}
		s.endCall(c, CallOver{})
	case peer.CallPacket:
		if s.call == nil {
			return false // too late, or without an offer
		}
		c.Tell(s.call.actor, CallPacket{Data: f.Data, Credit: msg.credit})
		return true
	}
	return false
}

func (s *session) endCall(c *kernel.Context, over CallOver) {
	actor := s.call.actor
	s.call = nil
	c.Tell(actor, over)
}

// callHeard notes a frame, which may be a sign of life in a call.
func (s *session) callHeard(f peer.Frame) {
	if _, ping := f.(peer.Ping); s.call != nil && !ping {
		s.call.heard = s.lastFrame
	}
}

// callDue returns when the call needs attention: the next ping, or its end.
func (s *session) callDue() time.Time {
	if !s.generation().hasPings() {
		return s.call.heard.Add(callSilenceGen1)
	}
	due := s.call.pinged.Add(callPing)
	if end := s.call.heard.Add(callSilence); end.Before(due) {
		return end
	}
	return due
}

// onCallDue ends a call whose caller is silent, or sends the next ping.
func (s *session) onCallDue(c *kernel.Context, now time.Time) {
	silence := callSilence
	if !s.generation().hasPings() {
		silence = callSilenceGen1
	}
	if now.Sub(s.call.heard) >= silence {
		s.send(c, peer.CallHang{})
		s.endCall(c, CallOver{Silent: true})
		return
	}
	if s.generation().hasPings() && now.Sub(s.call.pinged) >= callPing {
		s.call.pinged = now
		if s.pinged.IsZero() {
			s.ping(c)
		}
	}
}
