// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/transfer"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// depot is a node that is a file server, and a place to call it from.
type depot struct {
	w       *actorstest.World
	n       *actorstest.Node
	key     identity.NodeKey
	carrier overlay.Carrier
	clock   *wallClock
}

func newDepot(t *testing.T, opts fileserver.Options) *depot {
	t.Helper()
	return newDepotOn(t, opts, nil)
}

// newDepotOn has the store on a disk, nil for any.
func newDepotOn(t *testing.T, opts fileserver.Options, disk vfs.FS) *depot {
	t.Helper()
	d := &depot{w: actorstest.New(t, memnet.Options{}), clock: new(wallClock)}
	opts.OpenNetwork = d.w.Open
	d.n = d.w.Node("depot", func(o *node.Options) {
		o.Files = &opts
		if disk != nil {
			o.OpenStore = func(so store.Options) (*store.Store, error) {
				so.FS = disk
				return store.Open(so)
			}
		}
		o.Now = d.clock.Now
	})
	d.key, _ = d.n.FilesKey()
	carrier := d.w.Net.Node(overlay.Limits{})
	t.Cleanup(func() { _ = carrier.Close() })
	d.carrier = carrier
	return d
}

// dial connects as the app does; a name logs in.
func (d *depot) dial(t *testing.T, name string) *phone.FileClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		c, err := phone.DialFiles(ctx, d.carrier, d.key)
		if errors.Is(err, overlay.ErrRefused) && ctx.Err() == nil {
			virtual.Sleep(time.Second) // it is still starting
			continue
		}
		if err == nil && name != "" {
			err = c.Login(phone.IdentityOf(name))
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Abort)
		return c
	}
}

// TestFileServerServesTheApp byte by byte as the description has it.
func TestFileServerServesTheApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t, fileserver.Options{})
		data := pattern(1_000_000, 1)
		c := d.dial(t, "alice")
		hash, err := c.Upload(data)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Upload(data); err != nil { // not looked at
			t.Error(err)
		}
		other := d.dial(t, "bob") // any identity that knows the hash
		for _, offset := range []uint64{0, 1, 65_536, 999_999} {
			if got, err := other.Download(hash, offset); err != nil || !bytes.Equal(got, data[offset:]) {
				t.Errorf("from %d: %d bytes, %v", offset, len(got), err)
			}
		}
		for text, err := range map[string]error{
			"offset beyond file end": second(other.Download(hash, 1_000_000)),
			"file not found":         second(other.Download([32]byte{1}, 0)),
			"not authenticated":      second(d.dial(t, "").Download(hash, 0)),
			"no active upload":       c.UploadChunk([32]byte{2}, 65_536, 100_000, make([]byte, 10)),
			"total size":             c.UploadChunk([32]byte{3}, 0, 0, make([]byte, 10)),
			"hash mismatch":          c.UploadChunk([32]byte{4}, 0, 10, make([]byte, 10)),
			"chunk too large":        c.UploadChunk([32]byte{5}, 0, 1<<20, make([]byte, 65_537)),
			"quota exceeded":         c.UploadChunk([32]byte{6}, 0, 1<<62, make([]byte, 10)),
			"unknown cmd":            second(c.Call(0x55, nil)),
			"missing or invalid pub": second(c.Call(0x01, nil)),
			"unknown nonce":          second(c.Call(0x02, authBody("alice", [32]byte{9}))),
		} {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%v, want %s", err, text)
			}
		}
		if _, err := c.Call(0x03, nil); err != nil { // the connection is as good as before
			t.Error(err)
		}

		d.n.Stop()
		d.n.Start()
		if got, err := d.dial(t, "carol").Download(hash, 0); err != nil || !bytes.Equal(got, data) {
			t.Errorf("after a restart: %d bytes, %v", len(got), err)
		}
		d.clock.offset.Add(int64(16 * 24 * time.Hour))
		virtual.Sleep(61 * time.Minute)
		if _, err := d.dial(t, "carol").Download(hash, 0); err == nil || !strings.Contains(err.Error(), "file not found") {
			t.Errorf("after 16 days: %v", err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

// authBody is a login for a nonce that was never given.
func authBody(name string, nonce [32]byte) []byte {
	id := phone.IdentityOf(name)
	key := id.Key()
	body := append([]byte{0x01, 32}, key[:]...)
	body = append(append(body, 0x03, 32), nonce[:]...)
	return append(append(body, 0x02, 64), id.Sign(nonce[:])...)
}

// TestFileServerResumesUploads of the same identity, on another connection.
func TestFileServerResumesUploads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t, fileserver.Options{})
		data := pattern(200_000, 2)
		hash, total := sha256.Sum256(data), uint64(len(data))
		c := d.dial(t, "alice")
		if err := c.UploadChunk(hash, 0, total, data[:65_536]); err != nil {
			t.Fatal(err)
		}
		c.Abort()
		if err := d.dial(t, "mallory").UploadChunk(hash, 65_536, total, data[65_536:131_072]); err == nil || !strings.Contains(err.Error(), "no active upload") {
			t.Errorf("somebody else: %v", err)
		}
		c = d.dial(t, "alice")
		if err := c.UploadChunk(hash, 131_072, total, data[131_072:196_608]); err == nil || err.Error() != "expected offset 65536, got 131072" {
			t.Error(err)
		}
		for offset := 65_536; offset < len(data); offset += 65_536 {
			if err := c.UploadChunk(hash, uint64(offset), total, data[offset:min(offset+65_536, len(data))]); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := c.Download(hash, 0); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// TestFileServerQuota: per identity, in all, and for uploads that nobody finishes.
func TestFileServerQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t, fileserver.Options{Quota: 300_000, PerIdentity: 150_000})
		full := func(name string, size int) error {
			return second(d.dial(t, name).Upload(pattern(size, name[0])))
		}
		if err := full("alice", 100_000); err != nil {
			t.Fatal(err)
		}
		if err := full("alice", 60_000); err == nil || err.Error() != "quota exceeded" {
			t.Errorf("more than alice may: %v", err)
		}
		if err := errors.Join(full("bob", 100_000), full("carol", 90_000)); err != nil {
			t.Fatal(err)
		}
		if err := full("dave", 20_000); err == nil || err.Error() != "quota exceeded" {
			t.Errorf("more than there is: %v", err)
		}
		// What is full now is full after a restart.
		d.n.Stop()
		d.n.Start()
		if err := full("dave", 20_000); err == nil || err.Error() != "quota exceeded" {
			t.Errorf("more than there is, after a restart: %v", err)
		}
	})
}

