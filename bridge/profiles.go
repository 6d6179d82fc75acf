// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"encoding/json"
	"time"

	"maunium.net/go/mautrix/bridgev2/database"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

const profilesDueKey database.Key = "im.mimir.profiles_due"

// keepProfiles has the changes that are not shown kept in the bridge's tables.
func (c *connector) keepProfiles(ctx context.Context) {
	var left []store.Conversation
	for _, name := range readNames(c.br.DB.KV.Get(ctx, profilesDueKey)) {
		account, err1 := identity.ParsePublicKey(name[0])
		id, err2 := store.ParseConversationID(name[1])
		if err1 == nil && err2 == nil {
			left = append(left, store.Conversation{Account: account, ID: id})
		}
	}
	c.deliver.RestoreProfiles(left, func(due []store.Conversation) {
		names := make([][2]string, len(due))
		for i, conversation := range due {
			names[i] = [2]string{conversation.Account.String(), conversation.ID.String()}
		}
		text, _ := json.Marshal(names) // cannot fail
		c.br.DB.KV.Set(c.br.BackgroundCtx, profilesDueKey, string(text))
	})
}

func readNames(text string) (names [][2]string) {
	_ = json.Unmarshal([]byte(text), &names) // nothing is due in what cannot be read
	return names
}

// showProfile shows the profile of a contact as it is now.
func (c *connector) showProfile(ctx context.Context, at *deliver.Position) error {
	err := c.show(ctx, at, store.Event{
		Account: at.Account, Conversation: at.ID, Kind: store.ContactChanged, Time: store.MillisOf(time.Now()),
	})
	if err == nil { // also when the contact is gone, or the homeserver refuses it
		c.deliver.ProfileShown(at.Conversation, false)
	}
	return err
}

// profileTurn reports whether the profile of a contact looks otherwise than it is
// shown, and whether it has changed again so soon that this is shown later.
func (d *delivery) profileTurn(ctx context.Context, contact store.Contact) (changed, early bool, err error) {
	ghost, err := d.br.GetExistingGhostByID(ctx, mimirid.User(d.at.Contact()))
	if err != nil || ghost == nil {
		return false, false, err
	}
	info := d.userInfo(contact)
	changed = *info.Name != ghost.Name || info.Avatar == nil && ghost.AvatarID != "" || info.Avatar != nil && info.Avatar.ID != ghost.AvatarID
	if !changed {
		return false, false, nil
	}
	return true, !d.deliver.MayShowProfile(d.at.Conversation), nil
}
