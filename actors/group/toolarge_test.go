// SPDX-License-Identifier: MPL-2.0

package group

import (
	"testing"
	"time"

	"github.com/mimird/mimird/actors/store"
)

// What was too large is asked for in parts that become smaller, then not any more, and all of it
// again after a day.
func TestTooLarge_SmallerParts_AgainAfterADay(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var l tooLarge
	if l.text() != "" || l.profilesSince(now) != nil {
		t.Errorf("%+v", l)
	}
	const day = int64(24 * 60 * 60)
	for _, days := range []int64{30, 7, 1} {
		if again := l.noteProfiles(now); !again {
			t.Fatalf("given up before %d days", days)
		}
		if since := l.profilesSince(now); since == nil || *since != now.Unix()-days*day || l.text() == "" {
			t.Errorf("%d days: %+v", days, l)
		}
	}
	if l.noteProfiles(now) || !l.profilesGivenUp() || l.text() == "" {
		t.Errorf("%+v", l)
	}
	l.noteMembers(now)
	l.expire(now.Add(23 * time.Hour))
	if !l.members || !l.profilesGivenUp() {
		t.Errorf("after 23 hours: %+v", l)
	}
	l.listed = store.MaxMembers + 3
	l.expire(now.Add(25 * time.Hour))
	if l.members || l.profilesGivenUp() || l.text() != "Of 20003 members 20000 are stored." {
		t.Errorf("after 25 hours: %+v, %q", l, l.text())
	}
}
