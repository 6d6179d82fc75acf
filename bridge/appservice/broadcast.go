// SPDX-License-Identifier: MPL-2.0

package appservice

import "sync"

// Broadcast wakes all goroutines that wait for an event. The zero value is ready for use.
type Broadcast struct {
	mu sync.Mutex
	c  chan struct{}
}

// next returns a channel that the next call of happened closes.
func (b *Broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.c
}

func (b *Broadcast) happened() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}
