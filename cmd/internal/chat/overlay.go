// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mimird/mimird/actors/control"
)

// What is shown over the conversation: help, a whole message, accounts, members, search, and
// questions.

func (m *Model) onOverlayKey(key string) []Effect {
	o := &m.over
	if key == "esc" || key == "ctrl+o" || key == "f1" {
		m.over = overlay{}
		return nil
	}
	switch o.kind {
	case overConfirm:
		if key == "enter" {
			m.say("Press y for yes, n for no.")
		}
	case overSearch, overReact, overSave:
		if key == "enter" {
			return m.entered()
		}
		o.field.edit(key)
	default:
		return m.moveInOverlay(key)
	}
	return nil
}

// moveInOverlay moves in a list or a text.
func (m *Model) moveInOverlay(key string) []Effect {
	o := &m.over
	by := 0
	switch key {
	case "up":
		by = -1
	case "down":
		by = 1
	case "pgup":
		by = -max(m.overlayHeight()-1, 1)
	case "pgdn":
		by = max(m.overlayHeight()-1, 1)
	case "home":
		by = -1 << 20
	case "end":
		by = 1 << 20
	case "enter":
		return m.chosen()
	}
	n := m.overlayLength()
	switch o.kind {
	case overHelp, overText, overMembers:
		o.scroll = max(min(o.scroll+by, n-m.overlayHeight()), 0)
	default:
		o.cursor = max(min(o.cursor+by, n-1), 0)
		if o.kind == overFound && o.cursor == n-1 && by > 0 && !o.waiting && o.found.Next != "" && len(o.found.Messages) < maxFound {
			o.waiting = true
			o.query.Before = o.found.Next
			return []Effect{askFound{m.account, o.query}}
		}
	}
	return nil
}

func (m *Model) onOverlayTyped(text string) []Effect {
	o := &m.over
	switch o.kind {
	case overConfirm:
		yes := o.yes
		switch text {
		case "y", "Y":
			m.over = overlay{}
			return yes
		case "n", "N":
			m.over = overlay{}
		}
	case overReact:
		if i := strings.IndexAny("0123456", text); i >= 0 && len(text) == 1 && o.field.text == "" {
			emoji := ""
			if i > 0 {
				emoji = emojis[i-1]
			}
			return m.reactWith(emoji)
		}
		o.field.insert(text)
	case overSearch, overSave:
		o.field.insert(text)
	default:
		switch text {
		case "q":
			m.over = overlay{}
		case "j":
			return m.moveInOverlay("down")
		case "k":
			return m.moveInOverlay("up")
		case " ":
			return m.moveInOverlay("pgdn")
		}
	}
	return nil
}

// entered does what was typed into the field of an overlay.
func (m *Model) entered() []Effect {
	o := m.over
	text := strings.TrimSpace(o.field.text)
	if text == "" {
		return nil
	}
	switch o.kind {
	case overSearch:
		return m.search()
	case overReact:
		return m.reactWith(text)
	case overSave:
		m.over = overlay{}
		return []Effect{act{kind: actSave, account: m.account, chat: m.win.chat, message: o.message.ID, text: text, say: "Saved as " + text + "."}}
	}
	return nil
}

// reactWith reacts to the message of the overlay; "" takes a reaction back.
func (m *Model) reactWith(emoji string) []Effect {
	guid := m.over.message.GUID
	m.over = overlay{}
	return []Effect{act{kind: actReact, account: m.account, chat: m.win.chat, message: guid, text: emoji}}
}

func (m *Model) search() []Effect {
	q := control.Search{Words: m.over.field.text, Limit: foundPage}
	m.over = overlay{kind: overFound, title: "Search: " + q.Words, query: q, waiting: true}
	return []Effect{askFound{m.account, q}}
}

func (m *Model) onFound(in gotFound) {
	o := &m.over
	if o.kind != overFound || !o.waiting || in.query != o.query {
		return
	}
	o.waiting = false
	if in.err != nil {
		m.complain(in.err)
		return
	}
	for i := range in.found.Messages {
		hit := &in.found.Messages[i]
		hit.Message.Payload, hit.Message.Text = nil, ""
		hit.Excerpt, _ = shorten(hit.Excerpt, 400)
	}
	in.found.Messages = append(o.found.Messages, in.found.Messages...)
	in.found.Names = append(o.found.Names, in.found.Names...)
	o.found = in.found
}

