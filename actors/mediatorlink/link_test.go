// SPDX-License-Identifier: MPL-2.0

package mediatorlink_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/actors/mediatorlink"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/test/fakemediator"
	"github.com/mimird/mimird/test/virtual"
)

// rig is a node with links to two mediators.
type rig struct {
	t        *testing.T
	stage    *kerneltest.Stage
	net      *memnet.Net
	node     *memnet.Node
	one, two *fakeMediator
	keys     int
}

// Carrier implements mediatorlink.Carriers.
func (r *rig) Carrier(kind overlay.Kind) (overlay.Carrier, bool) {
	return r.node, kind == overlay.KindStream
}

func inBubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, net: memnet.New(memnet.Options{Seed: 1})}
		t.Cleanup(r.net.Close)
		r.node = r.net.Node(overlay.Limits{})
		t.Cleanup(func() {
			if err := r.node.Close(); err != nil {
				t.Error(err)
			}
		})
		r.one, r.two = newFakeMediator(t, r.net), newFakeMediator(t, r.net)
		r.stage = kerneltest.NewStage(t, kernel.Options{Logger: slog.New(slog.DiscardHandler)})
		test(r)
	})
}

// link starts a link of a new account.
func (r *rig) link(f *fakeMediator) kernel.Ref {
	r.t.Helper()
	r.keys++
	key := identity.NewPrivateKey([32]byte{byte(r.keys)})
	spec := mediatorlink.NewSpec(mediatorlink.Deps{
		Network: r, Mediator: f.key(), Key: key, Guard: identity.GuardFunc(func([32]byte) bool { return false }), MaxAnswer: 1 << 20,
	})
	spec.Name += "-" + key.Public().Short()
	return r.stage.Spawn(r.t, spec)
}

// connected is link, and waits until it is connected.
func (r *rig) connected(f *fakeMediator) kernel.Ref {
	r.t.Helper()
	link := r.link(f)
	kerneltest.Expect[mediatorlink.Connected](r.t, r.stage.Probe, time.Minute)
	return link
}

// reply is what a question came to.
type reply struct {
	answer mediator.Answer
	err    error
	took   time.Duration
}

// ask puts a question in a goroutine of its own.
func (r *rig) ask(link kernel.Ref, q mediator.Request) <-chan reply {
	got := make(chan reply, 1)
	go func() {
		began := time.Now()
		ctx, cancel := context.WithTimeout(r.t.Context(), 10*time.Minute)
		defer cancel()
		answer, err := kernel.Ask[mediator.Answer](ctx, link, mediatorlink.Request{Request: q})
		got <- reply{answer, err, time.Since(began)}
	}()
	return got
}

func (r *rig) fulfilled(link kernel.Ref, q mediator.Request) {
	r.t.Helper()
	if got := <-r.ask(link, q); got.err != nil || got.answer.Err() != nil {
		r.t.Errorf("%v: %v %v", q.Command(), got.err, got.answer.Err())
	}
}

func TestLink_LoginRequestRefusal(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.one.handle = func(l *line, q call) {
			if q.Command == 0x22 {
				l.Refuse(q, "owner can't leave")
				return
			}
			l.OK(q, fakemediator.Number(0x11, 41))
		}
		link := r.connected(r.one)
		got := <-r.ask(link, &mediator.Subscribe{Chat: 7})
		var last mediator.LastMessage
		if err := errors.Join(got.err, got.answer.Parse(&last)); err != nil || last.Message != 41 {
			t.Errorf("%v, message %d", err, last.Message)
		}
		got = <-r.ask(link, &mediator.LeaveChat{Chat: 7})
		var refused *mediator.ServerError
		if got.err != nil || !errors.As(got.answer.Err(), &refused) {
			t.Errorf("%v %v", got.err, got.answer.Err())
		}
	})
}

// Somebody else can ask for a nonce of our identity at any time.
func TestLink_NonceReplaced_LoginRepeated(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.one.auth = func(login int) string {
			if login < 4 {
				return "nonce mismatch"
			}
			return ""
		}
		began := time.Now()
		r.connected(r.one)
		if took := time.Since(began); took > time.Second {
			t.Errorf("the login took %v", took)
		}
	})
}

