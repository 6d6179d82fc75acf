// SPDX-License-Identifier: MPL-2.0

package fault

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

var errOther = errors.New("other")

func TestGuard_PanicBecomesError(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	if err := Guard(logger, "nothing", func() error { return nil }); err != nil {
		t.Error(err)
	}
	if err := Guard(logger, "a failure", func() error { return errOther }); !errors.Is(err, errOther) || errors.Is(err, ErrPanic) {
		t.Error(err)
	}
	if err := Guard(logger, "a bug", func() error { panic("here") }); !errors.Is(err, ErrPanic) || !strings.Contains(log.String(), "here") {
		t.Errorf("%v; %s", err, log.String())
	}
}
