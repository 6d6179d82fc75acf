// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/gdamore/tcell/v2/terminfo"

	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/test/poll"
)

// limit is how long anything in a test may take.
const limit = 30 * time.Second

// observed is a terminal of which a test sees what it shows.
type observed struct {
	*Terminal
	sim tcell.SimulationScreen

	mu   sync.Mutex
	text string
}

func (o *observed) Draw(c *Canvas) {
	o.Terminal.Draw(c)
	cells, width, _ := o.sim.GetContents()
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString(string(cell.Runes))
		if i%width == width-1 {
			b.WriteByte('\n')
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text = b.String()
}

func (o *observed) shown() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text
}

// session is a client on a simulated terminal, of a fake behind a socket.
type session struct {
	*observed
	t      *testing.T
	server *server
	ended  chan error
	end    context.CancelFunc
}

func begin(t *testing.T, f *fake, running bool) *session {
	t.Helper()
	s := &session{t: t, ended: make(chan error, 1)}
	socket := filepath.Join(t.TempDir(), "s")
	s.server = serve(t, f, socket)
	if running {
		s.server.start()
	}
	sim := tcell.NewSimulationScreen("UTF-8")
	s.observed = &observed{Terminal: NewTerminal(sim, true), sim: sim}
	api := client.New(socket)
	t.Cleanup(api.Close)
	var ctx context.Context
	ctx, s.end = context.WithCancel(t.Context())
	t.Cleanup(s.end)
	opts := Options{
		API: api, Summary: summaryForTest, FileName: filepath.Base, Retry: kernel.Backoff{Min: 10 * time.Millisecond, Max: 20 * time.Millisecond},
	}
	go func() { s.ended <- Run(ctx, s.observed, opts) }()
	return s
}

// until waits until a text is on the screen.
func (s *session) until(text string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	if !poll.Until(ctx, func() bool { return strings.Contains(s.shown(), text) }) {
		s.t.Fatalf("no %q on the screen:\n%s", text, s.shown())
	}
}

func (s *session) typed(text string) {
	for _, r := range text {
		s.sim.InjectKey(tcell.KeyRune, r, tcell.ModNone)
	}
}

func (s *session) key(k tcell.Key) { s.sim.InjectKey(k, 0, tcell.ModNone) }

// over waits for the end of the client.
func (s *session) over() {
	s.t.Helper()
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Error(err)
		}
	case <-time.After(limit):
		s.t.Fatalf("the client does not end:\n%s", s.shown())
	}
}

func TestRun_NodeGoesAwayAndComesBack(t *testing.T) {
	s := begin(t, newFake(), true)
	s.until("Carol")
	s.key(tcell.KeyEnter)
	s.typed("hello")
	s.key(tcell.KeyEnter)
	s.until("you: hello ✓")
	s.server.stop()
	s.until("no connection")
	s.typed("written meanwhile")
	s.key(tcell.KeyEnter)
	s.until("not sent yet")
	s.typed("a draft")
	s.server.f.add(alice, bob, "in", "missed nothing")
	s.server.start()
	s.until("you: written meanwhile ✓")
	s.until("Bob: missed nothing")
	s.until("> a draft")
	s.sim.SetSize(40, 12)
	if err := s.sim.PostEvent(tcell.NewEventResize(40, 12)); err != nil {
		t.Fatal(err)
	}
	s.typed("!")
	s.until("> a draft!")
	s.key(tcell.KeyCtrlC)
	s.until("(y/n)")
	s.typed("y")
	s.over()
}

func TestRun_NodeNotRunning_SaidAndWaitedFor(t *testing.T) {
	s := begin(t, newFake(), false)
	s.until("The node is not running")
	s.server.start()
	s.until("Walkers")
	s.until("online")
	s.end() // as by a signal
	s.over()
}

