// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/virtual"
)

// badLink draws a link from very good to very bad.
func badLink(r *rand.Rand) memnet.Link {
	l := memnet.Link{Delay: time.Duration(r.IntN(200)) * time.Millisecond}
	if r.IntN(2) == 0 {
		l.Loss = r.Float64() * 0.15
	}
	if r.IntN(2) == 0 {
		l.Jitter = time.Duration(r.IntN(300)) * time.Millisecond
	}
	if r.IntN(2) == 0 {
		l.Duplicate = r.Float64() * 0.2
	}
	if r.IntN(2) == 0 {
		l.Rate = 50_000 + r.IntN(2_000_000)
		l.Queue = 131_070
	}
	return l
}

// Whatever the links do short of cutting, all bytes arrive in order, both ways
// at once, and the end of each direction arrives after them.
func TestStreamDeliversOverBadLinks(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 15
	}
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { transferOverBadLinks(t, seed) })
		})
	}
}

func transferOverBadLinks(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	n := newNet(t, memnet.Options{Seed: seed})
	a, b := newNode(t, n, overlay.Limits{}), newNode(t, n, overlay.Limits{})
	there, back := badLink(r), badLink(r)
	n.SetPath(a.Key(), b.Key(), there)
	n.SetPath(b.Key(), a.Key(), back)
	l := mustListen(t, b)
	var c overlay.Conn
	for c == nil {
		var err error
		if c, err = a.Dial(t.Context(), b.Key(), 42); err != nil && !errors.Is(err, overlay.ErrTimeout) {
			t.Fatalf("%v over %+v and %+v", err, there, back)
		}
	}
	d := mustAccept(t, l)
	sent := [2][]byte{randomBytes(r, r.IntN(1<<20)), randomBytes(r, r.IntN(1<<20))}
	pieces := 1 + r.IntN(60_000)
	results := make(chan error, 4)
	for i, conn := range []overlay.Conn{c, d} {
		go func() { results <- sendAll(conn, sent[i], pieces) }()
		go func() { results <- receiveAll(conn, sent[1-i], pieces) }()
	}
	for range 4 {
		if err := <-results; err != nil {
			t.Errorf("%v over %+v and %+v", err, there, back)
		}
	}
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func sendAll(c overlay.Conn, b []byte, piece int) error {
	for len(b) > 0 {
		n, err := c.Write(b[:min(piece, len(b))])
		if err != nil {
			return fmt.Errorf("write with %d bytes left: %w", len(b), err)
		}
		b = b[n:]
	}
	return c.CloseWrite()
}

func receiveAll(c overlay.Conn, want []byte, piece int) error {
	var got bytes.Buffer
	if _, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{c}, make([]byte, piece)); err != nil {
		return fmt.Errorf("read after %d of %d bytes: %w", got.Len(), len(want), err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		return fmt.Errorf("received %d bytes that are not the %d sent", got.Len(), len(want))
	}
	return nil
}

// A closed stream still delivers what was written before.
func TestStreamCloseDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{Link: memnet.Link{Delay: 50 * time.Millisecond, Loss: 0.1}})
		a, b := newNode(t, n, overlay.Limits{}), newNode(t, n, overlay.Limits{})
		c, d := mustPair(t, a, b)
		want := randomBytes(rand.New(rand.NewPCG(1, 1)), 100_000)
		if _, err := c.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := receiveAll(d, want, 4096); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		waitForNoStreams(t, a, b)
	})
}

// waitForNoStreams waits until nodes have forgotten all streams: in virtual
// time, because closed streams stay a while to answer repetitions.
func waitForNoStreams(t *testing.T, nodes ...*memnet.Node) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for _, node := range nodes {
		for node.Stack().Streams() > 0 {
			if time.Now().After(deadline) {
				t.Fatalf("%d streams are left", node.Stack().Streams())
			}
			virtual.Sleep(time.Second)
		}
	}
}

// WriteNow takes a write whole, or nothing of it, and never waits.
func TestStream_WriteNow_WholeOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t, memnet.Options{})
		from, to := mustPair(t, newNode(t, n, overlay.Limits{}), newNode(t, n, overlay.Limits{}))
		now, ok := from.(overlay.PromptWriter)
		if !ok {
			t.Fatalf("%T is not a PromptWriter", from)
		}
		if err := from.SetWriteDeadline(time.Now().Add(-time.Second)); err != nil {
			t.Fatal(err)
		}
		var want []byte
		part := func() []byte { return bytes.Repeat([]byte{byte(len(want) / 1000)}, 1000) }
		for now.WriteNow(part()) {
			want = append(want, part()...)
			virtual.Sleep(time.Millisecond)
		}
		if len(want) < 128_000 || len(want) > 1_000_000 {
			t.Errorf("%d bytes were taken although nobody reads", len(want))
		}
		// What waits in Write goes first.
		if err := from.SetWriteDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		written := make(chan error, 1)
		large := bytes.Repeat([]byte("w"), 200_000)
		go func() {
			_, err := from.Write(large)
			written <- err
		}()
		virtual.Sleep(time.Second)
		if now.WriteNow([]byte("x")) {
			t.Error("a byte was taken while another write waits")
		}
		want = append(want, large...)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %v, the bytes are as written: %v", err, bytes.Equal(got, want))
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
		if !now.WriteNow([]byte("y")) {
			t.Error("nothing was taken after all has been read")
		}
		if n, err := to.Read(got); n != 1 || got[0] != 'y' {
			t.Errorf("read %q, %v", got[:n], err)
		}
		if err := to.Abort(); err != nil {
			t.Fatal(err)
		}
		virtual.Sleep(time.Second)
		if now.WriteNow([]byte("z")) {
			t.Error("a byte was taken after a reset")
		}
	})
}
