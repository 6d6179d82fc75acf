// SPDX-License-Identifier: MPL-2.0

package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Keep says which backups stay: the newest, and the newest of each of so many days, weeks
// and months that have one. Days begin at midnight UTC, weeks on Monday. One reason to
// stay is enough.
type Keep struct{ Last, Daily, Weekly, Monthly int }

const (
	namePrefix = "mimird-"
	nameSuffix = ".tar.zst.age"
	nameTime   = "20060102-150405Z"
)

// prefixOf begins the names of all backups of a node, and of no other's: several nodes may
// share a target.
func prefixOf(node string) string { return namePrefix + node + "-" }

func nameOf(node string, made time.Time) string {
	return prefixOf(node) + made.UTC().Format(nameTime) + nameSuffix
}

// madeAt returns when a backup of a node was created; false when it is not one.
func madeAt(node, name string) (time.Time, bool) {
	middle, ours := strings.CutPrefix(name, prefixOf(node))
	middle, whole := strings.CutSuffix(middle, nameSuffix)
	made, err := time.Parse(nameTime, middle)
	return made, ours && whole && err == nil
}

// expired returns those of the names, backups of a node, that do not stay. What seems to
// come from the future, by a clock that was wrong, stays and counts for nothing.
func expired(node string, names []string, keep Keep, now time.Time) []string {
	type old struct {
		name string
		made time.Time
	}
	var all []old
	for _, name := range names {
		if made, ok := madeAt(node, name); ok && !made.After(now) {
			all = append(all, old{name, made})
		}
	}
	slices.SortFunc(all, func(a, b old) int { return b.made.Compare(a.made) })
	stays := make(map[string]bool)
	for _, rule := range []struct {
		count  int
		period func(time.Time) string
	}{
		{keep.Last, func(t time.Time) string { return t.Format(nameTime) }},
		{keep.Daily, func(t time.Time) string { return t.Format(time.DateOnly) }},
		{keep.Weekly, func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, w) }},
		{keep.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
	} {
		last := ""
		for _, b := range all {
			period := rule.period(b.made)
			if rule.count == 0 || period == last {
				continue
			}
			last = period
			rule.count--
			stays[b.name] = true
		}
	}
	var out []string
	for _, b := range all {
		if !stays[b.name] {
			out = append(out, b.name)
		}
	}
	return out
}
