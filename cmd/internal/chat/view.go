// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"strings"

	"github.com/mimird/mimird/actors/control"
)

// View draws the state.
func (m *Model) View() *Canvas {
	c := newCanvas(max(m.width, 1), max(m.height, 1))
	if tooSmall(m) {
		for y, text := range wrap("This terminal is too small.", c.Width) {
			c.put(0, y, c.Width, text, 0)
		}
		return c
	}
	if m.over.kind != overNone && m.over.kind != overConfirm && m.over.kind != overReact && m.over.kind != overSave && m.over.kind != overSearch {
		m.drawOverlay(c)
	} else {
		m.drawHead(c)
		if width := m.listWidth(); width > 0 {
			m.drawList(c, width)
		}
		if m.paneWidth() > 0 {
			m.drawPane(c)
		}
	}
	m.drawFoot(c)
	return c
}

// drawHead draws the first line: the account, and how the node is.
func (m *Model) drawHead(c *Canvas) {
	state, style := "online", Style(0)
	if !m.online {
		state, style = "connecting", Yellow
		if m.reason != "" {
			state, style = "no connection", Red
		}
	}
	if n := m.unread(); n > 0 {
		state = countText(n) + " unread  " + state
	}
	c.fill(0, 0, c.Width, " mimird  "+cut(m.accountName(), max(c.Width-widthOf(state)-12, 0)), Reverse)
	c.put(c.Width-widthOf(state)-1, 0, c.Width, state, Reverse|style)
}

func (m *Model) unread() (n int) {
	for i := range m.chats {
		n += m.chats[i].Unread
	}
	return n
}

// drawList draws the conversations.
func (m *Model) drawList(c *Canvas, width int) {
	top, height := 1, c.Height-2
	if len(m.chats) == 0 {
		text := "No conversations yet. Add a contact with mimird contact add."
		if !m.loaded {
			text = ""
		}
		for y, l := range wrap(text, width-2) {
			if y < height {
				c.put(1, top+y, width-2, l, Dim)
			}
		}
	}
	each := 2
	if height < 14 {
		each = 1
	}
	shown := max(height/each, 1)
	from := min(max(m.cursor-shown/2, 0), max(len(m.chats)-shown, 0))
	for i := from; i < min(from+shown, len(m.chats)); i++ {
		m.drawEntry(c, top+(i-from)*each, width, each, i)
	}
	if m.width >= narrow {
		for y := top; y < c.Height-1; y++ {
			c.put(width, y, 1, "│", Dim)
		}
	}
}

// drawEntry draws a conversation of the list in one or two lines.
func (m *Model) drawEntry(c *Canvas, y, width, each, i int) {
	chat := &m.chats[i]
	style := Style(0)
	lead := " "
	if chat.ID == m.win.chat {
		style, lead = Bold, "*"
	}
	if i == m.cursor && m.focus == onList {
		style |= Reverse
		if lead == " " {
			lead = ">"
		}
	}
	right := ""
	switch {
	case request(chat):
		right = "(!)"
	case chat.Unread > 0:
		right = "(" + countText(chat.Unread) + ")"
		style |= Bold
	case chat.Undelivered > 0:
		right = "…"
	}
	if each == 2 || width > 40 {
		if chat.Last != nil {
			right = strings.TrimSpace(right + " " + when(chat.Last.Stored, m.opts.Now()))
		}
	}
	kind := ""
	if chat.Group != nil {
		kind = "#"
	}
	room := max(width-widthOf(right)-3, 1)
	c.fill(0, y, width, lead+cut(kind+chat.Name, room), style)
	c.put(width-widthOf(right)-1, y, width, right, style)
	if each == 2 {
		c.put(2, y+1, width-3, cut(m.last(chat), width-3), Dim)
	}
}

