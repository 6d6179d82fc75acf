// SPDX-License-Identifier: MPL-2.0

package scenario_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/test/poll"
)

// chat is the id of the group of each mediator, groupKey the key of all groups.
const chat = 7

var groupKey = [32]byte{1, 2, 3}

// groupWorld has two mediators with a group each, and two nodes: home with the accounts Anna and
// Berta, away with that of Carol. Each account is in both groups. All are linked over a hub.
type groupWorld struct {
	t     *testing.T
	ctx   context.Context // ends with the patience of the whole
	hub   *overlay.Network
	hosts [2]*groupHost
	home  *groupNode
	away  *groupNode
	users []*groupUser
	said  int // of each user in each group
}

// groupUser is an account.
type groupUser struct {
	name string
	key  identity.PrivateKey
	at   *groupNode
}

func newGroupWorld(t *testing.T) *groupWorld {
	t.Helper()
	limit := 2 * patience
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	w := &groupWorld{t: t, ctx: ctx}
	hub, err := overlay.Open(overlay.Options{Key: identity.NewNodePrivateKey([32]byte{1}), Listen: []string{"tcp://127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	w.hub = hub
	t.Cleanup(func() {
		if err := hub.Close(); err != nil {
			t.Error(err)
		}
	})
	w.home = &groupNode{w: w, dir: filepath.Join(t.TempDir(), "home")}
	w.away = &groupNode{w: w, dir: filepath.Join(t.TempDir(), "away")}
	w.users = []*groupUser{
		{"Carol", identity.NewPrivateKey([32]byte{2, 1}), w.away},
		{"Anna", identity.NewPrivateKey([32]byte{2, 2}), w.home},
		{"Berta", identity.NewPrivateKey([32]byte{2, 3}), w.home},
	}
	for i := range w.hosts {
		w.hosts[i] = &groupHost{w: w, key: identity.NewNodePrivateKey([32]byte{3, byte(i)}), dir: t.TempDir()}
		w.hosts[i].start()
		w.hosts[i].fill()
	}
	for _, n := range []*groupNode{w.home, w.away} {
		n.start()
	}
	for _, u := range w.users {
		if _, err := u.at.ImportAccount(ctx, node.Import{Key: u.key, Name: u.name}); err != nil {
			t.Fatal(err)
		}
		for _, h := range w.hosts {
			known := node.KnownGroup{Account: u.id(), Mediator: h.key.Key(), Chat: chat, Key: groupKey, Name: "group"}
			if _, err := u.at.AddGroup(ctx, known); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

func (u *groupUser) id() identity.PublicKey { return u.key.Public() }

// open is an OpenNetwork that links to the hub.
func (w *groupWorld) open(key identity.NodePrivateKey) (*overlay.Network, error) {
	return overlay.Open(overlay.Options{Key: key, Peers: []string{w.hub.ListenAddrs()[0] + "?maxbackoff=5s"}})
}

func (w *groupWorld) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: logLevel()}))
}

// groupNode is a node that can be started again.
type groupNode struct {
	*node.Node
	w   *groupWorld
	dir string

	mu      sync.Mutex
	network *overlay.Network
}

func (n *groupNode) start() {
	n.w.t.Helper()
	opened, err := node.Open(node.Options{Dir: n.dir, Logger: n.w.log().With("in", filepath.Base(n.dir)), OpenNetwork: func(key identity.NodePrivateKey) (uplink.Network, error) {
		network, err := n.w.open(key)
		n.mu.Lock()
		defer n.mu.Unlock()
		n.network = network
		return network, err
	}})
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.Node = opened
	n.w.t.Cleanup(n.stop)
	if err := opened.Start(n.w.ctx); err != nil {
		n.w.t.Fatal(err)
	}
}

// stop ends the node, if it runs.
func (n *groupNode) stop() {
	if n.Node == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(n.Stop(ctx), n.Close()); err != nil {
		n.w.t.Errorf("stop: %v", err)
	}
	n.Node = nil
}

// groupHost is a mediator that can be started again.
type groupHost struct {
	w             *groupWorld
	key           identity.NodePrivateKey
	dir           string
	store         *store.Store
	writer        kernel.Ref
	stores, roles *kernel.System
}

func (h *groupHost) start() {
	t := h.w.t
	t.Helper()
	s, err := store.Open(store.Options{Dir: filepath.Join(h.dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	log := h.w.log().With("in", "mediator")
	h.store, h.stores, h.roles = s, kernel.NewSystem(kernel.Options{Logger: log}), kernel.NewSystem(kernel.Options{Logger: log})
	t.Cleanup(h.stop)
	h.writer, err = h.stores.Spawn(kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(s) }})
	if err != nil {
		t.Fatal(err)
	}
	opts := mediatorserver.Options{OpenNetwork: func(key identity.NodePrivateKey) (uplink.Network, error) { return h.w.open(key) }}
	deps := mediatorserver.Deps{Key: h.key, Cell: &uplink.Cell{}, Store: s, Writer: h.writer, Now: time.Now, Log: log, Strangers: strangerlog.New(log)}
	ref, err := h.roles.Spawn(kernel.Spec{Name: "mediator", Kind: "mediator", New: func() kernel.Actor { return mediatorserver.NewActor(deps, opts) }})
	if err == nil {
		_, err = mediatorserver.Status(h.w.ctx, ref) // it listens
	}
	if err != nil {
		t.Fatal(err)
	}
}

// stop ends the mediator, if it runs, before the actor of its store.
func (h *groupHost) stop() {
	if h.store == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(h.roles.Stop(ctx), h.stores.Stop(ctx), h.store.Close()); err != nil {
		h.w.t.Errorf("stop a mediator: %v", err)
	}
	h.store = nil
}

// fill creates the group, whose owner is the first user.
func (h *groupHost) fill() {
	h.w.t.Helper()
	owner := h.w.users[0].id()
	_, err := store.Do[bool](h.w.ctx, h.writer, store.CreateMediatorGroup{Group: store.MediatorGroup{ID: chat, Owner: owner, Name: "group"}})
	for i, u := range h.w.users[1:] {
		if err != nil {
			break
		}
		change := store.MediatorChange{Mediator: identity.PublicKey(h.key.Key()), Group: chat, Actor: owner, Random: [32]byte{byte(i)}}
		_, err = store.Do[store.MediatorMessage](h.w.ctx, h.writer, store.AddMediatorMember{MediatorChange: change, User: u.id()})
	}
	if err != nil {
		h.w.t.Fatal(err)
	}
}

func (h *groupHost) group() store.ConversationID {
	return store.GroupConversation(h.key.Key(), chat)
}

// say has the users of a node say the next texts of theirs in each group.
func (w *groupWorld) say(number int, nodes ...*groupNode) {
	w.t.Helper()
	for _, u := range w.users {
		for _, n := range nodes {
			if u.at != n {
				continue
			}
			for _, h := range w.hosts {
				out := node.Outgoing{Account: u.id(), Group: h.group(), Payload: fmt.Appendf(nil, "%s %d", u.name, number)}
				if _, err := n.Send(w.ctx, out); err != nil {
					w.t.Fatal(err)
				}
			}
		}
	}
}

// round has all users say so many texts.
func (w *groupWorld) round(texts int) {
	w.t.Helper()
	for range texts {
		w.say(w.said, w.home, w.away)
		w.said++
	}
}

// heard returns what an account has of a user in a group, in its order.
func (w *groupWorld) heard(by, of *groupUser, h *groupHost) (texts []string) {
	w.t.Helper()
	page, err := by.at.ConversationMessages(by.id(), h.group(), 0, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range page { // newest first
		if m.Author == of.id() && m.Author != by.id() || by == of && m.ID.Dir == store.Out {
			texts = append([]string{string(m.Payload)}, texts...)
		}
	}
	return texts
}

// await waits until all accounts have everything that was said at these mediators.
func (w *groupWorld) await(what string, hosts ...*groupHost) {
	w.t.Helper()
	complete := func() bool {
		for _, h := range hosts {
			for _, by := range w.users {
				for _, of := range w.users {
					if len(w.heard(by, of, h)) < w.said {
						return false
					}
				}
			}
		}
		return true
	}
	if !poll.Until(w.ctx, complete) {
		w.report()
		w.t.Fatalf("waited too long: %s", what)
	}
}

// report counts what is lost, doubled and in another order.
func (w *groupWorld) report() {
	w.t.Helper()
	lost, doubled, reordered := 0, 0, 0
	for _, h := range w.hosts {
		for _, by := range w.users {
			for _, of := range w.users {
				seen := make(map[string]int)
				last := -1
				for _, text := range w.heard(by, of, h) {
					seen[text]++
					var number int
					if _, err := fmt.Sscanf(text, of.name+" %d", &number); err != nil {
						w.t.Errorf("%s has %q of %s", by.name, text, of.name)
					}
					if number < last {
						reordered++
					}
					last = number
				}
				for i := range w.said {
					n := seen[fmt.Sprintf("%s %d", of.name, i)]
					if n == 0 {
						lost++
					}
					doubled += max(n-1, 0)
				}
			}
		}
	}
	fmt.Printf("scenario groups: %d texts of 3 accounts in 2 groups: lost %d doubled %d reordered %d\n", w.said, lost, doubled, reordered)
	if lost+doubled+reordered > 0 {
		w.t.Error("the groups are not what was said in them")
	}
}

// logInAgain logs an account in at a mediator once more, from the network of its node, and
// returns when the node's own login has ended that one, as the mediator does with the earlier
// of two logins of one identity and node key.
func (w *groupWorld) logInAgain(u *groupUser, h *groupHost) {
	w.t.Helper()
	u.at.mu.Lock()
	network := u.at.network
	u.at.mu.Unlock()
	carrier, ok := network.CarrierOf(overlay.KindStream)
	if !ok {
		w.t.Fatal("no carrier")
	}
	conn, err := carrier.Dial(w.ctx, h.key.Key(), mediator.Port)
	if err != nil {
		w.t.Fatal(err)
	}
	stop := context.AfterFunc(w.ctx, func() { _ = conn.Abort() })
	defer stop()
	defer func() { _ = conn.Abort() }()
	in := bufio.NewReader(conn)
	call := func(opening []byte, q mediator.Request, result mediator.Result) {
		w.t.Helper()
		_, err := conn.Write(mediator.AppendRequest(opening, 1, q))
		if err == nil {
			var answer mediator.Answer
			if answer, err = mediator.ReadAnswer(in, 1<<16); err == nil {
				err = answer.Parse(result)
			}
		}
		if err != nil {
			w.t.Fatalf("second login: %v", err)
		}
	}
	var nonce mediator.Nonce
	call(mediator.Opening[:], &mediator.GetNonce{Identity: u.id()}, &nonce)
	signature, err := u.key.SignServerNonce(nonce.Nonce, identity.GuardFunc(func([32]byte) bool { return false }))
	if err != nil {
		w.t.Fatal(err)
	}
	call(nil, &mediator.Auth{Identity: u.id(), Nonce: nonce.Nonce, Signature: signature}, nil)
	for err == nil {
		_, err = mediator.ReadAnswer(in, 1<<20)
	}
	if w.ctx.Err() != nil {
		w.t.Fatal("the node does not log in again")
	}
}

// Two accounts of one node are members of the same two groups, at two mediators, with a third
// account elsewhere. A mediator is away for a while, the node is started again, and one of its
// accounts logs in a second time with the node's key.
func TestScenarioGroupsTwoAccountsOfOneNode(t *testing.T) {
	texts, cycles := 2, 1
	if *all {
		texts, cycles = 15, 4 // together less than the 1,000 of a page, see heard
	}
	w := newGroupWorld(t)
	w.round(texts)
	w.await("the first texts", w.hosts[:]...)
	for i := range cycles {
		off, on := w.hosts[i%2], w.hosts[1-i%2]
		off.stop()
		w.round(texts)
		w.await("what goes over the other mediator", on)
		off.start()
		w.await("what has waited for a mediator", off)

		before := w.said
		w.round(texts)
		w.home.stop()
		for n := range texts {
			w.say(before+texts+n, w.away)
		}
		w.home.start()
		for n := range texts {
			w.say(before+texts+n, w.home)
		}
		w.said += texts
		w.await("what was said while the node was away", w.hosts[:]...)

		w.logInAgain(w.users[1+i%2], on)
		w.round(texts)
		w.await("what was said after a second login", w.hosts[:]...)
	}
	w.report()
}
