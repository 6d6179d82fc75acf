// SPDX-License-Identifier: MPL-2.0

package botcrypto

import (
	"context"

	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/fault"
)

// NewCommand returns the command check-encryption, which describes whether the messages
// of a room are encrypted, and who can decrypt them. device returns nil without encryption.
func NewCommand(device func() Device, isEncrypted func(context.Context, id.RoomID) (bool, error)) *commands.FullHandler {
	return &commands.FullHandler{
		Name: "check-encryption",
		Help: commands.HelpMeta{
			Section:     commands.HelpSectionGeneral,
			Description: "Say whether this room is encrypted and your devices can read what the bridge sends.",
		},
		Func: func(ce *commands.Event) {
			encrypted, err := isEncrypted(ce.Ctx, ce.RoomID)
			if err != nil {
				ce.Reply("It cannot be looked at now: %s.", fault.OneLine(err))
				return
			}
			text := "This room is not encrypted: your homeserver can read it."
			if encrypted {
				text = "This room is encrypted: your homeserver cannot read it. The bridge can, and encrypts it anew for Mimir."
			}
			if dev := device(); dev != nil {
				ce.Reply("%s %s", text, dev.Explain(ce.Ctx, ce.User.MXID))
				return
			}
			if encrypted {
				text = "This room is encrypted, and the bridge cannot encrypt: nothing is sent here."
			}
			ce.Reply("%s Encryption is switched off in this bridge, or the homeserver has none for bridges.", text)
		},
	}
}
