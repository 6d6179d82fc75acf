// SPDX-License-Identifier: MPL-2.0

package people

import (
	"testing"

	"maunium.net/go/mautrix/bridgev2/bridgeconfig"

	"github.com/mimird/mimird/proto/identity"
)

// A contact cannot be called what the bot is called, however it is written.
func TestUnlessBot_LookAlikes(t *testing.T) {
	n := NewNames(nil, bridgeconfig.BotUserConfig{Username: "mimirbot", Displayname: "Mimir bridge bot"})
	key := identity.PublicKey{1, 2, 3, 4}
	for _, name := range []string{
		"Mimir bridge bot", "mimir BRIDGE bot", "Mimir\u200b bridge\u2060 bot", "Ｍｉｍｉｒ ｂｒｉｄｇｅ ｂｏｔ", "𝐌𝐢𝐦𝐢𝐫 𝐛𝐫𝐢𝐝𝐠𝐞 𝐛𝐨𝐭",
		"Мimir brіdge bоt", "M\u0301imir bridge bot", "Mimir-bridge-bot", "Mimir bridge bot (official)", "The Mimir bridge bot", "Mimir\u3164bridge\u3164bot",
		"m i m i r b o t", "@mimirbot:example.org", "Mlmir bridge b0t",
	} {
		if got := n.UnlessBot(name, key); got != "Mimir 01020304" {
			t.Errorf("%q is shown as %q", name, got)
		}
	}
	for _, name := range []string{"Bob", "Mimir fan", "Bridget Botha", "Мимир", "Brigitte"} {
		if got := n.UnlessBot(name, key); got != name {
			t.Errorf("%q is shown as %q", name, got)
		}
	}
	// A bot without a name, or with a short one, is nobody's look-alike.
	n = NewNames(nil, bridgeconfig.BotUserConfig{Username: "bo", Displayname: "🤖"})
	if got := n.UnlessBot("Bob", key); got != "Bob" {
		t.Errorf("shown as %q", got)
	}
}
