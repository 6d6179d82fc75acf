// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"context"
	"crypto/ed25519"
	"net/netip"
	"sync"
	"time"

	"github.com/yggdrasil-network/yggdrasil-go/src/address"

	"github.com/mimird/mimird/actors/lru"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// maxAddresses is how many nodes without a connection an address book
	// remembers. A forgotten one is learned again from its next packet.
	maxAddresses = 4096
	// pathWait is how long a dial waits for the path to be found before it sends
	// its first packet. One that is lost costs a second.
	pathWait = time.Second
)

// AddressOf is the IPv6 address of a node, in 200::/8.
func AddressOf(key identity.NodeKey) netip.Addr {
	return netip.AddrFrom16(*address.AddrForKey(key[:]))
}

// IsYggdrasil reports whether an address is one of a node, in 200::/8, or behind
// one, in 300::/8.
func IsYggdrasil(a netip.Addr) bool {
	if !a.Is6() || a.Zone() != "" {
		return false
	}
	first := a.As16()[0]
	return first == 0x02 || first == 0x03
}

// IsBehind reports whether an address is one of a device behind a node, in 300::/8.
func IsBehind(a netip.Addr) bool { return IsYggdrasil(a) && a.As16()[0] == 0x03 }

// SameAddress reports whether two nodes have the same address, or would route the same
// addresses. Addresses show a part of a key, so of two keys one may be known by that
// part only.
func SameAddress(a, b identity.NodeKey) bool { return subnetOf(AddressOf(a)) == subnetOf(AddressOf(b)) }

// subnetOf is the first half of the addresses behind a node.
func subnetOf(a netip.Addr) [8]byte {
	raw := a.As16()
	raw[0] |= 1
	return [8]byte(raw[:8])
}

// partialKey is what an address shows of its node's key.
func partialKey(a netip.Addr) identity.NodeKey {
	raw := address.Address(a.As16())
	if raw.IsValid() {
		return identity.NodeKey(raw.GetKey())
	}
	s := address.Subnet(raw[:8])
	return identity.NodeKey(s.GetKey())
}

// addressBook knows the keys of nodes by their addresses. An address has only 112
// bits of the key, so it is learned: from a packet, whose sender's key is
// authentic, or by asking the network.
type addressBook struct {
	layer PacketLayer

	mu        sync.Mutex
	used      map[identity.NodeKey]*addressEntry // with a connection
	unused    *lru.Table[identity.NodeKey, *addressEntry]
	byAddress map[netip.Addr]*addressEntry
	bySubnet  map[[8]byte]*addressEntry
	waiting   int
	asked     int           // calls of ask that still wait, as one of waiting
	changed   chan struct{} // closed when a path has been found, then replaced
}

type addressEntry struct {
	key     identity.NodeKey
	address netip.Addr
	found   int // paths to it, since it is here
	uses    int
}

func newAddressBook(layer PacketLayer) *addressBook {
	b := &addressBook{
		layer:     layer,
		used:      make(map[identity.NodeKey]*addressEntry),
		unused:    lru.New[identity.NodeKey, *addressEntry](maxAddresses),
		byAddress: make(map[netip.Addr]*addressEntry),
		bySubnet:  make(map[[8]byte]*addressEntry),
		changed:   make(chan struct{}),
	}
	layer.NotifyPaths(b.found)
	return b
}

// NotifyPaths implements PacketLayer.
func (l *coreLayer) NotifyPaths(f func(identity.NodeKey)) {
	l.core.SetPathNotify(func(key ed25519.PublicKey) {
		if len(key) == identity.KeySize {
			f(identity.NodeKey(key))
		}
	})
}

// found is called when the path to a node has been found. It does not block.
func (b *addressBook) found(key identity.NodeKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting > 0 {
		b.learnLocked(key).found++
		close(b.changed)
		b.changed = make(chan struct{})
	}
}

// learn returns the address of a node, which the book knows from now on.
func (b *addressBook) learn(key identity.NodeKey) netip.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.learnLocked(key).address
}

