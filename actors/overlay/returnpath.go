// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/Arceliar/ironwood/network"

	"github.com/mimird/mimird/proto/identity"
)

// Before a node can write to us it looks for the way here, and after its first
// packet Yggdrasil answers with a handshake for which it needs the way back. It
// looks for that once. When the other node has just joined the network, nobody
// may know it yet; the answer then waits, and since Yggdrasil ignores repetitions
// of the handshake that it has answered, the two cannot talk for a minute.
//
// returnPaths looks up the way back as soon as another node looks us up, and retries
// until it is found. The waiting answer leaves at that moment.
const (
	// maxSeekers bounds for how many nodes the way back is looked up at once; further
	// ones have Yggdrasil's single attempt. A node that looks us up is not
	// authenticated, so this bounds what we can be made to send, too.
	maxSeekers  = 256
	seekEvery   = time.Second
	seekTimes   = 10
	seekerQueue = 64
)

type returnPaths struct {
	layer   *coreLayer
	seekers chan identity.NodeKey
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

func newReturnPaths(layer *coreLayer) *returnPaths {
	ctx, cancel := context.WithCancel(context.Background())
	r := &returnPaths{layer: layer, seekers: make(chan identity.NodeKey, seekerQueue), cancel: cancel}
	self := layer.key
	layer.core.PacketConn.PacketConn.Debug.SetDebugLookupLogger(func(l network.DebugLookupInfo) {
		// This is a turn of Yggdrasil's router: it must not wait.
		if !bytes.Equal(l.Target, self[:]) || bytes.Equal(l.Key, self[:]) || len(l.Key) != len(self) {
			return
		}
		select {
		case r.seekers <- identity.NodeKey(l.Key):
		default:
		}
	})
	r.done.Go(func() { r.run(ctx) })
	return r
}

func (r *returnPaths) close() {
	r.cancel()
	r.done.Wait()
}

func (r *returnPaths) run(ctx context.Context) {
	tries := make(map[identity.NodeKey]int)
	tick := time.NewTicker(seekEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case key := <-r.seekers:
			if _, known := tries[key]; !known && len(tries) < maxSeekers {
				tries[key] = 0
			}
		case <-tick.C:
			r.seek(tries)
		}
	}
}

// seek looks for the nodes that there is no path to yet.
func (r *returnPaths) seek(tries map[identity.NodeKey]int) {
	if len(tries) == 0 {
		return
	}
	for _, p := range r.layer.core.GetPaths() {
		if len(p.Key) == identity.KeySize {
			delete(tries, identity.NodeKey(p.Key))
		}
	}
	for key, n := range tries {
		if n == seekTimes {
			delete(tries, key)
			continue
		}
		tries[key] = n + 1
		r.layer.Lookup(key)
	}
}
