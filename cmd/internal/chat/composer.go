// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"

	"github.com/mimird/mimird/actors/control"
)

// maxText is the longest text that a message carries, in bytes.
const maxText = 1 << 20

// composer is a text that is being written, with a cursor in it.
type composer struct {
	text string
	at   int // where the cursor is, in bytes
	// reply is the message that the text will quote, nil for none.
	reply *control.Message
}

// insert puts a text at the cursor, without characters that control a terminal, and
// reports whether all of it fitted.
func (c *composer) insert(text string) bool {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, lineEnds.Replace(strings.ToValidUTF8(text, "\ufffd")))
	whole := len(c.text)+len(text) <= maxText
	if !whole {
		text, _ = shorten(text, maxText-len(c.text))
	}
	c.text = c.text[:c.at] + text + c.text[c.at:]
	c.at += len(text)
	return whole
}

// set replaces the text.
func (c *composer) set(text string) { c.text, c.at = text, len(text) }

// lineStart and lineEnd are where the line of the cursor begins and ends.
func (c *composer) lineStart() int { return strings.LastIndexByte(c.text[:c.at], '\n') + 1 }

func (c *composer) lineEnd() int {
	if i := strings.IndexByte(c.text[c.at:], '\n'); i >= 0 {
		return c.at + i
	}
	return len(c.text)
}

// before is where the character before the cursor begins.
func (c *composer) before() int {
	start := c.lineStart()
	if start == c.at {
		return max(c.at-1, 0)
	}
	last := start
	for rest := c.text[start:c.at]; rest != ""; {
		last = c.at - len(rest)
		_, rest, _, _ = uniseg.FirstGraphemeClusterInString(rest, -1)
	}
	return last
}

// after is where the character at the cursor ends.
func (c *composer) after() int {
	cluster, _, _, _ := uniseg.FirstGraphemeClusterInString(c.text[c.at:], -1)
	return c.at + len(cluster)
}

// wordStart is where the word before the cursor begins.
func (c *composer) wordStart() int {
	head := strings.TrimRightFunc(c.text[:c.at], unicode.IsSpace)
	return strings.LastIndexFunc(head, unicode.IsSpace) + 1
}

// wordEnd is where the word after the cursor ends.
func (c *composer) wordEnd() int {
	rest := c.text[c.at:]
	word := strings.TrimLeftFunc(rest, unicode.IsSpace)
	if i := strings.IndexFunc(word, unicode.IsSpace); i >= 0 {
		return len(c.text) - len(word) + i
	}
	return len(c.text)
}

// remove takes out what is between two places and puts the cursor there.
func (c *composer) remove(from, to int) {
	c.text = c.text[:from] + c.text[to:]
	c.at = from
}

// vertical moves the cursor by a line up or down, and reports whether there was one.
func (c *composer) vertical(down bool) bool {
	column := utf8.RuneCountInString(c.text[c.lineStart():c.at])
	if down {
		end := c.lineEnd()
		if end == len(c.text) {
			return false
		}
		c.at = end + 1
	} else {
		start := c.lineStart()
		if start == 0 {
			return false
		}
		c.at = start - 1
		c.at = c.lineStart()
	}
	for end := c.lineEnd(); column > 0 && c.at < end; column-- {
		c.at = c.after()
	}
	return true
}

// edit does what a key does in every field for text; most keys do nothing.
func (c *composer) edit(key string) {
	switch key {
	case "left":
		c.at = c.before()
	case "right":
		c.at = c.after()
	case "home", "ctrl+a":
		c.at = c.lineStart()
	case "end", "ctrl+e":
		c.at = c.lineEnd()
	case "alt+b", "ctrl+left", "alt+left":
		c.at = c.wordStart()
	case "alt+f", "ctrl+right", "alt+right":
		c.at = c.wordEnd()
	case "backspace":
		c.remove(c.before(), c.at)
	case "delete":
		c.remove(c.at, c.after())
	case "ctrl+w", "alt+backspace":
		c.remove(c.wordStart(), c.at)
	case "ctrl+u":
		c.remove(c.lineStart(), c.at)
	case "ctrl+k":
		c.remove(c.at, c.lineEnd())
	}
}

// lines breaks the text for a width, and says in which line and column the cursor is.
func (c *composer) lines(width int) (lines []string, x, y int) {
	width = max(width, 2)
	offset := 0 // of the paragraph
	for i, paragraph := range strings.Split(c.text, "\n") {
		if i > 0 {
			offset++
		}
		var line strings.Builder
		used, place := 0, offset
		for rest := paragraph; rest != ""; {
			raw, after, _, _ := uniseg.FirstGraphemeClusterInString(rest, -1)
			ch, w := character(raw)
			if used+w > width {
				lines = append(lines, line.String())
				line.Reset()
				used = 0
			}
			if place <= c.at && c.at < place+len(raw) {
				x, y = used, len(lines)
			}
			line.WriteString(ch)
			used, place, rest = used+w, place+len(raw), after
		}
		if offset += len(paragraph); c.at == offset {
			if used == width { // there is no column for it behind the last character
				lines = append(lines, line.String())
				line.Reset()
				used = 0
			}
			x, y = used, len(lines)
		}
		lines = append(lines, line.String())
	}
	return lines, x, y
}
