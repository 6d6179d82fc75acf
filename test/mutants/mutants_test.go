// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every defect can be put into the code as it is: one whose place has changed would be
// found out only when all are tried, which takes hours.
func TestMutants_Apply(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range mutants() {
		code, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(m.file)))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		if n := strings.Count(string(code), m.before); n != 1 || m.before == m.after {
			t.Errorf("%s: what it replaces is %d times in %s", m.name, n, m.file)
		}
		if names[m.name] {
			t.Errorf("%s: two defects have the name", m.name)
		}
		names[m.name] = true
	}
}

// The tests that have to notice a defect exist: a pattern that matches no test of its
// packages passes, whatever the defect does.
func TestMutants_TestsExist(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w*)\(`)
	for _, m := range mutants() {
		if len(m.tests) < 3 || m.tests[0] != "-run" {
			continue // all tests of the packages
		}
		found := false
		for alternative := range strings.SplitSeq(m.tests[1], "|") {
			function, _, _ := strings.Cut(alternative, "/")
			pattern, err := regexp.Compile(function)
			if err != nil {
				t.Fatalf("%s: %v", m.name, err)
			}
			for _, folder := range m.tests[2:] {
				if !strings.HasPrefix(folder, "./") {
					continue // a flag of the tests
				}
				files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(folder), "*_test.go"))
				if err != nil || len(files) == 0 {
					t.Errorf("%s: no tests in %s, %v", m.name, folder, err)
				}
				for _, file := range files {
					source, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					for _, match := range declared.FindAllSubmatch(source, -1) {
						found = found || pattern.Match(match[1])
					}
				}
			}
		}
		if !found {
			t.Errorf("%s: no test of %v matches %s", m.name, m.tests[2:], m.tests[1])
		}
	}
}
