// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/proto/peer"
)

// Credit is the credit of one frame. It goes with the frame, from the reader
// to the session and on to its handler, and is released once, when the frame
// has been dealt with: until then the reader reads less. The zero value is the
// credit of something that did not come from a peer.
type Credit struct {
	credits *kernel.Credits
	cost    int64
}

// Release gives the credit back. Of several calls for one value only the first may
// happen; the owner sees to it.
func (f Credit) Release() {
	if f.credits != nil {
		f.credits.Release(f.cost)
	}
}

// frameCost is what a frame weighs while it has not been dealt with.
func frameCost(f peer.Frame) int64 {
	cost := int64(frameOverhead)
	switch f := f.(type) {
	case peer.Message:
		cost += int64(len(f.Payload))
	case peer.ContactRequest:
		cost += int64(len(f.Message)) + profileCost(f.Profile)
	case peer.InfoResponse:
		cost += profileCost(f.Profile)
	}
	return cost
}

func profileCost(p peer.Profile) int64 { return int64(len(p.Nickname) + len(p.Info) + len(p.Avatar)) }

// permission says whether the peer of a session may do more than ask to be a
// contact. The session grants it, its readers look at it: while it is missing they
// read one frame at a time, pass over the payloads of messages, and leave data
// streams unread. It is safe for concurrent use.
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

// wait waits until the permission has been granted once, or for ctx.
func (p *permission) wait(ctx context.Context) error {
	select {
	case <-p.granted:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// limits are what the reader grants to the next frame.
func (p *permission) limits() peer.Limits { return peer.Limits{SkipPayload: !p.allowed.Load()} }

// cost is what the reader pays for a frame: a peer without permission has one frame
// under way, whatever its size.
func (p *permission) cost(f peer.Frame) int64 {
	if !p.allowed.Load() {
		return maxFrameBytes
	}
	return frameCost(f)
}
