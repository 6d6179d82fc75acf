// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
)

func TestGuardMakesAPanicAnError(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	if err := guarded(logger, "nothing", func() error { return nil }); err != nil {
		t.Error(err)
	}
	if err := guarded(logger, "a failure", func() error { return errDeaf }); !errors.Is(err, errDeaf) || errors.Is(err, errPanic) {
		t.Error(err)
	}
	if err := guarded(logger, "a bug", func() error { panic("here") }); !errors.Is(err, errPanic) || !strings.Contains(log.String(), "here") {
		t.Errorf("%v; %s", err, log.String())
	}
}

// An event that panics whenever it is handled holds up no other.
func TestEventThatAlwaysPanicsIsDropped(t *testing.T) {
	var log bytes.Buffer
	d := &dispatcher{ // without a bridge behind it: every event panics
		log:   slog.New(slog.NewTextHandler(&log, nil)),
		retry: kernel.Backoff{Min: time.Millisecond, Max: time.Millisecond},
	}
	if !d.transaction(t.Context(), t.Context(), store.JournalEntry{
		ID: "txn", Body: []byte(`{"events": [{"event_id": "$bad", "room_id": "!room", "type": "m.room.message"}, {"event_id": ""}]}`),
	}) {
		t.Error("the transaction was not finished")
	}
	if tries := strings.Count(log.String(), "a part of the bridge has panicked"); tries != maxTries {
		t.Errorf("%d tries, want %d", tries, maxTries)
	}
	if !strings.Contains(log.String(), "has no id or no room") {
		t.Error("the next event was not handled")
	}
}
