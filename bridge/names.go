// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"strings"

	"github.com/mimird/mimird/bridge/msgconv"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Names that others have chosen: what is taken out of them, and how they are
// compared, so that nobody looks like the bot.

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
	shape := msgconv.Skeleton(name)
	bot := c.config.AppService.Bot
	for _, of := range []string{bot.Displayname, bot.Username} {
		if of := msgconv.Skeleton(of); len(of) >= minBotName && strings.Contains(shape, of) {
			return true
		}
	}
	return false
}

// minBotName is how long a name of the bot is that is looked for inside of others.
const minBotName = 4

// shownName is what the bot calls a contact when it talks to our user.
func (c *connector) shownName(contact store.Contact) string {
	if name := msgconv.CleanName(contact.LocalName); name != "" {
		return name
	}
	return c.unlessBot(contact.Nickname, contact.ID)
}
