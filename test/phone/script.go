// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// Script is a conversation between a phone and a node, written down in a text file.
//
// The file is a txtar archive. Its comment is the conversation, one step on each
// line; lines that begin with # explain. A section named cases is a table: the
// script is run once for each row, with <column> replaced by what stands there.
//
//	contact               the node's owner makes the phone a contact
//	announce              the phone tells a tracker where it is
//	dial S                the phone opens stream S to port 42 of the node
//	accept S              the node opens a stream to port 42 of the phone: S
//	handshake S           the phone's part of the handshake, role byte included
//	S > BYTES             the phone sends, in one piece
//	S drip 1s BYTES       the phone sends byte by byte, with a pause after each
//	S < BYTES             this comes back
//	S ignores TYPE...     frames of these types are skipped whenever they come
//	S silent 5s           nothing comes for that long, and S stays open
//	S ends [5s]           the node ends S within that time and sends nothing before
//	S close               the phone ends S, reset: at once
//	pause 5s              nothing happens for that long
//	let NAME = FUNCTION   see below
//	signed SIG WHO BYTES  SIG is the signature of WHO of BYTES
//	say "text"            the node's owner writes to the phone
//	heard "text"...       the node has these messages from the phone, and no others
//
// BYTES are frames or VALUES, with + between them. A frame is the name of its type
// and fields with values, as in OK id=5; fields that are not named are zero. When a
// frame is expected they are not looked at, field=?NAME keeps the value as $NAME,
// and header.key=VALUE looks into JSON; among bytes, ?NAME:N keeps N bytes. To lie, size=N is the size in the header,
// field:length=N the length before a field, and ... at the end breaks the frame off
// after the length of the last field. DATA is a frame of a data stream; a number is
// a type without layout, whose bytes are its body.
//
// A VALUE is a decimal number (in frames only), "text", 'text as it is',
// x"bytes in hex", or $NAME. These are there from the beginning: $phone and $node,
// the identities; $phone.at and $node.at, the node keys.
//
//	random N              N random bytes
//	repeat XX N           N times the byte XX
//	key WHO               the public key of somebody: phone, or any name
//	sign WHO VALUE        somebody's signature of bytes
//	flip N VALUE          VALUE with the lowest bit of byte N the other way round
//	cut N VALUE           the first N bytes of VALUE, zeros added when it is shorter
//
// Steps that wait do so until their condition holds, and give up after half a
// minute.
type Script struct {
	// Name is the file's name without its ending, and the case's.
	Name string
	// About are the first lines of the file that explain it.
	About string

	file  string
	steps []step
}

// step is one line.
type step struct {
	line  int
	text  string
	words []string
}

//go:embed testdata/script/*.txtar
var files embed.FS

// Scripts returns the conversations that come with this package, one for each case.
func Scripts() ([]Script, error) {
	names, err := fs.Glob(files, "testdata/script/*.txtar")
	if err != nil {
		return nil, err
	}
	var all []Script
	for _, name := range names {
		b, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		scripts, err := ParseScript(path.Base(name), b)
		if err != nil {
			return nil, err
		}
		all = append(all, scripts...)
	}
	return all, nil
}

// ParseScript reads a file and returns its script for each case.
func ParseScript(file string, b []byte) ([]Script, error) {
	archive := txtar.Parse(b)
	cases := []replacement{{}}
	for _, section := range archive.Files {
		if section.Name != "cases" {
			return nil, fmt.Errorf("%s: unknown section %q", file, section.Name)
		}
		var err error
		if cases, err = parseCases(string(section.Data)); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	var scripts []Script
	for _, c := range cases {
		s := Script{Name: strings.TrimSuffix(file, ".txtar"), file: file, About: about(string(archive.Comment))}
		if c.name != "" {
			s.Name += "/" + strings.ReplaceAll(c.name, " ", "-")
		}
		for i, text := range strings.Split(string(archive.Comment), "\n") {
			text = strings.TrimSpace(c.apply(text))
			if text == "" || strings.HasPrefix(text, "#") {
				continue
			}
			words, err := split(text)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
			}
			s.steps = append(s.steps, step{line: i + 1, text: text, words: words})
		}
		scripts = append(scripts, s)
	}
	return scripts, nil
}

// about are the comment lines at the beginning.
func about(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		comment, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		lines = append(lines, strings.TrimSpace(comment))
	}
	return strings.Join(lines, " ")
}

// replacement is one row of the table of cases.
type replacement struct {
	name    string
	columns []string
	values  []string
}

func (r replacement) apply(line string) string {
	for i, column := range r.columns {
		line = strings.ReplaceAll(line, "<"+column+">", r.values[i])
	}
	return line
}

// parseCases reads a table: a row of column names, then a row for each case that
// begins with its name.
func parseCases(text string) ([]replacement, error) {
	var columns []string
	var cases []replacement
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		cells := strings.Split(line, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if columns == nil {
			columns = cells
			continue
		}
		if len(cells) != len(columns) {
			return nil, fmt.Errorf("case %q has %d columns, want %d", cells[0], len(cells), len(columns))
		}
		cases = append(cases, replacement{name: cells[0], columns: columns, values: cells})
	}
	if len(cases) == 0 {
		return nil, errors.New("no cases")
	}
	return cases, nil
}

// split cuts a line into words at white space outside quotes. Quotes stay.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '"' && c == '\\' && i+1 < len(line):
			word.WriteByte(c)
			i++
			c = line[i]
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (c == ' ' || c == '\t'):
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
			continue
		}
		word.WriteByte(c)
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if word.Len() > 0 {
		words = append(words, word.String())
	}
	return words, nil
}
