// SPDX-License-Identifier: MPL-2.0

package wording

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// phrase is a wording with a better one.
type phrase struct {
	pattern *regexp.Regexp
	better  string
	// unless, when it is set, accepts a match with the words before and after it.
	unless func(before, match, after string) bool
}

// banned are the phrases that comments, string literals and documents must not have.
// They match lower-case text with single spaces.
var banned = []phrase{
	{pattern: regexp.MustCompile(`\bwhoever\b|\bwhosoever\b`), better: "name the subject: the sender, the caller, a peer"},
	{pattern: regexp.MustCompile(`\b(is|are|was|were|be|been) no\b`), better: "is not a", unless: plainNo},
	{pattern: regexp.MustCompile(`\b(is|are|was|were|be|been|being) made\b`), better: "created", unless: func(_, _, after string) bool {
		return startsWith(after, "of", "from", "up", "out", "to", "by", "public")
	}},
	{pattern: regexp.MustCompile(`\bhand(s|ed|ing)? over\b|\bhandovers?\b`), better: "hand off"},
	{pattern: regexp.MustCompile(`\b(makes?|made|making|gives?|gave|giving) way\b`), better: "yield"},
	{pattern: regexp.MustCompile(`\b(is|are|was|were) tried again\b`), better: "the subject retries"},
	{pattern: regexp.MustCompile(`\bnonsense\b`), better: "malformed"},
	{pattern: regexp.MustCompile(`\bmak(es?|ing) room\b|\bmade room\b`), better: "make space, evict"},
	{pattern: regexp.MustCompile(`\bsilent servers?\b`), better: "unreachable server"},
	{pattern: regexp.MustCompile(`\bold trackers?\b|\bmodern trackers?\b|\blegacy trackers?\b`), better: "tracker v1, tracker v2"},
	{pattern: regexp.MustCompile(`\bgenerations? [123]\b`), better: "gen1, gen2, gen3"},
	{pattern: regexp.MustCompile(`\bdoes not take it\b`), better: "write failed"},
	{pattern: regexp.MustCompile(`\btoo many questions\b`), better: "too many concurrent lookups"},
	{pattern: regexp.MustCompile(`\bsomebody else's\b`), better: "foreign, or name the owner"},
	// The sentence is a condition without if.
	{pattern: regexp.MustCompile(`(^|[.:;] )(is|are|was|were|has|have|does|did|should|had|comes|can) (it|they|he|she|this|that|there|the|a|an|one|nobody|somebody|no|we)\b[^.?!:;]*,[^.?!:;]*[.;]`), better: "if, when"},
}

// plainNo accepts "there is no", and "no" before a word that makes an adverb of it.
func plainNo(before, _, after string) bool {
	if strings.HasSuffix(before, "there ") || strings.HasSuffix(before, "there's ") || strings.HasSuffix(before, "there have ") || strings.HasSuffix(before, "there has ") || strings.HasSuffix(before, "there can ") || strings.HasSuffix(before, "there must ") || strings.HasSuffix(before, "there may ") || strings.HasSuffix(before, "there will ") {
		return true
	}
	return startsWith(after, "longer", "more", "less", "later", "earlier", "larger", "smaller", "longer.", "matter", "different", "other", "such")
}

// startsWith reports whether the first word of the text is one of the words.
func startsWith(text string, words ...string) bool {
	first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	return slices.Contains(words, strings.TrimRight(first, ".,;:)"))
}

var spaces = regexp.MustCompile(`\s+`)

// findPhrases returns what is wrong with a piece of prose.
func findPhrases(text string) []string {
	text = strings.ToLower(strings.TrimSpace(spaces.ReplaceAllString(text, " ")))
	var wrong []string
	for _, p := range banned {
		for _, at := range p.pattern.FindAllStringIndex(text, -1) {
			match := text[at[0]:at[1]]
			if p.unless != nil && p.unless(text[:at[0]], match, text[at[1]:]) {
				continue
			}
			wrong = append(wrong, strconv.Quote(shorten(match))+", better: "+p.better)
		}
	}
	return wrong
}

func shorten(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

// checkProse checks comments and string literals of a Go file. A group of comment
// lines is one text, as phrases go over line ends.
func checkProse(f *goFile) []Finding {
	var found []Finding
	add := func(p token.Pos, text string) {
		for _, wrong := range findPhrases(text) {
			found = append(found, Finding{f.name, f.line(p), wrong})
		}
	}
	for _, group := range f.ast.Comments {
		for _, part := range paragraphs(group) {
			add(part.pos, part.text)
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if _, ok := n.(*ast.ImportSpec); ok {
			return false
		}
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		if text, err := strconv.Unquote(literal.Value); err == nil {
			add(literal.Pos(), text)
		}
		return true
	})
	return found
}

type paragraph struct {
	pos  token.Pos
	text string
}

// paragraphs splits a comment where it has an empty line.
func paragraphs(group *ast.CommentGroup) []paragraph {
	var parts []paragraph
	fresh := true
	for _, c := range group.List {
		text := strings.TrimSpace(strings.Trim(strings.TrimPrefix(c.Text, "//"), "/*"))
		if text == "" || strings.HasPrefix(text, "- ") {
			fresh = true
		}
		if text == "" {
			continue
		}
		if fresh {
			parts = append(parts, paragraph{pos: c.Pos()})
			fresh = false
		}
		parts[len(parts)-1].text += " " + text
	}
	return parts
}

// checkDocument checks a document. Of CHANGELOG.md it reads the section of what is
// not released yet: what was said of a release stays.
func checkDocument(name, text string) []Finding {
	lines := strings.Split(text, "\n")
	if name == "CHANGELOG.md" {
		versions := 0
		for i, line := range lines {
			if strings.HasPrefix(line, "## ") {
				if versions++; versions == 2 {
					lines = lines[:i]
					break
				}
			}
		}
	}
	var found []Finding
	for start := 0; start < len(lines); {
		end := start + 1
		for end < len(lines) && !startsBlock(lines[end]) {
			end++
		}
		for _, wrong := range findPhrases(strings.Join(lines[start:end], " ")) {
			found = append(found, Finding{name, start + 1, wrong})
		}
		start = end
	}
	return found
}

// startsBlock reports whether a line of a document does not go on with the sentence
// of the one before.
func startsBlock(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || strings.HasPrefix(line, "- ") || strings.HasPrefix(line, "|") || strings.HasPrefix(line, "#")
}
