// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// hook runs before every message of a node while it is set.
type hook struct {
	f atomic.Pointer[func(actor kernel.Ref, msg any)]
}

func (h *hook) set(f func(actor kernel.Ref, msg any)) { h.f.Store(&f) }

func (h *hook) install(o *node.Options) {
	o.BeforeReceive = func(actor kernel.Ref, msg any) {
		if f := h.f.Load(); f != nil {
			(*f)(actor, msg)
		}
	}
}

// isMessage reports whether a message has the given type, such as "resolver.Lookup".
func isMessage(msg any, name string) bool { return fmt.Sprintf("%T", msg) == name }

// Bar R16: whatever the resolver dies of while contacts are being looked up, each of
// them is found at the next attempt, in both accounts of the node.
func TestResolver_PanicDuringLookup_WedgesNobody(t *testing.T) {
	for name, fatal := range map[string]func(actor kernel.Ref, msg any) bool{
		"at the question":       func(_ kernel.Ref, msg any) bool { return isMessage(msg, "resolver.Lookup") },
		"at a tracker's answer": func(_ kernel.Ref, msg any) bool { return isMessage(msg, "resolver.datagram") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var h hook
				var panics atomic.Int32
				w := actorstest.New(t, memnet.Options{})
				alice := w.Node("alice", h.install)
				bob, carol := w.Node("bob"), w.Node("carol")
				second, err := alice.CreateAccount(t.Context(), "anna")
				if err != nil {
					t.Fatal(err)
				}
				h.set(func(actor kernel.Ref, msg any) {
					if kindOf(actor) == "resolver" && fatal(actor, msg) && panics.Add(1) <= 2 {
						panic("injected")
					}
				})
				for _, n := range []*actorstest.Node{bob, carol} {
					actorstest.Befriend(alice, n)
					alice.Say(n, "hello")
					befriendAs(t, alice, second.ID, n)
					sayAs(t, alice, second.ID, n, "hello from anna")
				}
				for _, n := range []*actorstest.Node{bob, carol} {
					n.EventuallyWithin(5*time.Minute, "both texts arrive", func() bool {
						return len(n.Heard(alice)) == 1 && len(heardFrom(t, n, second.ID)) == 1
					})
				}
				if n := panics.Load(); n < 2 {
					t.Errorf("%d panics", n)
				}
			})
		})
	}
}

// A contact or an account whose actor was given up is not forgotten: it is started
// again by itself.
func TestContact_GivenUp_IsStartedAgain(t *testing.T) {
	for _, kind := range []string{"contact", "account"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var h hook
				var ended atomic.Bool
				w := actorstest.New(t, memnet.Options{})
				alice := w.Node("alice", h.install)
				bob := w.Node("bob")
				actorstest.Befriend(alice, bob)
				h.set(func(actor kernel.Ref, _ any) {
					if kindOf(actor) == kind && !ended.Swap(true) {
						panic(kernel.Fatal(errors.New("injected")))
					}
				})
				alice.Say(bob, "hello")
				bob.EventuallyWithin(15*time.Minute, "it arrives", func() bool { return len(bob.Heard(alice)) == 1 })
				if !ended.Load() {
					t.Error("the actor was never given up")
				}
				if alarms := alice.Status().Alarms; len(alarms) > 0 {
					t.Errorf("alarms: %+v", alarms)
				}
			})
		})
	}
}

// The actor of a removed contact ends, also when something still happens in the log
// of that conversation.
func TestContact_Removed_ActorStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice, bob, carol := w.Node("alice"), w.Node("bob"), w.Node("carol")
		for _, n := range []*actorstest.Node{bob, carol} {
			actorstest.Befriend(alice, n)
			alice.Say(n, "hello")
			n.Eventually("it arrives", func() bool { return len(n.Heard(alice)) == 1 })
		}
		contacts := func() int { return liveActors(alice, "contact") }
		if n := contacts(); n != 2 {
			t.Fatalf("%d actors of contacts", n)
		}
		for range 3 { // the last event may come after the actor has ended
			if err := alice.RemoveContact(t.Context(), alice.Account.ID, bob.Account.ID); err != nil && !errors.Is(err, node.ErrUnknownContact) {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		alice.EventuallyWithin(time.Minute, "the actor ends", func() bool { return contacts() == 1 })
		if alice.Presence(alice.Account.ID, bob.Account.ID).Online {
			t.Error("the removed contact is shown as online")
		}
	})
}

