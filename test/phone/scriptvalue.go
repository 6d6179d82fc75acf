// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// variables are what a script has bound, numbers as int64 and bytes as []byte.
type variables map[string]any

// value reads a word as a value.
func (v variables) value(word string) (any, error) {
	switch {
	case strings.HasPrefix(word, "$"):
		value, ok := v[word[1:]]
		if !ok {
			return nil, fmt.Errorf("nothing is called %s", word)
		}
		return value, nil
	case strings.HasPrefix(word, `x"`):
		b, err := hex.DecodeString(strings.ReplaceAll(word[2:len(word)-1], " ", ""))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", word, err)
		}
		return b, nil
	case strings.HasPrefix(word, `"`):
		text, err := strconv.Unquote(word)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", word, err)
		}
		return []byte(text), nil
	case strings.HasPrefix(word, "'"):
		return []byte(strings.Trim(word, "'")), nil
	}
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%s is not a value", word)
	}
	return n, nil
}

// bytes reads a word that must be bytes.
func (v variables) bytes(word string) ([]byte, error) {
	value, err := v.value(word)
	if err != nil {
		return nil, err
	}
	b, ok := value.([]byte)
	if !ok {
		return nil, fmt.Errorf("%s is a number", word)
	}
	return b, nil
}

// call computes the right side of let.
func (v variables) call(words []string) (any, error) {
	want := map[string]int{"random": 2, "repeat": 3, "key": 2, "sign": 3, "flip": 3, "cut": 3}[words[0]]
	if want == 0 && len(words) == 1 {
		return v.value(words[0])
	}
	if len(words) != want {
		return nil, fmt.Errorf("no function %s with %d arguments", words[0], len(words)-1)
	}
	switch words[0] {
	case "key":
		k := v.somebody(words[1]).Key()
		return k[:], nil
	case "random":
		n, err := strconv.Atoi(words[1])
		b := make([]byte, max(n, 0))
		_, _ = rand.Read(b) // never fails, see crypto/rand
		return b, err
	case "repeat":
		b, err := hex.DecodeString(words[1])
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(words[2])
		return bytes.Repeat(b, max(n, 0)), err
	}
	b, err := v.bytes(words[2])
	if err != nil {
		return nil, err
	}
	if words[0] == "sign" {
		return v.somebody(words[1]).Sign(b), nil
	}
	n, err := strconv.Atoi(words[1])
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%s is not a place", words[1])
	}
	if words[0] == "cut" {
		return append(b, make([]byte, n)...)[:n:n], nil
	}
	b = bytes.Clone(b)
	if n >= len(b) {
		return nil, fmt.Errorf("%d is beyond the end", n)
	}
	b[n] ^= 1
	return b, nil
}

// somebody is an identity by name.
func (v variables) somebody(name string) Identity {
	if name == "phone" {
		return v["phone identity"].(Identity)
	}
	return IdentityOf(name)
}

// items cuts words at + into frames and values.
func items(words []string) [][]string {
	var all [][]string
	from := 0
	for i, w := range words {
		if w == "+" {
			all = append(all, words[from:i])
			from = i + 1
		}
	}
	return append(all, words[from:])
}

// encode makes the bytes that a step sends.
func (v variables) encode(words []string) ([]byte, error) {
	var b []byte
	for _, item := range items(words) {
		if len(item) == 0 {
			return nil, fmt.Errorf("nothing beside +")
		}
		if t, ok := typeOf(item[0]); ok {
			f, err := v.frame(t, item[1:])
			if err != nil {
				return nil, err
			}
			b = f.AppendTo(b)
			continue
		}
		for _, word := range item {
			value, err := v.bytes(word)
			if err != nil {
				return nil, err
			}
			b = append(b, value...)
		}
	}
	return b, nil
}

// typeOf is the type that a script calls by name or by number.
func typeOf(word string) (Type, bool) {
	for t, name := range names {
		if name == word {
			return t, true
		}
	}
	n, err := strconv.ParseInt(word, 10, 32)
	return Type(n), err == nil
}

// frame reads the fields of a frame to be sent.
func (v variables) frame(t Type, words []string) (Frame, error) {
	f := Frame{Type: t, Fields: make(Fields), Lengths: make(map[string]int64)}
	last := ""
	for _, word := range words {
		if word == "..." {
			f.End = last
			continue
		}
		name, text, given := cutField(word)
		if _, known := layouts[t]; !given && !known {
			b, err := v.bytes(word)
			if err != nil {
				return f, err
			}
			f.Body = append(f.Body, b...)
			continue
		}
		value, err := v.value(text)
		if err != nil {
			return f, err
		}
		field, isLength := strings.CutSuffix(name, ":length")
		switch n, isNumber := value.(int64); {
		case (name == "size" || isLength) && !isNumber:
			return f, fmt.Errorf("%s: want a number", word)
		case name == "size":
			f.Size = &n
		case !hasField(t, field):
			return f, fmt.Errorf("%v has no field %q", t, field)
		case isLength:
			f.Lengths[field] = n
		default:
			f.Fields[name] = value
		}
		last = field
	}
	return f, nil
}

func cutField(word string) (name, value string, ok bool) {
	if i := strings.IndexAny(word, `="'`); i > 0 && word[i] == '=' {
		return word[:i], word[i+1:], true
	}
	return "", word, false
}

func hasField(t Type, name string) bool {
	for _, fd := range layouts[t] {
		if fd.name == name {
			return true
		}
	}
	return false
}

// match compares a frame that has come with what a script expects, and binds what
// it asks for.
func (v variables) match(f Frame, words []string) error {
	for _, word := range words {
		name, want, given := cutField(word)
		if !given {
			return fmt.Errorf("%s: want field=value", word)
		}
		got, err := lookInto(f, name)
		if err != nil {
			return err
		}
		if bound, ok := strings.CutPrefix(want, "?"); ok {
			v[bound] = got
			continue
		}
		value, err := v.value(want)
		if err != nil {
			return err
		}
		if !same(got, value) {
			return fmt.Errorf("%s is %s", word, show(got))
		}
	}
	return nil
}

// lookInto returns a field, or what is under a key of the JSON in it.
func lookInto(f Frame, name string) (any, error) {
	name, key, inJSON := strings.Cut(name, ".")
	if name == "size" {
		return *f.Size, nil
	}
	if !hasField(f.Type, name) {
		return nil, fmt.Errorf("%v has no field %q", f.Type, name)
	}
	value, ok := f.Fields[name]
	if !ok {
		return nil, fmt.Errorf("%v has come without %s", f.Type, name)
	}
	if !inJSON {
		if text, ok := value.(string); ok {
			return []byte(text), nil
		}
		return value, nil
	}
	var object map[string]json.Number
	if err := json.Unmarshal(f.Bytes(name), &object); err != nil {
		return nil, err
	}
	if _, ok := object[key]; !ok {
		return nil, fmt.Errorf("no key %s in %s", key, f.Bytes(name))
	}
	return object[key].Int64()
}

func same(a, b any) bool {
	x, isBytes := a.([]byte)
	y, areBytes := b.([]byte)
	if isBytes && areBytes {
		return bytes.Equal(x, y)
	}
	return !isBytes && !areBytes && a == b
}

func show(v any) string {
	if b, ok := v.([]byte); ok {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprint(v)
}
