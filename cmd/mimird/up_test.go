// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/store"
)

func TestUp_DirectoryInUse_WaitsAWhile(t *testing.T) {
	inUse := fmt.Errorf("open: %w", store.ErrInUse)
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		busy  time.Duration // how long another process has the directory
		then  error         // what opening it returns afterwards
		runs  time.Duration // when a node answers there
		ends  time.Duration // when the start is interrupted
		want  error
		after time.Duration // at most
		waits bool
	}{
		"free":                   {},
		"a check":                {busy: 10 * time.Second, after: 11 * time.Second, waits: true},
		"a damaged store":        {busy: 10 * time.Second, then: broken, want: broken, after: 11 * time.Second, waits: true},
		"a long export":          {busy: time.Hour, want: store.ErrInUse, after: inUseTime + time.Second, waits: true},
		"a node":                 {busy: time.Hour, runs: 1, want: store.ErrInUse},
		"a node that starts":     {busy: time.Hour, runs: 2 * time.Second, want: store.ErrInUse, after: 3 * time.Second, waits: true},
		"an interrupted start":   {busy: time.Hour, ends: 5 * time.Second, want: context.DeadlineExceeded, after: 5 * time.Second, waits: true},
		"damaged and not in use": {then: broken, want: broken},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				ctx := t.Context()
				if test.ends > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.ends)
					defer cancel()
				}
				begun := time.Now()
				_, err := whenFree(ctx, slog.New(slog.NewTextHandler(&log, nil)), func() (int, error) {
					if time.Since(begun) < test.busy {
						return 0, inUse
					}
					return 1, test.then
				}, func() bool { return test.runs > 0 && time.Since(begun)+1 >= test.runs })
				if !errors.Is(err, test.want) || test.want == nil && err != nil {
					t.Errorf("error %v, want %v", err, test.want)
				}
				if took := time.Since(begun); took > test.after {
					t.Errorf("after %v, want at most %v", took, test.after)
				}
				if n := strings.Count(log.String(), "data directory in use"); n > 1 || (n == 1) != test.waits {
					t.Errorf("said %d times", n)
				}
			})
		})
	}
}