// ttyForTest is a terminal that keeps what is written to it.
type ttyForTest struct {
	in   chan []byte
	stop chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

func (*ttyForTest) Start() error { return nil }
func (*ttyForTest) Stop() error  { return nil }
func (*ttyForTest) Close() error { return nil }
func (t *ttyForTest) Drain() error {
	close(t.stop)
	return nil
}
func (*ttyForTest) NotifyResize(func()) {}
func (*ttyForTest) WindowSize() (tcell.WindowSize, error) {
	return tcell.WindowSize{Width: 80, Height: 24}, nil
}

func (t *ttyForTest) Read(p []byte) (int, error) {
	select {
	case raw := <-t.in:
		return copy(p, raw), nil
	case <-t.stop:
		return 0, nil
	}
}

func (t *ttyForTest) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.out.Write(p)
}

// The bytes that a terminal gets and sends, with the library in between.
func TestTerminal_Bytes(t *testing.T) {
	ti, err := terminfo.LookupTerminfo("xterm-256color")
	if err != nil {
		t.Fatal(err)
	}
	tty := &ttyForTest{in: make(chan []byte), stop: make(chan struct{})}
	screen, err := tcell.NewTerminfoScreenFromTtyTerminfo(tty, ti)
	if err != nil {
		t.Fatal(err)
	}
	terminal := NewTerminal(screen, false)
	if err := terminal.Start(); err != nil {
		t.Fatal(err)
	}
	inputs := make(chan Input)
	ctx, cancel := context.WithCancel(t.Context())
	var reader sync.WaitGroup
	reader.Go(func() {
		terminal.Read(ctx, func(in Input) {
			select {
			case inputs <- in:
			case <-ctx.Done():
			}
		})
	})
	for _, c := range []struct {
		bytes string
		want  Input
	}{
		{"a", Typed("a")},
		{"é", Typed("é")},
		{"\r", Key("enter")},
		{"\n", Key("ctrl+j")},
		{"\x1b\r", Key("alt+enter")},
		{"\x06", Key("ctrl+f")},
		{"\x7f", Key("backspace")},
		{"\x1b[A", Key("up")},
		{"\x1b[5~", Key("pgup")},
		{"\x1b[1;5C", Key("ctrl+right")},
		{"\x1b[200~one\r\ntwo\rthree\nfour\tx\x1b[201~", Pasted("one\r\ntwo\rthree\nfour\tx")},
		{"\x1b[O", Focused(false)},
	} {
		tty.in <- []byte(c.bytes)
		for {
			select {
			case in := <-inputs:
				if _, size := in.(Resized); size {
					continue
				}
				if in != c.want {
					t.Errorf("%q is %#v, want %#v", c.bytes, in, c.want)
				}
			case <-time.After(limit):
				t.Fatalf("%q is nothing", c.bytes)
			}
			break
		}
	}
	r := started(t, func(f *fake) {
		for _, chat := range f.chats[alice] {
			chat.Name = hostile
		}
		f.add(alice, bob, "in", hostile)
	})
	r.press("enter")
	terminal.Draw(r.View())
	cancel()
	terminal.Stop()
	reader.Wait()
	tty.mu.Lock()
	defer tty.mu.Unlock()
	out := tty.out.String()
	for _, bad := range []string{"\x1b]0;", "\x07", "\u202e", "\u2066", "\x9b", "\x1b[31m", "\x1bc", "\x1b[38", "\u200b"} {
		if strings.Contains(out, bad) {
			t.Errorf("%q reaches the terminal", bad)
		}
	}
	if !strings.Contains(out, "pwned") {
		t.Errorf("the harmless part of a name is not there: %q", out)
	}
}

// hostile has in it what terminals obey, what turns text around, marks without end, a wide
// character, and bytes that are not text.
const hostile = "a\x1b]0;pwned\x07\x1b[31m\x1bc\u202eb\u2066c\x9b\xff\u200bd\u200d" + "e\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301\u0301" + "日本\r\n\ttail"