// last is the last message of a conversation in one line.
func (m *Model) last(chat *control.Conversation) string {
	switch {
	case request(chat) && chat.Contact != nil:
		return "asks to be your contact"
	case request(chat):
		return "invites you"
	case chat.Last == nil:
		return ""
	case chat.Last.TypeName == "system":
		return m.brief(*chat.Last)
	case chat.Last.Direction == "out" || chat.Group != nil:
		return author(*chat.Last, chat) + ": " + m.brief(*chat.Last)
	}
	return m.brief(*chat.Last)
}

// drawPane draws the open conversation and the composer.
func (m *Model) drawPane(c *Canvas) {
	left, width := m.paneLeft(), m.paneWidth()
	chat := m.open()
	if m.win.chat == "" {
		for y, l := range wrap("Choose a conversation with the arrow keys and Enter. F1 or ? shows the keys.", width-2) {
			c.put(left+1, 2+y, width-2, l, Dim)
		}
		return
	}
	head := ""
	if chat != nil {
		head = chat.Name
		if now := presence(*chat, m.opts.Now()); now != "" {
			head += " — " + now
		}
		if chat.Group != nil {
			head += " — group"
			if chat.Group.Stage != "live" && chat.Group.State == "member" {
				head += ", " + chat.Group.Stage
			}
		}
	}
	c.put(left+1, 1, width-2, cut(head, width-2), Bold)
	foot, x, y := m.footLines()
	m.drawMessages(c, left, width)
	top := c.Height - 1 - len(foot)
	c.put(left, top-1, width, strings.Repeat("─", width), Dim)
	for i, l := range foot {
		c.line(left, top+i, width, l)
	}
	if m.focus == onComposer && x >= 0 && m.over.kind == overNone {
		c.CursorX, c.CursorY = min(left+x, c.Width-1), top+y
	}
}

func (m *Model) drawMessages(c *Canvas, left, width int) {
	lines, height := m.placed(), m.messageHeight()
	bottom := m.bottomOf(lines)
	from := max(bottom-height, 0)
	for y, l := range lines[from:bottom] {
		c.line(left, 2+y, width, l.line)
		if l.row < len(m.win.rows) && m.win.rows[l.row].ID == m.win.selected {
			c.put(left, 2+y, 1, ">", Bold|Reverse)
		}
	}
	switch {
	case !m.win.begun && m.win.loading:
		c.put(left+1, 2, width-2, "Loading…", Dim)
	case len(lines) == 0 && m.win.begun:
		c.put(left+1, 2, width-2, "No messages yet.", Dim)
	}
	if bottom < len(lines) || m.win.newer {
		c.put(left+max(width-12, 0), 1, 12, "↓ Ctrl+G end", Dim)
	}
}

// drawFoot draws the last line: a question, a sentence, or what keys there are.
func (m *Model) drawFoot(c *Canvas) {
	y := c.Height - 1
	field := func(lead string) {
		x := c.put(0, y, c.Width, lead, Bold)
		lines, at, _ := m.over.field.lines(1 << 20)
		text := lines[0]
		if room := c.Width - x - 1; at > room { // the end of a long text
			var out []string
			used := 0
			for ch, w := range clusters(text) {
				out = append(out, ch)
				used += w
			}
			for len(out) > 0 && used > room {
				used -= widthOf(out[0])
				out = out[1:]
			}
			text, at = strings.Join(out, ""), used
		}
		c.put(x, y, c.Width, text, 0)
		c.CursorX, c.CursorY = min(x+at, c.Width-1), y
	}
	switch {
	case m.over.kind == overConfirm:
		c.put(0, y, c.Width, cut(m.over.title, max(c.Width-7, 1))+" (y/n)", Bold)
	case m.over.kind == overReact:
		lead := "React: "
		for i, e := range emojis {
			lead += string(rune('1'+i)) + " " + e + "  "
		}
		if c.Width < 70 {
			lead = "React: 1-6, 0 none, or type: "
		} else {
			lead += "0 take back, or type: "
		}
		field(lead)
	case m.over.kind == overSave:
		field("Save as: ")
	case m.over.kind == overSearch:
		field("Search: ")
	case m.notice != "":
		style := Green
		if m.wrong {
			style = Red
		}
		c.put(0, y, c.Width, cut(m.notice, c.Width), style)
	case !m.online && m.reason != "":
		c.put(0, y, c.Width, cut(m.reason, c.Width), Red)
	default:
		c.put(0, y, c.Width, cut(m.hint(), c.Width), Dim)
	}
}

