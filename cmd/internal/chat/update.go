// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/changes"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/store"
)

// Update reacts to an input and returns what is to be done.
func (m *Model) Update(in Input) []Effect {
	effects := m.react(in)
	m.lines = nil
	return append(effects, m.follows()...)
}

func (m *Model) react(in Input) []Effect {
	switch in := in.(type) {
	case Resized:
		m.width, m.height = in.Width, in.Height
	case Focused:
		m.away = !bool(in)
	case Key:
		return m.onKey(string(in))
	case Typed:
		return m.onTyped(string(in))
	case Pasted:
		m.onPasted(string(in))
	case gotAccounts:
		return m.onAccounts(in)
	case connected:
		return m.onConnected(in)
	case lost:
		m.onLost(in)
	case happened:
		if in.account == m.account {
			return m.onEvent(in.event)
		}
	case changed:
		if in.account == m.account && in.change.Kind == changes.Presence {
			m.onPresence(in.change)
		}
	case gotChats:
		return m.onChats(in)
	case gotChat:
		m.onChat(in)
	case gotMessages:
		m.onMessages(in)
	case gotMessage:
		m.onMessage(in)
	case gotMembers:
		m.onMembers(in)
	case gotFound:
		m.onFound(in)
	case sent:
		return m.onSent(in)
	case again:
		m.resting, m.unsent = false, false
	case did:
		if m.say(in.say); in.err != nil {
			m.complain(in.err)
		}
	}
	return nil
}

// follows is what follows from the state itself: more messages near the edge of those in
// memory, the read mark, the next text to send, the next conversation to ask for.
func (m *Model) follows() []Effect {
	if !m.online {
		return nil
	}
	effects := m.more()
	if m.reload && !m.resting && !m.querying {
		m.reload, m.querying = false, true
		effects = append(effects, askChats{m.account})
	}
	if e := m.read(); e != nil {
		effects = append(effects, e)
	}
	if len(m.outbox) > 0 && !m.sending && !m.unsent {
		m.sending = true
		effects = append(effects, sendNext{m.outbox[0]})
	}
	if len(m.dirty) > 0 && !m.querying {
		m.querying = true
		if len(m.dirty) > 4 {
			clear(m.dirty)
			return append(effects, askChats{m.account})
		}
		for id := range m.dirty {
			delete(m.dirty, id)
			return append(effects, askChat{m.account, id})
		}
	}
	return effects
}

// more asks for messages when the screen comes near the edge of those in memory.
func (m *Model) more() []Effect {
	w := &m.win
	if w.chat == "" || w.loading || w.failed {
		return nil
	}
	ask := func(which control.Range) []Effect {
		w.loading, w.again = true, false
		which.Limit = page
		return []Effect{askMessages{m.account, w.chat, w.epoch, which}}
	}
	if !w.begun {
		w.toTop = w.divider > 0
		switch w.divider {
		case 0:
			return ask(control.Range{})
		case 1:
			return ask(control.Range{Before: page + 1}) // the first page
		}
		return ask(control.Range{After: w.divider - 1})
	}
	lines := m.placed()
	bottom := m.bottomOf(lines)
	switch {
	case w.newer && bottom > len(lines)-ahead:
		return ask(control.Range{After: w.last})
	case w.older && bottom-m.messageHeight() < ahead:
		return ask(control.Range{Before: w.first})
	}
	return nil
}

// read tells the node how far the open conversation was read: to the last message on the
// screen.
func (m *Model) read() Effect {
	w, c := &m.win, m.open()
	if c == nil || m.away || w.telling || len(w.rows) == 0 || m.paneWidth() <= 0 || m.over.kind != overNone || w.failed || tooSmall(m) {
		return nil
	}
	lines := m.placed()
	if len(lines) == 0 {
		return nil
	}
	bottom := m.bottomOf(lines)
	order := w.last
	if i := lines[max(bottom-1, 0)].row; i < len(w.rows)-1 {
		order = w.rows[i].Order
	}
	if c.FirstUnread == 0 || order < c.FirstUnread || order <= w.marked {
		return nil
	}
	w.telling, w.marked = true, order
	return markRead{m.account, w.chat, order}
}

func tooSmall(m *Model) bool { return m.width < minWidth || m.height < minHeight }

func (m *Model) onAccounts(in gotAccounts) []Effect {
	if in.err != nil {
		m.online, m.reason = false, sentence(in.err)
		return nil
	}
	m.accounts = in.accounts
	if m.account != "" {
		return nil
	}
	for _, a := range in.accounts {
		if m.opts.Account == "" || a.ID == m.opts.Account {
			return m.show(a.ID)
		}
	}
	m.reason = "There is no account yet; create one with mimird account add NAME."
	return nil
}