func (m *Model) onMembersKey() []Effect {
	c := m.open()
	if c == nil || c.Group == nil {
		m.say("Only groups have members.")
		return nil
	}
	m.over = overlay{kind: overMembers, title: "Members of " + c.Name, waiting: true}
	return []Effect{askMembers{m.account, c.ID, m.win.epoch}}
}

func (m *Model) onMembers(in gotMembers) {
	if m.over.kind != overMembers || in.epoch != m.win.epoch {
		return
	}
	m.over.waiting = false
	if in.err != nil {
		m.complain(in.err)
		return
	}
	for _, member := range in.members {
		if member.Standing == "member" {
			m.over.members = append(m.over.members, member)
		}
	}
}

func (m *Model) chooseAccount() {
	if len(m.accounts) < 2 {
		m.say("There is one account on this node.")
		return
	}
	m.over = overlay{kind: overAccounts, title: "Accounts", accounts: m.accounts}
	m.over.cursor = slices.IndexFunc(m.accounts, func(a control.Account) bool { return a.ID == m.account })
}

// chosen opens what the cursor of a list is on.
func (m *Model) chosen() []Effect {
	o := m.over
	switch o.kind {
	case overAccounts:
		m.over = overlay{}
		if id := o.accounts[o.cursor].ID; id != m.account {
			return m.show(id)
		}
	case overFound:
		if o.cursor >= m.overlayLength() {
			return nil
		}
		m.over = overlay{}
		if o.cursor < len(o.found.Names) {
			name := o.found.Names[o.cursor]
			m.openChat(name.Contact + name.Group)
			return nil
		}
		return m.goTo(o.found.Messages[o.cursor-len(o.found.Names)].Message)
	}
	return nil
}

// goTo opens the conversation of a message at that message.
func (m *Model) goTo(message control.Message) []Effect {
	id := message.Contact + message.Group
	if m.chat(id) == nil {
		m.say("That conversation is not in the list.")
		return nil
	}
	m.win.chat = id
	m.selectChat(id)
	m.reopen(0, message.ID)
	m.win.loading, m.focus = true, onMessages
	return []Effect{askMessages{m.account, id, m.win.epoch, control.Range{Before: message.Order + 1, Limit: page}}}
}

// overlayHeight is how many lines an overlay has for its content.
func (m *Model) overlayHeight() int { return max(m.height-3, 1) }

// overlayLength is how many entries or lines there are.
func (m *Model) overlayLength() int {
	o := &m.over
	switch o.kind {
	case overHelp:
		return len(helpLines(m.width - 2))
	case overText:
		return len(m.textLines())
	case overAccounts:
		return len(o.accounts)
	case overMembers:
		return len(o.members)
	case overFound:
		return len(o.found.Names) + len(o.found.Messages)
	}
	return 0
}

// textLines is a whole message in lines.
func (m *Model) textLines() []string {
	o := &m.over
	if o.lines == nil || o.cursor != m.width {
		text := o.message.Text
		if o.message.TypeName != "text" || o.message.Deleted || text == "" {
			text = m.brief(o.message)
		}
		o.lines, o.cursor = wrap(text, m.width-2), m.width
	}
	return o.lines
}

// help says what keys and commands there are.
const help = `Anywhere
Tab  the list of conversations, the composer
Ctrl+N, Ctrl+P  the next conversation, the one before
PgUp, PgDn  scroll; Ctrl+G goes to the end
Ctrl+F  search
Ctrl+O  another account
Ctrl+C  quit

Composer
Enter  send
Alt+Enter, Ctrl+J  a new line
Up  select a message
Esc  no reply; the list of conversations

A selected message
r  reply
e  react
d  delete, or do not send
s  save its file, or fetch it
v  show all of it
Esc  back to the composer

List, and requests
a, d  accept or decline
/  search
q  quit

Commands
/file PATH  send a file; its caption is on the next line
/search WORDS  search
/members  who is in the group
/accounts  another account
/help, /quit
//TEXT  a text that begins with a slash

Marks
…  not delivered yet
✓  delivered
✗  given up`

func helpLines(width int) (lines []string) {
	for text := range strings.SplitSeq(help, "\n") {
		keys, what, found := strings.Cut(text, "  ")
		if found {
			text = fmt.Sprintf("  %-18s %s", keys, what)
		}
		lines = append(lines, wrap(text, width)...)
	}
	return lines
}
