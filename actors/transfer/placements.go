// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"sync"

	"github.com/mimird/mimird/actors/media"
)

// placements coordinates goroutines that put files into the media store with those that
// remove them. A file is placed before its row is written, so for a moment it looks like
// an orphan; and comparing rows with files takes long, while others place files. Neither
// side waits for the other, unless both want the same file.
//
// A goroutine that removes files begins a watch, reads the rows, and then calls remove
// for each file: a file that was placed since the watch began stays. It is safe for
// concurrent use.
type placements struct {
	mu       sync.Mutex
	changed  *sync.Cond
	placing  map[media.Hash]int      // files whose rows are being written
	removing map[media.Hash]struct{} // files that are being removed
	holders  int                     // while above 0, nothing is removed
	watches  map[*placementWatch]struct{}
}

// placementWatch has the files that were placed since it began.
type placementWatch struct{ placed map[media.Hash]struct{} }

func newPlacements() *placements {
	p := &placements{
		placing: make(map[media.Hash]int), removing: make(map[media.Hash]struct{}),
		watches: make(map[*placementWatch]struct{}),
	}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// place begins the placement of a file. The caller calls done when its row is written.
// place waits while this file is being removed.
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

// watch begins to note the files that are placed, with those that are being placed
// already. The caller ends it with unwatch.
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
// began. It waits while the files are held, and while another goroutine removes the same
// file.
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

// hold prevents all removals until the caller calls release. It waits for those that
// have begun.
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
