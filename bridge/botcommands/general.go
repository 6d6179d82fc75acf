// SPDX-License-Identifier: MPL-2.0

package botcommands

import (
	"maunium.net/go/mautrix/bridgev2/commands"

	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/people"
)

// generalCommands returns the library's commands about the bridge, as they are here.
func (c *Commands) generalCommands() []commands.CommandHandler {
	general := func(name, text string, run func(*commands.Event)) commands.CommandHandler {
		return &commands.FullHandler{Name: name, Func: run, Help: commands.HelpMeta{Section: commands.HelpSectionGeneral, Description: text}}
	}
	return []commands.CommandHandler{
		general("version", "Show which version of the bridge runs", func(ce *commands.Event) { replyText(ce, "mimird "+c.deps.Version) }),
		general("ping", "Show whether your logins work", c.commandPing),
	}
}

// commandPing is answered by the bridge alone: that the answer is there says that the
// homeserver reaches it.
func (c *Commands) commandPing(ce *commands.Event) {
	var lines []string
	for _, cl := range c.clients(ce) {
		account, err := c.deps.Node.Account(cl.account)
		text := "the bridge and this login work"
		if err != nil {
			account.ID, text = cl.account, fault.OneLine(err)
		} else if state := c.deps.State(cl.account); state.Message != "" {
			text = state.Message
		}
		lines = append(lines, people.LoginName(account)+": "+text)
	}
	if len(lines) == 0 {
		lines = []string{"The bridge works, and you are not logged in: write `login`."}
	}
	replyLines(ce, lines)
}
