// SPDX-License-Identifier: MPL-2.0

package config

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// UnknownKeys reports every key of a section that no field of typ reads, with its line and
// the nearest key that exists: a misspelt key that is silently ignored is the hardest
// mistake to find in a configuration. path, such as "matrix.", is where the section is.
func UnknownKeys(section *yaml.Node, typ reflect.Type, path string) error {
	var problems []error
	checkKeys(section, typ, path, &problems)
	return errors.Join(problems...)
}

func checkKeys(node *yaml.Node, typ reflect.Type, path string, problems *[]error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if node.Kind == yaml.MappingNode && typ.Kind() == reflect.Map { // of sections that have names
		for i := 0; i+1 < len(node.Content); i += 2 {
			checkKeys(node.Content[i+1], typ.Elem(), path+clip(node.Content[i].Value)+".", problems)
		}
		return
	}
	if node.Kind != yaml.MappingNode || typ.Kind() != reflect.Struct || typ == reflect.TypeFor[yaml.Node]() {
		return
	}
	known := make(map[string]reflect.Type)
	addKnown(known, typ)
	if len(known) == 0 {
		return // a type with its own way of reading
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		field, ok := known[key.Value]
		if !ok {
			*problems = append(*problems, fmt.Errorf("%s: unknown key %q%s", place(key.Line), path+clip(key.Value), suggestion(key.Value, known)))
			continue
		}
		checkKeys(node.Content[i+1], field, path+key.Value+".", problems)
	}
}

// addKnown adds the keys that the fields of a type read.
func addKnown(known map[string]reflect.Type, typ reflect.Type) {
	for f := range typ.Fields() {
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			addKnown(known, f.Type)
		case key != "" && key != "-":
			known[key] = f.Type
		}
	}
}

// place names a line of the file; what the environment sets has none.
func place(line int) string {
	if line == 0 {
		return "environment"
	}
	return fmt.Sprintf("line %d", line)
}

func suggestion(key string, known map[string]reflect.Type) string {
	if best := Nearest(key, maps.Keys(known)); best != "" {
		return fmt.Sprintf("; did you mean %q?", best)
	}
	return ""
}

// Nearest returns the known word that a misspelt one was probably meant to be, ""
// for none: one letter in three may be wrong, and one in a short word.
func Nearest(misspelt string, known iter.Seq[string]) string {
	best, distance := "", max(1, len(misspelt)/3)+1
	for candidate := range known {
		d := editDistance(strings.ToLower(misspelt), candidate)
		if d < distance || d == distance && candidate < best {
			best, distance = candidate, d
		}
	}
	return best
}

// editDistance counts the letters to insert, delete or replace to turn a into b.
func editDistance(a, b string) int {
	const most = 64 // longer keys are not misspellings
	if len(a) > most || len(b) > most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j]+1, row[j+1]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// mismatch is how the YAML library tells that a value is of the wrong kind, with
// the name of a Go type at the end.
var mismatch = regexp.MustCompile("^(line [0-9]+): cannot unmarshal !![a-z]+(?: (`.*`))? into (.+)$")

// readable puts what the YAML library says of values of the wrong kind into words
// of the configuration.
func readable(err error) error {
	wrong := new(yaml.TypeError)
	if !errors.As(err, &wrong) {
		return err
	}
	return Readable(wrong.Errors)
}

// Readable is an error of what the YAML library says of values of the wrong kind, a line
// each, in words of the configuration.
func Readable(texts []string) error {
	var problems []error
	for _, text := range texts {
		if m := mismatch.FindStringSubmatch(text); m != nil {
			line, _ := strconv.Atoi(strings.TrimPrefix(m[1], "line "))
			text = fmt.Sprintf("%s: want %s", place(line), kindOf(m[3]))
			if m[2] != "" {
				text += ", have " + m[2]
			}
		}
		problems = append(problems, errors.New(text))
	}
	return errors.Join(problems...)
}

// kindOf names the kind of value that a Go type reads.
func kindOf(typ string) string {
	switch {
	case strings.HasPrefix(typ, "[]"):
		return "a list"
	case strings.HasPrefix(typ, "config.") && typ != "config.Role":
		return "a section with keys"
	case strings.HasPrefix(typ, "bridgeconfig.") || strings.HasPrefix(typ, "map["):
		return "a section with keys"
	case typ == "uint16":
		return "a port, 1 to 65535"
	case strings.HasPrefix(typ, "int"):
		return "a whole number"
	case typ == "time.Duration":
		return "a duration such as 90s, 15m or 1h30m"
	case typ == "bool":
		return "true or false"
	}
	return "a text"
}
