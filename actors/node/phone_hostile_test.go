// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/big"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// intruder is somebody who speaks to a node frame by frame. Their identity is a
// contact of the owner, so that what is kept of them would show.
type intruder struct {
	t       *testing.T
	n       *actorstest.Node
	owner   phone.Key
	id      phone.Identity
	carrier *memnet.Node
}

// intrude makes a node with an intruder among its contacts.
func intrude(t *testing.T) *intruder {
	t.Helper()
	w := actorstest.New(t, memnet.Options{})
	n, key := w.Owner()
	carrier := w.Net.Node(overlay.Limits{})
	t.Cleanup(func() { _ = carrier.Close() })
	i := &intruder{t: t, n: n, owner: key, id: phone.IdentityOf("intruder"), carrier: carrier}
	n.AddPhone(i.id.Key())
	return i
}

// line opens a control stream.
func (i *intruder) line() *phone.Line {
	i.t.Helper()
	l, err := phone.DialLine(i.t.Context(), i.carrier, i.n.Key())
	if err != nil {
		i.t.Fatal(err)
	}
	return l
}

// until does the handshake up to a frame of the intruder; 0 completes it.
func (i *intruder) until(stop phone.Type) *phone.Line {
	i.t.Helper()
	l := i.line()
	if _, err := l.Write([]byte{phone.RoleControl}); err != nil {
		i.t.Fatal(err)
	}
	h := &phone.Handshake{Identity: i.id, Receiver: i.owner, Gate: phone.Before(stop)}
	if err := h.Initiate(l); err != nil && !errors.Is(err, phone.ErrStopped) {
		i.t.Fatal(err)
	}
	return l
}

// nothing checks that the node has not kept anything of the intruder.
func (i *intruder) nothing(events int) {
	i.t.Helper()
	if texts := i.n.HeardFrom(i.id.Key()); len(texts) != 0 {
		i.t.Errorf("the node has %s", actorstest.Brief(texts))
	}
	if now := i.events(); now != events {
		i.t.Errorf("%d events, %d before", now, events)
	}
}

func (i *intruder) events() int {
	i.t.Helper()
	all, err := i.n.Events(i.n.Account.ID, 0, 0)
	if err != nil {
		i.t.Fatal(err)
	}
	return len(all)
}

// anyFrame is a complete frame of a type, with something in every field.
func anyFrame(t phone.Type) phone.Frame {
	fields := map[phone.Type]phone.Fields{
		phone.TypeHello:            {"version": 1, "own": make([]byte, 32), "receiver": make([]byte, 32), "client": 1},
		phone.TypeChallenge:        {"challenge": bytes.Repeat([]byte{1}, 32)},
		phone.TypeChallengeAnswer:  {"answer": make([]byte, 64)},
		phone.TypeChallenge2:       {"challenge": bytes.Repeat([]byte{2}, 32)},
		phone.TypeChallengeAnswer2: {"answer": make([]byte, 64)},
		phone.TypeInfoResponse:     {"time": 5, "nickname": "x", "info": "y", "avatar": []byte{1}},
		phone.TypeMessage:          {"header": `{"guid":7,"payloadSize":2,"sendTime":1,"type":0}`, "payload": "hi"},
		phone.TypeCallOffer:        {"mime": "audio/aac", "rate": 44100, "channels": 1},
		phone.TypeCallAnswer:       {"ok": 1},
		phone.TypeCallPacket:       {"data": []byte{0x12, 0x10}},
		phone.TypeContactRequest:   {"message": "let me in", "nickname": "x"},
		phone.TypeContactResponse:  {"accepted": 1},
		phone.TypeFileRequest:      {"guid": 7, "name": "x", "hash": "y"},
		phone.TypeOK:               {"id": 7},
	}
	return phone.Frame{Type: t, Fields: fields[t]}
}

// everyFrame is one of each type, and of some that do not exist.
func everyFrame() []phone.Frame {
	var all []phone.Frame
	for _, t := range phone.Types() {
		all = append(all, anyFrame(t))
	}
	return append(all, phone.Frame{Type: 0}, phone.Frame{Type: 10, Body: []byte("{}")}, phone.Frame{Type: -1 << 31}, phone.Frame{Type: 7777, Body: make([]byte, 3)})
}

