// SPDX-License-Identifier: MPL-2.0

package msgconv

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// maxName is the longest name that is shown, in characters.
const maxName = 100

// CleanName makes a name from outside fit for one line among others: nothing that
// is invisible, breaks lines, or turns the direction of the text around it. A name
// that looks like a user id could pass for somebody else's.
func CleanName(name string) string {
	name = RemoveInvisible(strings.ToValidUTF8(name, ""))
	name = strings.ReplaceAll(name, "`", "'") // what stands between two of them is shown as a command
	name = strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(name), "@"))
	if runes := []rune(name); len(runes) > maxName {
		name = strings.TrimSpace(string(runes[:maxName])) + "…"
	}
	return name
}

// RemoveInvisible takes out of a line of text what nobody sees: control and format
// characters, what is ignored by default, and line ends; other white space becomes
// a space. Joiners and selectors stay inside of emoji, which fall apart without.
func RemoveInvisible(s string) string {
	var b strings.Builder
	symbol := false // the character before is a part of an emoji
	for _, r := range s {
		switch {
		case unicode.IsSpace(r) && !unicode.IsControl(r) && !unicode.Is(unicode.Zl, r) && !unicode.Is(unicode.Zp, r):
			b.WriteByte(' ')
			symbol = false
		case r == zeroWidthJoiner || r == emojiSelector:
			if symbol {
				b.WriteRune(r)
			}
		case isInvisible(r):
		default:
			b.WriteRune(r)
			symbol = unicode.Is(unicode.So, r) || unicode.Is(unicode.Sk, r) && r > unicode.MaxLatin1
		}
	}
	return b.String()
}

const (
	zeroWidthJoiner = '\u200d'
	emojiSelector   = '\ufe0f'
)

// isInvisible reports whether a character is shown as nothing: it is a control or
// format character, or ignorable by default (the property of Unicode, of which the
// standard library has a part). The blank pattern of Braille is white space that
// does not say so.
func isInvisible(r rune) bool {
	return r == unicode.ReplacementChar || r == '\u2800' || unicode.IsControl(r) ||
		unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Bidi_Control,
			unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// lookAlikes are letters of other scripts that look like Latin ones, after folding
// to lower case.
var lookAlikes = map[rune]rune{
	'а': 'a', 'α': 'a', 'в': 'b', 'β': 'b', 'ь': 'b', 'с': 'c', 'ϲ': 'c', 'ԁ': 'd', 'е': 'e', 'ё': 'e', 'ε': 'e', 'є': 'e', 'ɡ': 'g', 'ց': 'g',
	'н': 'h', 'һ': 'h', 'η': 'n', 'і': 'i', 'ї': 'i', 'ι': 'i', 'ı': 'i', 'ӏ': 'i', 'l': 'i', '1': 'i', '|': 'i', 'ј': 'j', 'к': 'k', 'κ': 'k',
	'м': 'm', 'μ': 'm', 'о': 'o', 'ο': 'o', 'σ': 'o', '0': 'o', 'օ': 'o', 'р': 'p', 'ρ': 'p', 'г': 'r', 'ѕ': 's', 'т': 't', 'τ': 't',
	'υ': 'u', 'ս': 'u', 'ν': 'v', 'ѵ': 'v', 'ԝ': 'w', 'ω': 'w', 'х': 'x', 'χ': 'x', 'у': 'y', 'γ': 'y', 'ᴍ': 'm', 'ʀ': 'r', 'ʙ': 'b', 'ᴏ': 'o', 'ᴛ': 't',
	'ɪ': 'i', 'ᴅ': 'd', 'ɢ': 'g', 'ᴇ': 'e',
}

// Skeleton is what remains of a name for the eye: compatibility forms, case, marks
// on letters, spaces and punctuation do not count, and letters that look alike are
// one.
func Skeleton(name string) string {
	return strings.Map(func(r rune) rune {
		r = unicode.ToLower(r)
		if same, ok := lookAlikes[r]; ok {
			return same
		}
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return r
	}, norm.NFKD.String(RemoveInvisible(name)))
}
