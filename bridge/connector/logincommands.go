// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"strings"

	"maunium.net/go/mautrix/bridgev2/commands"

	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/people"
)

// What users say to the bot about logins and the bridge.

// answered is the context key that marks a login whose first question the command answers
// itself, such as `login attach Home`.
type answered struct{}

// loginCommands returns the library's commands about logins, as they are here.
func (c *Connector) loginCommands() []commands.CommandHandler {
	login := *commands.CommandLogin
	login.Func = func(ce *commands.Event) {
		// The library wants one word for each question; names have several.
		if len(ce.Args) > 1 && !strings.EqualFold(ce.Args[0], flowImport) {
			ce.Args = []string{ce.Args[0], strings.Join(ce.Args[1:], " ")}
			ce.Ctx = context.WithValue(ce.Ctx, answered{}, true)
		}
		commands.CommandLogin.Func(ce)
	}
	general := func(name, text string, run func(*commands.Event)) commands.CommandHandler {
		return &commands.FullHandler{Name: name, Func: run, Help: commands.HelpMeta{Section: commands.HelpSectionGeneral, Description: text}}
	}
	return []commands.CommandHandler{
		&login,
		general("version", "Show which version of the bridge runs", func(ce *commands.Event) { replyText(ce, "mimird "+c.version) }),
		general("ping", "Show whether your logins work", c.commandPing),
	}
}

// commandPing is answered by the bridge alone: that the answer is there says that the
// homeserver reaches it.
func (c *Connector) commandPing(ce *commands.Event) {
	var lines []string
	for _, cl := range c.clients(ce) {
		account, err := c.node.Account(cl.account)
		text := "the bridge and this login work"
		if err != nil {
			account.ID, text = cl.account, fault.OneLine(err)
		} else if state := c.connected(cl.account); state.Message != "" {
			text = state.Message
		}
		lines = append(lines, people.LoginName(account)+": "+text)
	}
	if len(lines) == 0 {
		lines = []string{"The bridge works, and you are not logged in: write `login`."}
	}
	replyLines(ce, lines)
}
