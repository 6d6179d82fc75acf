// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// slowDisk is a disk in memory that stops to sync the store's log on demand.
type slowDisk struct {
	vfs.FS
	mu   sync.Mutex
	held chan struct{} // closed when it syncs again; nil while it does
}

func newSlowDisk() *slowDisk {
	d := &slowDisk{}
	d.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		isSync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
		if !isSync || !strings.HasSuffix(op.Path, ".log") {
			return nil
		}
		d.mu.Lock()
		held := d.held
		d.mu.Unlock()
		if held != nil {
			<-held
		}
		return nil
	}))
	return d
}

// hold makes syncs wait until the function that it returns is called.
func (d *slowDisk) hold() (release func()) {
	held := make(chan struct{})
	d.mu.Lock()
	d.held = held
	d.mu.Unlock()
	return func() {
		d.mu.Lock()
		d.held = nil
		d.mu.Unlock()
		close(held)
	}
}

// Nothing is called accepted before it is on the disk: no OK goes to a phone, no
// command returns, and no consumer can see it.
//
// Bar R01
func TestNothingIsAcceptedBeforeItIsOnTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newSlowDisk()
		w := actorstest.New(t, memnet.Options{})
		n := w.Node("owner", func(o *node.Options) {
			o.OpenStore = func(o store.Options) (*store.Store, error) {
				o.FS = disk
				return store.Open(o)
			}
		})
		n.AwaitAnnounced()
		key := phone.Key(n.Account.ID)
		p := w.Phone("phone", phone.Quirks{})
		n.AddPhone(p.Key())
		p.AddContact(key)
		k := &talk{n: n, key: key, p: p}
		k.phoneSays("first")
		k.settles(t, 10*time.Minute)

		release := disk.hold()
		for i := range 10 {
			k.phoneSays(fmt.Sprint("while the disk hangs ", i))
		}
		returned := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		go func() {
			_, err := n.Send(ctx, node.Outgoing{Account: n.Account.ID, Contact: identity.PublicKey(p.Key()), Source: "s", Payload: []byte("out")})
			returned <- err
		}()
		virtual.Sleep(3 * time.Second)
		synctest.Wait()
		if told := p.Page(key).Told; len(told) != 1 {
			t.Errorf("%d messages are acknowledged and not on the disk", len(told)-1)
		}
		if texts := n.HeardFrom(p.Key()); !slices.Equal(texts, []string{"first"}) {
			t.Errorf("%q can be seen and are not on the disk", texts[1:])
		}
		select {
		case err := <-returned:
			t.Errorf("a command returned before its message was on the disk: %v", err)
		default:
		}

		release()
		if err := <-returned; err != nil {
			t.Error(err)
		}
		k.settles(t, 10*time.Minute)
		k.nodeHasAllOnce(t)
		if page := p.Page(key); !slices.Equal(page.Told, k.phoneGUIDs) || !slices.Equal(page.Texts(), []string{"out"}) {
			t.Errorf("when the disk was back: told %v, received %q", page.Told, page.Texts())
		}
	})
}