// A session that yields to a new stream is over, also when nothing comes of the
// new one: nobody is shown as online without a session.
func TestPresence_FailedReplacement_IsOffline(t *testing.T) {
	const script = `
contact
dial a
handshake a
a ignores INFO_REQUEST
a > PING
a < PONG
dial b
b > x"00" + HELLO version=1 own=$phone receiver=$node client=1
b < CHALLENGE challenge=?c1
let s1 = sign phone $c1
b > CHALLENGE_ANSWER answer=$s1
a < PING
a ends 10s
b < OK
b close
pause 1s
`
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice := w.Node("owner")
		scripts, err := phone.ParseScript("replacement", []byte(script))
		if err != nil {
			t.Fatal(err)
		}
		phone.Run(t, scripts[0], scriptEnv(t, w, alice))
		who := identity.PublicKey(phone.IdentityOf("phone").Key())
		if p := alice.Presence(alice.Account.ID, who); p.Online || p.LastError == "" {
			t.Errorf("the phone is shown as %+v", p)
		}
		if n := alice.Status().Sessions; n != 0 {
			t.Errorf("%d sessions", n)
		}
	})
}

// The next attempt is never shown in the past, while attempts fail again and again.
func TestPresence_NextAttempt_NotInThePast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		alice, bob := w.Node("alice"), w.Node("bob")
		actorstest.Befriend(alice, bob)
		bob.Stop()
		alice.Say(bob, "hello")
		shown := 0
		for range 600 {
			virtual.Sleep(time.Second)
			next := alice.Presence(alice.Account.ID, bob.Account.ID).NextAttempt
			if next.IsZero() {
				continue
			}
			shown++
			if next.Before(time.Now()) {
				t.Fatalf("the next attempt was %v ago", time.Since(next))
			}
		}
		if shown < 60 {
			t.Errorf("the next attempt was shown %d times", shown)
		}
		bob.Start()
	})
}

// A text that is queued is not reported as cancelled: a user who is told so writes it
// again.
func TestSend_CancelledWhileQueued_Succeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hook
		w := actorstest.New(t, memnet.Options{})
		alice, bob := w.Node("alice", h.install), w.Node("bob")
		actorstest.Befriend(alice, bob)
		ctx, cancel := context.WithCancel(t.Context())
		h.set(func(_ kernel.Ref, msg any) {
			if write, ok := msg.(store.Write); ok {
				if _, ok := write.Op.(store.EnqueueMessage); ok {
					cancel()
					virtual.Sleep(time.Second) // the caller has noticed
				}
			}
		})
		out := node.Outgoing{Account: alice.Account.ID, Contact: bob.Account.ID, Payload: []byte("hello")}
		if _, err := alice.Send(ctx, out); err != nil {
			t.Errorf("queued, and reported as: %v", err)
		}
		if _, err := alice.Send(ctx, out); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled before it was queued: %v", err)
		}
		bob.Eventually("it arrives once", func() bool { return len(bob.Heard(alice)) == 1 })
	})
}

// fullDisk is a disk whose free space the test sets.
type fullDisk struct {
	vfs.FS
	full atomic.Bool
}

func (d *fullDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	if d.full.Load() {
		return vfs.DiskUsage{TotalBytes: 1 << 40}, nil
	}
	return vfs.DiskUsage{AvailBytes: 1 << 39, TotalBytes: 1 << 40}, nil
}

// Bar R11: a full disk makes no actor fail, and what waited for it goes on by itself.
func TestContact_FullDisk_WaitsWithoutFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h hook
		disk := &fullDisk{FS: vfs.NewMem()}
		w := actorstest.New(t, memnet.Options{})
		alice := w.Node("alice", h.install, func(o *node.Options) {
			o.OpenStore = func(so store.Options) (*store.Store, error) {
				so.FS = disk
				return store.Open(so)
			}
		})
		anna, err := alice.CreateAccount(t.Context(), "anna")
		if err != nil {
			t.Fatal(err)
		}
		var refused atomic.Int32
		h.set(func(actor kernel.Ref, msg any) {
			write, ok := msg.(store.Write)
			if !ok || kindOf(actor) != "store" {
				return
			}
			if _, ok := write.Op.(store.AcceptMessage); ok && refused.Add(1) == 1 {
				disk.full.Store(true)
				virtual.Sleep(2 * time.Second) // the free space is measured once a second
			}
		})
		for _, p := range [][2]store.Account{{alice.Account, anna}, {anna, alice.Account}} {
			if _, err := alice.AddContact(t.Context(), p[0].ID, alice.Link(p[1])); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := alice.Send(t.Context(), node.Outgoing{Account: alice.Account.ID, Contact: anna.ID, Payload: []byte("hello")}); err != nil {
			t.Fatal(err)
		}
		virtual.Sleep(10 * time.Minute)
		if n := refused.Load(); n < 2 || n > 100 {
			t.Errorf("%d attempts while the disk was full", n)
		}
		disk.full.Store(false)
		alice.EventuallyWithin(2*time.Minute, "the text arrives", func() bool {
			page, err := alice.Messages(anna.ID, alice.Account.ID, 0, 10)
			return err == nil && len(page) == 1 && string(page[0].Payload) == "hello"
		})
		for _, s := range alice.StatsForTest() {
			if s.Failures > 0 {
				t.Errorf("%s failed %d times", s.Kind, s.Failures)
			}
		}
	})
}

