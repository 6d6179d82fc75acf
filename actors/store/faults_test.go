// SPDX-License-Identifier: MPL-2.0

package store

import (
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// powerCut takes a copy of a file system as a power cut would leave it, with
// nothing that was not synced, before the write number after.
type powerCut struct {
	mem   *vfs.MemFS
	after int

	mu    sync.Mutex
	seen  int
	clone *vfs.MemFS
}

func (p *powerCut) fs() vfs.FS {
	return errorfs.Wrap(p.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
			return nil
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.seen == p.after {
			p.clone = p.mem.CrashClone(vfs.CrashCloneCfg{})
		}
		p.seen++
		return nil
	}))
}
