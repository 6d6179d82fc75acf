// SPDX-License-Identifier: MPL-2.0

package budget_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/process"
)

// rig is the node that is measured.
type rig struct {
	t       *testing.T
	node    *node.Node
	network *overlay.Network
	account identity.PublicKey
	// contacts are the first so many callers.
	contacts int
}

// newRig starts a node, with some options changed, whose contacts are the first callers.
func newRig(t *testing.T, contacts int, change ...func(*node.Options)) *rig {
	t.Helper()
	r := &rig{t: t, contacts: contacts}
	opened := make(chan *overlay.Network, 1)
	opts := node.Options{
		Dir: filepath.Join(t.TempDir(), "node"), MaxSessions: contacts + 10,
		OpenNetwork: func(key identity.NodePrivateKey) (uplink.Network, error) {
			// All phones share a node, so its limits are those of everybody.
			n, err := overlay.Open(overlay.Options{
				Key: key, Listen: []string{"tcp://127.0.0.1:0"},
				Limits: overlay.Limits{Connections: 4*contacts + 100, ConnectionsPerKey: 4*contacts + 100},
			})
			if err == nil {
				opened <- n
			}
			return n, err
		},
	}
	for _, f := range change {
		f(&opts)
	}
	node, err := node.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	r.node = node
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience())
		defer cancel()
		if err := node.Stop(ctx); err != nil {
			t.Logf("with so many sessions the node does not stop in time: %.200v", err)
		}
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := node.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.network = <-opened
	account, err := node.CreateAccount(t.Context(), "budget")
	if err != nil {
		t.Fatal(err)
	}
	r.account = account.ID
	r.befriend()
	return r
}

// befriend adds contacts, many at a time: each is a commit.
func (r *rig) befriend() {
	r.t.Helper()
	next := make(chan int)
	errs := make([]error, 64)
	var workers sync.WaitGroup
	for w := range errs {
		workers.Go(func() {
			for i := range next {
				_, err := r.node.AddContact(r.t.Context(), r.account, identity.Link{Key: identity.PublicKey(caller(i).Key())})
				errs[w] = errors.Join(errs[w], err)
			}
		})
	}
	for i := range r.contacts {
		next <- i
	}
	close(next)
	workers.Wait()
	if err := errors.Join(errs...); err != nil {
		r.t.Fatal(err)
	}
}

// phones starts a process of phones; it ends with the test.
func (r *rig) phones(o order) *process.Process {
	r.t.Helper()
	o.Peer, o.Node, o.Owner = r.network.ListenAddrs()[0], r.node.Key(), r.account
	return startPhones(r.t, o)
}

// startPhones starts a process of phones with a whole order; it ends with the test.
func startPhones(t *testing.T, o order) *process.Process {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := process.Start(process.Spec{
		Program: self, Env: []string{orderVariable + "=" + string(text)}, Log: filepath.Join(t.TempDir(), "phones.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// await waits for a condition, or for the end of the phones.
func (r *rig) await(what string, p *process.Process, done func() bool) {
	r.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(patience())
	defer limit.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-p.Ended():
			if err := p.Err(); err != nil {
				r.t.Fatalf("waiting for %s, the phones end: %v\n%s", what, err, p.LogTail())
			}
			if done() {
				return
			}
		case <-limit.C:
			r.t.Fatalf("waited in vain for %s: %d sessions\n%s", what, r.sessions(), p.LogTail())
		}
	}
}

// sessions counts the live sessions. Asking for the status would ask Yggdrasil for its
// links, in which there is a data race with a link that comes up.
func (r *rig) sessions() (n int) {
	for i := range r.contacts {
		if r.node.Presence(r.account, identity.PublicKey(caller(i).Key())).Online {
			n++
		}
	}
	return n
}

// callAll has every contact begin a session, with its data stream. Each process of
// phones has one node, and a node has 16,384 ports.
func (r *rig) callAll() (all []*process.Process) {
	r.t.Helper()
	const most = 4000
	for first := 0; first < r.contacts; first += most {
		n := min(most, r.contacts-first)
		p := r.phones(order{First: first, Count: n, Contacts: n})
		r.await("all sessions", p, func() bool { return strings.Contains(p.LogTail(), allCalled) })
		all = append(all, p)
	}
	r.await("all sessions to be there", all[0], func() bool { return r.sessions() == r.contacts })
	return all
}

// usage is what this process holds.
type usage struct {
	heap       int64
	goroutines int
	files      int
	rss        int64
}

// measure looks at this process when it has been tidied up.
func measure(t *testing.T) usage {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u := usage{heap: int64(m.HeapAlloc), goroutines: runtime.NumGoroutine()}
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.files = len(files)
	}
	if raw, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(raw)); len(fields) > 1 {
			pages, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			u.rss = pages * int64(os.Getpagesize())
		}
	}
	return u
}

const (
	kib = 1 << 10
	mib = 1 << 20
)
