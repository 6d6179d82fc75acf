// SPDX-License-Identifier: MPL-2.0

// Package links_test follows the links between the documents: every file that one names
// exists, with the heading that it names. Addresses of other sites are not asked.
package links_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const root = "../.."

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+?)\s*$`)
	// code is a block or a span, in which nothing is a link or a heading.
	code = regexp.MustCompile("(?ms)^```.*?^```$|``[^`]*``|`[^`\n]*`")
)

func TestLinks(t *testing.T) {
	pages := make(map[string][]string) // with their headings
	text := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "bin"):
			return fs.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, match := range heading.FindAllStringSubmatch(string(raw), -1) {
			pages[path] = append(pages[path], anchor(match[1]))
		}
		text[path] = code.ReplaceAllString(string(raw), "")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	followed := 0
	for path, text := range text {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, fragment, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			followed++
			file := path
			if target != "" {
				file = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s links to %s, which does not exist", path, match[1])
			} else if fragment != "" && filepath.Ext(file) == ".md" && !slices.Contains(pages[file], fragment) {
				t.Errorf("%s links to %s, which has no such heading; it has %q", path, match[1], pages[file])
			}
		}
	}
	if followed < 50 {
		t.Errorf("%d links found", followed)
	}
}

// anchor is the name that the common hosts of repositories give to a heading.
func anchor(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ':
			b.WriteByte('-')
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			b.WriteRune(r)
		}
	}
	return b.String()
}