// hint says which keys there are now.
func (m *Model) hint() string {
	switch {
	case m.over.kind != overNone:
		return "Esc close  ↑↓ move  Enter open"
	case m.focus == onMessages:
		return "r reply  e react  d delete  s save  v all of it  Esc back"
	case m.focus == onComposer && request(m.open()):
		return "a accept  d decline  Tab list  F1 help"
	case m.focus == onComposer && denied(m.open()) != "":
		return "↑ select  Tab list  F1 help"
	case m.focus == onComposer:
		return "Enter send  Alt+Enter line  ↑ select  Tab list  F1 help"
	}
	return "Enter open  / search  ? help  q quit"
}

// drawOverlay draws what is shown in place of the conversation.
func (m *Model) drawOverlay(c *Canvas) {
	o := &m.over
	c.fill(0, 0, c.Width, " "+cut(o.title, c.Width-2), Reverse)
	var entries []string
	switch o.kind {
	case overHelp:
		entries = helpLines(c.Width - 2)
	case overText:
		entries = m.textLines()
	case overAccounts:
		for _, a := range o.accounts {
			entries = append(entries, a.Name+"  "+start(a.ID))
		}
	case overMembers:
		for _, member := range o.members {
			entries = append(entries, memberLine(member))
		}
	case overFound:
		entries = m.foundLines()
	}
	height := m.overlayHeight()
	from, cursor := o.scroll, -1
	if o.kind == overAccounts || o.kind == overFound {
		cursor = o.cursor
		from = min(max(cursor-height/2, 0), max(len(entries)-height, 0))
	}
	from = max(min(from, len(entries)-height), 0)
	for y := 0; y < height && from+y < len(entries); y++ {
		style := Style(0)
		lead := " "
		if from+y == cursor {
			style, lead = Reverse, ">"
		}
		c.fill(0, 1+y, c.Width, lead+cut(entries[from+y], c.Width-1), style)
	}
	switch {
	case o.waiting:
		c.put(1, c.Height-2, c.Width-2, "Loading…", Dim)
	case o.kind == overFound && len(entries) == 0:
		c.put(1, 1, c.Width-2, "Nothing found.", Dim)
	case o.kind == overFound && o.found.Unread > 0:
		c.put(1, c.Height-2, c.Width-2, "The index is not complete yet; messages may be missing.", Yellow)
	case len(entries) > from+height:
		c.put(1, c.Height-2, c.Width-2, "↓ more", Dim)
	}
}

func memberLine(member control.GroupMember) string {
	name := member.Name
	if name == "" {
		name = start(member.ID)
	}
	text := cut(name, 30) + "  " + member.Role
	if member.Online {
		text += ", online"
	}
	return text + "  " + start(member.ID)
}

func (m *Model) foundLines() (entries []string) {
	for _, name := range m.over.found.Names {
		kind := "contact "
		if name.Group != "" {
			kind = "group "
		}
		entries = append(entries, kind+name.Name)
	}
	for _, hit := range m.over.found.Messages {
		where := cut(hit.Name, maxName)
		if who := author(hit.Message, nil); hit.Message.Direction == "out" || hit.Message.Group != "" {
			where = cut(who, maxName) + " in " + where
		}
		text := hit.Excerpt
		if hit.Message.File != nil {
			text = m.brief(hit.Message)
		}
		entries = append(entries, when(timeOf(hit.Message), m.opts.Now())+"  "+where+": "+text)
	}
	return entries
}
