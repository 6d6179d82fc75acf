// SPDX-License-Identifier: MPL-2.0

package config

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// unknownKeys reports every key of the document that no field reads, with its
// line and the nearest key that exists: a misspelt key that is silently ignored
// is the hardest mistake to find in a configuration.
func unknownKeys(root *yaml.Node) error {
	var problems []error
	checkKeys(root, reflect.TypeFor[Config](), "", &problems)
	return errors.Join(problems...)
}

func checkKeys(node *yaml.Node, typ reflect.Type, path string, problems *[]error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind != yaml.MappingNode || typ.Kind() != reflect.Struct || typ == reflect.TypeFor[yaml.Node]() {
		return
	}
	known := map[string]reflect.Type{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		if key := f.Tag.Get("yaml"); key != "" {
			known[key] = f.Type
		}
	}
	if len(known) == 0 {
		return // a type with its own way of reading
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		field, ok := known[key.Value]
		if !ok {
			*problems = append(*problems, fmt.Errorf("line %d: unknown key %q%s", key.Line, path+clip(key.Value), suggestion(key.Value, known)))
			continue
		}
		checkKeys(node.Content[i+1], field, path+key.Value+".", problems)
	}
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
	var problems []error
	for _, text := range wrong.Errors {
		if m := mismatch.FindStringSubmatch(text); m != nil {
			text = fmt.Sprintf("%s: want %s", m[1], kindOf(m[3]))
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
	case typ == "int":
		return "a whole number"
	case typ == "bool":
		return "true or false"
	}
	return "a text"
}
