// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"crypto/rand"
	"slices"
	"testing"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

// forwardCases are the points between a contact and the phone that has the account too.
// make test has the first.
var forwardCases = []crashpoint.Name{crashpoint.AfterAnswer, crashpoint.AfterForward}

// Bar R03: killed when a message for the phone, or an answer of the phone, is in the outbox and
// the cursor does not say so. Each arrives after the restart, once.
func TestKilledWhileForwarding(t *testing.T) {
	t.Parallel()
	for i, point := range forwardCases {
		if i > 0 && !long() {
			continue
		}
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			newFilesWorld(t, point, 1).dieForwarding()
		})
	}
}

// dieForwarding: the contact writes to the account, whose phone answers.
func (w *filesWorld) dieForwarding() {
	w.t.Helper()
	home, err := w.victim.Client.CreateAccount(w.soon(), "home")
	w.must(err)
	own := w.ownPhone(home)
	_, err = w.victim.Client.ChangeAccount(w.soon(), w.victim.Account.ID, control.AccountChange{ForwardTo: &home.ID})
	w.must(err)
	restart := func() {
		w.died(w.point, w.passing)
		for _, p := range []*phoneContact{w.phone, own} {
			p.Stop()
		}
		w.must(w.victim.Start(w.soon()))
		for _, p := range []*phoneContact{w.phone, own} {
			w.must(p.on())
		}
	}
	w.phone.Write(w.key, "a question")
	if w.point == crashpoint.AfterForward {
		restart()
	}
	forwarded := w.onceWith(own, own.victim, "carol: a question")
	own.Post(own.victim, phone.Message{ReplyTo: forwarded.GUID, Payload: []byte("an answer")})
	if w.point == crashpoint.AfterAnswer {
		restart()
	}
	w.onceWith(w.phone, w.key, "an answer")
	// Whatever was queued twice would come before this.
	own.Post(own.victim, phone.Message{ReplyTo: forwarded.GUID, Payload: []byte("the last answer")})
	w.onceWith(w.phone, w.key, "the last answer")
	w.onceWith(w.phone, w.key, "an answer")
	w.phone.Write(w.key, "the last question")
	w.onceWith(own, own.victim, "carol: the last question")
	w.onceWith(own, own.victim, "carol: a question")
}

// onceWith waits until a phone has a text and returns it. That there are two is an error.
// A message that is sent again after a crash has the same guid, and is one.
func (w *filesWorld) onceWith(p *phoneContact, from phone.Key, text string) phone.Message {
	w.t.Helper()
	var found []phone.Message
	w.eventually(text, func() bool {
		found = slices.DeleteFunc(slices.Clone(p.Page(from).Received), func(m phone.Message) bool { return string(m.Payload) != text })
		return len(found) > 0
	})
	for _, m := range found {
		if m.GUID != found[0].GUID {
			w.t.Errorf("%s%q has come twice", w.note, text)
		}
	}
	return found[0]
}

// ownPhone is a phone that has the account of the node, in touch with home, another account
// of the node.
func (w *filesWorld) ownPhone(home control.Account) *phoneContact {
	w.t.Helper()
	secret, err := w.victim.Client.ExportAccount(w.soon(), w.victim.Account.ID)
	w.must(err)
	key, err := identity.ParsePEM([]byte(secret.PEM))
	w.must(err)
	seed := key.Seed()
	nodeKey, err := identity.GenerateNodePrivateKey(rand.Reader)
	w.must(err)
	network, err := overlay.Open(overlay.Options{Key: nodeKey, Peers: []string{w.relay}})
	w.must(err)
	w.t.Cleanup(func() { w.must(network.Close()) })
	homeKey, err := identity.ParsePublicKey(home.ID)
	w.must(err)
	status, err := w.victim.Client.Status(w.soon())
	w.must(err)
	node, err := identity.ParseNodeKey(status.Node)
	w.must(err)
	p := &phoneContact{Phone: phone.New(phone.Options{Name: "own", Seed: &seed}), victim: phone.Key(homeKey), network: network}
	w.run(p, node)
	return p
}
