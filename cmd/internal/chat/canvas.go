// SPDX-License-Identifier: MPL-2.0

package chat

import "strings"

// Style is how a character looks. Nothing is said by colour alone.
type Style uint16

// The styles; those of one text are added up. The last four are colours.
const (
	Bold Style = 1 << iota
	Dim
	Reverse
	Underline
	Green
	Yellow
	Red
	Cyan
)

// Cell is one column of one line of the screen.
type Cell struct {
	// Text is one printable character, "" in the right half of a wide one.
	Text  string
	Style Style
}

// Canvas is what is on the screen.
type Canvas struct {
	Width, Height int
	// CursorX and CursorY say where the cursor is; it is hidden when CursorX is below 0.
	CursorX, CursorY int

	cells []Cell
}

func newCanvas(width, height int) *Canvas {
	c := &Canvas{Width: width, Height: height, CursorX: -1, cells: make([]Cell, width*height)}
	for i := range c.cells {
		c.cells[i].Text = " "
	}
	return c
}

// At returns a cell of the canvas.
func (c *Canvas) At(x, y int) Cell { return c.cells[y*c.Width+x] }

// put writes a text from a column on, at most as many columns as said, and returns the
// column after it. Whatever is in the text, only printable characters reach the canvas, and
// nothing leaves the columns or the line.
func (c *Canvas) put(x, y, columns int, text string, style Style) int {
	if y < 0 || y >= c.Height || x < 0 {
		return x
	}
	end := min(x+columns, c.Width)
	for ch, w := range clusters(text) {
		if x+w > end {
			break
		}
		c.set(x, y, Cell{ch, style})
		if w == 2 {
			c.set(x+1, y, Cell{" ", style})
			c.cells[y*c.Width+x+1].Text = ""
		}
		x += w
	}
	return x
}

// set writes a cell. Of a wide character that it covers by half a space remains.
func (c *Canvas) set(x, y int, cell Cell) {
	i := y*c.Width + x
	if x > 0 && c.cells[i].Text == "" {
		c.cells[i-1].Text = " "
	}
	if x+1 < c.Width && c.cells[i+1].Text == "" && c.cells[i].Text != "" {
		c.cells[i+1].Text = " "
	}
	c.cells[i] = cell
}

// fill writes a text and spaces after it, so that all columns have the style.
func (c *Canvas) fill(x, y, columns int, text string, style Style) {
	for after := c.put(x, y, columns, text, style); after < min(x+columns, c.Width); {
		after = c.put(after, y, 1, " ", style)
	}
}

// line writes a line of the conversation.
func (c *Canvas) line(x, y, columns int, l line) {
	end := x + columns
	for _, s := range l {
		x = c.put(x, y, end-x, s.text, s.style)
	}
}

// String returns the canvas as text, one line for each, without spaces at the ends.
func (c *Canvas) String() string {
	var b strings.Builder
	for y := range c.Height {
		var l strings.Builder
		for x := range c.Width {
			l.WriteString(c.At(x, y).Text)
		}
		b.WriteString(strings.TrimRight(l.String(), " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// span is a text in one style, line some of them one after the other.
type (
	span struct {
		text  string
		style Style
	}
	line []span
)
