// SPDX-License-Identifier: MPL-2.0

package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const (
	// maxText is how much of a message is searched, in bytes.
	maxText = 256 << 10
	// maxWord is the longest word, in bytes of its folded form: what is longer, such as
	// data in base64, is cut.
	maxWord = 64
)

// word is a piece of text that can be searched: letters and digits in a row, one symbol
// such as an emoji, or one character of a script that has no spaces.
type word struct {
	// folded is without case and accents. It has no ASCII character but a to z and 0 to 9.
	folded string
	// start and end are the bytes of the original.
	start, end int
}

type class uint8

const (
	separator class = iota
	letter
	// alone is a word by itself.
	alone
	// mark belongs to the character before it.
	mark
)

// unspaced are scripts that are written without spaces between words.
var unspaced = []*unicode.RangeTable{
	unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar,
}

func classOf(r rune) class {
	switch {
	case r < utf8.RuneSelf:
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return letter
		}
		return separator
	case r == unicode.ReplacementChar:
		return separator
	case unicode.Is(unicode.So, r):
		return alone
	case unicode.IsMark(r):
		return mark
	case unicode.IsLetter(r) || unicode.IsNumber(r):
		if unicode.In(r, unspaced...) {
			return alone
		}
		return letter
	}
	return separator
}

// isAccent reports whether a mark only changes the letter before it, as in European
// scripts. The vowels of other scripts are marks too.
func isAccent(r rune) bool { return r >= 0x300 && r <= 0x36f || r >= 0xfe00 && r <= 0xfe0f }

// appendFolded appends a character without case and accents.
func appendFolded(b []byte, r rune) []byte {
	switch {
	case r >= 'A' && r <= 'Z':
		return append(b, byte(r-'A'+'a'))
	case r < utf8.RuneSelf:
		return append(b, byte(r))
	case r == 'ß' || r == 'ẞ':
		return append(b, "ss"...)
	case r == 'ς':
		r = 'σ'
	case r == 'ı':
		r = 'i'
	}
	var buffer [utf8.UTFMax]byte
	n := utf8.EncodeRune(buffer[:], unicode.ToLower(r))
	for _, part := range string(norm.NFKD.Bytes(buffer[:n])) {
		if isAccent(part) || classOf(part) == separator {
			continue
		}
		b = utf8.AppendRune(b, unicode.ToLower(part))
	}
	return b
}

// wordsOf takes a text apart, up to maxText bytes of it.
func wordsOf(text string) (words []word) {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	var folded []byte
	open := false // the last word may grow
	end := func(at int) {
		if n := len(words) - 1; open {
			words[n].folded, words[n].end = string(folded), at
			if len(folded) == 0 {
				words = words[:n]
			}
		}
		open = false
	}
	for i, r := range text {
		c := classOf(r)
		if c == mark && open {
			if !isAccent(r) && len(folded) < maxWord {
				folded = appendFolded(folded, r)
			}
			continue
		}
		if c == mark {
			c = separator
		}
		grows := open && c == letter && classOf(lastRune(text[:i])) != alone
		if !grows {
			end(i)
		}
		if c == separator {
			continue
		}
		if !grows {
			words = append(words, word{start: i})
			folded, open = folded[:0], true
		}
		if len(folded) < maxWord {
			folded = appendFolded(folded, r)
		}
	}
	end(len(text))
	return words
}

// lastRune returns the last character that is not a mark.
func lastRune(text string) rune {
	for {
		r, n := utf8.DecodeLastRuneInString(text)
		if classOf(r) != mark || n == 0 {
			return r
		}
		text = text[:len(text)-n]
	}
}
