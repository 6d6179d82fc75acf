// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"sync"

	"github.com/mimird/mimird/actors/media"
)

// placements keeps apart who puts a file into the media store and who removes one. A
// file is placed before its row is written, so for a moment nothing names it; and rows
// are compared with files for a long time, in which others place. Neither waits for
// the other, except for one and the same file.
//
// Who removes files takes a watch, reads rows for as long as it needs, and then has
// each file removed: one that was placed since the watch began stays.
type placements struct {
	mu       sync.Mutex
	changed  *sync.Cond
	placing  map[media.Hash]int      // files whose rows are being written
	removing map[media.Hash]struct{} // files that are being removed
	holders  int                     // while there are any, nothing is removed
	watches  map[*placementWatch]struct{}
}

// placementWatch are the files that were placed since it began.
type placementWatch struct{ placed map[media.Hash]struct{} }

func newPlacements() *placements {
	p := &placements{
		placing: make(map[media.Hash]int), removing: make(map[media.Hash]struct{}),
		watches: make(map[*placementWatch]struct{}),
	}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// place begins to place a file. Its row is written when the caller calls done. It
// waits while just this file is removed.
func (p *placements) place(h media.Hash) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.isRemoving(h) {
		p.changed.Wait()
	}
	p.placing[h]++
	for w := range p.watches {
		w.placed[h] = struct{}{}
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.placing[h]--; p.placing[h] == 0 {
			delete(p.placing, h)
		}
	}
}

// watch begins to note what is placed, with what is being placed already. The caller
// ends it with unwatch.
func (p *placements) watch() *placementWatch {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &placementWatch{placed: make(map[media.Hash]struct{})}
	for h := range p.placing {
		w.placed[h] = struct{}{}
	}
	p.watches[w] = struct{}{}
	return w
}

func (p *placements) unwatch(w *placementWatch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watches, w)
}

// remove calls f, which removes a file, unless the file was placed since the watch
// began. It waits while anybody holds the files, and while somebody else removes the
// same one: who places it waits for one of them only.
func (p *placements) remove(w *placementWatch, h media.Hash, f func() error) error {
	p.mu.Lock()
	for p.holders > 0 || p.isRemoving(h) {
		p.changed.Wait()
	}
	if _, placed := w.placed[h]; placed {
		p.mu.Unlock()
		return nil
	}
	p.removing[h] = struct{}{}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.removing, h)
		p.changed.Broadcast()
		p.mu.Unlock()
	}()
	return f()
}

// isRemoving reports whether a file is being removed. mu is held.
func (p *placements) isRemoving(h media.Hash) bool {
	_, removing := p.removing[h]
	return removing
}

// hold keeps all files until the caller calls release: nothing is removed.
func (p *placements) hold() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.removing) > 0 {
		p.changed.Wait()
	}
	p.holders++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.holders--
		p.changed.Broadcast()
	}
}
