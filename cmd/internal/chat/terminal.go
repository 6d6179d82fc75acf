// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"context"
	"fmt"
	"strings"

	"github.com/gdamore/tcell/v2"
)

// Terminal is a [Screen] that is a real terminal, or in tests a simulation of one.
type Terminal struct {
	screen  tcell.Screen
	colours bool
	quit    chan struct{}
}

// NewTerminal returns the terminal that a screen of the library is, not started yet. Without
// colours it only uses what every terminal has: bold, underlined and reversed text.
func NewTerminal(screen tcell.Screen, colours bool) *Terminal {
	return &Terminal{screen: screen, colours: colours, quit: make(chan struct{})}
}

// Start takes the terminal over.
func (t *Terminal) Start() error {
	if err := t.screen.Init(); err != nil {
		return fmt.Errorf("open terminal: %w", err)
	}
	for r, plain := range map[rune]string{'…': ".", '✓': "+", '✗': "x", '─': "-", '│': "|", '“': "\"", '”': "\"", '—': "-", '↓': "v", '↑': "^"} {
		t.screen.RegisterRuneFallback(r, plain) // for terminals that are not UTF-8
	}
	t.screen.EnablePaste()
	t.screen.EnableFocus()
	return nil
}

// Stop gives the terminal back.
func (t *Terminal) Stop() {
	close(t.quit)
	t.screen.Fini()
}

// Redraw shows all of the screen again.
func (t *Terminal) Redraw() { t.screen.Sync() }

// Suspend gives the terminal back while do runs.
func (t *Terminal) Suspend(do func()) {
	if t.screen.Suspend() != nil {
		return // it stays ours
	}
	do()
	_ = t.screen.Resume() // without a terminal the next read ends
	t.screen.Sync()
}

// Read translates the events of the terminal.
func (t *Terminal) Read(ctx context.Context, tell func(Input)) {
	events := make(chan tcell.Event)
	read := make(chan struct{})
	go func() {
		defer close(read)
		t.screen.ChannelEvents(events, t.quit)
	}()
	defer func() { <-read }()
	var paste *strings.Builder
	for {
		var event tcell.Event
		select {
		case e, open := <-events:
			if !open {
				return
			}
			event = e
		case <-ctx.Done():
			for range events { // until Stop
			}
			return
		}
		switch e := event.(type) {
		case *tcell.EventResize:
			width, height := e.Size()
			tell(Resized{width, height})
		case *tcell.EventFocus:
			tell(Focused(e.Focused))
		case *tcell.EventPaste:
			if e.Start() {
				paste = new(strings.Builder)
			} else if paste != nil {
				tell(Pasted(paste.String()))
				paste = nil
			}
		case *tcell.EventKey:
			if paste == nil {
				if in := inputOf(e); in != nil {
					tell(in)
				}
			} else if paste.Len() <= maxText { // the composer says that it is too long
				paste.WriteRune(pasted(e))
			}
		}
	}
}

// pasted is the character that a key stands for within a pasted text.
func pasted(e *tcell.EventKey) rune {
	switch e.Key() {
	case tcell.KeyEnter:
		return '\r'
	case tcell.KeyCtrlJ:
		return '\n'
	case tcell.KeyTab:
		return '\t'
	case tcell.KeyRune:
		return e.Rune()
	}
	return 0 // left out by the composer
}

// keyNames are the names of the keys in [Key].
var keyNames = map[tcell.Key]string{
	tcell.KeyEnter: "enter", tcell.KeyBackspace: "backspace", tcell.KeyBackspace2: "backspace", tcell.KeyTab: "tab", tcell.KeyBacktab: "tab",
	tcell.KeyEsc: "esc", tcell.KeyDelete: "delete", tcell.KeyUp: "up", tcell.KeyDown: "down", tcell.KeyLeft: "left",
	tcell.KeyRight: "right", tcell.KeyHome: "home", tcell.KeyEnd: "end", tcell.KeyPgUp: "pgup", tcell.KeyPgDn: "pgdn",
	tcell.KeyF1: "f1", tcell.KeyF2: "f2", tcell.KeyF3: "f3",
}

// inputOf translates a key, nil for one that means nothing.
func inputOf(e *tcell.EventKey) Input {
	lead := ""
	switch mod := e.Modifiers(); {
	case mod&tcell.ModAlt != 0:
		lead = "alt+"
	case mod&tcell.ModCtrl != 0:
		lead = "ctrl+"
	case mod&tcell.ModShift != 0:
		lead = "shift+"
	}
	if e.Key() == tcell.KeyRune {
		if e.Modifiers()&tcell.ModCtrl != 0 && lead == "alt+" && strings.ContainsRune("jm", e.Rune()) {
			return Key("alt+enter") // what terminals send that know no modifiers
		}
		if lead == "alt+" || lead == "ctrl+" {
			return Key(lead + strings.ToLower(string(e.Rune())))
		}
		return Typed(e.Rune())
	}
	if name, has := keyNames[e.Key()]; has {
		switch {
		case lead == "alt+", lead == "ctrl+" && name != "backspace" && name != "tab" && name != "enter" && name != "esc", lead == "shift+" && name == "enter":
			name = lead + name
		}
		return Key(name)
	}
	if e.Key() >= tcell.KeyCtrlA && e.Key() <= tcell.KeyCtrlZ {
		return Key("ctrl+" + string(rune('a'+e.Key()-tcell.KeyCtrlA)))
	}
	return nil
}

// Draw shows a canvas.
func (t *Terminal) Draw(c *Canvas) {
	for y := range c.Height {
		for x := range c.Width {
			if cell := c.At(x, y); cell.Text != "" {
				t.screen.Put(x, y, cell.Text, t.style(cell.Style))
			}
		}
	}
	if c.CursorX >= 0 {
		t.screen.ShowCursor(c.CursorX, c.CursorY)
	} else {
		t.screen.HideCursor()
	}
	t.screen.Show()
}

// style translates a style. What is dim without colours is as other text.
func (t *Terminal) style(s Style) tcell.Style {
	out := tcell.StyleDefault.Bold(s&Bold != 0).Reverse(s&Reverse != 0).Underline(s&Underline != 0)
	if !t.colours {
		return out
	}
	out = out.Dim(s&Dim != 0)
	for bit, colour := range map[Style]tcell.Color{Green: tcell.ColorGreen, Yellow: tcell.ColorOlive, Red: tcell.ColorMaroon, Cyan: tcell.ColorTeal} {
		if s&bit != 0 {
			out = out.Foreground(colour)
		}
	}
	return out
}
