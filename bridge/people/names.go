// SPDX-License-Identifier: MPL-2.0

package people

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/bridgev2/networkid"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/proto/identity"
)

// Names knows what contacts are called. It may be called from any goroutine.
type Names struct {
	br  *bridgev2.Bridge
	bot bridgeconfig.BotUserConfig
}

// NewNames returns the names of a bridge with a bot, whose name nobody else may have.
func NewNames(br *bridgev2.Bridge, bot bridgeconfig.BotUserConfig) *Names {
	return &Names{br: br, bot: bot}
}

// Info returns the profile of a contact.
func (n *Names) Info(contact store.Contact) *bridgev2.UserInfo {
	return Info(contact.ID, n.OfContact(contact), contact.Avatar)
}

// OfContact is the name that our user has given the contact, else the one that the
// contact has chosen. A ghost is the same for all users of the homeserver, so with
// several users only the public name is shown.
func (n *Names) OfContact(contact store.Contact) string {
	if name := msgconv.CleanName(contact.LocalName); name != "" && n.oneUser() {
		return name
	}
	return n.UnlessBot(contact.Nickname, contact.ID)
}

// oneUser reports whether all logins belong to the same Matrix user.
func (n *Names) oneUser() bool {
	logins := n.br.GetAllCachedUserLogins()
	for _, login := range logins {
		if login.UserMXID != logins[0].UserMXID {
			return false
		}
	}
	return true
}

// Info returns the profile of somebody with a name and a picture, both of which may be empty.
func Info(key identity.PublicKey, name string, avatar []byte) *bridgev2.UserInfo {
	name = NameOr(name, key)
	bot := false
	info := &bridgev2.UserInfo{Name: &name, IsBot: &bot, Identifiers: []string{"mimir:" + key.String()}}
	if len(avatar) > 0 {
		sum := sha256.Sum256(avatar)
		info.Avatar = &bridgev2.Avatar{
			ID:  networkid.AvatarID(hex.EncodeToString(sum[:])),
			Get: func(context.Context) ([]byte, error) { return avatar, nil },
		}
	}
	return info
}

// NameOr returns a name without what names must not have, or the key when it is empty.
func NameOr(name string, key identity.PublicKey) string {
	if name = msgconv.CleanName(name); name != "" {
		return name
	}
	return "Mimir " + key.Short()
}

// LoginName is what a login is called: by its account.
func LoginName(account store.Account) string {
	return NameOr(account.Name, account.ID)
}

// UnlessBot returns a name, or the key when the name is empty or could be mistaken for
// that of the bot.
func (n *Names) UnlessBot(name string, key identity.PublicKey) string {
	if n.posesAsBot(name) {
		name = ""
	}
	return NameOr(name, key)
}

// posesAsBot reports whether a name contains the name of the bot, as eyes read it.
func (n *Names) posesAsBot(name string) bool {
	shape := msgconv.Skeleton(name)
	bot := n.bot
	for _, of := range []string{bot.Displayname, bot.Username} {
		if of := msgconv.Skeleton(of); len(of) >= minBotName && strings.Contains(shape, of) {
			return true
		}
	}
	return false
}

// minBotName is the least length of a bot name that is searched inside of others.
const minBotName = 4

// ForUser is what the bot calls a contact when it talks to our user.
func (n *Names) ForUser(contact store.Contact) string {
	if name := msgconv.CleanName(contact.LocalName); name != "" {
		return name
	}
	return n.UnlessBot(contact.Nickname, contact.ID)
}
