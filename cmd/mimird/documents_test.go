// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// example matches a command line in a document: one of a block, and one in a text. A block
// goes up to the comment.
var example = regexp.MustCompile("(?m)^(?:    |\\$ )(mimird .*?)(?:  +#.*)?$|`(mimird [^`]*)`")

// TestDocuments_CommandsExist finds every command line of the documents: its command and
// its flags exist.
func TestDocuments_CommandsExist(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range append(pages, "../../README.md", "../../SECURITY.md", "../../ROADMAP.md") {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(raw), "\n  ", " ") // a span may go over the end of a line
		for _, text := range []string{string(raw), text} {
			for _, match := range example.FindAllStringSubmatch(text, -1) {
				for _, line := range alternatives(match[1] + match[2]) {
					found++
					if problem := problemOf(line); problem != "" {
						t.Errorf("%s: %q: %s", filepath.Base(page), line, problem)
					}
				}
			}
		}
	}
	if found < 80 {
		t.Errorf("%d command lines found", found)
	}
}

// alternatives writes out a word such as list|show.
func alternatives(line string) []string {
	words := strings.Fields(line)
	for i, word := range words {
		if strings.Contains(word, "|") && !strings.ContainsAny(word, "'\"") {
			var all []string
			for one := range strings.SplitSeq(word, "|") {
				words[i] = one
				all = append(all, alternatives(strings.Join(words, " "))...)
			}
			return all
		}
	}
	return []string{line}
}

// problemOf says what of a command line does not exist.
func problemOf(line string) string {
	words := strings.Fields(line)[1:]
	root, _ := newRoot()
	cmd, isValue := root, false
	for _, word := range words {
		if isValue {
			isValue = false
			continue
		}
		if word == "|" || word == ">" || word == "&&" || word == "<" {
			break
		}
		name, _, hasValue := strings.Cut(strings.TrimRight(word, ",.;:"), "=")
		switch {
		case strings.HasPrefix(name, "-") && name != "-" && name != "--":
			flag := flagOf(cmd, func(flags *pflag.FlagSet) *pflag.Flag {
				if long, isLong := strings.CutPrefix(name, "--"); isLong {
					return flags.Lookup(long)
				}
				return flags.ShorthandLookup(name[1:2])
			})
			if flag == nil {
				return "there is no flag " + name
			}
			isValue = !hasValue && flag.NoOptDefVal == ""
		case cmd.HasAvailableSubCommands():
			next, _, err := cmd.Find([]string{name})
			if err != nil || next == cmd {
				if cmd.Runnable() && cmd != root {
					return "" // an argument
				}
				return "there is no command " + name
			}
			cmd = next
		}
	}
	return ""
}

func flagOf(cmd *cobra.Command, look func(*pflag.FlagSet) *pflag.Flag) *pflag.Flag {
	cmd.InitDefaultHelpFlag()
	for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.InheritedFlags(), cmd.PersistentFlags()} {
		if flag := look(flags); flag != nil {
			return flag
		}
	}
	return nil
}
