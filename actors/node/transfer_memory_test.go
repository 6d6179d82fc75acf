// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"crypto/sha256"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/transfer"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
)

// TestLargeFileStaysOutOfMemory sends a file of 20 MiB from a node through a file
// server to another node, all three in this process, and looks at the heap all
// the while: 32 MiB more than before is what they may take together, which is less
// than two of them would take that hold the file. It does not grow with the file:
// with 100 MiB it is 19 MiB.
func TestLargeFileStaysOutOfMemory(t *testing.T) {
	const size, most = 20 << 20, 32 << 20
	w := actorstest.New(t, memnet.Options{})
	depot := w.Node("depot", func(o *node.Options) { o.Files = &fileserver.Options{OpenNetwork: w.Open} })
	key, _ := depot.FilesKey()
	options := func(o *node.Options) { o.Media = transfer.Options{Server: key, AutoDownload: transfer.Always} }
	a, b := w.Node("a", options), w.Node("b", options)
	actorstest.Befriend(a, b)
	a.Say(b, "hello")
	b.Eventually("a session", func() bool { return len(b.Heard(a)) == 1 })

	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	before, peak := memory.HeapAlloc, uint64(0)
	look := func() {
		runtime.ReadMemStats(&memory)
		if memory.HeapAlloc > before+most { // what is live, not what waits to be collected
			runtime.GC()
			runtime.ReadMemStats(&memory)
		}
		peak = max(peak, memory.HeapAlloc)
	}
	m, err := a.SendFile(t.Context(), node.OutgoingFile{
		Account: a.Account.ID, Contact: b.Account.ID, Name: "large.bin", Body: io.LimitReader(&endless{}, size),
	})
	if err != nil {
		t.Fatal(err)
	}
	id := store.MessageID{Dir: store.In, GUID: m.ID.GUID}
	var info transfer.Info
	b.EventuallyWithin(5*time.Minute, "the file", func() bool {
		look()
		info, err = b.MediaState(b.Account.ID, a.Account.ID, id)
		return err == nil && info.State == store.MediaStored
	})
	want := sha256.New()
	if _, err := io.CopyN(want, &endless{}, size); err != nil {
		t.Fatal(err)
	}
	if info.Hash != media.Hash(want.Sum(nil)) || info.Size != size {
		t.Errorf("%+v", info)
	}
	if peak > before+most {
		t.Errorf("the heap has grown by %d MiB", (peak-before)>>20)
	}
	t.Logf("the heap has grown by %d KiB at most", (int64(peak)-int64(before))>>10)
}

// endless is a file that repeats only after a long time.
type endless struct{ n uint32 }

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		e.n = e.n*1664525 + 1013904223
		b[i] = byte(e.n >> 24)
	}
	return len(b), nil
}
