// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/store"
)

// impossibleTimes are times that a sender may claim and that nobody can mean.
var impossibleTimes = map[string]store.Millis{
	"unknown":           0,
	"one":               1,
	"negative":          -5,
	"before Mimir":      store.MillisOf(time.Date(2014, 12, 31, 23, 59, 59, 0, time.UTC)),
	"two days ahead":    1_700_000_000_000 + 2*86_400_000,
	"2100":              store.MillisOf(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)),
	"the year 10000":    253_402_300_800_000,
	"the largest":       math.MaxInt64,
	"the smallest":      math.MinInt64,
	"before the year 1": -62_135_596_800_001,
}

// Bar R13
func TestPlausibleTime(t *testing.T) {
	const received = store.Millis(1_700_000_000_000)
	for name, claimed := range impossibleTimes {
		if got := store.PlausibleTime(claimed, received); got != received {
			t.Errorf("%s: %d became %d", name, claimed, got)
		}
	}
	for _, claimed := range []store.Millis{
		store.MillisOf(time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)), received - 1, received, received + 86_400_000,
	} {
		if got := store.PlausibleTime(claimed, received); got != claimed {
			t.Errorf("%d became %d", claimed, got)
		}
	}
	if got := store.PlausibleTime(1_600_000_000_000, math.MaxInt64); got != 1_600_000_000_000 {
		t.Errorf("with a clock at the end of time: %d", got)
	}
}

// Whatever was stored by an older version can be read and encoded.
func TestMillis_EveryValueCanBeEncoded(t *testing.T) {
	for name, m := range impossibleTimes {
		at := m.Time()
		if year := at.Year(); year < 1 || year > 9999 {
			t.Errorf("%s: year %d", name, year)
		}
		if _, err := json.Marshal(at); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if at := store.Millis(1_700_000_000_123).Time(); at.UnixMilli() != 1_700_000_000_123 {
		t.Errorf("an ordinary time became %v", at)
	}
}

// Bar R13: what is written down is dated with the receipt when the sender's time is
// impossible, and a repetition with the original time is a duplicate.
func TestAccept_ImpossibleTimes(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	received := store.MillisOf(r.clock.now)
	guid := int64(100)
	for name, claimed := range impossibleTimes {
		guid++
		op := accept(guid, name)
		op.SendTime = claimed
		first := must[store.Accepted](r, op)
		if again := must[store.Accepted](r, op); !again.Duplicate || again.ID != first.ID {
			t.Errorf("%s: the repetition is %+v", name, again)
		}
		if m := get[store.Message](r)(r.store.Message(alice, store.ContactConversation(bob), first.ID)); m.SendTime != received {
			t.Errorf("%s: stored with %d", name, m.SendTime)
		}
		out := enqueue(guid, name, "")
		out.SendTime, out.Created = claimed, received
		queued := must[store.Enqueued](r, out)
		if queued.Message.SendTime != received {
			t.Errorf("%s: queued with %d", name, queued.Message.SendTime)
		}
	}
	r.checked()
}
