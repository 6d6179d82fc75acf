// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/test/virtual"
)

// fullDisk has no space for a new file of the marker while it is armed. The log of the store
// has the space that it took before.
type fullDisk struct {
	mu      sync.Mutex
	err     error
	refused int
}

func (d *fullDisk) fault(op errorfs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil || filepath.Base(op.Path) != "mimird-store.new" || op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	d.refused++
	return &os.PathError{Op: "write", Path: op.Path, Err: d.err}
}

func (d *fullDisk) set(err error) (refused int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	return d.refused
}

// A full disk that has no space for the marker does not end the store: what the log has
// space for goes on, and the marker follows when there is space.
func TestMarker_DiskFull_StoreGoesOn(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		synctest.Test(t, func(t *testing.T) {
			mem, disk, log := vfs.NewMem(), new(fullDisk), new(lockedLog)
			r := newPeopledRig(t, store.Options{FS: errorfs.Wrap(mem, errorfs.InjectorFunc(disk.fault)), Logger: slog.New(slog.NewTextHandler(log, nil))})
			virtual.Sleep(10 * time.Second)
			before := markerOf(t, mem)
			disk.set(cause)
			for guid := range int64(5) {
				must[store.Accepted](r, accept(guid+1, "x"))
				virtual.Sleep(10 * time.Second)
			}
			if err := r.store.Err(); err != nil {
				t.Fatalf("the store has failed: %v", err)
			}
			if refused := disk.set(nil); refused < 10 {
				t.Errorf("the marker was tried %d times in 50 s", refused)
			}
			if markerOf(t, mem) != before {
				t.Error("the marker has changed on a full disk")
			}
			if n := strings.Count(log.String(), "marker of the store is late"); n != 1 {
				t.Errorf("it is told %d times:\n%s", n, log)
			}
			virtual.Sleep(10 * time.Second)
			if markerOf(t, mem) == before || !strings.Contains(log.String(), "marker of the store written again") {
				t.Error("the marker does not follow when there is space")
			}
			r.checked()
			r.stop()
		})
	}
}

// Another error of the marker fails the store, as every error of the disk does.
func TestMarker_OtherError_Fails(t *testing.T) {
	store.LeavesGoroutines(t)
	disk := new(fullDisk)
	r := newPeopledRig(t, store.Options{FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(disk.fault))})
	disk.set(syscall.EIO)
	must[store.Accepted](r, accept(1, "x"))
	select {
	case <-r.store.Failed():
	case <-time.After(time.Minute):
		t.Fatal("the store goes on")
	}
	if err := r.store.Err(); !errors.Is(err, store.ErrFailed) || !errors.Is(err, syscall.EIO) {
		t.Errorf("the store has failed with %v", err)
	}
	<-r.system.Done() // the actor ends with its store
	r.system = nil
	if err := r.store.Close(); !errors.Is(err, store.ErrFailed) {
		t.Errorf("close: %v", err)
	}
}

func markerOf(t *testing.T, fs vfs.FS) string {
	t.Helper()
	f, err := fs.Open("store/mimird-store")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(io.LimitReader(f, 1<<20)); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// lockedLog is a log that several goroutines write.
type lockedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
