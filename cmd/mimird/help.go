// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"golang.org/x/term"

	"github.com/mimird/mimird/actors/durable"
)

const (
	// helpWidth is how wide help is where the width of the terminal is not known, and
	// maxHelpWidth how wide it gets at most.
	helpWidth    = 80
	maxHelpWidth = 100
	minHelpWidth = 40
)

// printHelp prints what a command does. It asks the terminal nothing but its size, which
// the system knows: some terminals answer questions late, and into the next command.
func printHelp(cmd *cobra.Command, _ []string) {
	out := cmd.OutOrStdout()
	fmt.Fprint(out, helpText(cmd, terminalWidth(out)))
}

func terminalWidth(out io.Writer) int {
	f, ok := out.(*os.File)
	if !ok {
		return helpWidth
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return helpWidth
	}
	return max(minHelpWidth, min(width, maxHelpWidth))
}

// helpText is the help of a command, in lines of at most width characters where words
// are not longer.
func helpText(cmd *cobra.Command, width int) string {
	var b strings.Builder
	b.WriteString(wrapText(cmp.Or(cmd.Long, cmd.Short+"."), width))
	usage := cmd.UseLine()
	if !cmd.HasParent() || cmd.HasAvailableSubCommands() {
		usage = cmd.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(&b, "\nUsage\n%s", wrapIndented(usage, width, "  ", "    "))
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands\n")
		writeCommands(&b, cmd, width)
	}
	if flags := cmd.LocalNonPersistentFlags(); flags.HasAvailableFlags() {
		fmt.Fprintf(&b, "\nFlags\n%s", flags.FlagUsagesWrapped(width))
	}
	if flags := cmd.Root().PersistentFlags(); flags.HasAvailableFlags() {
		fmt.Fprintf(&b, "\nFlags of every command\n%s", flags.FlagUsagesWrapped(width))
	}
	// Where a description does not fit beside its flag, the library leaves spaces.
	lines := strings.Split(b.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}

// writeCommands lists the commands below another, each with a line of what it does.
func writeCommands(b *strings.Builder, cmd *cobra.Command, width int) {
	widest := 0
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			widest = max(widest, len(child.Name()))
		}
	}
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			first := fmt.Sprintf("  %-*s  ", widest, child.Name())
			b.WriteString(wrapIndented(child.Short, width, first, strings.Repeat(" ", len(first))))
		}
	}
}

// wrapText breaks paragraphs into lines. Lines that begin with a space stay as they are.
func wrapText(text string, width int) string {
	var b strings.Builder
	var words []string
	flush := func() {
		if len(words) > 0 {
			b.WriteString(wrapIndented(strings.Join(words, " "), width, "", ""))
			words = nil
		}
	}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if line == "" || strings.HasPrefix(line, " ") {
			flush()
			fmt.Fprintln(&b, line)
			continue
		}
		words = append(words, line)
	}
	flush()
	return b.String()
}

// wrapIndented breaks one paragraph into lines, with what the first and the others begin
// with.
func wrapIndented(text string, width int, first, others string) string {
	var b strings.Builder
	line := first
	empty := true
	for word := range strings.FieldsSeq(text) {
		if !empty && len([]rune(line))+1+len([]rune(word)) > width {
			fmt.Fprintln(&b, line)
			line, empty = others, true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	fmt.Fprintln(&b, line)
	return b.String()
}

// manDate is the date of the manual pages where SOURCE_DATE_EPOCH gives none: the same
// source makes the same pages.
var manDate = time.Date(2026, time.November, 30, 0, 0, 0, 0, time.UTC)

// newMan makes the command with which packages get their manual pages.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIRECTORY",
		Short:  "Write the manual pages, one for each command",
		Hidden: true,
		Args:   oneArg("DIRECTORY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := durable.MkdirAll(args[0]); err != nil {
				return fmt.Errorf("make directory: %w", err)
			}
			root, _ := newRoot()
			root.DisableAutoGenTag = true
			indentExamples(root)
			header := &doc.GenManHeader{Section: "1", Source: "mimird", Manual: "mimird", Date: &manDate}
			if os.Getenv("SOURCE_DATE_EPOCH") != "" {
				header.Date = nil // the library reads it
			}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("write manual pages: %w", err)
			}
			return nil
		},
	}
}

// indentExamples gives examples the indent with which Markdown, the form in between,
// leaves their lines alone.
func indentExamples(cmd *cobra.Command) {
	var b strings.Builder
	for line := range strings.Lines(cmd.Long) {
		if strings.HasPrefix(line, "  ") {
			line = "    " + strings.TrimLeft(line, " ")
		}
		b.WriteString(line)
	}
	cmd.Long = b.String()
	for _, child := range cmd.Commands() {
		indentExamples(child)
	}
}