// show switches to an account. Drafts and what is on its way stay.
func (m *Model) show(account string) []Effect {
	m.account, m.online, m.reason = account, false, ""
	m.chats, m.cursor, m.loaded, m.querying, m.reload = nil, 0, false, false, false
	clear(m.dirty)
	m.win = window{epoch: m.win.epoch + 1}
	m.focus, m.over = onList, overlay{}
	return []Effect{follow{account}}
}

func (m *Model) onConnected(in connected) []Effect {
	if in.account != m.account {
		return nil
	}
	m.online, m.reason = true, ""
	if in.missed && m.win.chat != "" {
		m.reopen(0, "")
	}
	m.win.failed = false // every question has an answer, if only that there was none
	m.querying = true
	clear(m.dirty)
	return []Effect{askChats{m.account}}
}

func (m *Model) onLost(in lost) {
	if in.account != m.account {
		return
	}
	m.online = false
	m.reason = strings.TrimSuffix(sentence(in.err), ".") + "; trying again in " + in.retry.String() + "."
}

func (m *Model) onChats(in gotChats) []Effect {
	if in.account != m.account {
		return nil
	}
	m.querying = false
	if in.err != nil {
		m.complain(in.err)
		m.reload = true
		return m.rest()
	}
	selected := m.selectedChat()
	m.chats, m.loaded = in.chats, true
	m.selectChat(selected)
	return nil
}

// rest lets a pause go by before a retry.
func (m *Model) rest() []Effect {
	if m.resting {
		return nil
	}
	m.resting = true
	return []Effect{later{}}
}

func (m *Model) selectedChat() string {
	if m.cursor < len(m.chats) {
		return m.chats[m.cursor].ID
	}
	return ""
}

// selectChat keeps the cursor of the list on a conversation.
func (m *Model) selectChat(id string) {
	i := slices.IndexFunc(m.chats, func(c control.Conversation) bool { return c.ID == id })
	if i < 0 {
		i = m.cursor
	}
	m.cursor = max(min(i, len(m.chats)-1), 0)
}

func (m *Model) onChat(in gotChat) {
	if in.account != m.account {
		return
	}
	if in.marked {
		if m.win.chat == in.chat {
			m.win.telling = false
			if in.err != nil {
				m.win.marked, m.win.failed = 0, true
			}
		}
	} else {
		m.querying = false
	}
	selected := m.selectedChat()
	old := slices.IndexFunc(m.chats, func(c control.Conversation) bool { return c.ID == in.chat })
	e, is := errors.AsType[*client.Error](in.err)
	gone := is && e.Status == http.StatusNotFound || in.err == nil && in.conversation.Group != nil && in.conversation.Group.Became != ""
	if gone && old >= 0 { // removed, or a creation that has become a group of its own
		m.chats = slices.Delete(m.chats, old, old+1)
	}
	if !gone && in.err == nil {
		if in.conversation.Last != nil {
			last := *in.conversation.Last
			last.Text, _ = shorten(last.Text, 400)
			last.Payload, in.conversation.Last = nil, &last
		}
		switch newer := old < 0 || lastOrder(in.conversation) > lastOrder(m.chats[old]); {
		case !newer:
			m.chats[old] = in.conversation
		case old >= 0:
			m.chats = slices.Delete(m.chats, old, old+1)
			fallthrough
		default:
			m.chats = slices.Insert(m.chats, 0, in.conversation)
		}
	}
	m.selectChat(selected)
}

func lastOrder(c control.Conversation) uint64 {
	if c.Last == nil {
		return 0
	}
	return c.Last.Order
}

func (m *Model) onPresence(c control.Change) {
	if chat := m.chat(c.Contact); chat != nil && chat.Contact != nil {
		chat.Contact.Online, chat.Contact.LastSeen = c.Online, c.LastSeen
	}
}

// onEvent follows the log: the conversation of the event is asked for again, and what is
// shown of its messages changes at once.
func (m *Model) onEvent(e control.Event) []Effect {
	id := e.Contact
	if e.Group != "" {
		id = e.Group
	}
	if id == "" {
		if e.Kind == store.AccountChanged.String() {
			return []Effect{askAccounts{}}
		}
		return nil
	}
	m.dirty[id] = true
	if id != m.win.chat {
		return nil
	}
	if e.Kind == store.MessagesExpired.String() {
		m.reopen(0, "")
		return nil
	}
	if e.Message == nil {
		return nil
	}
	if e.Message.Reaction != nil {
		return m.onReaction(*e.Message)
	}
	w := &m.win
	if i := w.find(e.Message.ID); i >= 0 {
		changed := newRow(*e.Message)
		changed.Reactions = w.rows[i].Reactions
		w.rows[i] = changed
		if m.over.message.ID == e.Message.ID {
			m.over.message = changed.Message
		}
		return nil
	}
	m.arrived(*e.Message)
	return nil
}