// scarceDisk is a disk whose free bytes the test sets.
type scarceDisk struct {
	vfs.FS
	free atomic.Uint64
}

func (d *scarceDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: d.free.Load(), TotalBytes: 1 << 40}, nil
}

// An account that has taken its part of the disk waits as everybody does, also when it
// writes to another account of its node: no actor fails, and it goes on by itself.
func TestContact_ShareOfTheDiskUsed_WaitsWithoutFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &scarceDisk{FS: vfs.NewMem()}
		disk.free.Store(1 << 39)
		w := actorstest.New(t, memnet.Options{})
		alice := w.Node("alice", func(o *node.Options) {
			o.OpenStore = func(so store.Options) (*store.Store, error) {
				so.FS, so.Reserve, so.MemTableBytes, so.ContactBytes = disk, 1<<20, 64<<10, 1
				return store.Open(so)
			}
		})
		anna, err := alice.CreateAccount(t.Context(), "anna")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range [][2]store.Account{{alice.Account, anna}, {anna, alice.Account}} {
			if _, err := alice.AddContact(t.Context(), p[0].ID, alice.Link(p[1])); err != nil {
				t.Fatal(err)
			}
		}
		sent := 0
		send := func(payload []byte) {
			t.Helper()
			if _, err := alice.Send(t.Context(), node.Outgoing{Account: alice.Account.ID, Contact: anna.ID, Payload: payload}); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		arrived := func() bool {
			page, err := alice.Messages(anna.ID, alice.Account.ID, 0, 100)
			return err == nil && len(page) == sent
		}
		random := rand.New(rand.NewPCG(1, 2))
		for range 20 {
			payload := make([]byte, 30_000)
			for i := range payload {
				payload[i] = 'a' + byte(random.Uint32()%26)
			}
			send(payload)
		}
		alice.EventuallyWithin(2*time.Minute, "all texts arrive", arrived)
		disk.free.Store(1<<20 + 1)
		virtual.Sleep(2 * time.Second) // the free space is measured once a second
		send([]byte("hello"))
		virtual.Sleep(10 * time.Minute)
		if full := alice.Status().FullConversations; arrived() || len(full) != 1 {
			t.Fatalf("arrived %v, full conversations %v", arrived(), full)
		}
		for _, s := range alice.StatsForTest() {
			if s.Failures > 0 {
				t.Errorf("%s failed %d times", s.Kind, s.Failures)
			}
		}
		disk.free.Store(1 << 39)
		alice.EventuallyWithin(2*time.Minute, "the text arrives", arrived)
	})
}

// befriendAs makes a further account of a node and another node each other's contacts.
func befriendAs(t *testing.T, n *actorstest.Node, as identity.PublicKey, other *actorstest.Node) {
	t.Helper()
	account, err := n.Node.Account(as)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.AddContact(t.Context(), as, other.Link(other.Account)); err != nil {
		t.Fatal(err)
	}
	if _, err := other.AddContact(t.Context(), other.Account.ID, n.Link(account)); err != nil {
		t.Fatal(err)
	}
}

// sayAs queues a text of a further account of a node.
func sayAs(t *testing.T, n *actorstest.Node, as identity.PublicKey, to *actorstest.Node, text string) {
	t.Helper()
	if _, err := n.Send(t.Context(), node.Outgoing{Account: as, Contact: to.Account.ID, Payload: []byte(text)}); err != nil {
		t.Fatal(err)
	}
}

// heardFrom are the texts that an identity has written to a node.
func heardFrom(t *testing.T, n *actorstest.Node, from identity.PublicKey) (texts []string) {
	t.Helper()
	page, err := n.Messages(n.Account.ID, from, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range page {
		if m.ID.Dir == store.In {
			texts = append(texts, string(m.Payload))
		}
	}
	return texts
}

// liveActors counts the actors of a kind.
func liveActors(n *actorstest.Node, kind string) int {
	for _, s := range n.StatsForTest() {
		if s.Kind == kind {
			return s.Live
		}
	}
	return 0
}
