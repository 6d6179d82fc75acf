// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
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
	files, err := filepath.Glob(filepath.Join("..", "..", "bridge", "*_test.go"))
	if err != nil {
		t.Fatal(err)
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
		if len(l.tests) == 0 {
			t.Errorf("%q names no test", l.text)
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

func TestALineIsProvenByAllItsTests(t *testing.T) {
	lines := parse([]byte("# Title\n- [x] Both: `TestA`, `TestB/part`\n- [ ] Not yet\n- [x] Nothing\n"))
	if len(lines) != 4 || lines[1].text != "Both" || !lines[1].ticked || lines[2].ticked || lines[0].item {
		t.Fatalf("read %+v", lines)
	}
	if names := functions(lines); strings.Join(names, " ") != "TestA TestB" {
		t.Errorf("functions are %q", names)
	}
	if missing := unproven(lines[1], map[string]bool{"TestA": true}); len(missing) != 1 || missing[0] != "TestB/part" {
		t.Errorf("missing are %q", missing)
	}
	if missing := unproven(lines[1], map[string]bool{"TestA": true, "TestB/part": true}); len(missing) != 0 {
		t.Errorf("missing are %q", missing)
	}
	if missing := unproven(lines[3], nil); len(missing) != 1 {
		t.Errorf("a line without tests is proven: %q", missing)
	}
}
