// SPDX-License-Identifier: MPL-2.0

package mediatorserver_test

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/actors/mediatorlink"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// linkPatience bounds how long a broken test takes. Two nodes of a new network may need a
// minute to find each other.
const linkPatience = 2 * time.Minute

// realRig is a mediator on a real Yggdrasil network, and accounts with our own client of
// mediators at another node.
type realRig struct {
	*rig
	address  string // where the mediator's node listens
	stage    *kerneltest.Stage
	network  *overlay.Network
	accounts []*linked
}

// linked is an account with its link.
type linked struct {
	r    *realRig
	key  identity.PrivateKey
	link kernel.Ref
}

// Carrier implements mediatorlink.Carriers.
func (r *realRig) Carrier(kind overlay.Kind) (overlay.Carrier, bool) {
	return r.network.CarrierOf(kind)
}

func newRealRig(t *testing.T) *realRig {
	t.Helper()
	r := &realRig{address: "tcp://127.0.0.1:0"}
	r.rig = newRig(t, func(plain *rig) {
		plain.open = func(key identity.NodePrivateKey) (uplink.Network, error) {
			n, err := overlay.Open(overlay.Options{Key: key, Listen: []string{r.address}})
			if err == nil {
				r.address = n.ListenAddrs()[0]
			}
			return n, err
		}
	})
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if r.network, err = overlay.Open(overlay.Options{Key: key, Peers: []string{r.address + "?maxbackoff=5s"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.network.Close(); err != nil {
			t.Error(err)
		}
	})
	r.stage = kerneltest.NewStage(t, kernel.Options{Logger: slog.New(slog.DiscardHandler)})
	return r
}

// account starts a link for a new account and waits until it has logged in.
func (r *realRig) account(seed byte) *linked {
	r.t.Helper()
	a := &linked{r: r, key: identity.NewPrivateKey([32]byte{seed})}
	spec := mediatorlink.NewSpec(mediatorlink.Deps{
		Network: r, Mediator: r.key.Key(), Key: a.key, Guard: identity.GuardFunc(func([32]byte) bool { return false }),
	})
	spec.Name += "-" + a.key.Public().Short()
	a.link = r.stage.Spawn(r.t, spec)
	kerneltest.Await[mediatorlink.Connected](r.t, r.stage.Probe, linkPatience)
	r.accounts = append(r.accounts, a)
	return a
}

// call asks a request.
func (a *linked) call(q mediator.Request, into mediator.Result) {
	a.r.t.Helper()
	answer, err := kernel.Ask[mediator.Answer](a.r.t.Context(), a.link, mediatorlink.Request{Request: q})
	if err == nil {
		err = answer.Parse(into)
	}
	if err != nil {
		a.r.t.Fatalf("%s: %v", q.Command(), err)
	}
}

// pushed waits for a push of a type.
func pushed[P mediator.Push](r *realRig, fits func(P) bool) P {
	r.t.Helper()
	for {
		got := kerneltest.Await[mediatorlink.Pushed](r.t, r.stage.Probe, linkPatience)
		got.Release()
		if p, ok := got.Push.(P); ok && fits(p) {
			return p
		}
	}
}

// TestMediator_OurClientOverYggdrasil is with the client that nodes have: two accounts and
// two groups.
func TestMediator_OurClientOverYggdrasil(t *testing.T) {
	r := newRealRig(t)
	a, b := r.account(1), r.account(2)
	groups := make([]mediator.ChatID, 2)
	for i, owner := range []*linked{a, b} {
		var nonce mediator.Nonce
		owner.call(&mediator.GetNonce{Identity: owner.key.Public()}, &nonce)
		n, signature, found := owner.key.SignChat(nonce.Nonce, 0, 1<<24)
		if !found {
			t.Fatal("no proof of work")
		}
		var chat mediator.Chat
		owner.call(&mediator.CreateChat{Owner: owner.key.Public(), Nonce: nonce.Nonce, Counter: n, Signature: signature, Name: "group"}, &chat)
		groups[i] = chat.Chat
		owner.call(&mediator.Subscribe{Chat: chat.Chat}, &mediator.LastMessage{})
		guest := []*linked{b, a}[i]
		owner.call(&mediator.SendInvite{Chat: chat.Chat, User: guest.key.Public(), Data: []byte("key")}, nil)
		invite := pushed(r, func(p *mediator.GotInvite) bool { return p.Chat == chat.Chat })
		if invite.Name != "group" || string(invite.Data) != "key" || invite.From != owner.key.Public() {
			t.Errorf("invite %+v", invite)
		}
		guest.call(&mediator.InviteResponse{Invite: invite.Invite, Accept: true}, nil)
		guest.call(&mediator.Subscribe{Chat: chat.Chat}, &mediator.LastMessage{})
	}
	say := func(by *linked, group mediator.ChatID, text string) {
		t.Helper()
		seconds := int64(1000)
		by.call(&mediator.SendMessage{Chat: group, GUID: 7, Time: &seconds, Blob: []byte(text)}, &mediator.Sent{})
		pushed(r, func(p *mediator.GotMessage) bool { return p.Chat == group && string(p.Message.Blob) == text })
	}
	say(a, groups[0], "from a")
	say(b, groups[1], "from b")

	for i, who := range r.accounts {
		for g, group := range groups {
			var last mediator.LastMessage
			who.call(&mediator.GetLastMessageID{Chat: group}, &last)
			var page mediator.Messages
			who.call(&mediator.GetMessagesSince{Chat: group, Limit: 100}, &page)
			// The event of the guest, and the message.
			if n := len(page.Messages); n != 2 || last.Message != 2 || string(page.Messages[1].Blob) != []string{"from a", "from b"}[g] {
				t.Errorf("account %d, group %d: %d messages up to %d", i, g, n, last.Message)
			}
		}
	}
	// A retry stores nothing.
	seconds := int64(1000)
	var sent mediator.Sent
	a.call(&mediator.SendMessage{Chat: groups[0], GUID: 7, Time: &seconds, Blob: []byte("from a")}, &sent)
	if sent.Message != 2 || sent.GUID != 7 {
		t.Errorf("the retry is message %d with guid %d", sent.Message, sent.GUID)
	}
	_, err := kernel.Ask[mediator.Answer](t.Context(), b.link, mediatorlink.Request{Request: &mediator.DeleteChat{Chat: groups[0]}})
	if err != nil && !errors.As(err, new(*mediator.ServerError)) {
		t.Errorf("delete: %v", err)
	}
}
