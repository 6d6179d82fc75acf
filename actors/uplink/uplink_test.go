// SPDX-License-Identifier: MPL-2.0

package uplink_test

import (
	"crypto/rand"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network is a Network without carriers, whose links the test sets.
type network struct {
	links   atomic.Int64
	changes atomic.Uint64
	failed  chan struct{}
	closed  atomic.Bool
}

func newNetwork() *network { return &network{failed: make(chan struct{})} }

func (n *network) Stream() overlay.Carrier { return nil }
func (n *network) Links() int              { return int(n.links.Load()) }
func (n *network) Changes() uint64         { return n.changes.Load() }
func (n *network) Status() overlay.Status  { return overlay.Status{} }
func (n *network) Failed() <-chan struct{} { return n.failed }
func (n *network) Err() error              { return errors.New("the core has ended") }
func (n *network) Close() error            { n.closed.Store(true); return nil }

// up starts an uplink whose incarnations get these networks in turn.
func up(t *testing.T, networks ...*network) (*kerneltest.Stage, *uplink.Cell, kernel.Ref) {
	t.Helper()
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cell, opened := new(uplink.Cell), 0
	stage := kerneltest.NewStage(t, kernel.Options{})
	ref := stage.Spawn(t, kernel.Spec{Name: "overlay", Kind: "overlay", Backoff: kernel.Backoff{Min: time.Second, Forever: true}, New: func() kernel.Actor {
		return uplink.NewActor(uplink.Deps{Key: key, Cell: cell, Open: func(got identity.NodePrivateKey) (uplink.Network, error) {
			if !got.Equal(key) {
				t.Error("opened with another key")
			}
			opened++
			return networks[opened-1], nil
		}})
	}})
	kerneltest.Await[uplink.Opened](t, stage.Probe, time.Minute)
	return stage, cell, ref
}

func TestUplink_LinksSettleAndBreak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		stage, cell, ref := up(t, n)
		if _, running := cell.Status(); !running || cell.Up() {
			t.Errorf("without a link: running %v, up %v", running, cell.Up())
		}
		expect := func(up bool, within time.Duration) {
			t.Helper()
			if got := kerneltest.Await[uplink.Changed](t, stage.Probe, within); got.Up != up || cell.Up() != up {
				t.Errorf("changed to up %v, the cell says %v, want %v", got.Up, cell.Up(), up)
			}
		}
		linked := time.Now()
		n.links.Store(1)
		expect(true, time.Minute)
		if after := time.Since(linked); after < 3*time.Second || after > 5*time.Second {
			t.Errorf("up after %v", after)
		}
		n.changes.Add(1) // the machine woke up
		expect(false, 2*time.Second)
		expect(true, time.Minute)
		n.links.Store(0)
		expect(false, 2*time.Second)
		n.links.Store(2)
		expect(true, time.Minute)
		stage.Stop(ref)
		expect(false, time.Minute)
		kerneltest.Await[kernel.ChildStopped](t, stage.Probe, time.Minute)
		if _, running := cell.Status(); running || !n.closed.Load() {
			t.Errorf("stopped: running %v, closed %v", running, n.closed.Load())
		}
	})
}

func TestUplink_NetworkFails_IsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newNetwork(), newNetwork()
		second.links.Store(1)
		stage, cell, _ := up(t, first, second)
		close(first.failed)
		kerneltest.Await[kernel.ChildFailed](t, stage.Probe, time.Minute)
		kerneltest.Await[uplink.Opened](t, stage.Probe, time.Minute)
		if !first.closed.Load() {
			t.Error("the network that failed was not closed")
		}
		kerneltest.Await[uplink.Changed](t, stage.Probe, time.Minute)
		if !cell.Up() {
			t.Error("the second network is not up")
		}
	})
}

func TestCell_WithoutNetwork(t *testing.T) {
	cell := new(uplink.Cell)
	if _, ok := cell.Carrier(overlay.KindStream); ok {
		t.Error("a carrier without a network")
	}
	cell.Set(newNetwork())
	if _, ok := cell.Carrier(overlay.KindStream); !ok {
		t.Error("no carrier of the network")
	}
	if _, ok := cell.Carrier(overlay.KindQUIC); ok {
		t.Error("a carrier that the network does not have")
	}
	if _, ok := cell.TCP(); ok {
		t.Error("a TCP carrier that the network does not have")
	}
	cell.Clear()
	if _, ok := cell.Carrier(overlay.KindStream); ok {
		t.Error("a carrier after Clear")
	}
}
