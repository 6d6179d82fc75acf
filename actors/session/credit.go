// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/proto/peer"
)

// Credit is the credit of one frame. It moves with the frame, from the reader to the
// session and to the actor that handles the frame, which releases it once: until then the
// reader reads less. The zero value is the credit of an event without a frame.
type Credit struct {
	credits *kernel.Credits
	cost    int64
}

// Release returns the credit. It must not be called twice.
func (f Credit) Release() {
	if f.credits != nil {
		f.credits.Release(f.cost)
	}
}

// frameCost is the cost of a frame until it was handled.
func frameCost(f peer.Frame) int64 {
	cost := int64(frameOverhead)
	switch f := f.(type) {
	case peer.Message:
		cost += int64(len(f.Payload))
	case peer.CallPacket:
		cost += int64(len(f.Data))
	case peer.ContactRequest:
		cost += int64(len(f.Message)) + profileCost(f.Profile)
	case peer.InfoResponse:
		cost += profileCost(f.Profile)
	}
	return cost
}

func profileCost(p peer.Profile) int64 { return int64(len(p.Nickname) + len(p.Info) + len(p.Avatar)) }

// permission says whether the peer of a session may do more than send a contact request.
// The session grants it. Without it the readers read one frame at a time, skip the
// payloads of messages, and do not read data streams. It is safe for concurrent use.
type permission struct {
	allowed atomic.Bool
	once    sync.Once
	granted chan struct{} // closed when it has been granted for the first time
}

func newPermission() *permission { return &permission{granted: make(chan struct{})} }

func (p *permission) set(allowed bool) {
	p.allowed.Store(allowed)
	if allowed {
		p.once.Do(func() { close(p.granted) })
	}
}

// wait waits until the permission was granted once, or for the end of ctx.
func (p *permission) wait(ctx context.Context) error {
	select {
	case <-p.granted:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// limits are the limits of the next frame.
func (p *permission) limits() peer.Limits { return peer.Limits{SkipPayload: !p.allowed.Load()} }

// cost is the credit for a frame. A frame of a peer without permission costs all of it,
// so there is one at a time.
func (p *permission) cost(f peer.Frame) int64 {
	if !p.allowed.Load() {
		return maxFrameBytes
	}
	return frameCost(f)
}
