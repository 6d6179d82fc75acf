// SPDX-License-Identifier: MPL-2.0

package msgconv

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// maxName bounds a shown name, in characters.
const maxName = 100

// CleanName returns a name that somebody else has chosen, such that it can stand in a
// line of text: without invisible characters, line breaks and changes of direction,
// without backticks, which would show it as a command, and without a leading @, which
// would make it look like a user id. It is at most 100 characters long, and can be empty.
func CleanName(name string) string {
	name = removeInvisible(strings.ToValidUTF8(name, ""))
	name = strings.ReplaceAll(name, "`", "'")
	name = strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(name), "@"))
	if runes := []rune(name); len(runes) > maxName {
		name = strings.TrimSpace(string(runes[:maxName])) + "…"
	}
	return name
}

// removeInvisible removes invisible characters from a line of text: control and format
// characters, default ignorable ones and line breaks. Other white space becomes a space.
// Zero-width joiners and emoji selectors stay within emoji.
func removeInvisible(s string) string {
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

// isInvisible reports whether a character is invisible: a control or format character,
// or default ignorable in Unicode, of which the standard library has a part. U+2800, the
// blank pattern of Braille, is invisible without being white space.
func isInvisible(r rune) bool {
	return r == unicode.ReplacementChar || r == '\u2800' || unicode.IsControl(r) ||
		unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Bidi_Control,
			unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// lookAlikes maps lower-case letters of other scripts to the Latin letters that they look
// like.
var lookAlikes = map[rune]rune{
	'а': 'a', 'α': 'a', 'в': 'b', 'β': 'b', 'ь': 'b', 'с': 'c', 'ϲ': 'c', 'ԁ': 'd', 'е': 'e', 'ё': 'e', 'ε': 'e', 'є': 'e', 'ɡ': 'g', 'ց': 'g',
	'н': 'h', 'һ': 'h', 'η': 'n', 'і': 'i', 'ї': 'i', 'ι': 'i', 'ı': 'i', 'ӏ': 'i', 'l': 'i', '1': 'i', '|': 'i', 'ј': 'j', 'к': 'k', 'κ': 'k',
	'м': 'm', 'μ': 'm', 'о': 'o', 'ο': 'o', 'σ': 'o', '0': 'o', 'օ': 'o', 'р': 'p', 'ρ': 'p', 'г': 'r', 'ѕ': 's', 'т': 't', 'τ': 't',
	'υ': 'u', 'ս': 'u', 'ν': 'v', 'ѵ': 'v', 'ԝ': 'w', 'ω': 'w', 'х': 'x', 'χ': 'x', 'у': 'y', 'γ': 'y', 'ᴍ': 'm', 'ʀ': 'r', 'ʙ': 'b', 'ᴏ': 'o', 'ᴛ': 't',
	'ɪ': 'i', 'ᴅ': 'd', 'ɢ': 'g', 'ᴇ': 'e',
}

// Skeleton reduces a name to what tells it apart for the eye: names with the same
// skeleton look alike. It folds compatibility forms, case and look-alikes, and drops marks,
// spaces and punctuation.
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
	}, norm.NFKD.String(removeInvisible(name)))
}