// Bar S09: in every state of a handshake that somebody else began, one type of frame
// leads on. All others end the stream, without an answer and without a trace.
func TestTrafficBeforeAuthentication(t *testing.T) {
	// The states, by the frame that is due. Before HELLO comes the role byte.
	const role phone.Type = -1
	for _, due := range []phone.Type{role, phone.TypeHello, phone.TypeChallengeAnswer, phone.TypeChallenge2, phone.TypeOK} {
		name := "role byte"
		if due != role {
			name = due.String()
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := intrude(t)
				events := i.events()
				for _, f := range everyFrame() {
					if f.Type == due {
						continue
					}
					var l *phone.Line
					if due == role {
						l = i.line()
					} else {
						l = i.until(due)
					}
					_ = l.Send(f) // the stream may be ending already
					if err := l.Ended(16 * time.Second); err != nil {
						t.Errorf("%v: %v", f.Type, err)
					}
					virtual.Sleep(time.Second) // the node considers one stream of a contact at a time
				}
				i.nothing(events)
				if s := i.n.Status(); s.Sessions != 0 || len(s.Alarms) != 0 {
					t.Errorf("%d sessions, alarms %v", s.Sessions, s.Alarms)
				}
			})
		})
	}
}

// Bar S09: the same when the node has dialled.
func TestTrafficBeforeAuthenticationOfWhoIsDialled(t *testing.T) {
	for _, due := range []phone.Type{phone.TypeChallenge, phone.TypeOK, phone.TypeChallengeAnswer2} {
		t.Run(due.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{})
				n, key := w.Owner()
				// The phone is off, and somebody else is where it was.
				p := phone.New(phone.Options{Name: "phone", Trackers: []identity.NodeKey{w.Tracker.Node}})
				carrier := w.Net.Node(overlay.Limits{})
				t.Cleanup(func() { _ = carrier.Close() })
				port, err := carrier.Listen(phone.Port)
				if err != nil {
					t.Fatal(err)
				}
				n.AddPhone(p.Key())
				sent := n.SayTo(p.Key(), "secret")
				events, err := n.Events(n.Account.ID, 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range everyFrame() {
					if f.Type == due {
						continue
					}
					if err := phone.Announce(t.Context(), carrier, []identity.NodeKey{w.Tracker.Node}, p.Identity()); err != nil {
						t.Fatal(err)
					}
					l := phone.NewLine(accept(t, port))
					if role, err := l.ReadBytes(1, time.Second); err != nil || role[0] != phone.RoleControl {
						t.Fatalf("role %x, %v", role, err)
					}
					h := &phone.Handshake{Identity: p.Identity(), Gate: phone.Before(due)}
					if due == phone.TypeChallenge {
						_, err = l.ReadFrame(time.Second) // HELLO
					} else {
						err = h.Accept(l)
					}
					if err != nil && !errors.Is(err, phone.ErrStopped) {
						t.Fatal(err)
					}
					_ = l.Send(f) // the stream may be ending already
					if err := l.Ended(16 * time.Second); err != nil {
						t.Errorf("%v: %v", f.Type, err)
					}
				}
				now, err := n.Events(n.Account.ID, 0, 0)
				if err != nil || len(now) != len(events) {
					t.Errorf("%d events, %d before, %v", len(now), len(events), err)
				}
				m, err := n.Message(n.Account.ID, identity.PublicKey(p.Key()), store.MessageID{Dir: store.Out, GUID: int64(sent)})
				if err != nil || m.State != store.StatePending {
					t.Errorf("the message is in state %v, %v", m.State, err)
				}
				_ = port.Close()
				if err := p.Start(carrier); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(p.Stop)
				p.Eventually(t, 10*time.Minute, "the message reaches the phone itself", func() bool {
					return slices.Equal(p.Page(key).Texts(), []string{"secret"})
				})
			})
		})
	}
}

// accept waits for the node to dial.
func accept(t *testing.T, port overlay.Listener) overlay.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	conn, err := port.Accept(ctx)
	if err != nil {
		t.Fatal("the node does not dial: ", err)
	}
	return conn
}

