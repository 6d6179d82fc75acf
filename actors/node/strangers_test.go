// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// logIn opens a control stream from a node and completes the handshake.
func logIn(t *testing.T, from overlay.Carrier, n *actorstest.Node, who phone.Identity) *phone.Line {
	t.Helper()
	l, err := phone.DialLine(t.Context(), from, n.Key())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte{phone.RoleControl}); err != nil {
		t.Fatal(err)
	}
	h := &phone.Handshake{Identity: who, Receiver: phone.Key(n.Account.ID), Challenge: phone.PlainChallenge()}
	if err := h.Initiate(l); err != nil {
		t.Fatal(err)
	}
	return l
}

// newCarrier makes a node of its own for somebody.
func newCarrier(t *testing.T, w *actorstest.World) *memnet.Node {
	t.Helper()
	carrier := w.Net.Node(overlay.Limits{ConnectionsPerKey: 1000})
	t.Cleanup(func() { _ = carrier.Close() })
	return carrier
}

func requestOf(name string) phone.Frame {
	return phone.Frame{Type: phone.TypeContactRequest, Fields: phone.Fields{"message": "let me in", "nickname": name}}
}

// A stranger's session ends after a minute, or 10 s after its request was stored.
// That of a contact goes on, and so does one whose stranger was accepted in time.
func TestStranger_SessionEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n, _ := w.Owner()
		carrier := newCarrier(t, w)
		friend, newcomer := phone.IdentityOf("friend"), phone.IdentityOf("newcomer")
		n.AddPhone(friend.Key())
		of := map[string]*phone.Line{}
		for _, who := range []string{"friend", "silent", "asker", "newcomer"} {
			of[who] = logIn(t, carrier, n, phone.IdentityOf(who))
		}
		began := time.Now()
		for _, who := range []string{"asker", "newcomer"} {
			if err := of[who].Send(requestOf(who)); err != nil {
				t.Fatal(err)
			}
		}
		n.Eventually("both have asked", func() bool {
			return contactOf(t, n, newcomer.Key()).State == store.ContactRequested && contactOf(t, n, phone.IdentityOf("asker").Key()).State == store.ContactRequested
		})
		if _, err := n.AcceptContact(t.Context(), n.Account.ID, identity.PublicKey(newcomer.Key())); err != nil {
			t.Fatal(err)
		}
		ended := make(map[string]time.Duration)
		var mu sync.Mutex
		for who, l := range of {
			go func() {
				for {
					f, err := l.ReadFrame(time.Hour)
					if err != nil {
						break
					}
					if f.Type == phone.TypePing {
						_ = l.Send(phone.Frame{Type: phone.TypePong})
					}
				}
				mu.Lock()
				defer mu.Unlock()
				ended[who] = time.Since(began)
			}()
		}
		virtual.Sleep(5 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		for who, want := range map[string]time.Duration{"silent": time.Minute, "asker": 10 * time.Second, "friend": 0, "newcomer": 0} {
			if got := ended[who]; got < want || got > want+2*time.Second || (got == 0) != (want == 0) {
				t.Errorf("%s: the session ended after %v, want %v", who, got, want)
			}
		}
		for _, l := range of {
			l.Abort()
		}
	})
}

// There are never more than 128 sessions with strangers, whatever their number of
// nodes and identities: the oldest ends, and no contact's.
func TestStranger_OldestSessionGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := actorstest.New(t, memnet.Options{})
		n, _ := w.Owner()
		friend := phone.IdentityOf("friend")
		n.AddPhone(friend.Key())
		contact := logIn(t, newCarrier(t, w), n, friend)
		var lines []*phone.Line
		for i := range 140 {
			lines = append(lines, logIn(t, newCarrier(t, w), n, phone.IdentityOf(fmt.Sprint("stranger ", i))))
			virtual.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		if got := n.StrangerSessionsForTest(); got != 128 {
			t.Errorf("%d sessions with strangers, want 128", got)
		}
		if s := n.Status(); s.Sessions != 129 {
			t.Errorf("%d sessions, want those of 128 strangers and a contact", s.Sessions)
		}
		for i, l := range lines {
			_, err := l.Drain(time.Millisecond)
			if ended := err == nil; ended != (i < 12) {
				t.Errorf("stranger %d: ended %v", i, ended)
			}
		}
		if _, err := contact.Drain(time.Second); err == nil {
			t.Error("the contact's session ended")
		}
		virtual.Sleep(time.Minute)
		synctest.Wait()
		if got := n.StrangerSessionsForTest(); got != 0 {
			t.Errorf("%d sessions with strangers after a minute", got)
		}
	})
}

// Whatever a session passes on to its contact's actor keeps its credit until that
// actor has dealt with it: a peer is read no faster than that, and nothing piles up.
func TestFramesPassedOn_KeepTheirCredit(t *testing.T) {
	avatar := bytes.Repeat([]byte{1}, 40<<10)
	for name, tc := range map[string]struct {
		message string // that the actor is stuck in
		contact bool
		frame   phone.Frame
	}{
		"a stranger's request": {"session.Requested", false, phone.Frame{
			Type: phone.TypeContactRequest, Fields: phone.Fields{"message": "x", "nickname": "x", "avatar": avatar},
		}},
		"a contact's request": {"session.Requested", true, phone.Frame{
			Type: phone.TypeContactRequest, Fields: phone.Fields{"message": "x", "nickname": "x", "avatar": avatar},
		}},
		"an answer":  {"session.Answered", true, anyFrame(phone.TypeContactResponse)},
		"a call":     {"session.CallOffered", true, anyFrame(phone.TypeCallOffer)},
		"a hang-up":  {"session.CallHung", true, phone.Frame{Type: phone.TypeCallHang}},
		"the answer": {"store.AnswerMarked", true, anyFrame(phone.TypeContactResponse)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stuck := make(chan struct{})
				var first sync.Once
				w := actorstest.New(t, memnet.Options{})
				n := w.Node("owner", func(o *node.Options) {
					o.BeforeReceive = func(_ kernel.Ref, msg any) {
						held := fmt.Sprintf("%T", msg) == tc.message
						if written, ok := msg.(store.Written); ok {
							held = held || fmt.Sprintf("%T", written.Result) == tc.message
						}
						if held {
							first.Do(func() { <-stuck })
						}
					}
				})
				n.AwaitAnnounced()
				who := phone.IdentityOf("somebody")
				if tc.contact {
					if _, err := n.RequestContact(t.Context(), n.Account.ID, identity.Link{Key: identity.PublicKey(who.Key())}, "hello"); err != nil {
						t.Fatal(err)
					}
				}
				l := logIn(t, newCarrier(t, w), n, who)
				go func() { _, _ = l.Drain(time.Hour) }() // so that it is not the answers that block
				virtual.Sleep(time.Second)
				var flood []byte
				for len(flood) < 1<<20 {
					flood = tc.frame.AppendTo(flood)
				}
				ctx, cancel := context.WithCancel(t.Context())
				written := make(chan int, 1)
				go func() {
					total := 0
					for ctx.Err() == nil && total < 20<<20 {
						m, err := l.Write(flood)
						total += m
						if err != nil {
							break
						}
					}
					written <- total
				}()
				virtual.Sleep(20 * time.Second)
				depth := n.MailboxDepthForTest("contact")
				cancel()
				l.Abort()
				close(stuck)
				if total := <-written; total > 4<<20 {
					t.Errorf("the peer could write %d MiB", total>>20)
				}
				if depth > 40 {
					t.Errorf("%d messages in the mailbox of a contact", depth)
				}
			})
		})
	}
}