// arrived puts a new message at the end.
func (m *Model) arrived(message control.Message) {
	w := &m.win
	switch {
	case !w.begun || w.newer:
		w.again = true // it is asked for with those before it, also when a question is under way
	case message.Order > w.last:
		w.last = message.Order
		if message.Reaction == nil {
			w.rows = append(w.rows, newRow(message))
			m.trim(true)
		}
	}
}

// onReaction asks again for the message that somebody has reacted to.
func (m *Model) onReaction(r control.Message) []Effect {
	m.arrived(r)
	if r.RefersTo == nil || m.win.find(r.RefersTo.ID) < 0 {
		return nil
	}
	return []Effect{askMessage{m.account, m.win.chat, r.RefersTo.ID, m.win.epoch, false}}
}

// trim drops rows beyond what may be in memory, from the beginning or from the end.
func (m *Model) trim(fromStart bool) {
	w := &m.win
	over := len(w.rows) - maxWindow
	if over <= 0 {
		return
	}
	if fromStart {
		w.rows = slices.Clone(w.rows[over:])
		w.first, w.older = w.rows[0].Order, true
	} else {
		w.rows = slices.Clone(w.rows[:maxWindow])
		w.last, w.newer = w.rows[maxWindow-1].Order, true
	}
	if w.selected != "" && w.find(w.selected) < 0 {
		w.selected = ""
		if m.focus == onMessages {
			m.focus = onComposer
		}
	}
}

func (m *Model) onMessages(in gotMessages) {
	w := &m.win
	if in.epoch != w.epoch {
		return
	}
	w.loading = false
	if in.err != nil {
		w.failed = true
		m.complain(in.err)
		return
	}
	lines := m.place()
	atEnd := m.bottomOf(lines) == len(lines) && !w.newer
	rows := make([]row, 0, len(in.messages))
	for _, message := range slices.Backward(in.messages) {
		if message.Reaction == nil {
			rows = append(rows, newRow(message))
		}
	}
	first, last := uint64(0), uint64(0)
	if n := len(in.messages); n > 0 {
		first, last = in.messages[n-1].Order, in.messages[0].Order
	}
	switch {
	case !w.begun:
		w.rows, w.first, w.last, w.begun = rows, first, last, true
		w.older = len(in.messages) > 0
		w.newer = w.again || len(in.messages) > 0 && (in.which.After > 0 || in.which.Before > 0)
		if in.which.After > 0 && len(in.messages) == 0 { // removed meanwhile
			w.begun, w.divider = false, 0
			return
		}
	case in.which.After > 0:
		w.newer = w.again || len(in.messages) > 0
		if last > 0 {
			w.rows, w.last = append(w.rows, rows...), last
		}
		m.trim(true)
	default:
		w.older = len(in.messages) > 0
		if first > 0 {
			w.rows, w.first = append(rows, w.rows...), first
		}
		m.trim(false)
	}
	m.anchor(in, atEnd)
}

// anchor decides which line is the last on the screen after messages were loaded.
func (m *Model) anchor(in gotMessages, atEnd bool) {
	w := &m.win
	switch {
	case w.toTop && w.divider > 0:
		// The first unread message is at the top, as far as there are messages after it.
		lines := m.place()
		top := slices.IndexFunc(lines, func(l placed) bool { return l.row < len(w.rows) && w.rows[l.row].Order >= w.divider })
		m.scrollTo(lines, max(top, 0)+m.messageHeight())
		w.toTop = false
	case in.which.After > 0 && atEnd, w.bottom == "" && !w.newer:
		w.bottom = ""
	case w.bottom == "" && len(w.rows) > 0: // it was the end, and is not any more
		w.bottom, w.lines = w.rows[len(w.rows)-1].ID, 1<<20
	}
}

func (m *Model) onMessage(in gotMessage) {
	if in.epoch != m.win.epoch {
		return
	}
	if in.err != nil {
		m.complain(in.err)
		return
	}
	if in.whole {
		if m.over.kind == overText && m.over.message.ID == in.id {
			m.over.waiting, m.over.message = false, in.message
			m.over.lines = nil
		}
		return
	}
	if i := m.win.find(in.id); i >= 0 {
		m.win.rows[i] = newRow(in.message)
	}
}