// Bar S02: a length costs nothing before its bytes are there, and one that cannot be
// true ends the stream at once.
func TestDeclaredLengths(t *testing.T) {
	// What a session may take beside: log lines, buffers of the stream, timers.
	const allowed = 64 << 10
	synctest.Test(t, func(t *testing.T) {
		i := intrude(t)
		for _, lie := range phone.LengthLies(i.id.Key(), i.owner) {
			if lie.Type == phone.TypeChallenge || lie.Type == phone.TypeChallengeAnswer2 {
				continue // refused by their type
			}
			// What else goes on may take memory as well, but not each time: under the race
			// detector pools of buffers forget what they were given at random.
			taken := uint64(math.MaxUint64)
			for range 20 {
				if taken = min(taken, i.tell(lie)); taken <= allowed {
					break
				}
			}
			if taken > allowed {
				t.Errorf("%s: %d bytes were taken", lie.Name, taken)
			}
		}
		if texts := i.n.HeardFrom(i.id.Key()); len(texts) != 0 {
			t.Errorf("the node has %s", actorstest.Brief(texts))
		}
		if s := i.n.Status(); s.Sessions != 0 || len(s.Alarms) != 0 {
			t.Errorf("%d sessions, alarms %v", s.Sessions, s.Alarms)
		}
	})
}

// tell sends a lie where it belongs, checks that its stream ends, and returns how
// much memory was taken for it.
func (i *intruder) tell(lie phone.LengthLie) uint64 {
	i.t.Helper()
	stop := phone.Type(0)
	switch lie.Type {
	case phone.TypeHello, phone.TypeChallengeAnswer, phone.TypeChallenge2:
		stop = lie.Type
	}
	control := i.until(stop)
	defer control.Abort()
	l := control
	if lie.Data {
		l = i.line()
		defer l.Abort()
		if _, err := l.Write([]byte{phone.RoleData}); err != nil {
			i.t.Fatal(err)
		}
	}
	virtual.Sleep(time.Second) // the session has begun
	if l == control {
		drainNow(l)
	}
	synctest.Wait()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _ = l.Write(lie.Bytes) // the stream may be ending already
	synctest.Wait()
	runtime.ReadMemStats(&after)
	within := time.Minute
	if lie.Absurd {
		within = time.Second
	}
	if _, err := l.Drain(within); err != nil {
		i.t.Errorf("%s: %v", lie.Name, err)
	}
	return after.TotalAlloc - before.TotalAlloc
}

// drainNow reads what has come so far.
func drainNow(l *phone.Line) { _, _ = l.Drain(time.Millisecond) }

// Bar S06: a peer without the key authenticates as nobody.
func TestImpersonation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := intrude(t)
		events := i.events()
		mallory := phone.IdentityOf("mallory")
		identityPoint := phone.Key{1}
		var older []byte
		for name, h := range map[string]phone.Handshake{
			"signs with another key":         {Identity: i.id, Sign: mallory.Sign},
			"claims a contact's key":         {Identity: mallory, Hello: phone.Fields{"own": i.id.Key()}},
			"claims the owner's key":         {Identity: mallory, Hello: phone.Fields{"own": i.owner}},
			"S is not canonical":             {Identity: i.id, Sign: func(c []byte) []byte { return addOrder(i.id.Sign(c)) }},
			"a key that anybody signs for":   {Identity: i.id, Hello: phone.Fields{"own": identityPoint}, Sign: func([]byte) []byte { return append(identityPoint[:], make([]byte, 32)...) }},
			"R and S are the other way":      {Identity: i.id, Sign: func(c []byte) []byte { s := i.id.Sign(c); return append(s[32:], s[:32]...) }},
			"signs the challenge's hash":     {Identity: i.id, Sign: func(c []byte) []byte { return i.id.Sign(append([]byte("x"), c...)) }},
			"signs for another node":         {Identity: i.id, Receiver: mallory.Key()},
			"signs an older challenge":       {Identity: i.id, Sign: func(c []byte) []byte { older = append(older, c...); return i.id.Sign(older[:32]) }},
			"signs the challenge's own copy": {Identity: i.id, Sign: func(c []byte) []byte { return append(c, c...) }},
		} {
			if name == "signs an older challenge" {
				older = bytes.Repeat([]byte{9}, 32)
			}
			if h.Receiver == (phone.Key{}) {
				h.Receiver = i.owner
			}
			l := i.line()
			if _, err := l.Write([]byte{phone.RoleControl}); err != nil {
				t.Fatal(err)
			}
			if err := h.Initiate(l); err == nil {
				t.Errorf("%s: the handshake is complete", name)
			}
			if err := l.Ended(time.Second); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		i.nothing(events)
		if s := i.n.Status(); s.Sessions != 0 {
			t.Errorf("%d sessions", s.Sessions)
		}
	})
}

// addOrder adds the order of the group to S: the same signature in another form.
func addOrder(signature []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(signature[32:])
	slices.Reverse(s)
	b := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(b)
	return append(slices.Clone(signature[:32]), b...)
}

