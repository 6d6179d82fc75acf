// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// The pictures are what the kept results give.
func TestPictures_AreThoseOfTheResults(t *testing.T) {
	pictures, err := draw(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if len(pictures) != 2 {
		t.Fatalf("%d pictures", len(pictures))
	}
	for name, want := range pictures {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the results give; make performance-pictures draws it again", name)
		}
	}
}

// Other results give other pictures.
func TestPictures_ShowTheResults(t *testing.T) {
	one, err := drawRatios([]ratio{{"a", 0.4, 0.5}, {"b", 0.6, 0.5}})
	if err != nil {
		t.Fatal(err)
	}
	other, err := drawRatios([]ratio{{"a", 0.4, 0.5}, {"b", 0.7, 0.5}})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one, other) {
		t.Error("two ratios have the same picture")
	}
	for _, text := range []string{">a   <", ">b   <", ">0.40<", ">0.60<"} {
		if !bytes.Contains(one, []byte(text)) {
			t.Errorf("%s is not in the picture", text)
		}
	}
	line := growth{"check", "message", []cost{{10_000, 2}, {100_000, 3}}}
	level, err := drawGrowth([]growth{line})
	if err != nil {
		t.Fatal(err)
	}
	line.costs[1].micros = 300
	steep, err := drawGrowth([]growth{line})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(level, steep) {
		t.Error("two costs have the same picture")
	}
	if _, err := drawGrowth(nil); err == nil {
		t.Error("a picture of nothing was drawn")
	}
	if _, err := drawRatios(nil); err == nil {
		t.Error("a picture of nothing was drawn")
	}
}

// Lines of the benchmarks are read whole, or named.
func TestResults_OddLines(t *testing.T) {
	ratios, err := readRatios("# of a quiet machine\nbench a 0.84x of b, wanted 1.00x: MISSED\nbench c 1.20x of d\n")
	if err != nil || len(ratios) != 1 || ratios[0] != (ratio{"a", 0.84, 1}) {
		t.Errorf("ratios %v, %v", ratios, err)
	}
	growths, err := readGrowth("bench growth-a 2.40us at 10000, 0.00100us at 100000 per message, wanted 15.00us, exponent 1.00, wanted 1.1: ok\n" +
		"bench growth-b 1.00us at 10000 per call, wanted 15.00us: ok\n")
	if err != nil || len(growths) != 1 || growths[0].name != "a" || growths[0].item != "message" ||
		len(growths[0].costs) != 2 || growths[0].costs[1] != (cost{100_000, 0.001}) {
		t.Errorf("costs %v, %v", growths, err)
	}
	for _, line := range []string{"bench a fast of b", "a 0.84x of b", "bench a 1.2.3x of b, wanted 1.00x: ok"} {
		if out, err := readRatios("\n" + line); err == nil || !strings.HasPrefix(err.Error(), "line 2: ") {
			t.Errorf("%q was read as %v, %v", line, out, err)
		}
	}
	for _, line := range []string{
		"bench a 0.84x of b", "bench growth-a 2.40us per message, wanted 15.00us: ok",
		"bench growth-a 0.00us at 10000 per message, wanted 15.00us: ok",
	} {
		if out, err := readGrowth(line); err == nil {
			t.Errorf("%q was read as %v", line, out)
		}
	}
}
