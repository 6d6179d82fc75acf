// SPDX-License-Identifier: MPL-2.0

// Command site makes a web site of the documents: a page for each Markdown file of the
// repository's root and of docs, and the pictures. It follows every link within the site and
// fails when one leads nowhere. What a document names of the source is linked to the
// repository. The pages load nothing from elsewhere and have no scripts.
//
//	make docs                    into ./dist/site
//	go run ./test/site -out DIR
package main

import (
	"bytes"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// repository is where the source is shown.
const repository = "https://github.com/mimird/mimird/blob/main/"

// first are the pages that the navigation begins with; the others follow by name.
var first = []string{
	"README.md", "docs/start.md", "docs/faq.md", "docs/roles.md", "docs/phone.md", "docs/page.md", "docs/chat.md", "docs/groups.md",
	"docs/notifications.md", "docs/backups.md", "docs/matrix.md",
}

// page is one page of the site.
type page struct {
	Source string // such as docs/start.md
	File   string // such as docs/start.html
	Title  string
	Body   template.HTML
	ids    []string // of its headings
	links  []string // to other places of the site, as they stand in the page
}

func main() {
	out := flag.String("out", "dist/site", "the directory of the site, which is replaced")
	root := flag.String("root", ".", "the repository")
	flag.Parse()
	if err := build(*root, *out); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

func build(root, out string) error {
	pages, err := read(os.DirFS(root))
	if err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	for _, p := range pages {
		if err := write(out, p, pages); err != nil {
			return err
		}
	}
	pictures, err := fs.Glob(os.DirFS(root), "docs/pictures/*")
	if err != nil {
		return err
	}
	for _, picture := range pictures {
		raw, err := os.ReadFile(filepath.Join(root, picture))
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(out, picture), raw); err != nil {
			return err
		}
	}
	if err := check(pages, out); err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "%d pages and %d pictures in %s\n", len(pages), len(pictures), out)
	return nil
}

// read renders every document.
func read(repo fs.FS) ([]page, error) {
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := fs.Glob(repo, pattern)
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	slices.SortFunc(names, func(a, b string) int {
		place := func(name string) int {
			if i := slices.Index(first, name); i >= 0 {
				return i
			}
			return len(first)
		}
		if c := place(a) - place(b); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	var pages []page
	for _, name := range names {
		raw, err := fs.ReadFile(repo, name)
		if err != nil {
			return nil, err
		}
		p, err := render(name, raw, names)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		pages = append(pages, p)
	}
	return pages, nil
}

// fileOf is the page of a document.
func fileOf(source string) string {
	switch source {
	case "README.md":
		return "index.html"
	case "docs/README.md":
		return "docs/index.html"
	}
	return strings.TrimSuffix(source, ".md") + ".html"
}

func render(source string, raw []byte, names []string) (page, error) {
	p := page{Source: source, File: fileOf(source)}
	// HTML in the documents stands for itself; they are ours.
	md := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID()), goldmark.WithRendererOptions(html.WithUnsafe()))
	doc := md.Parser().Parse(text.NewReader(raw), parser.WithContext(parser.NewContext(parser.WithIDs(&headings{}))))
	err := ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			if id, ok := n.AttributeString("id"); ok {
				p.ids = append(p.ids, string(id.([]byte)))
			}
			if p.Title == "" {
				p.Title = plain(n, raw)
			}
		case *ast.Link:
			n.Destination = []byte(p.follow(string(n.Destination), names))
		case *ast.Image:
			p.links = append(p.links, string(n.Destination))
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return page{}, err
	}
	var body bytes.Buffer
	if err := md.Renderer().Render(&body, raw, doc); err != nil {
		return page{}, err
	}
	p.Body = template.HTML(body.String()) //nolint:gosec // made of our documents
	if p.Title == "" {
		return page{}, errors.New("it has no heading")
	}
	return p, nil
}

// plain is the text of a node without its marks.
func plain(n ast.Node, raw []byte) string {
	var b strings.Builder
	for child := n.FirstChild(); child != nil; child = child.NextSibling() {
		if t, ok := child.(*ast.Text); ok {
			b.Write(t.Segment.Value(raw))
		} else {
			b.WriteString(plain(child, raw))
		}
	}
	return b.String()
}

// follow turns a link between files into one between pages, or to the repository.
func (p *page) follow(to string, names []string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Path == "" {
		if err == nil && u.Path == "" && u.Fragment != "" {
			p.links = append(p.links, to)
		}
		return to
	}
	target := path.Join(path.Dir(p.Source), u.Path)
	if !slices.Contains(names, target) {
		if strings.HasPrefix(target, "docs/pictures/") {
			p.links = append(p.links, to)
			return to
		}
		u.Path = target
		return repository + u.String()
	}
	relative, err := filepath.Rel(path.Dir(p.File), fileOf(target))
	if err != nil {
		return to
	}
	u.Path = filepath.ToSlash(relative)
	p.links = append(p.links, u.String())
	return u.String()
}

// headings gives headings the names that the common hosts of repositories give them.
type headings struct{ seen map[string]int }

var notInName = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// Generate implements [parser.IDs].
func (h *headings) Generate(value []byte, _ ast.NodeKind) []byte {
	name := strings.ReplaceAll(notInName.ReplaceAllString(strings.ToLower(string(util.TrimLeftSpace(util.TrimRightSpace(value)))), ""), " ", "-")
	if h.seen == nil {
		h.seen = make(map[string]int)
	}
	n := h.seen[name]
	h.seen[name]++
	if n > 0 {
		name = fmt.Sprintf("%s-%d", name, n)
	}
	return []byte(name)
}

// Put implements [parser.IDs].
func (h *headings) Put([]byte) {}

// entry is one line of the navigation.
type entry struct {
	Link, Title string
	Here        bool
}

func write(out string, p page, pages []page) error {
	var navigation []entry
	for _, other := range pages {
		link, err := filepath.Rel(path.Dir(p.File), other.File)
		if err != nil {
			return err
		}
		navigation = append(navigation, entry{filepath.ToSlash(link), other.Title, other.File == p.File})
	}
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, map[string]any{"Page": p, "Navigation": navigation, "Source": repository + p.Source})
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(out, filepath.FromSlash(p.File)), b.Bytes())
}

func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a site is for everybody
		return err
	}
	return os.WriteFile(path, content, 0o644) //nolint:gosec // as above
}

// check follows the links of all pages.
func check(pages []page, out string) error {
	ids := make(map[string][]string)
	for _, p := range pages {
		ids[p.File] = p.ids
	}
	var broken []error
	for _, p := range pages {
		for _, link := range p.links {
			u, err := url.Parse(link)
			if err != nil {
				broken = append(broken, fmt.Errorf("%s: %q is not a link", p.Source, link))
				continue
			}
			target := p.File
			if u.Path != "" {
				target = path.Join(path.Dir(p.File), u.Path)
			}
			if _, err := os.Stat(filepath.Join(out, target)); err != nil {
				broken = append(broken, fmt.Errorf("%s: %s is not in the site", p.Source, link))
			} else if u.Fragment != "" && !slices.Contains(ids[target], u.Fragment) {
				broken = append(broken, fmt.Errorf("%s: %s has no heading %q", p.Source, target, u.Fragment))
			}
		}
	}
	return errors.Join(broken...)
}
