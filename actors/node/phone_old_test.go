// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/phone"
)

// Apps of gen1 and gen2, by a second implementation. In real time, see
// generation_test.go.

// oldWorld is a node that old apps talk to.
type oldWorld struct {
	t *testing.T
	w *actorstest.World
	n *actorstest.Node
}

func newOldWorld(t *testing.T) oldWorld {
	t.Helper()
	w := actorstest.New(t, memnet.Options{})
	o := oldWorld{t, w, w.Node("owner", withCarriers(w, false, overlay.KindQUIC, overlay.KindTCP))}
	device := o.device(overlay.KindQUIC)
	awaitAccount(o.n, func() *phone.Old { return o.dial(device, overlay.KindQUIC, phone.IdentityOf("nobody")) })
	return o
}

// awaitAccount dials until the account of a node that has just been started answers.
func awaitAccount(n *actorstest.Node, dial func() *phone.Old) {
	n.Eventually("the account answers", func() bool {
		p := dial()
		defer func() { _ = p.Close() }()
		if p.Hello(nil) != nil {
			return false
		}
		_, err := p.Expect(phone.OldChallenge)
		return err == nil
	})
}

// device is a node of an old app.
func (o oldWorld) device(kind overlay.Kind) overlay.Carrier {
	o.t.Helper()
	node := o.w.Net.Node(overlay.Limits{})
	o.t.Cleanup(func() { _ = node.Close() })
	if err := node.Stack().Enable(kind); err != nil {
		o.t.Fatal(err)
	}
	c, _ := node.Stack().CarrierOf(kind)
	return c
}

// dial opens a connection to the owner, without a handshake.
func (o oldWorld) dial(from overlay.Carrier, kind overlay.Kind, id phone.Identity) *phone.Old {
	o.t.Helper()
	port := uint16(42)
	if kind == overlay.KindTCP {
		port = 5050
	}
	var conn overlay.Conn
	o.n.Eventually("the owner listens", func() (ok bool) {
		var err error
		conn, err = from.Dial(o.t.Context(), o.n.Key(), port)
		if err != nil && !errors.Is(err, overlay.ErrRefused) {
			o.t.Fatal(err)
		}
		return err == nil
	})
	return o.old(conn, id)
}

func (o oldWorld) old(conn overlay.Conn, id phone.Identity) *phone.Old {
	o.t.Helper()
	o.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(generationPatience)); err != nil {
		o.t.Fatal(err)
	}
	return phone.NewOld(conn, id, phone.Key(o.n.Account.ID))
}

func (o oldWorld) expect(p *phone.Old, kind int) phone.OldFrame {
	o.t.Helper()
	f, err := p.Expect(kind)
	if err != nil {
		o.t.Fatal(err)
	}
	return f
}

// closed waits for the owner to end the connection.
func (o oldWorld) closed(what string, p *phone.Old) {
	o.t.Helper()
	for {
		f, err := p.Next()
		switch {
		case err == nil:
			if f.Type == phone.OldOK || f.Type == phone.OldInfoResponse {
				o.t.Errorf("%s: the owner sent type %d", what, f.Type)
			}
			continue
		case !errors.Is(err, io.EOF) && !errors.Is(err, overlay.ErrReset) && !errors.Is(err, io.ErrUnexpectedEOF):
			o.t.Errorf("%s: %v", what, err)
		}
		return
	}
}

func (o oldWorld) stored(from phone.Identity) []store.Message {
	o.t.Helper()
	page, err := o.n.Messages(o.n.Account.ID, identity.PublicKey(from.Key()), 0, 100)
	if err != nil {
		o.t.Fatal(err)
	}
	return page
}

