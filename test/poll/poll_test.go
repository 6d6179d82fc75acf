// SPDX-License-Identifier: MPL-2.0

package poll_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/test/poll"
)

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if !poll.Until(ctx, func() bool { return time.Since(begin) >= time.Second }) {
			t.Error("a condition that holds after a second was not seen in a minute")
		}
		if passed := time.Since(begin); passed > 2*time.Second {
			t.Errorf("seen only after %v", passed)
		}
		if poll.Until(ctx, func() bool { return false }) {
			t.Error("a condition that never holds was seen")
		}
	})
}

func TestPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if !poll.Pass(t.Context(), time.Hour) || time.Since(begin) != time.Hour {
			t.Errorf("%v passed", time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if poll.Pass(ctx, time.Hour) || time.Since(begin) != time.Hour+time.Minute {
			t.Errorf("not cut short: %v passed", time.Since(begin))
		}
	})
}
