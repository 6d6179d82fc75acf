// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"net/netip"
	"testing"
	"time"
)

func TestHostWatch_Sleep_ShowsInClocks(t *testing.T) {
	for name, test := range map[string]struct {
		monotonic, wall time.Duration
		want            bool
	}{
		"a look in time":                        {lookEvery, lookEvery, false},
		"a busy machine":                        {lookEvery + 5*time.Second, lookEvery + 5*time.Second, false},
		"the clock was set a little":            {lookEvery, lookEvery + 3*time.Second, false},
		"the clock was set back":                {lookEvery, -time.Hour, false},
		"sleep, the monotonic clock stood":      {lookEvery, time.Hour, true},
		"sleep, both clocks went on":            {time.Hour, time.Hour, true},
		"sleep of a few seconds":                {lookEvery, lookEvery + sleepGap, true},
		"nothing ran here, as in a paused host": {time.Minute, time.Minute, true},
	} {
		if got := asleep(test.monotonic, test.wall); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestHostWatch_OtherNetwork_Noticed(t *testing.T) {
	home, train := []netip.Addr{netip.MustParseAddr("192.0.2.7")}, []netip.Addr{netip.MustParseAddr("198.51.100.7")}
	now := time.Now()
	var s hostWatch
	for i, step := range []struct {
		after time.Duration
		addrs []netip.Addr
		want  bool
	}{
		{0, home, false},
		{lookEvery, home, false},
		{lookEvery, nil, true},
		{lookEvery, nil, false},
		{lookEvery, train, true},
		{lookEvery, train, false},
		{time.Hour, train, true}, // a night later
		{lookEvery, train, false},
	} {
		now = now.Add(step.after)
		if reason := s.check(now, step.addrs); (reason != "") != step.want {
			t.Errorf("look %d: %q", i, reason)
		}
	}
}
