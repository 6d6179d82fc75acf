// SPDX-License-Identifier: MPL-2.0

package msgconv

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"maunium.net/go/mautrix/id"
)

// maxHTMLDepth bounds the nesting of HTML: deeper elements are rendered as plain text.
// The Matrix specification has the same limit.
const maxHTMLDepth = 100

// plainText renders the HTML of a Matrix message as text that reads well without markup:
// paragraphs and lists are separated, quotes, code and list items have their signs, links
// their URL. A mention whose text is a user id gets the name that nameOf returns. It
// returns false if the HTML cannot be parsed.
func plainText(formatted string, nameOf func(id.UserID) string) (string, bool) {
	doc, err := html.Parse(strings.NewReader(formatted))
	if err != nil {
		return "", false
	}
	w := textWriter{nameOf: nameOf}
	w.children(doc, 0)
	return w.String(), true
}

// textWriter renders HTML as text. It collapses white space as HTML does: to one space,
// and to none at the beginning or end of a line. Blocks are separated by line breaks.
type textWriter struct {
	nameOf func(id.UserID) string

	out   strings.Builder
	space bool // before the next word, unless it begins a line
	lines int  // line breaks before the next word
}

// String returns the text so far.
func (w *textWriter) String() string { return strings.TrimSpace(w.out.String()) }

// flush writes the pending space or line breaks.
func (w *textWriter) flush() {
	switch {
	case w.out.Len() == 0:
	case w.lines > 0:
		w.out.WriteString(strings.Repeat("\n", w.lines))
	case w.space:
		w.out.WriteByte(' ')
	}
	w.space, w.lines = false, 0
}

// text writes running text.
func (w *textWriter) text(s string) {
	for s != "" {
		end := strings.IndexFunc(s, isHTMLSpace)
		switch end {
		case 0:
			w.space = true
			s = strings.TrimLeftFunc(s, isHTMLSpace)
			continue
		case -1:
			end = len(s)
		}
		w.verbatim(s[:end])
		s = s[end:]
	}
}

// isHTMLSpace reports whether HTML collapses a character. A non-breaking space stays.
func isHTMLSpace(r rune) bool { return strings.ContainsRune(" \t\n\r\f", r) }

// verbatim writes text unchanged.
func (w *textWriter) verbatim(s string) {
	if s != "" {
		w.flush()
		w.out.WriteString(s)
	}
}

// apart asks for at least so many line breaks before the next text.
func (w *textWriter) apart(lines int) { w.lines = max(w.lines, lines) }

// breakLine renders <br>: two of them make an empty line.
func (w *textWriter) breakLine() {
	if w.out.Len() > 0 {
		w.lines++
	}
}

// indented writes text whose first line begins with one prefix, and the others
// with another.
func (w *textWriter) indented(text, first, others string) {
	for i, line := range strings.Split(text, "\n") {
		if i > 0 {
			first = "\n" + others
		}
		if line == "" {
			first = strings.TrimRight(first, " ")
		}
		w.verbatim(first + line)
	}
}

func (w *textWriter) children(n *html.Node, depth int) {
	for child := n.FirstChild; child != nil; child = child.NextSibling {
		w.node(child, depth+1)
	}
}

// inner renders the children of an element on their own.
func (w *textWriter) inner(n *html.Node, depth int) string {
	in := textWriter{nameOf: w.nameOf}
	in.children(n, depth)
	return in.String()
}

func (w *textWriter) node(n *html.Node, depth int) {
	switch n.Type {
	case html.TextNode:
		w.text(n.Data)
	case html.ElementNode:
		if depth > maxHTMLDepth {
			w.text(allText(n))
			return
		}
		w.element(n, depth)
	}
}

// element renders one element. Unknown elements are running text.
func (w *textWriter) element(n *html.Node, depth int) {
	switch n.DataAtom {
	case atom.Head, atom.Script, atom.Style, atom.Title, atom.Template:
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		if n.Parent != nil && n.Parent.DataAtom == atom.Li {
			w.block(n, depth, 1)
			return
		}
		w.block(n, depth, 2)
	case atom.Div, atom.Section, atom.Details, atom.Summary, atom.Caption, atom.Tr, atom.Dt, atom.Dd:
		w.block(n, depth, 1)
	case atom.Table, atom.Dl:
		w.block(n, depth, 2)
	case atom.Td, atom.Th:
		if n.PrevSibling != nil && w.lines == 0 && w.out.Len() > 0 {
			w.verbatim(" | ")
		}
		w.text(w.inner(n, depth))
	case atom.Br:
		w.breakLine()
	case atom.Hr:
		w.apart(1)
		w.verbatim("---")
		w.apart(1)
	case atom.Ul, atom.Ol:
		w.list(n, depth)
	case atom.Blockquote:
		w.apart(1)
		if quoted := w.inner(n, depth); quoted != "" {
			w.indented(quoted, "> ", "> ")
		}
		w.apart(1)
	case atom.Pre:
		w.apart(1)
		w.code(n)
		w.apart(1)
	case atom.Code, atom.Tt:
		w.wrapped("`", w.inner(n, depth), "`")
	case atom.Del, atom.S, atom.Strike: // without a sign the text would mean the opposite
		w.wrapped("~~", w.inner(n, depth), "~~")
	case atom.Sup:
		w.wrapped("^", w.inner(n, depth), "")
	case atom.Sub:
		w.wrapped("_", w.inner(n, depth), "")
	case atom.A:
		w.link(n, depth)
	case atom.Img:
		w.text(firstOf(attribute(n, "alt"), attribute(n, "title")))
	case atom.Input:
		w.checkbox(n)
	case atom.Span:
		w.span(n, depth)
	default:
		if n.Data == "mx-reply" { // the relation of the event says it
			return
		}
		w.children(n, depth)
	}
}

