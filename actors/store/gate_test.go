// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// gate is a file system in memory whose syncs of the log can be held up, counted
// and failed.
type gate struct {
	vfs.FS
	mu    sync.Mutex
	open  *sync.Cond
	held  bool
	err   error
	syncs int
}

func newGate() *gate {
	g := &gate{}
	g.open = sync.NewCond(&g.mu)
	g.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(g.pass))
	return g
}

func (g *gate) pass(op errorfs.Op) error {
	isSync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
	if !isSync || !strings.HasSuffix(op.Path, ".log") {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.held {
		g.open.Wait()
	}
	g.syncs++
	return g.err
}

// hold makes syncs wait until release.
func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = true
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = false
	g.open.Broadcast()
}

// fail makes syncs fail.
func (g *gate) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.syncs
}