// begin begins an upload of that many bytes.
func begin(c *phone.FileClient, n int, total uint64) error {
	return c.UploadChunk([32]byte{byte(n), byte(n >> 8), 1}, 0, total, []byte("begun"))
}

// quotaExceeded fails the test unless that was the answer.
func quotaExceeded(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || err.Error() != "quota exceeded" {
		t.Errorf("%s: %v", what, err)
	}
}

// Identities are free, and node keys cost little: unfinished uploads are bounded for
// each identity, each node and in all, count whole from their beginning on, have no
// file open, and make space for others when they stand still.
func TestFileServerQuota_ManyIdentities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t, fileserver.Options{Quota: 100 << 20, PerIdentity: 20 << 20})
		before := openFiles(t)
		// One node with one identity, and with a new one for each upload.
		c := d.dial(t, "erin")
		for i := range 8 {
			if err := begin(c, i, 1000); err != nil {
				t.Fatal(err)
			}
		}
		quotaExceeded(t, "a ninth upload of an identity", begin(c, 8, 1000))
		quotaExceeded(t, "a ninth upload of a node", begin(d.dial(t, "another"), 9, 1000))
		// Many nodes.
		begun := 8
		for node := 1; begun < 300; node++ {
			stranger := d.w.Net.Node(overlay.Limits{})
			d.carrier = stranger
			client := d.dial(t, fmt.Sprint("stranger ", node))
			refused := false
			for i := range 8 {
				err := begin(client, node*8+i, 1000)
				refused = refused || err != nil
				if err == nil {
					begun++
				}
			}
			client.Abort()
			if err := stranger.Close(); err != nil {
				t.Error(err)
			}
			if refused {
				break
			}
		}
		if begun != 256 {
			t.Errorf("%d unfinished uploads", begun)
		}
		if after := openFiles(t); after > before+8 {
			t.Errorf("%d files are open, %d before", after, before)
		}
		// Somebody else waits no longer than they stand still.
		another := d.w.Net.Node(overlay.Limits{})
		defer func() { _ = another.Close() }() // of a test
		d.carrier = another
		honest := d.dial(t, "honest")
		quotaExceeded(t, "while all places are taken", begin(honest, 1, 1000))
		virtual.Sleep(3 * time.Minute)
		if err := begin(honest, 1, 1000); err != nil {
			t.Errorf("after three minutes: %v", err)
		}
	})
}

// A total counts from the first chunk on, and a tiny file counts as what it costs.
func TestFileServerQuota_CountsWhatItCosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t, fileserver.Options{Quota: 1 << 20, PerIdentity: 1 << 19})
		if err := begin(d.dial(t, "alice"), 1, 500_000); err != nil {
			t.Fatal(err)
		}
		if err := begin(d.dial(t, "bob"), 2, 500_000); err != nil {
			t.Fatal(err)
		}
		quotaExceeded(t, "beside two that have begun", begin(d.dial(t, "carol"), 3, 500_000))
		d = newDepot(t, fileserver.Options{Quota: 1 << 20, PerIdentity: 1 << 19})
		c := d.dial(t, "alice")
		n := 0
		for ; n < 200; n++ {
			if _, err := c.Upload(fmt.Append(nil, "tiny ", n)); err != nil {
				quotaExceeded(t, "tiny files", err)
				break
			}
		}
		if n != (1<<19)/(5<<10) {
			t.Errorf("%d tiny files", n)
		}
	})
}

