// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// Object is a JSON object from outside that has been checked: size, depth,
// UTF-8, syntax. Nothing is decoded before it is asked for, so unknown keys cost
// no memory. Keys are compared exactly, and of equal keys the last one counts.
type Object struct{ raw []byte }

// ParseObject checks b. Errors are violations with [CodeJSON], or [CodeLength]
// above [MaxJSON]. The result points into b.
func ParseObject(b []byte) (Object, error) {
	switch {
	case len(b) > MaxJSON:
		return Object{}, NewViolation(CodeLength, "json: %d bytes, allowed %d", len(b), MaxJSON)
	case !utf8.Valid(b):
		return Object{}, NewViolation(CodeJSON, "not UTF-8")
	case jsonDepth(b) > MaxJSONDepth:
		return Object{}, NewViolation(CodeJSON, "nested deeper than %d", MaxJSONDepth)
	case !json.Valid(b):
		return Object{}, NewViolation(CodeJSON, "does not parse")
	}
	b = trimSpace(b)
	if b[0] != '{' {
		return Object{}, NewViolation(CodeJSON, "not an object")
	}
	return Object{raw: b}, nil
}

// Int64 returns an integer. What is absent or anything else than an integer
// within 64 bits (a fraction, an exponent, a string, 2^63) is 0, as in the
// reference.
func (o Object) Int64(key string) int64 {
	v, err := strconv.ParseInt(string(o.value(key)), 10, 64)
	if err != nil {
		return 0
	}
	return v
}

// Has reports whether the key is present with a value other than null.
func (o Object) Has(key string) bool {
	v := o.value(key)
	return v != nil && string(v) != "null"
}

// Text returns a string; absent, null or anything else is "". More than limit
// bytes are a violation. Unpaired surrogates become U+FFFD.
func (o Object) Text(key string, limit int) (string, error) {
	v := o.value(key)
	if len(v) == 0 || v[0] != '"' {
		return "", nil
	}
	s := unquote(v)
	if len(s) > limit {
		return "", NewViolation(CodeLength, "json %s: %d bytes, allowed %d", key, len(s), limit)
	}
	return s, nil
}

// value returns the raw value of a key, nil when absent. The walk leans on the
// syntax having been checked.
func (o Object) value(key string) []byte {
	var found []byte
	rest := trimSpace(o.raw)
	if len(rest) == 0 {
		return nil
	}
	for rest = trimSpace(rest[1:]); rest[0] != '}'; {
		n := valueEnd(rest)
		matches := keyEquals(rest[:n], key)
		rest = trimSpace(rest[n:]) // at the colon
		rest = trimSpace(rest[1:]) // at the value
		n = valueEnd(rest)         // past the value
		if matches {
			found = rest[:n:n]
		}
		if rest = trimSpace(rest[n:]); rest[0] == ',' {
			rest = trimSpace(rest[1:])
		}
	}
	return found
}

func keyEquals(quoted []byte, key string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:len(quoted)-1]) == key
	}
	return unquote(quoted) == key
}

func unquote(quoted []byte) string {
	var s string
	// Cannot fail: the syntax has been checked.
	_ = json.Unmarshal(quoted, &s)
	return s
}

// valueEnd returns the length of the JSON value at the start of b, which is
// valid JSON followed by more of it.
func valueEnd(b []byte) int {
	switch b[0] {
	case '"':
		return stringEnd(b)
	case '{', '[':
		depth := 0
		for i := 0; ; i++ {
			switch b[i] {
			case '"':
				i += stringEnd(b[i:]) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return i + 1
				}
			}
		}
	}
	// A number or a literal ends before the first byte that cannot be part of it.
	return bytes.IndexAny(b, ",}] \t\r\n")
}

func stringEnd(b []byte) int {
	for i := 1; ; i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// jsonDepth counts how deep brackets nest outside of strings. It runs before the
// parser and therefore on anything.
func jsonDepth(b []byte) int {
	depth, deepest, inString := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

func trimSpace(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }

// AppendJSONText appends s as a JSON string. Unlike encoding/json it leaves <, >
// and & alone, as the apps do.
func AppendJSONText(b []byte, s string) []byte {
	buf := bytes.NewBuffer(b)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	// Cannot fail: a string always has a form, and a buffer takes it.
	_ = enc.Encode(s)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}
