// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

const (
	// maxCluster is how many runes a character on the screen may consist of: emoji of
	// families need seven, and marks without end would cover the lines above.
	maxCluster = 10
	zwj        = '\u200d' // joins emoji
)

// clusters yields the characters of a text as they may be shown, each with its width in
// columns, 1 or 2. Control characters, line ends and every kind of space become a space;
// characters that are invisible or turn the text around are left out; what has no picture
// becomes U+FFFD.
func clusters(text string) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		for state := -1; text != ""; {
			var raw string
			var width int
			if text[0] >= ' ' && text[0] < 0x7f && (len(text) == 1 || text[1] < 0x80) { // most of all text
				raw, text, width, state = text[:1], text[1:], 1, -1
			} else {
				raw, text, _, state = uniseg.FirstGraphemeClusterInString(text, state)
				if raw, width = character(raw); width == 0 {
					continue
				}
			}
			if !yield(raw, width) {
				return
			}
		}
	}
}

// character makes one character of a grapheme cluster that may be anything; its width is 0
// when nothing is left of it.
func character(raw string) (string, int) {
	if len(raw) == 1 && raw[0] >= ' ' && raw[0] < 0x7f {
		return raw, 1
	}
	var b strings.Builder
	n := 0
	for _, r := range raw {
		switch {
		case r == zwj && n > 0:
		case unicode.IsControl(r), unicode.IsSpace(r), unicode.Is(unicode.Zs, r):
			r = ' '
		case unicode.Is(unicode.Cf, r):
			continue // also those that turn the text around
		case !unicode.IsGraphic(r):
			r = utf8.RuneError
		}
		if n == 0 && unicode.Is(unicode.M, r) {
			b.WriteByte(' ') // a mark needs something to stand on
			n++
		}
		if n++; n > maxCluster {
			break
		}
		b.WriteRune(r)
	}
	if n == 0 {
		return "", 0
	}
	// Without what was left out it may be several characters, or none that has a width.
	first, _, width, _ := uniseg.FirstGraphemeClusterInString(strings.TrimRight(b.String(), string(zwj)), -1)
	if width < 1 || width > 2 {
		return string(utf8.RuneError), 1
	}
	return first, width
}

// clean returns a text as one line of characters that may be shown.
func clean(text string) string {
	var b strings.Builder
	for c := range clusters(text) {
		b.WriteString(c)
	}
	return b.String()
}

// widthOf is how many columns a text takes.
func widthOf(text string) (n int) {
	for _, w := range clusters(text) {
		n += w
	}
	return n
}

// cut shortens a text to a width, with a mark when something is missing.
func cut(text string, width int) string {
	var b strings.Builder
	used, kept := 0, 0 // kept is the length of what leaves a column for the mark
	for c, w := range clusters(text) {
		if used+w > width {
			if width < 1 {
				return ""
			}
			return b.String()[:kept] + "…"
		}
		b.WriteString(c)
		if used += w; used < width {
			kept = b.Len()
		}
	}
	return b.String()
}

// paragraphs splits a text at its line ends, of whatever kind.
func paragraphs(text string) []string {
	return strings.Split(lineEnds.Replace(text), "\n")
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u2028", "\n", "\u2029", "\n", "\u0085", "\n", "\v", "\n", "\f", "\n")

// wrap breaks a text into lines of at most width columns, between words where there are
// spaces. It returns at least one line.
func wrap(text string, width int) []string {
	width = max(width, 1)
	var lines []string
	for _, paragraph := range paragraphs(text) {
		var line strings.Builder
		used, space := 0, -1 // space is where the line can be broken
		for c, w := range clusters(paragraph) {
			if w > width {
				c, w = "?", 1
			}
			if used+w > width {
				if c == " " {
					lines, used, space = append(lines, line.String()), 0, -1
					line.Reset()
					continue
				}
				head, tail := line.String(), ""
				if space >= 0 {
					head, tail = head[:space], head[space+1:]
				}
				lines = append(lines, head)
				line.Reset()
				if used, space = widthOf(tail), -1; used+w > width {
					lines, used, tail = append(lines, tail), 0, ""
				}
				line.WriteString(tail)
			}
			if c == " " {
				space = line.Len()
			}
			line.WriteString(c)
			used += w
		}
		lines = append(lines, line.String())
	}
	return lines
}

// shorten keeps the beginning of a long text, at most limit bytes of it, and says how many
// bytes are left out.
func shorten(text string, limit int) (string, int) {
	if len(text) <= limit {
		return text, 0
	}
	end := limit
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return strings.Clone(text[:end]), len(text) - end // so that the rest is not kept
}