// Nothing is taken in while the disk is needed for messages, also not the rest of
// what has begun; with room again that goes on.
func TestFileServerQuota_DiskReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &narrowDisk{FS: vfs.NewMem()}
		d := newDepotOn(t, fileserver.Options{}, disk)
		data := pattern(100_000, 2)
		hash, total := sha256.Sum256(data), uint64(len(data))
		c := d.dial(t, "alice")
		if err := c.UploadChunk(hash, 0, total, data[:65_536]); err != nil {
			t.Fatal(err)
		}
		disk.low.Store(true)
		virtual.Sleep(2 * time.Second) // as long as the last look may count
		quotaExceeded(t, "the rest", c.UploadChunk(hash, 65_536, total, data[65_536:]))
		quotaExceeded(t, "another", begin(d.dial(t, "bob"), 1, 1000))
		disk.low.Store(false)
		virtual.Sleep(2 * time.Second)
		if err := c.UploadChunk(hash, 65_536, total, data[65_536:]); err != nil {
			t.Errorf("with room again: %v", err)
		}
		if got, err := c.Download(hash, 0); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}

// narrowDisk is a disk that can be nearly full.
type narrowDisk struct {
	vfs.FS
	low atomic.Bool
}

func (d *narrowDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	usage := vfs.DiskUsage{AvailBytes: 1 << 40, TotalBytes: 1 << 40}
	if d.low.Load() {
		usage.AvailBytes = 1 << 20
	}
	return usage, nil
}

// openFiles counts the files of this process.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, fs.ErrNotExist) {
		return 0 // another system than Linux
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestFileServerOutlastsSilence: clients that say nothing, or half of something,
// are ended; the others notice nothing.
//
// Bar S05
func TestFileServerOutlastsSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t, fileserver.Options{})
		alive := d.dial(t, "alice")
		ends := func(within time.Duration, bytes ...byte) {
			t.Helper()
			conn, err := d.carrier.Dial(t.Context(), d.key, phone.FilePort)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Abort() }()
			_, _ = conn.Write(bytes) // it may be ending already
			start := time.Now()
			if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%x is answered", bytes)
			}
			if took := time.Since(start); took > within+5*time.Second {
				t.Errorf("%x is ended after %v", bytes, took)
			}
		}
		ends(15*time.Second, 1)
		ends(time.Second, 1, 1)
		ends(time.Minute, 1, 0, 3, 0, 0)
		ends(time.Minute, 1, 0, 3, 0, 1, 0, 31, 0xff, 0xff)
		ends(time.Second, 1, 0, 3, 0, 1, 0, 33, 0, 0) // more than 2 MiB
		if _, err := alive.Call(0x03, nil); err != nil {
			t.Error(err)
		}
		// A client that does not log in has 15 seconds, and pings do not make it
		// longer.
		ends(15*time.Second, 1, 0)
		ping := d.dial(t, "")
		start := time.Now()
		for err := error(nil); err == nil; virtual.Sleep(time.Second) {
			_, err = ping.Call(0x03, nil)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("a connection without a login lasts %v", took)
		}
	})
}

// TestFilesBetweenNodes: both sides ours, with our own server, which is restarted
// in the middle of an upload.
func TestFilesBetweenNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t, fileserver.Options{})
		media := func(o *node.Options) {
			o.Media = transfer.Options{Server: d.key, AutoDownload: transfer.Always}
		}
		a, b := d.w.Node("a", media), d.w.Node("b", media)
		actorstest.Befriend(a, b)
		data := pattern(5<<20, 3)
		reader := &pausing{Reader: bytes.NewReader(data)}
		m, err := a.SendFile(t.Context(), node.OutgoingFile{
			Account: a.Account.ID, Contact: b.Account.ID, Body: reader, Name: "big.bin", Caption: "here",
		})
		if err != nil {
			t.Fatal(err)
		}
		a.Eventually("the upload has begun", func() bool {
			info, err := a.MediaState(a.Account.ID, b.Account.ID, m.ID)
			return err == nil && (info.Done > 0 || info.State == store.MediaStored)
		})
		d.n.Stop()
		d.n.Start()
		id := store.MessageID{Dir: store.In, GUID: m.ID.GUID}
		b.EventuallyWithin(time.Hour, "the file", func() bool {
			info, err := b.MediaState(b.Account.ID, a.Account.ID, id)
			return err == nil && info.State == store.MediaStored
		})
		f, info, err := b.OpenMedia(b.Account.ID, a.Account.ID, id)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil || !bytes.Equal(got, data) || info.Name != "big.bin" || info.Caption != "here" {
			t.Errorf("%d bytes, %+v, %v", len(got), info, err)
		}
	})
}

// pausing returns little at a time, as a download from elsewhere does.
type pausing struct{ io.Reader }

func (p *pausing) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), 1000)]) }
