// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/config"
)

// everyCommand calls visit for each command that help shows.
func everyCommand(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			everyCommand(child, visit)
		}
	}
}

func TestHelp_OfEveryCommand_Fits(t *testing.T) {
	root, _ := newRoot()
	for _, width := range []int{minHelpWidth, helpWidth, maxHelpWidth} {
		everyCommand(root, func(cmd *cobra.Command) {
			if strings.HasPrefix(cmd.CommandPath(), "mimird completion ") {
				return // whose examples are the library's
			}
			text := helpText(cmd, width)
			for line := range strings.Lines(text) {
				line = strings.TrimSuffix(line, "\n")
				if width > minHelpWidth && len([]rune(line)) > width && strings.Contains(strings.TrimSpace(line), " ") {
					t.Errorf("%s in %d columns: a line of %d: %q", cmd.CommandPath(), width, len([]rune(line)), line)
				}
				if strings.HasSuffix(line, " ") {
					t.Errorf("%s: a space at the end of %q", cmd.CommandPath(), line)
				}
			}
			if cmd.Short == "" || !strings.Contains(text, "\nUsage\n  "+cmd.CommandPath()) {
				t.Errorf("%s: no usage in\n%s", cmd.CommandPath(), text)
			}
		})
	}
}

func TestHelp_Wrap(t *testing.T) {
	text := wrapText("One two three\nfour five.\n\n  an example   stays\n\nsix", 10)
	if want := "One two\nthree four\nfive.\n\n  an example   stays\n\nsix\n"; text != want {
		t.Errorf("have %q, want %q", text, want)
	}
	if have, want := wrapIndented("aa bb cc", 7, "x ", "    "), "x aa bb\n    cc\n"; have != want {
		t.Errorf("have %q, want %q", have, want)
	}
}

func TestLog_Durations_Readable(t *testing.T) {
	for format, want := range map[string]string{"json": `"after":"1.5s","took":"124ms"`, "text": "after=1.5s took=124ms"} {
		var out bytes.Buffer
		newLogger(&out, config.Log{Level: "info", Format: format}).Info("done",
			"after", 1500*time.Millisecond, slog.Duration("took", 123_723_900*time.Nanosecond))
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s: no %s in %s", format, want, out.String())
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 1234567: "1.235ms", 123 * time.Hour: "123h0m0s", 90*time.Second + 1234567: "1m30.001s", 100*time.Second + 1: "1m40s", -5 * time.Second: "-5s",
	} {
		if have := shortDuration(d); have != want {
			t.Errorf("%d is %s, want %s", d, have, want)
		}
	}
}

func TestProgress_WithoutTerminal_LinePerTenth(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, "a.jpg", false)
	for _, done := range []int64{0, 1, 99, 100, 150, 1000, 1000, 1500} {
		p.update(done, 1000)
	}
	p.update(5, 0)
	p.finish()
	if want := "a.jpg: 10% of 1000 B\na.jpg: 100% of 1000 B\n"; out.String() != want {
		t.Errorf("have %q, want %q", out.String(), want)
	}
	out.Reset()
	quiet := newProgress(&out, "a.jpg", true)
	quiet.update(10, 10)
	quiet.finish()
	if out.Len() > 0 {
		t.Errorf("quiet says %q", out.String())
	}
}