// A mediator that relays a challenge of another handshake gets no signature.
func TestLink_RelayedNonce_NotSigned(t *testing.T) {
	inBubble(t, func(r *rig) {
		seal := identity.Seal{Verifier: identity.PublicKey{1}, Prover: identity.PublicKey{2}}
		challenge, err := seal.Draw(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		r.one.nonce = func(int) []byte { return challenge[:] }
		r.link(r.one)
		if got := kerneltest.Expect[mediatorlink.Disconnected](t, r.stage.Probe, time.Minute); !errors.Is(got.Err, identity.ErrRefusedToSign) {
			t.Errorf("%v", got.Err)
		}
	})
}

func TestLink_AnswersOvertake(t *testing.T) {
	inBubble(t, func(r *rig) {
		var held *call
		r.one.handle = func(l *line, q call) {
			if q.Command == 0x52 {
				held = &q
				return
			}
			l.OK(q, fakemediator.Number(0x11, 1))
			if held != nil {
				l.OK(*held, fakemediator.Field(0x31, []byte{0, 0, 0, 0}))
			}
		}
		link := r.connected(r.one)
		slow := r.ask(link, &mediator.GetMembersInfo{Chat: 7})
		synctest.Wait()
		var last mediator.LastMessage
		if got := <-r.ask(link, &mediator.GetLastMessageID{Chat: 7}); got.err != nil || got.answer.Parse(&last) != nil {
			t.Errorf("the fast one: %v", got.err)
		}
		var members mediator.MembersInfo
		if got := <-slow; got.err != nil || got.answer.Parse(&members) != nil {
			t.Errorf("the slow one: %v", got.err)
		}
	})
}

// A mediator that does not answer is given up, also when it pushes meanwhile; a link to
// another mediator and one of another account go on.
func TestLink_UnresponsiveMediator_GivenUp(t *testing.T) {
	for name, test := range map[string]struct {
		push bool
		want time.Duration
	}{
		"silent": {false, 40 * time.Second},
		"pushes": {true, 4 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				stalled, other, second := r.connected(r.one), r.connected(r.two), r.connected(r.one)
				quiet := r.one.lines[0]
				r.one.handle = func(l *line, q call) {
					if l != quiet {
						l.OK(q)
					}
				}
				got := r.ask(stalled, &mediator.Ping{})
				done := make(chan struct{})
				go func() {
					defer close(done)
					for id := uint64(1); test.push && id < 300; id++ {
						pushMessage(quiet, id, 10)
						virtual.Sleep(time.Second)
					}
				}()
				r.fulfilled(other, &mediator.Ping{})
				r.fulfilled(second, &mediator.Ping{})
				reply := <-got
				if !errors.Is(reply.err, mediatorlink.ErrLost) || reply.took > test.want {
					t.Errorf("%v after %v", reply.err, reply.took)
				}
				if got := kerneltest.Await[mediatorlink.Disconnected](t, r.stage.Probe, time.Minute); !errors.Is(got.Err, mediatorlink.ErrUnresponsive) {
					t.Errorf("%v", got.Err)
				}
				kerneltest.Await[mediatorlink.Connected](t, r.stage.Probe, 10*time.Second)
				r.fulfilled(stalled, &mediator.Ping{})
				<-done
			})
		})
	}
}

func TestLink_KeptAlive(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.connected(r.one)
		virtual.Sleep(10 * time.Minute)
		synctest.Wait()
		if pings := r.one.count(0x03); pings < 10 || pings > 14 {
			t.Errorf("%d pings in 10 minutes", pings)
		}
		r.stage.ExpectNone(t, time.Second)
	})
}

// A mediator that floods costs a bounded number of pushes; the parent is told that some
// are missing, invites have places of their own, and requests are answered meanwhile.
func TestLink_FloodOfPushes(t *testing.T) {
	inBubble(t, func(r *rig) {
		link := r.connected(r.one)
		l := r.one.last()
		for id := range uint64(1000) {
			pushMessage(l, id+1, 10)
		}
		pushInvite(l, 1)
		synctest.Wait()
		r.fulfilled(link, &mediator.Ping{})
		var held []mediatorlink.Pushed
		missed := 0
		for {
			got := r.stage.Next(t, time.Second).Msg
			if m, ok := got.(mediatorlink.Missed); ok {
				missed++
				if m.Invites != 0 {
					t.Errorf("%+v", m)
				}
				continue
			}
			p := got.(mediatorlink.Pushed)
			if _, invite := p.Push.(*mediator.GotInvite); invite {
				break
			}
			held = append(held, p)
		}
		if len(held) != 256 || missed == 0 {
			t.Errorf("%d pushes, missed %d times", len(held), missed)
		}
		for _, p := range held {
			p.Release()
		}
		pushMessage(l, 2000, 10)
		kerneltest.Expect[mediatorlink.Pushed](t, r.stage.Probe, time.Second).Release()
	})
}

// Invites that find no place are counted: the mediator does not push them again.
func TestLink_FloodOfInvites_Counted(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.connected(r.one)
		for id := range uint64(100) {
			pushInvite(r.one.last(), id+1)
		}
		synctest.Wait()
		pushed, missed := 0, 0
		for pushed+missed < 100 {
			switch got := r.stage.Next(t, time.Second).Msg.(type) {
			case mediatorlink.Pushed:
				pushed++
			case mediatorlink.Missed:
				missed += got.Invites
			}
		}
		if pushed != 64 {
			t.Errorf("%d pushed, %d missed", pushed, missed)
		}
	})
}

