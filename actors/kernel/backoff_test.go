// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"math"
	"testing"
	"time"
)

func TestBackoff_StepWithJitter(t *testing.T) {
	const almost = 1 - 1e-12
	cases := []struct {
		name   string
		b      Backoff
		n      int
		jitter float64
		want   time.Duration
	}{
		{"defaults, first, no jitter", Backoff{}, 0, 0, 500 * time.Millisecond},
		{"defaults, first, half", Backoff{}, 0, 0.5, 750 * time.Millisecond},
		{"defaults, second", Backoff{}, 1, 0, time.Second},
		{"defaults, seventh", Backoff{}, 6, 0, 32 * time.Second},
		{"defaults, at the cap", Backoff{}, 7, 0, time.Minute},
		{"defaults, far beyond", Backoff{}, 1_000_000, 0, time.Minute},
		{"negative", Backoff{}, -3, 0, 500 * time.Millisecond},
		{"own limits", Backoff{Min: 10, Max: 70}, 2, 0, 20},
		{"own cap, not a power", Backoff{Min: 10, Max: 70}, 3, 0, 35},
		{"only Min, above the default Max", Backoff{Min: time.Hour}, 5, 0, 30 * time.Minute},
		{"no overflow", Backoff{Min: math.MaxInt64/2 + 1, Max: math.MaxInt64}, 9, 0, math.MaxInt64 / 2},
		{"one nanosecond", Backoff{Min: 1, Max: 1}, 0, 0, 0},
	}
	for _, c := range cases {
		if got := jitterBy(c.b.Step(c.n), c.jitter); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		if low, high := jitterBy(c.b.Step(c.n), 0), jitterBy(c.b.Step(c.n), almost); high < low || high > 2*low+1 && low < math.MaxInt64/4 {
			t.Errorf("%s: jitter from %v to %v", c.name, low, high)
		}
	}
}

func TestNextRestart(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	type failure struct {
		at    time.Duration // since start
		lived time.Duration
		want  time.Duration // -1: storm
	}
	cases := []struct {
		name     string
		b        Backoff
		failures []failure
	}{
		{"doubles and is capped", Backoff{Min: 2, Max: 12}, []failure{{0, 0, 1}, {1, 0, 2}, {2, 0, 4}, {3, 0, 6}, {4, 0, 6}}},
		{
			"health resets, a little less does not",
			Backoff{Min: 2, Reset: time.Minute},
			[]failure{{0, 0, 1}, {1, time.Minute - 1, 2}, {2, time.Minute, 1}, {3, 0, 2}, {4, time.Hour, 1}},
		},
		{
			"a storm inside the window",
			Backoff{Min: 2, StormRestarts: 3, StormWindow: 10},
			[]failure{{0, 0, 1}, {1, 0, 2}, {2, 0, 4}, {9, 0, -1}},
		},
		{
			"the window slides",
			Backoff{Min: 2, Max: 2, StormRestarts: 3, StormWindow: 10},
			[]failure{{0, 0, 1}, {1, 0, 1}, {2, 0, 1}, {10, 0, 1}, {11, 0, 1}, {12, 0, 1}, {19, 0, -1}},
		},
		{
			"health does not forgive a storm",
			Backoff{Min: 2, Reset: 1, StormRestarts: 1, StormWindow: 10},
			[]failure{{0, 5, 1}, {5, 5, -1}},
		},
		{
			"never given up",
			Backoff{Min: 2, Max: 2, StormRestarts: 1, StormWindow: time.Hour, Forever: true},
			[]failure{{0, 0, 1}, {0, 0, 1}, {0, 0, 1}, {0, 0, 1}},
		},
		{"the default storm rule", Backoff{Min: 2, Max: 2}, []failure{
			{0, 0, 1},
			{1, 0, 1},
			{2, 0, 1},
			{3, 0, 1},
			{4, 0, 1},
			{5, 0, 1},
			{6, 0, 1},
			{7, 0, 1},
			{8, 0, 1},
			{9, 0, 1},
			{time.Minute - 1, 0, -1},
		}},
	}
	for _, c := range cases {
		var h history
		for i, f := range c.failures {
			before := len(h.restarts)
			var delay time.Duration
			var storm bool
			h, delay, storm = c.b.next(h, f.lived, start.Add(f.at), 0)
			if storm != (f.want < 0) || !storm && delay != f.want {
				t.Errorf("%s: failure %d: got %v, storm %v, want %v", c.name, i, delay, storm, f.want)
			}
			if c.b.Forever && len(h.restarts) > before {
				t.Errorf("%s: remembers restarts nobody looks at", c.name)
			}
			if limit := c.b.withDefaults().StormRestarts; len(h.restarts) > limit {
				t.Errorf("%s: remembers %d restarts", c.name, len(h.restarts))
			}
		}
	}
}

func TestJitter_StaysInUpperHalf(t *testing.T) {
	const d = 101 * time.Second
	low, high := d, time.Duration(0)
	for range 1000 {
		got := Jitter(d)
		low, high = min(low, got), max(high, got)
	}
	if low < d/2 || high > d || high-low < d/4 {
		t.Errorf("Jitter(%v) gave %v to %v", d, low, high)
	}
	if got := (Backoff{Min: 2 * time.Second, Max: time.Minute}).Delay(2); got < 4*time.Second || got > 8*time.Second {
		t.Errorf("Delay(2) = %v", got)
	}
}
