// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"errors"
	"strings"

	"github.com/mimird/mimird/actors/control"
)

// What keys do. Those of overlays are in overlay.go.

// emojis are those that the apps offer.
var emojis = [...]string{"👍", "❤️", "😂", "😮", "😢", "🙏"}

func (m *Model) onKey(key string) []Effect {
	m.notice = ""
	m.win.failed = false
	switch key {
	case "ctrl+c", "ctrl+q":
		if m.over.kind == overConfirm {
			m.over = overlay{}
			return nil
		}
		return m.leave()
	case "ctrl+l":
		return []Effect{redraw{}}
	case "ctrl+z":
		return []Effect{suspend{}}
	}
	if m.over.kind != overNone {
		return m.onOverlayKey(key)
	}
	switch key {
	case "f1":
		m.over = overlay{kind: overHelp, title: "Help"}
	case "ctrl+f", "f3":
		m.over = overlay{kind: overSearch, title: "Search"}
	case "ctrl+o", "f2":
		m.chooseAccount()
	case "ctrl+n", "alt+down":
		m.step(1)
	case "ctrl+p", "alt+up":
		m.step(-1)
	case "pgup":
		m.scroll(-max(m.messageHeight()-1, 1))
	case "pgdn":
		m.scroll(max(m.messageHeight()-1, 1))
	case "ctrl+end", "alt+end", "ctrl+g":
		m.toEnd()
	case "tab":
		switch {
		case m.focus != onList:
			m.focus = onList
		case m.win.chat != "":
			m.focus = onComposer
		}
		m.win.selected = ""
	default:
		switch m.focus {
		case onList:
			return m.onListKey(key)
		case onComposer:
			return m.onComposerKey(key)
		case onMessages:
			return m.onMessageKey(key)
		}
	}
	return nil
}

// step opens the next conversation of the list.
func (m *Model) step(by int) {
	if len(m.chats) == 0 {
		return
	}
	if m.win.chat != "" {
		m.selectChat(m.win.chat)
		m.cursor += by
	}
	m.cursor = (m.cursor + len(m.chats)) % len(m.chats)
	m.openChat(m.chats[m.cursor].ID)
}

// scroll moves the conversation by lines.
func (m *Model) scroll(by int) {
	if m.win.chat == "" || m.paneWidth() <= 0 {
		return
	}
	lines := m.place()
	m.scrollTo(lines, m.bottomOf(lines)+by)
}

// toEnd shows the end of the conversation.
func (m *Model) toEnd() {
	if m.win.newer || !m.win.begun {
		m.reopen(0, "")
	}
	m.win.bottom, m.win.selected = "", ""
	if m.focus == onMessages {
		m.focus = onComposer
	}
}

func (m *Model) onListKey(key string) []Effect {
	last := len(m.chats) - 1
	switch key {
	case "up":
		m.cursor = max(m.cursor-1, 0)
	case "down":
		m.cursor = max(min(m.cursor+1, last), 0)
	case "home":
		m.cursor = 0
	case "end":
		m.cursor = max(last, 0)
	case "enter", "right":
		if m.cursor <= last {
			m.openChat(m.chats[m.cursor].ID)
		}
	}
	return nil
}

func (m *Model) onComposerKey(key string) []Effect {
	c := m.draft()
	switch key {
	case "enter":
		return m.write()
	case "esc":
		if c.reply != nil {
			c.reply = nil
			m.setDraft(c)
			return nil
		}
		m.focus = onList
		return nil
	case "up":
		if !c.vertical(false) {
			m.selectMessage(-1)
		}
	case "down":
		c.vertical(true)
	case "alt+enter", "ctrl+j", "shift+enter":
		if denied(m.open()) == "" {
			m.put(&c, "\n")
		}
	default:
		c.edit(key)
	}
	m.setDraft(c)
	return nil
}

// put inserts a text into the composer.
func (m *Model) put(c *composer, text string) {
	if !c.insert(text) {
		m.complain(errors.New("a message has at most 1 MiB; the end of the text is not in it"))
	}
}

// onTyped takes a character: into the composer, a field, or as a key.
func (m *Model) onTyped(text string) []Effect {
	m.notice = ""
	m.win.failed = false
	switch {
	case m.over.kind != overNone:
		return m.onOverlayTyped(text)
	case m.focus == onMessages:
		return m.onMessageKey(text)
	case m.focus == onList:
		return m.onListTyped(text)
	case request(m.open()):
		return m.answer(m.open(), text)
	case denied(m.open()) == "":
		c := m.draft()
		m.put(&c, text)
		m.setDraft(c)
	}
	return nil
}

func (m *Model) onListTyped(text string) []Effect {
	switch text {
	case "?":
		m.over = overlay{kind: overHelp, title: "Help"}
	case "/":
		m.over = overlay{kind: overSearch, title: "Search"}
	case "j":
		return m.onListKey("down")
	case "k":
		return m.onListKey("up")
	case "q":
		return m.leave()
	case "a", "d":
		if m.cursor < len(m.chats) {
			return m.answer(&m.chats[m.cursor], text)
		}
	}
	return nil
}