// Bar S07: everything that a phone has once sent, sent again by somebody who has
// listened, leads nowhere. No challenge is drawn twice.
func TestReplayedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := intrude(t)
		var sent []byte
		seen := make(map[string]bool)
		for range 50 {
			h := &phone.Handshake{Identity: i.id, Receiver: i.owner, Challenge: bytes.Repeat([]byte{3}, 32)}
			h.Sign = func(c []byte) []byte {
				if seen[string(c)] {
					t.Errorf("challenge %x again", c)
				}
				seen[string(c)] = true
				return i.id.Sign(c)
			}
			l := i.line()
			if _, err := l.Write([]byte{phone.RoleControl}); err != nil {
				t.Fatal(err)
			}
			if err := h.Initiate(l); err != nil {
				t.Fatal(err)
			}
			if sent == nil {
				sent = recordOf(i, h, seen)
				if err := l.Send(anyFrame(phone.TypeMessage)); err != nil {
					t.Fatal(err)
				}
				i.n.Eventually("the message is there", func() bool { return len(i.n.HeardFrom(i.id.Key())) == 1 })
			}
			l.Abort()
			virtual.Sleep(time.Second)
		}
		events := i.events()
		l := i.line()
		_, _ = l.Write(sent) // the stream may be ending already
		rest, err := l.Drain(time.Second)
		if err != nil || bytes.Contains(rest, phone.Frame{Type: phone.TypeOK}.AppendTo(nil)) {
			t.Errorf("the node answered %x, %v", rest, err)
		}
		if now := i.events(); now != events || len(i.n.HeardFrom(i.id.Key())) != 1 {
			t.Errorf("%d events, %d before", now, events)
		}
	})
}

// recordOf is what the initiator of a handshake has sent, with a message behind it.
func recordOf(i *intruder, h *phone.Handshake, seen map[string]bool) []byte {
	var challenge string
	for c := range seen {
		challenge = c
	}
	b := []byte{phone.RoleControl}
	for _, f := range []phone.Frame{
		{Type: phone.TypeHello, Fields: phone.Fields{"version": 1, "own": i.id.Key(), "receiver": i.owner, "client": 1}},
		{Type: phone.TypeChallengeAnswer, Fields: phone.Fields{"answer": i.id.Sign([]byte(challenge))}},
		{Type: phone.TypeChallenge2, Fields: phone.Fields{"challenge": h.Challenge}},
		{Type: phone.TypeOK},
		anyFrame(phone.TypeMessage),
	} {
		b = f.AppendTo(b)
	}
	return b
}

// Bar S08: the node does not sign the key of a tracker, nor that of a node where one
// of its contacts was.
func TestChallengesThatAreKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		k := meet(t, w, phone.Quirks{})
		k.phoneSays("hello")
		k.settles(t, time.Minute)
		i := &intruder{t: t, n: k.n, owner: k.key, id: phone.IdentityOf("intruder"), carrier: w.Net.Node(overlay.Limits{})}
		defer func() { _ = i.carrier.Close() }()
		k.n.AddPhone(i.id.Key())
		for name, challenge := range map[string]identity.NodeKey{
			"the tracker": w.Tracker.Node, "a contact's node": k.p.Node(), "the node": k.n.Key(),
			"the intruder's node": i.carrier.Key(), "the owner": identity.NodeKey(k.key), "zeros": {},
		} {
			l := i.until(phone.TypeChallenge2)
			_ = l.Send(phone.Frame{Type: phone.TypeChallenge2, Fields: phone.Fields{"challenge": challenge}}) // the stream may be ending already
			if err := l.Ended(16 * time.Second); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Bar S04: a node that only opens streams is dropped after 15 seconds, and keeps no
// other out meanwhile.
func TestSilentStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nodes, each = 50, 8
		w := actorstest.New(t, memnet.Options{})
		k := meet(t, w, phone.Quirks{})
		var lines []*phone.Line
		start := time.Now()
		for range nodes {
			carrier := w.Net.Node(overlay.Limits{})
			t.Cleanup(func() { _ = carrier.Close() })
			for range each {
				l, err := phone.DialLine(t.Context(), carrier, k.n.Key())
				if err != nil {
					t.Fatal(err)
				}
				lines = append(lines, l)
			}
			synctest.Wait() // the node has accepted them
		}
		opened := time.Now()
		if took := opened.Sub(start); took > time.Second {
			t.Errorf("opening took %v", took)
		}
		k.phoneSays("let me through")
		k.settles(t, 2*time.Second)
		for _, l := range lines {
			if err := l.Ended(time.Until(opened.Add(16 * time.Second))); err != nil {
				t.Fatal(err)
			}
		}
		k.once(t)
	})
}

