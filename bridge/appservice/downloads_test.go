// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/mimird/mimird/bridge/fault"

	"github.com/mimird/mimird/actors/kernel"
)

// A panic of a download is a failure of that download: its goroutine is nobody's.
func TestDownload_PanicEndsNothing(t *testing.T) {
	d := NewDispatcher(t.Context(), t.Context(), DispatcherDeps{
		Log: slog.New(slog.DiscardHandler), Retry: kernel.Backoff{Min: time.Second, Max: time.Minute},
	})
	result := d.fetch(&task{entry: &journaled{queue: JournalQueue}}, 0, new(NeededFile)) // there is no library
	if !errors.Is(result.err, fault.ErrPanic) || result.after == 0 {
		t.Errorf("the download has come to %+v", result)
	}
}
