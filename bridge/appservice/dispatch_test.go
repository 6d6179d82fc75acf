// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/test/virtual"
)

// An event that panics whenever it is handled holds up no other.
func TestEventThatAlwaysPanicsIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log syncBuffer
		d := NewDispatcher(t.Context(), t.Context(), DispatcherDeps{ // without a bridge behind it: every event panics
			Log:   slog.New(slog.NewTextHandler(&log, nil)),
			Retry: kernel.Backoff{Min: time.Millisecond, Max: time.Millisecond},
		})
		d.enqueue(store.JournalEntry{Queue: JournalQueue, Seq: 7, Body: []byte(`{"events": [
			{"event_id": "$bad", "room_id": "!room", "type": "m.room.message"}, {"event_id": ""}, 5,
			{"event_id": "$next", "room_id": "!room", "type": "m.room.message"}
		]}`)})
		synctest.Wait()
		virtual.Sleep(time.Minute) // of virtual time, for the retries
		d.lanes.close(nil)
		for event, want := range map[string]int{`component="handle a Matrix event"`: 2 * maxPanics, "dropping a Matrix event": 2} {
			if n := strings.Count(log.String(), event); n != want {
				t.Errorf("%q is in the log %d times, want %d", event, n, want)
			}
		}
		if queue, seqs, _ := d.finished.take(); queue != JournalQueue || !slices.Equal(seqs, []uint64{7}) {
			t.Errorf("finished are %d of %q", seqs, queue)
		}
	})
}

// syncBuffer is a buffer for many goroutines.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
