// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// disk is a node's disk, whose log can be held up; what is written to it is counted.
type disk struct {
	vfs.FS
	writes atomic.Int64

	mu   sync.Mutex
	free *sync.Cond
	held bool
}

func newDisk() *disk {
	d := &disk{}
	d.free = sync.NewCond(&d.mu)
	d.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || !strings.HasSuffix(op.Path, ".log") {
			return nil
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		for d.held {
			d.free.Wait()
		}
		d.writes.Add(1)
		return nil
	}))
	return d
}

func (d *disk) hold(held bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.held = held
	d.free.Broadcast()
}

// under has a node use the disk.
func (d *disk) under(o *node.Options) {
	o.OpenStore = func(s store.Options) (*store.Store, error) {
		s.FS = d
		return store.Open(s)
	}
}

// Bar R26: a contact who writes as fast as it can while nothing gets stored is stopped
// by its own stream: a few frames wait in mailboxes, a few MiB in all. What it could
// write is there afterwards, once.
func TestFloodStopsAtTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const (
			payload    = 60_000
			maxWaiting = 4 << 20
			maxDepth   = 16 + 8 // frames, and what else an actor is told meanwhile
		)
		w := actorstest.New(t, memnet.Options{})
		d := newDisk()
		n := w.Node("owner", d.under)
		n.AwaitAnnounced()
		i := &intruder{t: t, n: n, owner: phone.Key(n.Account.ID), id: phone.IdentityOf("flooder"), carrier: w.Net.Node(overlay.Limits{})}
		t.Cleanup(func() { _ = i.carrier.Close() })
		n.AddPhone(i.id.Key())
		l := i.until(0)
		synctest.Wait()
		d.hold(true)
		var written atomic.Int64
		var flooding sync.WaitGroup
		flooding.Go(func() {
			text := strings.Repeat("x", payload)
			for g := int64(1); ; g++ {
				header := fmt.Sprintf(`{"guid":%d,"payloadSize":%d,"sendTime":1,"type":0}`, g, payload)
				if err := l.Send(phone.Frame{Type: phone.TypeMessage, Fields: phone.Fields{"header": header, "payload": text}}); err != nil {
					return
				}
				written.Store(g)
			}
		})
		virtual.Sleep(5 * time.Second)
		synctest.Wait()
		first := written.Load()
		virtual.Sleep(15 * time.Second)
		if now := written.Load(); now != first || now*payload > maxWaiting {
			t.Errorf("%d bytes after a moment, %d later", first*payload, now*payload)
		}
		for _, s := range n.StatsForTest() {
			if s.DepthMax > maxDepth && s.Kind != "store" {
				t.Errorf("the mailbox of a %s had %d messages", s.Kind, s.DepthMax)
			}
			if s.Kind == "store" && s.DepthMax > 2*maxDepth {
				t.Errorf("the store's mailbox had %d messages", s.DepthMax)
			}
		}
		d.hold(false)
		n.Eventually("it goes on", func() bool { return written.Load() > first+20 })
		l.Abort()
		flooding.Wait()
		virtual.Sleep(time.Second)
		seen := make(map[int64]bool)
		for _, m := range n.Stored(i.id.Key()) {
			if seen[m.ID.GUID] {
				t.Errorf("message %d is there twice", m.ID.GUID)
			}
			seen[m.ID.GUID] = true
		}
		for g := range first {
			if !seen[g+1] {
				t.Errorf("message %d is lost", g+1)
			}
		}
	})
}

// Bar R29: a node with 50 quiet contacts writes next to nothing.
func TestQuietNodeHardlyWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const minutes, perMinute = 60, 5
		w := actorstest.New(t, memnet.Options{})
		d := newDisk()
		n := w.Node("owner", d.under)
		for i := range 50 {
			n.AddPhone(phone.IdentityOf(fmt.Sprint("quiet ", i)).Key())
		}
		p := w.Phone("phone", phone.Quirks{})
		n.AddPhone(p.Key())
		n.SayTo(p.Key(), "hello")
		n.Eventually("one of them is there", func() bool {
			return n.Presence(n.Account.ID, identity.PublicKey(p.Key())).Online
		})
		virtual.Sleep(time.Minute)
		before := d.writes.Load()
		virtual.Sleep(minutes * time.Minute)
		if wrote := d.writes.Load() - before; wrote > minutes*perMinute {
			t.Errorf("%d writes to the log in %d minutes", wrote, minutes)
		}
	})
}
