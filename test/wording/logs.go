// SPDX-License-Identifier: MPL-2.0

package wording

import (
	"errors"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

var errNoKeys = errors.New("no table of log keys in the style guide")

// logKeys reads the keys of log attributes from the style guide: the first column of
// the table in its section about log lines.
func logKeys(style string) (map[string]bool, error) {
	_, section, _ := strings.Cut(style, "\n## Log lines\n")
	section, _, _ = strings.Cut(section, "\n## ")
	keys := make(map[string]bool)
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, key := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
			keys[key[1]] = true
		}
	}
	if len(keys) == 0 {
		return nil, errNoKeys
	}
	return keys, nil
}

// messageAt says where a method of slog.Logger has its message; what follows are
// attributes. With has none.
var messageAt = map[string]int{
	"Debug": 0, "Info": 0, "Warn": 0, "Error": 0,
	"DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1,
	"Log": 2, "LogAttrs": 2, "With": -1,
}

// attributes are the functions of slog that make an attribute of a key and a value.
var attributes = []string{"String", "Any", "Int", "Int64", "Uint64", "Float64", "Bool", "Duration", "Time", "Group"}

// logCall is a call that writes a log line, directly or through a function of ours.
type logCall struct {
	call    *ast.CallExpr
	message int // index of the message, -1: there is none
}

// isLogger reports whether an expression has the name of a logger: log, env.log,
// c.Log(), strangerLog, slog. Types are not known here; the names of loggers in this
// module all end so, and testing.T is called t.
func isLogger(e ast.Expr) bool {
	name := strings.ToLower(lastName(e))
	return strings.HasSuffix(name, "log") || strings.HasSuffix(name, "logger")
}

func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.CallExpr:
		return lastName(e.Fun)
	case *ast.ParenExpr:
		return lastName(e.X)
	}
	return ""
}

// wrappers are functions that pass a parameter on as the message of a log line: the
// name of each, and which parameter. They are looked for in one package at a time.
func wrappers(files []*goFile) map[string]int {
	found := make(map[string]int)
	for _, f := range files {
		for _, declaration := range f.ast.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Body == nil {
				continue
			}
			parameters := parametersOf(function)
			ast.Inspect(function.Body, func(n ast.Node) bool {
				if log, ok := directLog(n); ok && log.message >= 0 {
					if name, ok := log.call.Args[log.message].(*ast.Ident); ok {
						if at := slices.Index(parameters, name.Name); at >= 0 {
							found[function.Name.Name] = at
						}
					}
				}
				return true
			})
		}
	}
	return found
}

func parametersOf(function *ast.FuncDecl) []string {
	var names []string
	for _, field := range function.Type.Params.List {
		for _, name := range field.Names {
			names = append(names, name.Name)
		}
	}
	return names
}

func directLog(n ast.Node) (logCall, bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return logCall{}, false
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !isLogger(method.X) {
		return logCall{}, false
	}
	at, ok := messageAt[method.Sel.Name]
	if !ok || len(call.Args) <= at || len(call.Args) == 0 {
		return logCall{}, false
	}
	return logCall{call, at}, true
}

// checkLogs checks the log lines of the files of one package.
func checkLogs(files []*goFile, keys map[string]bool) []Finding {
	through := wrappers(files)
	var found []Finding
	for _, f := range files {
		if f.isTest() {
			continue
		}
		for _, declaration := range f.ast.Decls {
			ast.Inspect(declaration, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				if log, ok := directLog(call); ok {
					found = append(found, checkLog(f, log, declaration, keys)...)
				} else if at, ok := through[lastName(call.Fun)]; ok && len(call.Args) > at {
					found = append(found, checkLog(f, logCall{call, at}, declaration, keys)...)
				} else if key, ok := attributeKey(call); ok && !keys[key] {
					found = append(found, unknownKey(f, call.Args[0], key))
				}
				return true
			})
		}
	}
	return found
}

