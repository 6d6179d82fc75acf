// SPDX-License-Identifier: MPL-2.0

package search

import (
	"slices"
	"strings"
	"testing"
)

func foldedOf(text string) (folded []string) {
	for _, w := range wordsOf(text) {
		folded = append(folded, w.folded)
	}
	return folded
}

func TestWords_OfManyScripts(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{" ...\n\t-- ", nil},
		{"Hello, World-wide 2026!", []string{"hello", "world", "wide", "2026"}},
		{"Привет, ЁЛКА и йод", []string{"привет", "елка", "и", "иод"}},
		{"Straße STRASSE ΣΊΣΥΦΟΣ σίσυφος", []string{"strasse", "strasse", "σισυφοσ", "σισυφοσ"}},
		{"café cafe\u0301 ﬁn", []string{"cafe", "cafe", "fin"}},
		{"well done👍🏽👍 ok", []string{"well", "done", "👍", "👍", "ok"}},
		{"👨‍👩‍👧❤️", []string{"👨", "👩", "👧", "❤"}},
		{"我爱Tokyo東京", []string{"我", "爱", "tokyo", "東", "京"}},
		{"हिन्दी में", []string{"हिन्दी", "में"}},
		{"photo_2026-11-30.JPG", []string{"photo", "2026", "11", "30", "jpg"}},
		{"\ue000c1 \ufffd", []string{"c1"}},
		{"\u0301a", []string{"a"}},
	} {
		if got := foldedOf(test.text); !slices.Equal(got, test.want) && strings.Join(got, "|") != strings.Join(test.want, "|") {
			t.Errorf("%q: %q, want %q", test.text, got, test.want)
		}
	}
}

func TestWords_PlacesAreThoseOfTheOriginal(t *testing.T) {
	text := "«Ёлка» 👍🏽 cafe\u0301!"
	var pieces []string
	for _, w := range wordsOf(text) {
		pieces = append(pieces, text[w.start:w.end])
	}
	if want := []string{"Ёлка", "👍", "cafe\u0301"}; !slices.Equal(pieces, want) {
		t.Errorf("%q, want %q", pieces, want)
	}
}

// FuzzWords_NothingOfTheQueryLanguage holds any text to what the index relies on.
func FuzzWords_NothingOfTheQueryLanguage(f *testing.F) {
	f.Add("a\"b* ﷺ ½ ㈀ \xff")
	f.Fuzz(func(t *testing.T, text string) {
		last := 0
		for _, w := range wordsOf(text) {
			if w.start < last || w.end <= w.start || w.end > len(text) || w.folded == "" || len(w.folded) > maxWord+64 {
				t.Fatalf("%q: %+v", text, w)
			}
			last = w.end
			for _, r := range w.folded {
				if r < 0x80 && classOf(r) != letter || r == scope {
					t.Fatalf("%q: %q", text, w.folded)
				}
			}
		}
	})
}
