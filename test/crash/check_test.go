// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/mimird/mimird/test/crash"
)

// A checker that cannot see is worse than none.
func TestCheckerSeesWhatIsWrong(t *testing.T) {
	accepted := []string{"1", "2", "3", "4"}
	for _, c := range []struct {
		name                              string
		arrived                           []string
		lost, doubled, reordered, unknown []string
	}{
		{name: "nothing", arrived: accepted},
		{name: "the first is lost", arrived: []string{"2", "3", "4"}, lost: []string{"1"}},
		{name: "the last is lost", arrived: []string{"1", "2", "3"}, lost: []string{"4"}},
		{name: "all are lost", lost: accepted},
		{name: "one is doubled at once", arrived: []string{"1", "2", "2", "3", "4"}, doubled: []string{"2"}},
		{name: "one is there three times", arrived: []string{"1", "2", "3", "4", "1", "1"}, doubled: []string{"1", "1"}},
		{name: "two have changed places", arrived: []string{"1", "3", "2", "4"}, reordered: []string{"2"}},
		{name: "one is late", arrived: []string{"2", "3", "4", "1"}, reordered: []string{"1"}},
		{name: "one was never sent", arrived: []string{"1", "2", "3", "4", "5"}, unknown: []string{"5"}},
		{
			name: "everything", arrived: []string{"3", "1", "1", "x"},
			lost: []string{"2", "4"}, doubled: []string{"1"}, reordered: []string{"1"}, unknown: []string{"x"},
		},
	} {
		d := crash.Compare(accepted, c.arrived)
		if !slices.Equal(d.Lost, c.lost) || !slices.Equal(d.Doubled, c.doubled) ||
			!slices.Equal(d.Reordered, c.reordered) || !slices.Equal(d.Unknown, c.unknown) {
			t.Errorf("%s: %+v", c.name, d)
		}
		if wrong := len(c.lost)+len(c.doubled)+len(c.reordered)+len(c.unknown) > 0; d.OK() == wrong {
			t.Errorf("%s: OK is %v", c.name, d.OK())
		}
	}
}

func TestCheckerNamesWhatIsWrong(t *testing.T) {
	d := crash.Compare([]string{"1", "2", "3"}, []string{"3", "1", "1", "x"})
	d.Add(crash.Compare([]string{"4"}, nil))
	want := "accepted 4 lost 2 doubled 1 reordered 1 unknown 1\n  lost: 2, 4\n  doubled: 1\n  reordered: 1\n  unknown: x"
	if d.String() != want {
		t.Errorf("%q", d)
	}
	if d := crash.Compare([]string{"1"}, []string{"1"}); d.String() != "accepted 1 lost 0 doubled 0 reordered 0" {
		t.Errorf("%q", d)
	}
	many := make([]string, 100)
	for i := range many {
		many[i] = strings.Repeat("x", i+1)
	}
	if d := crash.Compare(many, nil); !strings.HasSuffix(d.String(), " and 80 more") {
		t.Errorf("%q", d)
	}
}