// onPasted takes a text that was pasted, whatever is in it, as a text.
func (m *Model) onPasted(text string) {
	m.notice = ""
	switch {
	case m.over.kind == overSearch, m.over.kind == overReact, m.over.kind == overSave:
		m.over.field.insert(strings.Join(paragraphs(text), " "))
	case m.over.kind != overNone:
	case m.win.chat != "" && denied(m.open()) == "" && m.paneWidth() > 0:
		m.focus, m.win.selected = onComposer, ""
		c := m.draft()
		m.put(&c, text)
		m.setDraft(c)
	}
}

// answer says yes or no to a contact request or an invite.
func (m *Model) answer(c *control.Conversation, text string) []Effect {
	if !request(c) || text != "a" && text != "d" {
		return nil
	}
	a := act{account: m.account, chat: c.ID}
	switch {
	case text == "a" && c.Contact != nil:
		a.kind, a.say = actAccept, c.Name+" is a contact now."
	case text == "a":
		a.kind, a.say = actJoin, "Joining "+c.Name+"."
	case c.Contact != nil:
		a.kind, a.say = actDecline, "Declined."
		m.confirm("Decline the request of "+c.Name+"?", a)
		return nil
	default:
		a.kind, a.say = actRefuse, "Declined."
		m.confirm("Decline the invite to "+c.Name+"?", a)
		return nil
	}
	return []Effect{a}
}

// selectMessage moves the selection up or down; the first time it selects the last message
// on the screen.
func (m *Model) selectMessage(by int) {
	w := &m.win
	if len(w.rows) == 0 {
		return
	}
	lines := m.place()
	i := w.find(w.selected)
	if i < 0 {
		i = min(lines[max(m.bottomOf(lines)-1, 0)].row, len(w.rows)-1)
	} else if i += by; i >= len(w.rows) {
		m.toEnd()
		return
	}
	i = max(i, 0)
	m.focus, w.selected = onMessages, w.rows[i].ID
	m.reveal(lines, i)
}

// reveal scrolls as little as it takes to show a row.
func (m *Model) reveal(lines []placed, i int) {
	first, last := -1, 0
	for n, l := range lines {
		if l.row == i {
			if first < 0 {
				first = n
			}
			last = n + 1
		}
	}
	bottom, height := m.bottomOf(lines), m.messageHeight()
	switch {
	case first < bottom-height:
		m.scrollTo(lines, first+height)
	case last > bottom:
		m.scrollTo(lines, min(last, first+height))
	}
}

func (m *Model) onMessageKey(key string) []Effect {
	i := m.win.find(m.win.selected)
	if i < 0 {
		m.focus = onComposer
		return nil
	}
	message := m.win.rows[i].Message
	switch key {
	case "up", "k":
		m.selectMessage(-1)
	case "down", "j":
		m.selectMessage(1)
	case "esc", "q":
		m.focus, m.win.selected = onComposer, ""
	case "enter", "r":
		if why := denied(m.open()); why != "" {
			m.complain(errors.New(why))
			return nil
		}
		c := m.draft()
		c.reply = &message
		m.setDraft(c)
		m.focus, m.win.selected = onComposer, ""
	case "e", "+":
		m.over = overlay{kind: overReact, title: "React", message: message}
	case "v", "right":
		m.over = overlay{kind: overText, title: "Message", message: message, waiting: true}
		return []Effect{askMessage{m.account, m.win.chat, message.ID, m.win.epoch, true}}
	case "d", "delete":
		m.remove(message)
	case "s":
		return m.save(message)
	}
	return nil
}

// remove takes a message back, as far as that is possible.
func (m *Model) remove(message control.Message) {
	a := act{account: m.account, chat: m.win.chat, message: message.ID}
	switch {
	case message.Direction == "out" && message.State == "pending":
		a.kind, a.say = actCancel, "The message is not sent."
		m.confirm("Do not send this message?", a)
	case message.Group != "" && !message.Deleted:
		a.kind, a.say = actDelete, "The mediator is asked to delete the message."
		m.confirm("Delete this message for everybody?", a)
	default:
		m.complain(errors.New("a message that a contact has cannot be taken back"))
	}
}

// save asks where to save the file of a message, or has it fetched first.
func (m *Model) save(message control.Message) []Effect {
	switch {
	case message.File == nil:
		m.complain(errors.New("this message has no file"))
	case message.File.State == "stored" || message.File.State == "uploading":
		m.over = overlay{kind: overSave, title: "Save as", message: message}
		m.over.field.insert(m.opts.FileName(message.File.Name))
	default:
		return []Effect{act{kind: actFetch, account: m.account, chat: m.win.chat, message: message.ID, say: "The file is being fetched; press s again when it is here."}}
	}
	return nil
}
