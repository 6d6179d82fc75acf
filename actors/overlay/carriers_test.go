// SPDX-License-Identifier: MPL-2.0

package overlay_test

import (
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/overlay"
)

// What the streams of the carriers of older generations have in common.

// patience bounds what must happen in the end.
const patience = 2 * time.Minute

// carryOver writes on one side what the other one must read.
func carryOver(t *testing.T, from, to net.Conn, size int) {
	t.Helper()
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 7)
	}
	done := make(chan error, 1)
	go func() {
		_, err := from.Write(data)
		done <- err
	}()
	if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, size)
	if _, err := io.ReadFull(to, got); err != nil {
		t.Fatalf("read: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatalf("write: %v", err)
	}
	if sha256.Sum256(got) != sha256.Sum256(data) {
		t.Fatal("the bytes differ")
	}
}

// abortResets aborts one side of a stream: its reader ends, and the other side
// sees a reset.
func abortResets(t *testing.T, aborted, other overlay.Conn) {
	t.Helper()
	waiting := make(chan error, 1)
	go func() {
		_, err := aborted.Read(make([]byte, 1))
		waiting <- err
	}()
	if err := aborted.Abort(); err != nil {
		t.Error(err)
	}
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v of a reader of the aborted stream", err)
	}
	if err := other.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Read(make([]byte, 1)); !errors.Is(err, overlay.ErrReset) {
		t.Errorf("error %v", err)
	}
}

// keepsDeadlines lets a read run into its deadline; the stream goes on after that.
func keepsDeadlines(t *testing.T, reader, writer overlay.Conn) {
	t.Helper()
	if err := reader.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if err := reader.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	carryOver(t, writer, reader, 10)
}
