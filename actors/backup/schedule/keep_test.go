// SPDX-License-Identifier: MPL-2.0

package schedule

import (
	"slices"
	"testing"
	"time"
)

func TestExpired_OneReasonIsEnough(t *testing.T) {
	start := time.Date(2026, time.January, 1, 3, 0, 0, 0, time.UTC) // a Thursday
	var names []string
	for hour := 0; hour < 60*24; hour += 12 { // two a day, for sixty days
		names = append(names, nameOf("aa", start.Add(time.Duration(hour)*time.Hour)))
	}
	now := start.Add(60 * 24 * time.Hour)
	others := []string{nameOf("bb", start), "mimird-aa-rubbish.tar.zst.age", nameOf("aa", start) + ".txt", nameOf("aa", now.Add(time.Hour))}
	for _, c := range []struct {
		keep Keep
		stay []time.Duration // before the last, which is 12 hours before now
	}{
		{Keep{Last: 1}, []time.Duration{0}},
		{Keep{Last: 3}, []time.Duration{0, 12, 24}},
		{Keep{Last: 1, Daily: 3}, []time.Duration{0, 24, 48}},
		{Keep{Last: 2, Daily: 2}, []time.Duration{0, 12, 24}},
		{Keep{Last: 1, Weekly: 3}, []time.Duration{0, 24 * 7, 24 * 14}},
		{Keep{Last: 1, Monthly: 3}, []time.Duration{0, 24, 24 * 29}}, // the sixtieth day is March 1
		{Keep{Last: 1, Monthly: 2}, []time.Duration{0, 24}},
	} {
		var want []string
		for _, hours := range c.stay {
			want = append(want, nameOf("aa", now.Add(-12*time.Hour-hours*time.Hour)))
		}
		gone := expired("aa", slices.Concat(others, names), c.keep, now)
		var stay []string
		for _, name := range names {
			if !slices.Contains(gone, name) {
				stay = append(stay, name)
			}
		}
		slices.Sort(want)
		if !slices.Equal(stay, want) {
			t.Errorf("%+v: %v stay, want %v", c.keep, stay, want)
		}
		for _, name := range others {
			if slices.Contains(gone, name) {
				t.Errorf("%+v removes %s", c.keep, name)
			}
		}
	}
}