func (m *Model) onSent(in sent) []Effect {
	m.sending = false
	i := slices.IndexFunc(m.outbox, func(o outgoing) bool { return o.source == in.source })
	if i < 0 {
		return nil
	}
	o := m.outbox[i]
	if in.err != nil && !refused(in.err) {
		// The node may have it or not: it is sent again, and the source keeps it from being
		// there twice.
		m.complain(in.err)
		m.unsent = true
		return m.rest()
	}
	m.outbox = slices.Delete(m.outbox, i, i+1)
	if in.err == nil {
		return nil
	}
	m.complain(in.err)
	// What was refused goes back to where it was written.
	key := draftKey{o.account, o.chat}
	c := m.drafts[key]
	text := o.text
	if o.file != "" {
		text = strings.TrimSuffix("/file "+o.file+"\n"+o.text, "\n")
	}
	if c.text != "" {
		text += "\n" + c.text
	}
	c.set(text)
	m.drafts[key] = c
	return nil
}

// openChat shows a conversation, from the first unread message on.
func (m *Model) openChat(id string) {
	c := m.chat(id)
	if c == nil {
		return
	}
	m.selectChat(id)
	m.focus = onComposer
	if m.win.chat == id {
		return
	}
	m.win.chat = id
	m.reopen(c.FirstUnread, "")
}

// reopen loads the open conversation anew: from a position on, or around a message, or its
// end.
func (m *Model) reopen(divider uint64, selected string) {
	m.win = window{chat: m.win.chat, epoch: m.win.epoch + 1, divider: divider, selected: selected}
	if m.focus == onMessages && selected == "" {
		m.focus = onComposer
	}
}

// write sends what is in the composer, or does what it says after a slash.
func (m *Model) write() []Effect {
	c := m.draft()
	text := strings.TrimRight(c.text, " \n\t")
	if strings.TrimSpace(text) == "" || denied(m.open()) != "" {
		return nil
	}
	o := outgoing{account: m.account, chat: m.win.chat, text: text}
	if rest, ok := strings.CutPrefix(text, "/"); ok && !strings.HasPrefix(rest, "/") {
		word, rest, _ := strings.Cut(rest, " ")
		if word != "file" {
			return m.command(word, strings.TrimSpace(rest))
		}
		path, caption, _ := strings.Cut(rest, "\n")
		if o.file, o.text = pathOf(path), strings.TrimSpace(caption); o.file == "" {
			m.complain(errors.New("name the file after /file, and its caption on the next line"))
			return nil
		}
	} else if ok {
		o.text = rest // two slashes are one that is meant
	}
	if len(m.outbox) >= maxOutbox {
		m.complain(errors.New("too many messages wait for the node; the text stays here"))
		return nil
	}
	if c.reply != nil {
		o.reply = c.reply.GUID
	}
	o.source = m.opts.Source()
	m.outbox = append(m.outbox, o)
	m.setDraft(composer{})
	if m.win.newer {
		m.reopen(0, "")
	}
	m.win.bottom = ""
	return nil
}

// pathOf reads a path as terminals write it when a file is dropped on them.
func pathOf(text string) string {
	text = strings.TrimSpace(text)
	for _, quote := range []string{"'", `"`} {
		if len(text) > 1 && strings.HasPrefix(text, quote) && strings.HasSuffix(text, quote) {
			return text[1 : len(text)-1]
		}
	}
	if filepath.Separator == '/' {
		text = strings.ReplaceAll(text, `\ `, " ")
	}
	return text
}

// command does what a line after a slash says.
func (m *Model) command(word, rest string) []Effect {
	before := m.draft()
	m.setDraft(composer{reply: before.reply})
	var effects []Effect
	switch word {
	case "search":
		m.over = overlay{kind: overSearch, title: "Search"}
		if m.over.field.insert(rest); rest != "" {
			effects = m.search()
		}
	case "members":
		effects = m.onMembersKey()
	case "accounts":
		m.chooseAccount()
	case "help":
		m.over = overlay{kind: overHelp, title: "Help"}
	case "quit":
		effects = m.leave()
	default:
		m.setDraft(before)
		m.complain(errors.New("there is no command /" + clean(cut(word, 20)) + "; /help lists them, and // begins a text with a slash"))
	}
	return effects
}

// leave ends the program; what would be lost is asked about first.
func (m *Model) leave() []Effect {
	drafts := 0
	for _, c := range m.drafts {
		if strings.TrimSpace(c.text) != "" {
			drafts++
		}
	}
	var what string
	switch {
	case len(m.outbox) > 0:
		what = "The node does not have " + plural(len(m.outbox), "message") + " of yours yet."
	case drafts > 0:
		what = "There is text in the composer of " + plural(drafts, "conversation") + "."
	default:
		return []Effect{quit{}}
	}
	m.confirm(what+" Quit, and lose it?", quit{})
	return nil
}

func (m *Model) confirm(question string, yes Effect) {
	m.over = overlay{kind: overConfirm, title: question, yes: []Effect{yes}}
}