func (w *textWriter) block(n *html.Node, depth, lines int) {
	w.apart(lines)
	w.children(n, depth)
	w.apart(lines)
}

func (w *textWriter) wrapped(before, text, after string) {
	if text != "" {
		w.verbatim(before + text + after)
	}
}

// list renders each item on its own line, and indents the content of an item below its
// first line. No empty line precedes a nested list.
func (w *textWriter) list(n *html.Node, depth int) {
	lines := 2
	if n.Parent != nil && n.Parent.DataAtom == atom.Li {
		lines = 1
	}
	w.apart(lines)
	number := 1
	if start, err := strconv.Atoi(attribute(n, "start")); err == nil {
		number = start
	}
	for item := n.FirstChild; item != nil; item = item.NextSibling {
		if item.Type != html.ElementNode {
			continue // white space between items
		}
		if item.DataAtom != atom.Li {
			w.node(item, depth+1)
			continue
		}
		sign := "• "
		if n.DataAtom == atom.Ol {
			if value, err := strconv.Atoi(attribute(item, "value")); err == nil {
				number = value
			}
			sign = strconv.Itoa(number) + ". "
			number++
		}
		w.apart(1)
		w.indented(w.inner(item, depth+1), sign, strings.Repeat(" ", len([]rune(sign))))
		w.apart(1)
	}
	w.apart(lines)
}

// code renders preformatted text between fences, as Markdown does.
func (w *textWriter) code(n *html.Node) {
	code := strings.Trim(allText(n), "\n")
	if code == "" {
		return
	}
	fence := "```"
	for strings.Contains(code, fence) {
		fence += "`"
	}
	w.verbatim(fence + "\n" + code + "\n" + fence)
}

func (w *textWriter) link(n *html.Node, depth int) {
	text, target := w.inner(n, depth), strings.TrimSpace(attribute(n, "href"))
	if uri, err := id.ParseMatrixURIOrMatrixToURL(target); err == nil && uri != nil {
		switch {
		case uri.Sigil1 == '@' && uri.Sigil2 == 0: // a mention
			if user := id.UserID(uri.PrimaryIdentifier()); text == "" || strings.TrimSpace(text) == string(user) {
				text = w.nameOf(user)
			}
			w.text(text)
			return
		case uri.Sigil1 == '#' && uri.Sigil2 == 0:
			w.text(uri.PrimaryIdentifier())
			return
		}
	}
	switch {
	case target == "" || sameAddress(text, target):
		w.verbatim(text)
	case text == "":
		w.verbatim(target)
	default:
		w.verbatim(fmt.Sprintf("%s (%s)", text, target))
	}
}

// sameAddress reports whether the text of a link is its URL.
func sameAddress(text, target string) bool {
	for _, scheme := range []string{"", "https://", "http://", "mailto:"} {
		if rest, ok := strings.CutPrefix(target, scheme); ok && strings.TrimSuffix(rest, "/") == strings.TrimSuffix(text, "/") {
			return true
		}
	}
	return false
}

func (w *textWriter) checkbox(n *html.Node) {
	if attribute(n, "type") != "checkbox" {
		return
	}
	box := "[ ]"
	for _, attr := range n.Attr {
		if attr.Key == "checked" {
			box = "[x]"
		}
	}
	w.verbatim(box)
	w.space = true
}

func (w *textWriter) span(n *html.Node, depth int) {
	if formula := attribute(n, "data-mx-maths"); formula != "" {
		w.text(formula)
		return
	}
	for _, attr := range n.Attr {
		if attr.Key != "data-mx-spoiler" {
			continue
		}
		if reason := strings.TrimSpace(attr.Val); reason != "" {
			w.text("(" + reason + ") ")
		}
		w.wrapped("||", w.inner(n, depth), "||")
		return
	}
	w.children(n, depth)
}

func attribute(n *html.Node, key string) string {
	for _, attr := range n.Attr {
		if attr.Key == key {
			return attr.Val
		}
	}
	return ""
}

// allText returns the text below a node, unchanged. It does not recurse, because the
// nesting of a document has no bound.
func allText(n *html.Node) string {
	var text strings.Builder
	for at := n.FirstChild; at != nil; {
		switch {
		case at.Type == html.TextNode:
			text.WriteString(at.Data)
		case at.DataAtom == atom.Br:
			text.WriteByte('\n')
		}
		if at.FirstChild != nil {
			at = at.FirstChild
			continue
		}
		for at != nil && at != n && at.NextSibling == nil {
			at = at.Parent
		}
		if at == nil || at == n {
			break
		}
		at = at.NextSibling
	}
	return text.String()
}

// firstOf returns the first string that is not blank.
func firstOf(texts ...string) string {
	for _, text := range texts {
		if strings.TrimFunc(text, unicode.IsSpace) != "" {
			return text
		}
	}
	return ""
}