// An answer, or a push, that is too large is read over: the one who has asked is told, and the
// connection goes on.
func TestLink_AnswerTooLarge_AskerTold(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.one.handle = func(l *line, q call) {
			if q.Command == 0x36 {
				pushMessage(l, 1, 2<<20)
				l.OK(q, make([]byte, 2<<20))
				return
			}
			l.OK(q)
		}
		link := r.connected(r.one)
		for range 3 {
			history := r.ask(link, &mediator.GetMessagesSince{Chat: 7, Limit: 100})
			synctest.Wait()
			ping := r.ask(link, &mediator.Ping{})
			if got := <-history; !errors.Is(got.err, mediatorlink.ErrTooLarge) {
				t.Errorf("history: %v", got.err)
			}
			if got := <-ping; got.err != nil {
				t.Errorf("ping: %v", got.err)
			}
			kerneltest.Expect[mediatorlink.Missed](t, r.stage.Probe, time.Minute)
		}
		if len(r.one.lines) != 1 { // nobody connects any more
			t.Errorf("%d connections", len(r.one.lines))
		}
	})
}

// An answer beyond what the protocol allows ends the connection, and the one who has asked is
// told.
func TestLink_AnswerBeyondProtocol_AskerTold(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.one.handle = func(l *line, q call) {
			if q.Command == 0x36 {
				l.Write([]byte{0, byte(q.ID >> 8), byte(q.ID), 0x03, 0x20, 0, 1}) // 50 MiB and a byte
			}
		}
		link := r.connected(r.one)
		history := r.ask(link, &mediator.GetMessagesSince{Chat: 7, Limit: 100})
		if got := <-history; !errors.Is(got.err, mediatorlink.ErrTooLarge) {
			t.Errorf("history: %v", got.err)
		}
		kerneltest.Expect[mediatorlink.Disconnected](t, r.stage.Probe, time.Minute)
	})
}

// Bad input ends the connection, and the link connects again.
func TestLink_MalformedInput_Reconnected(t *testing.T) {
	for name, spoil := range map[string]func(l *line){
		"answer to no request": func(l *line) { l.OK(call{ID: 999}) },
		"unknown status":       func(l *line) { l.Write(fakemediator.Frame(9, 1)) },
		"push without fields":  func(l *line) { l.Push(0x32, []byte{1, 2, 3}) },
		"huge length":          func(l *line) { l.Write([]byte{2, 0, 0x32, 0xff, 0xff, 0xff, 0xff}) },
		"reset":                func(l *line) { l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				link := r.connected(r.one)
				spoil(r.one.last())
				kerneltest.Expect[mediatorlink.Disconnected](t, r.stage.Probe, time.Minute)
				kerneltest.Expect[mediatorlink.Connected](t, r.stage.Probe, time.Minute)
				r.fulfilled(link, &mediator.Ping{})
			})
		})
	}
}

// A push of a later version is ignored.
func TestLink_UnknownPush_Ignored(t *testing.T) {
	inBubble(t, func(r *rig) {
		link := r.connected(r.one)
		r.one.last().Push(0x77, []byte{1})
		r.fulfilled(link, &mediator.Ping{})
		r.stage.ExpectNone(t, time.Second)
	})
}

// While the mediator is away a request is refused at once, the pauses between attempts
// grow, and a nudge makes the link try now.
func TestLink_MediatorAway_NudgeConnects(t *testing.T) {
	inBubble(t, func(r *rig) {
		link := r.connected(r.one)
		r.net.Cut(r.node.Key(), r.one.key())
		r.one.last().Close()
		pending := r.ask(link, &mediator.Ping{})
		if got := <-pending; !errors.Is(got.err, mediatorlink.ErrLost) {
			t.Errorf("%v", got.err)
		}
		var longest time.Duration
		for range 8 {
			longest = max(longest, kerneltest.Expect[mediatorlink.Disconnected](t, r.stage.Probe, 5*time.Minute).RetryIn)
		}
		if longest < time.Minute || longest > 2*time.Minute {
			t.Errorf("the longest pause is %v", longest)
		}
		if got := <-r.ask(link, &mediator.Ping{}); !errors.Is(got.err, mediatorlink.ErrNotConnected) || got.took != 0 {
			t.Errorf("%v after %v", got.err, got.took)
		}
		r.net.Heal(r.node.Key(), r.one.key())
		link.Tell(mediatorlink.Nudge{})
		kerneltest.Await[mediatorlink.Connected](t, r.stage.Probe, 20*time.Second)
		r.fulfilled(link, &mediator.Ping{})
	})
}

// A stop answers those who wait.
func TestLink_Stopped_AskersAnswered(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.one.handle = func(*line, call) {}
		link := r.connected(r.one)
		got := r.ask(link, &mediator.Ping{})
		synctest.Wait()
		r.stage.Stop(link)
		if reply := <-got; reply.err == nil || reply.took > time.Second {
			t.Errorf("%v after %v", reply.err, reply.took)
		}
	})
}
