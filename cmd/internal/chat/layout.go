// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/control"
)

// How the conversation is cut into lines, and which of them are on the screen.

const (
	// narrow is the width below which the list and the conversation are not shown at the
	// same time.
	narrow = 60
	// minWidth and minHeight are the smallest screen that something is shown on.
	minWidth, minHeight = 20, 6
	// indent is how wide the column with the times is, and the mark of the selection
	// before it.
	indent  = 8
	maxName = 20
	// ahead is how many lines before the edge of what was read more is asked for.
	ahead = 20
)

// listWidth is how wide the list is; 0 when it is not shown.
func (m *Model) listWidth() int {
	switch {
	case m.width >= narrow:
		return min(max(m.width/4, 22), 34)
	case m.focus == onList || m.win.chat == "":
		return m.width
	}
	return 0
}

// paneLeft is where the conversation begins, paneWidth how wide it is; 0 when it is not
// shown.
func (m *Model) paneLeft() int {
	if m.width >= narrow {
		return m.listWidth() + 1
	}
	return 0
}

func (m *Model) paneWidth() int {
	if m.width < narrow && m.listWidth() > 0 {
		return 0
	}
	return m.width - m.paneLeft()
}

// composerLines are the lines of the composer that are shown, with the place of the cursor.
func (m *Model) composerLines() (lines []string, x, y int) {
	c := m.draft()
	lines, x, y = c.lines(max(m.paneWidth()-2, 2))
	if most := max(1, min(6, (m.height-4)/3)); len(lines) > most {
		from := min(max(y-most+1, 0), len(lines)-most)
		lines, y = lines[from:from+most], y-from
	}
	return lines, x, y
}

// footLines are the lines below the messages: what is quoted, and the composer or why there
// is none.
func (m *Model) footLines() (lines []line, x, y int) {
	if why := denied(m.open()); why != "" {
		for _, text := range wrap(why, max(m.paneWidth()-1, 1)) {
			lines = append(lines, line{{" " + text, Yellow}})
		}
		return lines[:min(len(lines), max(1, m.height/3))], -1, 0
	}
	if quoted := m.draft().reply; quoted != nil {
		text := "> " + author(*quoted, m.open()) + ": " + m.brief(*quoted)
		lines = append(lines, line{{cut(text, m.paneWidth()-1), Cyan}})
	}
	texts, x, y := m.composerLines()
	for i, text := range texts {
		lead := "  "
		if i == 0 {
			lead = "> "
		}
		lines = append(lines, line{{lead, Bold}, {text, 0}})
	}
	return lines, x + 2, y + len(lines) - len(texts)
}

// messageHeight is how many lines there are for messages.
func (m *Model) messageHeight() int {
	foot, _, _ := m.footLines()
	return max(m.height-4-len(foot), 1) // the head, the name, the rule above the composer, the last line
}

// brief is a message in one line.
func (m *Model) brief(message control.Message) string {
	message.RefersTo, message.ReplyTo = nil, ""
	return m.opts.Summary(message)
}

// lay breaks a message into lines, without the separators before it.
func (m *Model) lay(r *row, width int) []line {
	if r.width == width && r.laid != nil {
		return r.laid
	}
	r.width, r.laid = width, m.layMessage(r, width)
	return r.laid
}

func (m *Model) layMessage(r *row, width int) []line {
	at := fmt.Sprintf(" %-6s ", timeOf(r.Message).In(m.opts.Now().Location()).Format("15:04"))
	if r.TypeName == "system" {
		return paint(at, wrap(m.brief(r.Message), width-indent), Dim)
	}
	text, style := r.Text, Style(0)
	if r.TypeName != "text" || r.Deleted || r.Unreadable || text == "" {
		text, style = m.brief(r.Message), Cyan
	}
	if r.left > 0 {
		text += fmt.Sprintf("… (%d bytes more; press v to see all)", r.left)
	}
	if state := fileState(r.Message); state != "" {
		text += " (" + state + ")"
	}
	name := cut(author(r.Message, m.open()), maxName) + ": "
	texts := wrap(name+text, width-indent)
	lines := paint(at, texts, style)
	if first := texts[0]; strings.HasPrefix(first, name) {
		lines[0] = line{{at, Dim}, {name, Bold}, {strings.TrimPrefix(first, name), style}}
	}
	if quote := m.quote(r.Message, width-indent); quote != "" {
		lines[0][0].text = strings.Repeat(" ", indent)
		lines = append([]line{{{at, Dim}, {quote, Dim}}}, lines...)
	}
	if text, style := mark(r.Message); text != "" {
		last := len(lines) - 1
		if used := lineWidth(lines[last]); used+widthOf(text) <= width {
			lines[last] = append(lines[last], span{text, style})
		} else {
			lines = append(lines, paint(strings.Repeat(" ", indent), wrap(strings.TrimSpace(text), width-indent), style)...)
		}
	}
	if text := m.reactions(r.Message); text != "" {
		lines = append(lines, paint(strings.Repeat(" ", indent), wrap(text, width-indent), Yellow)...)
	}
	return lines
}

