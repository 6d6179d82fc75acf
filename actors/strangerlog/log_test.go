// SPDX-License-Identifier: MPL-2.0

package strangerlog

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/test/virtual"
)

// A flood about strangers writes at most a line a second, another event still gets
// through, and no line is lost without being counted.
func TestLog_LimitsAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := New(slog.New(slog.NewTextHandler(&out, nil)))
		lines := func() int { return strings.Count(out.String(), "\n") }
		for range 100 {
			l.Warn("flood", "node", "1")
		}
		if got := lines(); got != burst/2 {
			t.Errorf("%d lines of a flood at once, want %d", got, burst/2)
		}
		l.Info("something else")
		if !strings.Contains(out.String(), `msg="something else" suppressed=95`) {
			t.Errorf("the other event is missing or does not count the flood:\n%s", out.String())
		}
		before := lines()
		for range 1000 {
			virtual.Sleep(100 * time.Millisecond)
			l.Warn("flood")
			l.Info("something else")
			l.Error("a third thing")
		}
		if got := lines() - before; got < 40 || got > 100 {
			t.Errorf("%d lines in 100 s", got)
		}
		for range 10 {
			l.Warn("flood")
		}
		l.Flush()
		l.Flush()
		if strings.Count(out.String(), "suppressed log lines about strangers") != 1 {
			t.Errorf("want one line with the rest of the count:\n%s", out.String())
		}
	})
}

func TestLog_PanicIsTheErrorOfItsFunction(t *testing.T) {
	var out bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&out, nil)))
	err := l.Protect("handshake", func() error { panic("hostile input") })
	if p := (*kernel.PanicError)(nil); !errors.As(err, &p) || p.Value != "hostile input" {
		t.Errorf("error %v", err)
	}
	if !strings.Contains(out.String(), "task=handshake") || !strings.Contains(out.String(), "log_test.go") {
		t.Errorf("log %q", out.String())
	}
	if err := l.Protect("handshake", func() error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
	if err := l.Protect("handshake", func() error { return nil }); err != nil {
		t.Errorf("error %v", err)
	}
}
