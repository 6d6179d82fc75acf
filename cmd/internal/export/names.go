// SPDX-License-Identifier: MPL-2.0

package export

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/mimird/mimird/actors/control"
)

// maxNameBytes is the longest name of a file or folder: systems take 255 bytes, and a
// number and an ending may be added.
const maxNameBytes = 120

// names are names that are in use, folded: some file systems do not know upper case.
type names map[string]struct{}

// take returns a name that is not in use yet, with before in front of it.
func (n names) take(name, before string) string {
	ending := path.Ext(name)
	stem := strings.TrimSuffix(name, ending)
	for i := 1; ; i++ {
		one := before + name
		if i > 1 {
			one = fmt.Sprintf("%s%s (%d)%s", before, stem, i, ending)
		}
		key := strings.ToLower(one)
		if _, used := n[key]; !used {
			n[key] = struct{}{}
			return one
		}
	}
}

// folderName makes the name of a folder of that of a conversation. It has no dots, so that
// nothing of it is an ending.
func folderName(name string) string { return safe(strings.ReplaceAll(name, ".", "_"), "conversation") }

// safe keeps the letters and digits of any script and a few other characters, so that a
// name is one on every file system, means nothing to a shell or browser, and can be read.
func safe(name, otherwise string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsLetter(r), unicode.IsNumber(r), strings.ContainsRune(" ._-(),+", r):
			return r
		case unicode.IsMark(r) && !unicode.Is(unicode.Me, r):
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return -1
		}
		return '_'
	}, name)
	if len(name) > maxNameBytes {
		name = strings.ToValidUTF8(name[:maxNameBytes], "")
	}
	name = strings.Trim(name, " .")
	stem, _, _ := strings.Cut(strings.ToLower(name), ".")
	switch {
	case strings.Trim(name, "_ ") == "":
		return otherwise
	case slices.Contains([]string{"con", "prn", "aux", "nul"}, stem), len(stem) == 4 && (strings.HasPrefix(stem, "com") || strings.HasPrefix(stem, "lpt")):
		return "_" + name // devices of Windows
	}
	return name
}

// active are endings and types of files that a browser runs when somebody opens them.
var (
	activeEndings = []string{".htm", ".html", ".xht", ".xhtml", ".shtml", ".svg", ".svgz", ".xml", ".xsl", ".xslt", ".mht", ".mhtml", ".js", ".mjs", ".hta", ".url", ".webloc", ".desktop", ".lnk"}
	activeTypes   = []string{"text/html", "application/xhtml+xml", "image/svg+xml", "text/xml", "application/xml", "text/javascript", "application/javascript"}
)

// fileName makes the name of a file of what its sender calls it. One that would be run
// ends in .txt.
func fileName(f control.File) string {
	name := f.Name
	ending := path.Ext(name)
	if len(ending) > 16 {
		ending = ""
	}
	if stem := strings.TrimSuffix(name, ending); len(name) > maxNameBytes {
		name = strings.ToValidUTF8(stem[:maxNameBytes-len(ending)], "") + ending
	}
	name = safe(name, "file")
	kind, _, _ := strings.Cut(f.Type, ";")
	if slices.Contains(activeEndings, strings.ToLower(path.Ext(name))) || slices.Contains(activeTypes, strings.ToLower(strings.TrimSpace(kind))) {
		name += ".txt"
	}
	return name
}

// shownPictures are types of pictures that every browser shows and none runs.
var shownPictures = []string{"image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/avif"}

// kindOf says how a page shows a file: picture, sound, film, or a link for "".
func kindOf(f control.File) string {
	kind, _, _ := strings.Cut(strings.ToLower(f.Type), ";")
	switch {
	case slices.Contains(shownPictures, kind):
		return "picture"
	case strings.HasPrefix(kind, "audio/"), f.Voice:
		return "sound"
	case strings.HasPrefix(kind, "video/"):
		return "film"
	}
	return ""
}
