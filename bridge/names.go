// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Names that others have chosen: what is taken out of them, and how they are
// compared, so that nobody looks like the bot.

// removeInvisible takes out of a line of text what nobody sees: control and format
// characters, what is ignored by default, and line ends; other white space becomes
// a space. Joiners and selectors stay inside of emoji, which fall apart without.
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

// skeleton is what remains of a name for the eye: compatibility forms, case, marks
// on letters, spaces and punctuation do not count, and letters that look alike are
// one.
func skeleton(name string) string {
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

// unlessBot is the name of somebody, unless it could be taken for the bot's: then
// it is their key, as for somebody without a name.
func (c *connector) unlessBot(name string, key identity.PublicKey) string {
	if c.posesAsBot(name) {
		name = ""
	}
	return nameOr(name, key)
}

// posesAsBot reports whether a name has in it what the bot is called.
func (c *connector) posesAsBot(name string) bool {
	shape := skeleton(name)
	bot := c.config.AppService.Bot
	for _, of := range []string{bot.Displayname, bot.Username} {
		if of := skeleton(of); len(of) >= minBotName && strings.Contains(shape, of) {
			return true
		}
	}
	return false
}

// minBotName is how long a name of the bot is that is looked for inside of others.
const minBotName = 4

// shownName is what the bot calls a contact when it talks to our user.
func (c *connector) shownName(contact store.Contact) string {
	if name := cleanName(contact.LocalName); name != "" {
		return name
	}
	return c.unlessBot(contact.Nickname, contact.ID)
}
