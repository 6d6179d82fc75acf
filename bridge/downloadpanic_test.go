// SPDX-License-Identifier: MPL-2.0

package bridge

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
	d := &dispatcher{log: slog.New(slog.DiscardHandler), retry: kernel.Backoff{Min: time.Second, Max: time.Minute}}
	d.prepare(t.Context(), t.Context())
	result := d.fetch(&task{entry: &journaled{queue: journalQueue}}, 0, new(neededFile)) // there is no library
	if !errors.Is(result.err, fault.ErrPanic) || result.after == 0 {
		t.Errorf("the download has come to %+v", result)
	}
}
