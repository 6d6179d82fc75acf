// SPDX-License-Identifier: MPL-2.0

package answering

import (
	"context"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/session"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/aac"
)

const (
	kindCall   = "call"
	taskRecord = "record"
	// flushEvery is how much of a message a crash can lose.
	flushEvery = time.Second
	// maxBurst is how many units of the greeting are sent together after a delay: the
	// player of the apps queues five packets, and drops the oldest of more.
	maxBurst = 3
)

// call is the actor of one call. It is a child of the contact's actor and uses one session
// of it. The last event of the session is session.CallOver; the actor stops when it has
// that and the recording is on the disk.
type call struct {
	// Fixed at creation.
	m *Machine
	store.Conversation
	session kernel.Ref

	// State.
	greeting [][]byte
	played   int // units of the greeting that were sent
	base     time.Time
	rec      *recording // nil until the machine is ready
	packets  int        // of the caller
	rejected int        // packets that cannot be audio
	answered bool
	speaking bool // the greeting is over, so the caller is recorded
	finished bool // nothing is recorded any more
	gone     bool // the session is done with the call
	written  bool // the recording is on the disk
}

// RefusedError says why a call was not answered.
type RefusedError struct{ reason error }

func (e *RefusedError) Error() string { return e.reason.Error() }

func (e *RefusedError) Unwrap() error { return e.reason }

// HungUp is told to the child by the actor of the contact: the caller has hung up before
// the session knew of the answer.
type HungUp struct{}

type (
	// ready says that the call can be answered.
	ready struct {
		greeting [][]byte
		rec      *recording
	}
	unitDue     struct{}
	messageFull struct{}
)

// NewSpec returns the spec of a call of a contact over a live session, to be a child of the
// contact's actor. The child answers the call itself. It ends with a [RefusedError] when
// the call was not answered; the contact then declines it. When the session ends first, the contact
// tells the child session.CallOver.
func (m *Machine) NewSpec(name string, c store.Conversation, over kernel.Ref) kernel.Spec {
	return kernel.Spec{Name: name, Kind: kindCall, Once: true, New: func() kernel.Actor {
		return &call{m: m, Conversation: c, session: over}
	}}
}

func (a *call) Started(c *kernel.Context) error {
	inbox := c.Inbox()
	c.Go(taskRecord, func(ctx context.Context) error { return a.m.record(ctx, a.Conversation, inbox) })
	return nil
}

func (a *call) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case ready:
		a.onReady(c, msg)
	case unitDue:
		a.play(c)
	case session.CallPacket:
		a.onPacket(c, msg.Data)
		msg.Credit.Release()
	case messageFull:
		a.hangUp(c)
	case HungUp:
		a.onHungUp(c)
	case session.CallOver:
		a.onCallOver(c, msg)
	case kernel.TaskDone:
		a.onRecorded(c, msg.Err)
	}
}

// record prepares a recording, says so, and writes it until it is complete or the actor
// ends. It runs in a goroutine of the actor.
func (m *Machine) record(ctx context.Context, c store.Conversation, inbox kernel.Inbox) error {
	greeting, err := m.greeting(c.Account)
	if err != nil {
		return err
	}
	rec, err := m.create(c)
	if err != nil {
		return err
	}
	defer m.release(rec)
	if !inbox.Tell(ready{greeting, rec}) {
		return kernel.ErrStopped
	}
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return rec.flush()
		case <-rec.over:
			return rec.flush()
		case <-ticker.C:
			if err := rec.flush(); err != nil {
				return err
			}
		}
	}
}

func (a *call) onReady(c *kernel.Context, msg ready) {
	a.greeting, a.rec = msg.greeting, msg.rec
	if a.gone { // the caller was quicker
		a.finish()
		return
	}
	a.answered = true
	c.Log().Info("call answered")
	c.Tell(a.session, session.AnswerCall{Call: c.Self()})
	// The first packet is the codec configuration, as in the apps.
	c.Tell(a.session, session.SendAudio{Data: aac.Call().AppendTo(nil)})
	a.base = time.Now()
	a.play(c)
}

// play sends the units of the greeting that are due, and begins to record behind the last.
func (a *call) play(c *kernel.Context) {
	if a.finished {
		return
	}
	now := time.Now()
	if late := now.Sub(a.base) - aac.Call().Duration(a.played+maxBurst); late > 0 {
		a.base = a.base.Add(late) // the rest plays later
	}
	for ; a.played < len(a.greeting) && !now.Before(a.base.Add(aac.Call().Duration(a.played))); a.played++ {
		c.Tell(a.session, session.SendAudio{Data: a.greeting[a.played]})
	}
	next := a.base.Add(aac.Call().Duration(a.played))
	if a.played < len(a.greeting) || now.Before(next) {
		c.After(next.Sub(now), unitDue{})
		return
	}
	a.speaking = true
	c.After(a.m.deps.Options.MaxMessage, messageFull{})
}

// onPacket records what the caller says behind the greeting. The first packet of a call is
// the codec configuration, whenever it comes.
func (a *call) onPacket(c *kernel.Context, data []byte) {
	a.packets++
	if a.rec == nil || a.finished {
		return
	}
	if a.packets == 1 {
		if config, err := aac.ParseConfig(data); err == nil {
			a.rec.setConfig(config)
			return
		}
	}
	switch {
	case !a.speaking:
	case !aac.PlausibleUnit(data):
		a.rejected++
	case !a.rec.add(data):
		a.hangUp(c)
	}
}

// hangUp ends the call from our side; session.CallOver follows.
func (a *call) hangUp(c *kernel.Context) {
	a.finish()
	if !a.gone {
		c.Tell(a.session, session.HangUp{})
	}
}

func (a *call) finish() {
	if !a.finished && a.rec != nil {
		a.finished = true
		a.rec.finish()
	}
}

func (a *call) onHungUp(c *kernel.Context) {
	if a.answered {
		a.hangUp(c) // the session has an answer on its way, and a call since
		return
	}
	a.onCallOver(c, session.CallOver{})
}

func (a *call) onCallOver(c *kernel.Context, msg session.CallOver) {
	if a.gone {
		return
	}
	a.gone = true
	if msg.Silent {
		c.Log().Info("caller does not answer, call ended")
	}
	a.finish()
	a.stopWhenDone(c, nil)
}

// onRecorded: the recording is complete, or could not be written.
func (a *call) onRecorded(c *kernel.Context, err error) {
	a.written = true
	if !a.answered {
		a.gone = true
		if err != nil {
			err = &RefusedError{err}
		}
		a.stopWhenDone(c, err)
		return
	}
	units, dropped := a.rec.counts()
	if err != nil {
		c.Log().Error("recording of a call ended early", "err", err)
		a.hangUp(c)
	}
	c.Log().Info("call recorded", "count", units, "suppressed", dropped+a.rejected, "took", a.rec.config.Duration(units))
	a.stopWhenDone(c, nil)
}

func (a *call) stopWhenDone(c *kernel.Context, reason error) {
	if a.gone && a.written {
		c.StopSelf(reason)
	}
}