func TestOldAppsTalk(t *testing.T) {
	for generation, kind := range map[int]overlay.Kind{1: overlay.KindTCP, 2: overlay.KindQUIC} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			o, id := newOldWorld(t), phone.IdentityOf("old app")
			o.n.AddPhone(id.Key())
			device := o.device(kind)
			p := o.dial(device, kind, id)
			if err := p.Dial(); err != nil {
				t.Fatal(err)
			}

			// Sizes that lie, a guid said twice: acknowledged twice and kept once.
			for _, size := range []int64{0, 1 << 40} {
				if err := p.Say(`"guid":-5,"sendTime":1768000000456,"type":0`, []byte("hello"), size); err != nil {
					t.Fatal(err)
				}
				if f := o.expect(p, phone.OldOK); f.ID != -5 {
					t.Errorf("acknowledged %d", f.ID)
				}
			}
			// The same reaction twice, once with seconds.
			for guid, sent := range map[string]string{"6": "1768000000", "7": "1768000000461"} {
				if err := p.Say(`"guid":`+guid+`,"replyTo":-5,"sendTime":`+sent+`,"type":10`, []byte(`{"emoji":"x","replyTo":-5}`), 9); err != nil {
					t.Fatal(err)
				}
				o.expect(p, phone.OldOK)
			}
			if r, err := o.n.Reactions(o.n.Account.ID, identity.PublicKey(id.Key()), -5); err != nil || len(r) != 1 || r[0].Emoji != "x" {
				t.Errorf("reactions %+v, error %v", r, err)
			}
			// A picture inside of its message.
			file := bytes.Repeat([]byte("jpeg"), 100_000)
			if err := p.Say(`"guid":8,"sendTime":0,"type":1`, phone.Picture("look", file), 1); err != nil {
				t.Fatal(err)
			}
			o.expect(p, phone.OldOK)
			var texts int
			for _, m := range o.stored(id) {
				switch peer.MessageType(m.Type) {
				case peer.TypeText:
					texts++
					if m.SendTime != 1768000000456 {
						t.Errorf("sent at %d", m.SendTime)
					}
				case peer.TypeReaction:
					if s := m.SendTime; s != 1768000000000 && s != 1768000000461 {
						t.Errorf("a reaction sent at %d", s)
					}
				case peer.TypeImage:
					o.picture(m, file)
				}
			}
			if texts != 1 {
				t.Errorf("%d texts, want 1", texts)
			}
			if generation == 2 {
				if err := p.Put(phone.OldPing, 0, nil); err != nil {
					t.Fatal(err)
				}
				o.expect(p, phone.OldPong)
				offer := append([]byte("\x00\x00\x00\x0faudio/mp4a-latm"), 0, 0, 0xac, 0x44, 0, 0, 0, 1)
				if err := p.Put(phone.OldCallOffer, int64(len(offer)), offer); err != nil {
					t.Fatal(err)
				}
				if f := o.expect(p, phone.OldCallAnswer); f.Yes {
					t.Error("the owner takes a call")
				}
			}
			// A question that is in the past is not answered; one that is not, is.
			if err := p.Put(phone.OldInfoRequest, 8, make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
			f := o.expect(p, phone.OldInfoResponse)
			if string(f.Data) != o.n.Account.Name || p.Sizes[phone.OldInfoResponse] != int64(8+8+4+len(f.Data)+4+4) {
				t.Errorf("profile of %q with a size of %d", f.Data, p.Sizes[phone.OldInfoResponse])
			}
			_ = p.Close()
			o.calledBack(device, kind, id)
		})
	}
}

// picture waits until the file of a message is there.
func (o oldWorld) picture(m store.Message, want []byte) {
	o.t.Helper()
	o.n.EventuallyWithin(generationPatience, "the picture is kept", func() bool {
		file, _, err := o.n.OpenMedia(m.Account, m.Conversation.Contact(), m.ID)
		if err != nil {
			return false
		}
		defer func() { _ = file.Close() }()
		got, err := io.ReadAll(file)
		return err == nil && bytes.Equal(got, want)
	})
}