// paint makes lines of texts, the first with what is said before it.
func paint(first string, texts []string, style Style) []line {
	lines := make([]line, 0, len(texts))
	for i, text := range texts {
		lead := strings.Repeat(" ", indent)
		if i == 0 {
			lead = first
		}
		lines = append(lines, line{{lead, Dim}, {text, style}})
	}
	return lines
}

func lineWidth(l line) (n int) {
	for _, s := range l {
		n += widthOf(s.text)
	}
	return n
}

// quote is the beginning of the message that another one answers, "" for none.
func (m *Model) quote(message control.Message, width int) string {
	switch q := message.RefersTo; {
	case q != nil:
		text := q.Text
		if text == "" {
			text = "[" + q.TypeName + "]"
		}
		if who := m.them(q.Direction); who != "" {
			text = cut(who, maxName) + ": " + text
		}
		return cut("> "+text, width)
	case message.ReplyTo != "":
		return cut("> a message that is not here", width)
	}
	return ""
}

// them is who has written a message of a direction in the open conversation, "" for
// somebody in a group.
func (m *Model) them(direction string) string {
	c := m.open()
	switch {
	case direction == "out":
		return "you"
	case c != nil && c.Contact != nil:
		return c.Name
	}
	return ""
}

// reactions are the reactions to a message in one line, "" for none.
func (m *Model) reactions(message control.Message) string {
	var parts []string
	for _, r := range message.Reactions {
		who := m.them(r.Direction)
		if r.Author != "" && r.Direction != "out" {
			who = cmp.Or(r.AuthorName, start(r.Author))
		}
		parts = append(parts, strings.TrimSpace(cut(r.Emoji, 8)+" "+cut(who, maxName)))
	}
	if len(parts) == 0 {
		return ""
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// placed is a line of the conversation, with the row it is a line of; outbox rows come after
// those of the window.
type placed struct {
	line
	row int
}

// placed is place, once for what follows an input and for the view after it.
func (m *Model) placed() []placed {
	if m.lines == nil {
		m.lines = m.place()
	}
	return m.lines
}

// place lays out all of the conversation that is in memory.
func (m *Model) place() []placed {
	width := m.paneWidth()
	if width <= 0 {
		return nil
	}
	var out []placed
	add := func(i int, lines ...line) {
		for _, l := range lines {
			out = append(out, placed{l, i})
		}
	}
	day, marked := "", false
	zone := m.opts.Now().Location()
	for i := range m.win.rows {
		r := &m.win.rows[i]
		at := timeOf(r.Message).In(zone)
		if d := at.Format(time.DateOnly); d != day {
			day = d
			add(i, rule(at.Format("Monday, 2 January 2006"), width, Dim))
		}
		if m.win.divider > 0 && !marked && r.Order >= m.win.divider {
			marked = true
			add(i, rule("unread", width, Yellow))
		}
		add(i, m.lay(r, width)...)
	}
	for i, o := range m.pending() {
		text := o.text
		if o.file != "" {
			text = "[file " + o.file + "] " + text
		}
		text, left := shorten(text, maxShown)
		if left > 0 {
			text += "…"
		}
		lines := paint(strings.Repeat(" ", indent), wrap("you: "+text, width-indent), 0)
		state := "sending"
		if !m.online || m.unsent {
			state = "not sent yet"
		}
		add(len(m.win.rows)+i, append(lines, line{{strings.Repeat(" ", indent) + "… " + state, Dim}})...)
	}
	return out
}

// rule is a line with a few words in it.
func rule(text string, width int, style Style) line {
	text = "── " + cut(text, width-8) + " "
	return line{{text + strings.Repeat("─", max(width-1-widthOf(text), 0)), style}}
}

// bottomOf is the index after the last line on the screen.
func (m *Model) bottomOf(lines []placed) int {
	bottom := len(lines)
	if m.win.bottom != "" {
		if i := m.win.find(m.win.bottom); i >= 0 {
			first := 0
			for first < len(lines) && lines[first].row < i {
				first++
			}
			last := first
			for last < len(lines) && lines[last].row == i {
				last++
			}
			bottom = min(first+m.win.lines, last)
		}
	}
	return min(max(bottom, m.messageHeight()), len(lines))
}

// scrollTo makes a line the last one on the screen.
func (m *Model) scrollTo(lines []placed, bottom int) {
	bottom = min(max(bottom, m.messageHeight()), len(lines))
	if bottom == len(lines) || lines[bottom-1].row >= len(m.win.rows) {
		m.win.bottom, m.win.lines = "", 0
		if m.win.newer && len(m.win.rows) > 0 { // it is not the end of the conversation
			m.win.bottom, m.win.lines = m.win.rows[len(m.win.rows)-1].ID, len(lines)
		}
		return
	}
	i := lines[bottom-1].row
	first := bottom - 1
	for first > 0 && lines[first-1].row == i {
		first--
	}
	m.win.bottom, m.win.lines = m.win.rows[i].ID, bottom-first
}