// attributeKey returns the key of slog.String("key", value) and the like.
func attributeKey(call *ast.CallExpr) (string, bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || lastName(method.X) != "slog" || !slices.Contains(attributes, method.Sel.Name) || len(call.Args) < 2 {
		return "", false
	}
	return stringOf(call.Args[0])
}

func unknownKey(f *goFile, at ast.Node, key string) Finding {
	return Finding{f.name, f.line(at.Pos()), "the log key " + strconv.Quote(key) + " is not in the table of docs/style.md"}
}

func checkLog(f *goFile, log logCall, within ast.Decl, keys map[string]bool) []Finding {
	var found []Finding
	if log.message >= 0 {
		at := log.call.Args[log.message]
		texts, constant := messages(at, within)
		if !constant {
			found = append(found, Finding{f.name, f.line(at.Pos()), "the message of the log line is not a constant"})
		}
		for _, text := range texts {
			if wrong := wrongMessage(text); wrong != "" {
				found = append(found, Finding{f.name, f.line(at.Pos()), "log line " + strconv.Quote(text) + ": " + wrong})
			}
		}
	}
	rest := log.call.Args[log.message+1:]
	// An append of attributes counts as these attributes.
	if len(rest) == 1 && log.call.Ellipsis.IsValid() {
		if inner, ok := rest[0].(*ast.CallExpr); ok && lastName(inner.Fun) == "append" && len(inner.Args) > 0 && !inner.Ellipsis.IsValid() {
			rest = inner.Args[1:]
		}
	}
	for i := 0; i < len(rest); {
		key, ok := stringOf(rest[i])
		if !ok { // an attribute, which is checked as a call of its own, or a list
			i++
			continue
		}
		if !keys[key] {
			found = append(found, unknownKey(f, rest[i], key))
		}
		i += 2
	}
	return found
}

// messages returns the texts that a message may be. A name is constant when it is a
// parameter, whose callers are checked, or when all that is assigned to it are texts.
func messages(e ast.Expr, within ast.Decl) (texts []string, constant bool) {
	if text, ok := stringOf(e); ok {
		return []string{text}, true
	}
	name, ok := e.(*ast.Ident)
	function, isFunction := within.(*ast.FuncDecl)
	if !ok || !isFunction {
		return nil, false
	}
	if slices.Contains(parametersOf(function), name.Name) {
		return nil, true
	}
	constant = true
	assign := func(left, right []ast.Expr) {
		for i, l := range left {
			if target, ok := l.(*ast.Ident); !ok || target.Name != name.Name {
				continue
			}
			if len(right) != len(left) {
				constant = false
				continue
			}
			text, ok := stringOf(right[i])
			if constant = constant && ok; ok {
				texts = append(texts, text)
			}
		}
	}
	ast.Inspect(function.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			assign(n.Lhs, n.Rhs)
		case *ast.ValueSpec:
			var left []ast.Expr
			for _, l := range n.Names {
				left = append(left, l)
			}
			if len(n.Values) > 0 {
				assign(left, n.Values)
			}
		}
		return true
	})
	return texts, constant && len(texts) > 0
}

// stringOf returns the text of a literal, or of several that are joined.
func stringOf(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		left, ok := stringOf(e.X)
		right, ok2 := stringOf(e.Y)
		return left + right, ok && ok2 && e.Op == token.ADD
	case *ast.ParenExpr:
		return stringOf(e.X)
	}
	return "", false
}

// wrongMessage returns what is wrong with the message of a log line, "" for nothing.
func wrongMessage(text string) string {
	first, _ := utf8.DecodeRuneInString(text)
	switch {
	case !unicode.IsLower(first):
		return "begin with a lower-case letter"
	case strings.HasSuffix(text, ".") || strings.HasSuffix(text, "!") || strings.HasSuffix(text, "?"):
		return "no full stop"
	case strings.ContainsAny(text, "\n%"):
		return "one constant event, data in attributes"
	}
	return ""
}