// Bar S05: a frame that never ends is not waited for, and what has come of it is
// given back.
func TestUnfinishedFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := intrude(t)
		for name, f := range map[string]phone.Frame{
			"a message":     {Type: phone.TypeMessage, Fields: phone.Fields{"header": `{"guid":7,"payloadSize":1000000,"sendTime":1,"type":0}`, "payload": make([]byte, 1000)}},
			"half a header": {Type: phone.TypeMessage, Fields: phone.Fields{"header": `{"guid":7`}, Lengths: map[string]int64{"header": 100}},
			"a profile":     {Type: phone.TypeInfoResponse, Fields: phone.Fields{"nickname": "x"}, Lengths: map[string]int64{"nickname": 200}, End: "nickname"},
		} {
			l := i.until(0)
			virtual.Sleep(time.Second)
			drainNow(l)
			if err := l.Send(f); err != nil {
				t.Fatal(err)
			}
			if _, err := l.Drain(time.Minute); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if texts := i.n.HeardFrom(i.id.Key()); len(texts) != 0 {
			t.Errorf("the node has %s", actorstest.Brief(texts))
		}
	})
}

// Bar S10: an identity that is not a contact sends every type of frame. Only the
// request to become one is kept, once.
func TestStrangersLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n, key := w.Owner()
		events := func() int {
			all, err := n.Events(n.Account.ID, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			return len(all)
		}
		before := events()
		p := w.Phone("stranger", phone.Quirks{UnaskedInfo: true, PlainChallenges: true})
		p.Write(key, "a text")
		p.React(key, "👍", 7)
		p.Post(key, phone.Message{EditTime: 5, Payload: []byte("an edit")})
		p.Post(key, phone.Message{Type: phone.File, Payload: []byte(`{"name":"x"}`)})
		p.Post(key, phone.Message{Payload: make([]byte, 100_000)}) // over the data stream
		p.Eventually(t, time.Minute, "a session", func() bool { return p.Session(key) != nil })
		for _, f := range everyFrame() {
			if f.Type != phone.TypeContactRequest {
				if err := p.Session(key).Send(f); err != nil {
					t.Fatalf("%v: %v", f.Type, err)
				}
			}
		}
		virtual.Sleep(30 * time.Minute)
		page := p.Page(key)
		if len(page.Told) != 0 || page.Counts[phone.TypeCallAnswer] != 0 || page.Counts[phone.TypeInfoResponse] != 0 {
			t.Errorf("told %v, got %v", page.Told, page.Counts)
		}
		contacts, err := n.Contacts(n.Account.ID)
		if err != nil || len(contacts) != 0 || events() != before {
			t.Errorf("contacts %v, %d events, %d before, %v", contacts, events(), before, err)
		}
		for range 3 { // again when the node ends the session at the same moment
			p.Eventually(t, time.Minute, "a request", func() bool { return p.Ask(t.Context(), key, "let me in") == nil })
			virtual.Sleep(time.Minute)
		}
		contacts, err = n.Contacts(n.Account.ID)
		if err != nil || len(contacts) != 1 || contacts[0].State != store.ContactRequested || contacts[0].Nickname != "stranger" {
			t.Errorf("contacts %+v, %v", contacts, err)
		}
		if made := events() - before; made != 2 { // the contact, and the request
			t.Errorf("%d events", made)
		}
		if told := p.Page(key).Told; len(told) != 0 {
			t.Errorf("told %v", told)
		}
		// With a yes everything that has waited arrives, and the phone hears of it when
		// it is there.
		if _, err := p.Dial(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		virtual.Sleep(time.Second)
		n.AddPhone(p.Key())
		p.Eventually(t, 20*time.Minute, "all is acknowledged", func() bool { return len(p.Waiting(key)) == 0 })
		if got := len(n.Stored(p.Key())); got != 5 {
			t.Errorf("%d messages", got)
		}
		p.Eventually(t, 20*time.Minute, "the answer", func() bool { return len(p.Page(key).Of(phone.TypeContactResponse)) > 0 })
		if yes := p.Page(key).Of(phone.TypeContactResponse); yes[0].Int("accepted") != 1 {
			t.Errorf("answers %v", yes)
		}
	})
}