// owns reports whether an address is that of a node or one behind it.
func (b *addressBook) owns(key identity.NodeKey, a netip.Addr) bool {
	own := b.learn(key)
	return a == own || a.As16()[0] == 0x03 && subnetOf(a) == subnetOf(own)
}

func (b *addressBook) learnLocked(key identity.NodeKey) *addressEntry {
	if e := b.used[key]; e != nil {
		return e
	}
	if e, ok := b.unused.Get(key); ok {
		return e
	}
	e := &addressEntry{key: key, address: AddressOf(key)}
	b.byAddress[e.address], b.bySubnet[subnetOf(e.address)] = e, e
	b.putUnusedLocked(e)
	return e
}

// putUnusedLocked adds an entry without a connection and evicts the oldest when there
// are too many.
func (b *addressBook) putUnusedLocked(e *addressEntry) {
	evicted, full := b.unused.Put(e.key, e)
	if !full {
		return
	}
	// Another node may have the same address: then the address belongs to that node
	// now.
	if b.byAddress[evicted.address] == evicted {
		delete(b.byAddress, evicted.address)
	}
	if subnet := subnetOf(evicted.address); b.bySubnet[subnet] == evicted {
		delete(b.bySubnet, subnet)
	}
}

// use keeps a node in the book until release.
func (b *addressBook) use(key identity.NodeKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.learnLocked(key)
	e.uses++
	b.unused.Delete(key)
	b.used[key] = e
}

func (b *addressBook) release(key identity.NodeKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.used[key]; e != nil {
		if e.uses--; e.uses == 0 {
			delete(b.used, key)
			b.putUnusedLocked(e)
		}
	}
}

// key returns the key of the node that has an address, or that it lies behind.
func (b *addressBook) key(a netip.Addr) (identity.NodeKey, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.keyLocked(a)
}

func (b *addressBook) keyLocked(a netip.Addr) (identity.NodeKey, bool) {
	e := b.byAddress[a]
	if e == nil && a.As16()[0] == 0x03 {
		e = b.bySubnet[subnetOf(a)]
	}
	if e == nil {
		return identity.NodeKey{}, false
	}
	return e.key, true
}

// resolve looks up the key of the node at an address.
func (b *addressBook) resolve(ctx context.Context, a netip.Addr) (identity.NodeKey, error) {
	var key identity.NodeKey
	err := b.seek(ctx, partialKey(a), func() (ok bool) {
		key, ok = b.keyLocked(a)
		return ok
	})
	return key, err
}

// ask asks the network once for the node at an address, and learns it when there is
// an answer within a moment.
func (b *addressBook) ask(a netip.Addr) {
	b.mu.Lock()
	b.asked++
	if b.asked == 1 {
		b.waiting++
		time.AfterFunc(pathWait, b.askedLongEnough)
	}
	b.mu.Unlock()
	b.layer.Lookup(partialKey(a))
}

// askedLongEnough ends the waiting of ask.
func (b *addressBook) askedLongEnough() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = 0
	b.waiting--
}

// awaitPath waits a moment for the path to a node.
func (b *addressBook) awaitPath(ctx context.Context, key identity.NodeKey) {
	if b.layer.HasPath(key) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pathWait)
	defer cancel()
	b.mu.Lock()
	e := b.learnLocked(key)
	before := e.found
	b.mu.Unlock()
	// An error means that there is none yet; the dial that follows asks again.
	_ = b.seek(ctx, key, func() bool { return e.found != before })
}

// seek asks the network for a node, again and again, until found says so. found is
// called with the book locked: at the beginning and whenever a path was found.
func (b *addressBook) seek(ctx context.Context, key identity.NodeKey, found func() bool) error {
	b.mu.Lock()
	b.waiting++
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.waiting--
		b.mu.Unlock()
	}()
	again := time.NewTicker(lookupPause)
	defer again.Stop()
	for ask := true; ; {
		b.mu.Lock()
		done, changed := found(), b.changed
		b.mu.Unlock()
		if done {
			return nil
		}
		if ask {
			b.layer.Lookup(key)
			ask = false
		}
		select {
		case <-changed:
		case <-again.C:
			ask = true
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
