// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// line is one line of the roadmap.
type line struct {
	text   string
	ticked bool
	item   bool     // it has a box
	tests  []string // that prove it
}

var (
	box  = regexp.MustCompile(`^- \[([ x])\] `)
	name = regexp.MustCompile("`(Test[A-Za-z0-9_]+(/[a-z-]+)?)`")
)

// parse reads the roadmap.
func parse(document []byte) []line {
	var lines []line
	scanner := bufio.NewScanner(bytes.NewReader(document))
	for scanner.Scan() {
		l := line{text: scanner.Text()}
		if match := box.FindStringSubmatch(l.text); match != nil {
			l.item, l.ticked = true, match[1] == "x"
			for _, test := range name.FindAllStringSubmatch(l.text, -1) {
				l.tests = append(l.tests, test[1])
			}
			l.text, _, _ = strings.Cut(strings.TrimPrefix(l.text, match[0]), ": `Test")
		}
		lines = append(lines, l)
	}
	return lines
}

// functions returns the test functions that the ticked lines need.
func functions(lines []line) []string {
	var all []string
	for _, l := range lines {
		for _, test := range l.tests {
			function, _, _ := strings.Cut(test, "/")
			all = append(all, function)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
