// SPDX-License-Identifier: MPL-2.0

package group

import (
	"fmt"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/store"
)

// largePause is how long what was too large is not asked for again.
const largePause = 24 * time.Hour

// profileAges are the ages of profiles that are asked for one after the other, when all of them
// are too large for one answer: the protocol has no pages. 0 means all.
var profileAges = [...]time.Duration{0, 30 * 24 * time.Hour, 7 * 24 * time.Hour, 24 * time.Hour}

// tooLarge remembers which answers of the mediator were larger than the link accepts, also over
// connections: to ask again would cost the groups of the mediator its bandwidth each time. What
// is lacking then is shown, see Progress.Incomplete.
type tooLarge struct {
	members bool
	// age is the index in profileAges that is asked for, len(profileAges) for nothing more.
	age int
	// listed is how many members the mediator has named, if they are more than are stored.
	listed int
	until  time.Time
}

// expire has everything asked for again after largePause.
func (l *tooLarge) expire(now time.Time) {
	if now.After(l.until) {
		*l = tooLarge{listed: l.listed}
	}
}

func (l *tooLarge) noteMembers(now time.Time) {
	l.members, l.until = true, now.Add(largePause)
}

// noteProfiles reports whether to ask for fewer.
func (l *tooLarge) noteProfiles(now time.Time) bool {
	l.age, l.until = l.age+1, now.Add(largePause)
	return !l.profilesGivenUp()
}

func (l *tooLarge) profilesGivenUp() bool { return l.age >= len(profileAges) }

// profilesSince is the time, in Unix seconds, since when profiles are asked for, nil for all.
func (l *tooLarge) profilesSince(now time.Time) *int64 {
	if l.age == 0 || l.profilesGivenUp() {
		return nil
	}
	since := now.Add(-profileAges[l.age]).Unix()
	return &since
}

// text says what is lacking, "" for nothing.
func (l *tooLarge) text() string {
	var lacks []string
	switch {
	case l.members:
		lacks = append(lacks, "The mediator's list of members is too large to be read: those are known who have said something.")
	case l.listed > store.MaxMembers:
		lacks = append(lacks, fmt.Sprintf("Of %d members %d are stored.", l.listed, store.MaxMembers))
	}
	switch {
	case l.profilesGivenUp():
		lacks = append(lacks, "The profiles of the members are too large to be read together: those are known that change.")
	case l.age > 0:
		lacks = append(lacks, fmt.Sprintf("The profiles of the members are too large to be read together: those are known that were changed in the last %d days.",
			int(profileAges[l.age].Hours()/24)))
	}
	return strings.Join(lacks, " ")
}
