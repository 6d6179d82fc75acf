// SPDX-License-Identifier: MPL-2.0

package trackerserver

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

// BenchmarkNodeTable_Million fills a table with a million identities, each announced from a
// node of its own, and looks them up: the memory of each, what a look-up costs, and what
// the removal of expired records costs for all.
func BenchmarkNodeTable_Million(b *testing.B) {
	const identities = 1_000_000
	random := rand.New(rand.NewPCG(1, 1))
	keys := make([]identity.PublicKey, identities)
	for i := range keys {
		for at := 0; at < len(keys[i]); at += 8 {
			binary.BigEndian.PutUint64(keys[i][at:], random.Uint64())
		}
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, now := heap(), time.Unix(1e9, 0)
	table := newNodeTable(identities)
	begun := time.Now()
	for _, key := range keys {
		node := identity.NodeKey(key)
		if _, ok := table.announce(node, key, tracker.Record{Node: node, ClientID: 1}, now); !ok {
			b.Fatal("an announcement was refused")
		}
	}
	announced := time.Since(begun)
	size := float64(heap()-before) / identities
	begun = time.Now()
	table.expire(now)
	expired := time.Since(begun)
	b.ResetTimer()
	for i := range b.N {
		if len(table.lookup(keys[i*7919%identities], now)) != 1 {
			b.Fatal("an identity is missing")
		}
	}
	b.StopTimer()
	b.ReportMetric(size, "B/identity")
	b.ReportMetric(float64(announced.Nanoseconds())/identities, "ns/announcement")
	b.ReportMetric(expired.Seconds()*1e3, "ms/expire")
}
