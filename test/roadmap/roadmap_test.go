// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryTickedLineNamesTestsThatExist(t *testing.T) {
	document, err := os.ReadFile(filepath.Join("..", "..", "ROADMAP.md"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, folder := range []string{"bridge", filepath.Join("bridge", "*")} {
		found, err := filepath.Glob(filepath.Join("..", "..", folder, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	ticked := 0
	for _, l := range parse(document) {
		if !l.ticked {
			if len(l.tests) > 0 {
				t.Errorf("%q names tests and has no tick", l.text)
			}
			continue
		}
		ticked++
		if !slices.ContainsFunc(l.tests, func(test string) bool { return strings.HasPrefix(test, walk) }) {
			t.Errorf("%q names no part of TestRoadmap", l.text)
		}
		for _, test := range l.tests {
			function, part, _ := strings.Cut(test, "/")
			if !strings.Contains(source.String(), "\nfunc "+function+"(t *testing.T) {") {
				t.Errorf("%q names %s, which does not exist", l.text, function)
			}
			if part != "" && !strings.Contains(source.String(), `{"`+part+`", `) {
				t.Errorf("%q names %s, which has no part %s", l.text, function, part)
			}
		}
	}
	if ticked < 30 {
		t.Errorf("%d lines are ticked", ticked)
	}
}

func TestALineIsProvenByAllItsTestsInBothKindsOfRooms(t *testing.T) {
	lines := parse([]byte("# Title\n- [x] Both: `TestA`, `TestRoadmap/part`\n- [ ] Not yet\n- [x] Nothing\n"))
	if len(lines) != 4 || lines[1].text != "Both" || !lines[1].ticked || lines[2].ticked || lines[0].item {
		t.Fatalf("read %+v", lines)
	}
	if names := functions(lines); strings.Join(names, " ") != "TestA TestRoadmap" {
		t.Errorf("functions are %q", names)
	}
	passed := map[string]bool{"TestA": true, "TestRoadmap/plain/part": true, "TestRoadmap/part": true}
	if missing := unproven(lines[1], "plain", passed); len(missing) != 0 {
		t.Errorf("missing are %q", missing)
	}
	if missing := unproven(lines[1], "encrypted", passed); len(missing) != 1 || missing[0] != "TestRoadmap/encrypted/part" {
		t.Errorf("missing are %q", missing)
	}
	delete(passed, "TestA")
	if missing := unproven(lines[1], "plain", passed); len(missing) != 1 || missing[0] != "TestA" {
		t.Errorf("missing are %q", missing)
	}
	for _, kind := range kinds {
		if missing := unproven(lines[3], kind, passed); len(missing) != 1 {
			t.Errorf("a line without tests is proven: %q", missing)
		}
	}
}