// calledBack: the owner dials the app where it was, also when the app asks for the
// profile too early.
func (o oldWorld) calledBack(device overlay.Carrier, kind overlay.Kind, id phone.Identity) {
	t := o.t
	t.Helper()
	l, err := device.Listen(5050)
	if err != nil {
		t.Fatal(err)
	}
	sent := o.n.SayTo(id.Key(), "to an old app")
	conn, err := l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := o.old(conn, id)
	if err := p.Accept(kind == overlay.KindTCP); err != nil {
		t.Fatal(err)
	}
	f := o.expect(p, phone.OldMessage)
	if string(f.Data) != "to an old app" || p.Sizes[phone.OldMessage] != 16+int64(len(f.Data)) || !strings.HasPrefix(f.Header, `{"guid":`) {
		t.Errorf("message %q with the header %s and a size of %d", f.Data, f.Header, p.Sizes[phone.OldMessage])
	}
	if err := p.OK(int64(sent)); err != nil {
		t.Fatal(err)
	}
	o.n.EventuallyWithin(generationPatience, "it is delivered", func() bool {
		n, err := o.n.Waiting(o.n.Account.ID)
		return err == nil && n == 0
	})
}

// What the apps let pass: nobody is believed, and nothing is told, before both
// sides have proved who they are; one signature for each role and connection.
func TestOldAppsHolesAreClosed(t *testing.T) {
	o, id := newOldWorld(t), phone.IdentityOf("a friend")
	o.n.AddPhone(id.Key())
	for _, kind := range []overlay.Kind{overlay.KindTCP, overlay.KindQUIC} {
		device := o.device(kind)
		challenge := bytes.Repeat([]byte{7}, 32)
		attack := func(what string, steps func(p *phone.Old) error) {
			t.Helper()
			p := o.dial(device, kind, id)
			if err := steps(p); err != nil && !errors.Is(err, overlay.ErrReset) {
				t.Errorf("%s: %v", what, err)
			}
			o.closed(string(kind)+": "+what, p)
		}
		attack("a message from the identity that the HELLO names", func(p *phone.Old) error {
			return errors.Join(p.Hello(nil), p.Say(`"guid":1,"type":0`, []byte("forged"), 0))
		})
		attack("a question before proof", func(p *phone.Old) error {
			return errors.Join(p.Hello(nil), p.Put(phone.OldInfoRequest, 8, make([]byte, 8)))
		})
		attack("a signature before proof", func(p *phone.Old) error {
			return errors.Join(p.Hello(nil), p.Challenge(phone.OldChallenge2, challenge))
		})
		attack("the other role", func(p *phone.Old) error { return p.Challenge(phone.OldChallenge, challenge) })
		attack("a second HELLO", func(p *phone.Old) error { return errors.Join(p.Dial(), p.Hello(nil)) })
		attack("a second signature", func(p *phone.Old) error {
			return errors.Join(p.Dial(), p.Challenge(phone.OldChallenge2, challenge))
		})
		attack("a long challenge", func(p *phone.Old) error {
			if err := p.Hello(nil); err != nil {
				return err
			}
			f, err := p.Expect(phone.OldChallenge)
			if err != nil {
				return err
			}
			if err := p.Answer(phone.OldChallengeAnswer, f.Data); err != nil {
				return err
			}
			if _, err := p.Expect(phone.OldOK); err != nil {
				return err
			}
			return p.Challenge(phone.OldChallenge2, append(challenge, 1))
		})
		attack("an unknown type", func(p *phone.Old) error { return errors.Join(p.Dial(), p.Put(3000, 0, make([]byte, 100))) })
		attack("a length that lies", func(p *phone.Old) error {
			return errors.Join(p.Dial(), p.Put(phone.OldMessage, 0, binary.BigEndian.AppendUint32(nil, 1<<31-1)))
		})
		if kind == overlay.KindTCP {
			attack("a foreign address", func(p *phone.Old) error {
				if err := p.Hello(append([]byte{3, 8}, make([]byte, 14)...)); err != nil {
					return err
				}
				f, err := p.Expect(phone.OldChallenge)
				if err != nil {
					return err
				}
				if err := p.Answer(phone.OldChallengeAnswer, f.Data); err != nil {
					return err
				}
				_, err = p.Expect(phone.OldOK)
				return err
			})
		}
	}
	if got := o.stored(id); len(got) != 0 {
		t.Errorf("%d messages of nobody", len(got))
	}
}
