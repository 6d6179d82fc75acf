// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

// The conversations of test/phone, word for word, with a real node.
//
// Bar S02, S06, S07, S08, S09, S10.
func TestNodeKeepsToTheScripts(t *testing.T) {
	scripts, err := phone.Scripts()
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		t.Run(script.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := actorstest.New(t, memnet.Options{})
				phone.Run(t, script, scriptEnv(t, w, w.Node("owner")))
			})
		})
	}
}

// scriptEnv lets a script talk to a node of the world.
func scriptEnv(t *testing.T, w *actorstest.World, owner *actorstest.Node) phone.Env {
	t.Helper()
	owner.AwaitAnnounced()
	carrier := w.Net.Node(overlay.Limits{})
	t.Cleanup(func() { _ = carrier.Close() })
	return phone.Env{
		Carrier: carrier, Node: owner.Key(), Owner: phone.Key(owner.Account.ID),
		Trackers: []identity.NodeKey{w.Tracker.Node},
		Contact:  func(k phone.Key) { owner.AddPhone(k) },
		Say:      func(to phone.Key, text string) { owner.SayTo(to, text) },
		Heard:    func(from phone.Key) []string { return owner.HeardFrom(from) },
	}
}

// talk is what a test has sent, to be compared with what both sides have.
type talk struct {
	n   *actorstest.Node
	key phone.Key
	p   *phone.Phone

	fromNode, fromPhone []string
	nodeGUIDs           []phone.GUID
	phoneGUIDs          []phone.GUID
}

func (k *talk) nodeSays(t *testing.T, text string) {
	t.Helper()
	k.fromNode = append(k.fromNode, text)
	k.nodeGUIDs = append(k.nodeGUIDs, k.n.SayTo(k.p.Key(), text))
}

func (k *talk) phoneSays(text string) {
	k.fromPhone = append(k.fromPhone, text)
	k.phoneGUIDs = append(k.phoneGUIDs, k.p.Write(k.key, text))
}

// settles waits until each side has everything and knows that the other has.
func (k *talk) settles(t *testing.T, within time.Duration) {
	t.Helper()
	k.n.EventuallyWithin(within, "everything has arrived and is acknowledged", func() bool {
		waiting, err := k.n.Waiting(k.n.Account.ID)
		return err == nil && waiting == 0 && len(k.p.Waiting(k.key)) == 0 &&
			len(k.n.Stored(k.p.Key())) >= len(k.fromPhone) && len(k.p.Page(k.key).Received) >= len(k.fromNode)
	})
}

// once checks that each side has each message once, in order, and that the
// ledgers agree: what one was told is what the other has acknowledged.
func (k *talk) once(t *testing.T) {
	t.Helper()
	k.nodeHasAllOnce(t)
	page := k.p.Page(k.key)
	if texts := page.Texts(); !slices.Equal(texts, k.fromNode) {
		t.Errorf("the phone has %s, want %s", actorstest.Brief(texts), actorstest.Brief(k.fromNode))
	}
	if !slices.Equal(page.Acknowledged, k.nodeGUIDs) {
		t.Errorf("the phone has acknowledged %v, want %v", page.Acknowledged, k.nodeGUIDs)
	}
	if !slices.Equal(page.Told, k.phoneGUIDs) {
		t.Errorf("the phone was told %v, want %v", page.Told, k.phoneGUIDs)
	}
}

// nodeHasAllOnce checks the node's side alone.
func (k *talk) nodeHasAllOnce(t *testing.T) {
	t.Helper()
	var guids []phone.GUID
	for _, m := range k.n.Stored(k.p.Key()) {
		guids = append(guids, phone.GUID(m.ID.GUID))
	}
	if !slices.Equal(guids, k.phoneGUIDs) {
		t.Errorf("the node has guids %v, want %v", guids, k.phoneGUIDs)
	}
	if texts := k.n.HeardFrom(k.p.Key()); !slices.Equal(texts, k.fromPhone) {
		t.Errorf("the node has %s, want %s", actorstest.Brief(texts), actorstest.Brief(k.fromPhone))
	}
	for _, guid := range k.nodeGUIDs {
		id := store.MessageID{Dir: store.Out, GUID: int64(guid)}
		if m, err := k.n.Message(k.n.Account.ID, identity.PublicKey(k.p.Key()), id); err != nil || m.State != store.StateDelivered {
			t.Errorf("message %d is in state %v, %v", guid, m.State, err)
		}
	}
}

// A well-behaved phone and a node find each other through a tracker, dialled by
// either, and all that one is told the other has.
func TestPhoneAndNodeTalk(t *testing.T) {
	links := map[string]memnet.Link{
		"a perfect network": {},
		"a bad network":     {Delay: 80 * time.Millisecond, Jitter: 40 * time.Millisecond, Loss: 0.03, Duplicate: 0.01},
	}
	for name, link := range links {
		for _, nodeDials := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, node dials %v", name, nodeDials), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := actorstest.New(t, memnet.Options{Link: link})
					n, key := w.Owner()
					p := w.Phone("phone", phone.Quirks{})
					n.AddPhone(p.Key())
					p.AddContact(key)
					k := &talk{n: n, key: key, p: p}
					if nodeDials {
						k.nodeSays(t, "first")
					} else {
						k.phoneSays("first")
					}
					k.settles(t, 10*time.Minute)
					for i := range 20 {
						k.nodeSays(t, fmt.Sprint("node ", i))
						k.phoneSays(fmt.Sprint("phone ", i))
					}
					k.settles(t, 10*time.Minute)
					for _, size := range []int{0, 1, 65_536, 65_537, 500_000} {
						k.nodeSays(t, strings.Repeat("n", size))
						k.phoneSays(strings.Repeat("p", size))
						k.settles(t, 10*time.Minute)
					}
					k.once(t)
					if page := p.Page(key); page.Started != 1 || page.Ended != 0 {
						t.Errorf("%d sessions, %d of them ended", page.Started, page.Ended)
					}
				})
			})
		}
	}
}
