// SPDX-License-Identifier: MPL-2.0

package wording

import (
	"go/ast"
	"strconv"
	"strings"
	"unicode"
)

// bannedNames are identifiers with a better word, as their words in lower case. An
// identifier is one of them when its words contain them in this order.
var bannedNames = map[string]string{
	"handover": "streamHandoff, tell", "hand over": "streamHandoff, tell", "pass on": "forward",
	"elsewhere": "foreignNodes", "greetings": "pendingStreams", "welcome": "release",
	"silent servers": "unreachableServers", "silent server": "unreachableServer",
	"recall": "wantRedial", "unheard": "sessionsWithoutAck", "asked heard": "requestDelivered",
	"settling": "answerUnsaved", "hearing": "inboundHealth", "deaf": "unreachable",
	"gather": "mergeEvents", "promised": "missingIsCorrupt", "make way": "yieldTo", "made way": "yielded", "gave way": "yielded",
	"surroundings": "hostWatch", "stackroom": "stackGrow", "occupy": "keepAlive", "whoever": "the subject",
	"modern": "gen3, v2",
}

// bannedWhole are plain words that say too little as the whole name of a type, a
// function, a method, a field or a variable of a package.
var bannedWhole = map[string]string{
	"saw": "observe", "hide": "suppress", "patient": "probe", "copies": "deduper", "condition": "liveStatus",
	"behind": "pendingAnswers, subnetAddr", "asking": "requestSent", "marking": "requestUnsaved",
}

// wordsOf splits an identifier: OnFileGone is on, file, gone.
func wordsOf(name string) []string {
	var words []string
	runes := []rune(name)
	start := 0
	flush := func(end int) {
		if end > start {
			words = append(words, strings.ToLower(string(runes[start:end])))
		}
		start = end
	}
	for i, r := range runes {
		switch {
		case r == '_':
			flush(i)
			start = i + 1
		case unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			flush(i)
		}
	}
	flush(len(runes))
	return words
}

// wrongName returns the better name of an identifier, and whether there is one. The
// whole name counts only when it is declared outside of functions.
func wrongName(name string, local bool) (better string, wrong bool) {
	joined := " " + strings.Join(wordsOf(name), " ") + " "
	for banned, better := range bannedNames {
		if strings.Contains(joined, " "+banned+" ") {
			return better, true
		}
	}
	if !local {
		better, wrong = bannedWhole[strings.TrimSpace(joined)]
	}
	return better, wrong
}

// checkNames checks every identifier that a file declares. The names of tests are
// sentences, and are not checked here.
func checkNames(f *goFile) []Finding {
	var found []Finding
	check := func(local bool, names ...*ast.Ident) {
		for _, name := range names {
			if better, wrong := wrongName(name.Name, local); wrong {
				found = append(found, Finding{f.name, f.line(name.Pos()), "the name " + strconv.Quote(name.Name) + ", better: " + better})
			}
		}
	}
	depth := 0
	var stack []bool
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if n == nil {
			if stack[len(stack)-1] {
				depth--
			}
			stack = stack[:len(stack)-1]
			return true
		}
		isBody := false
		switch n := n.(type) {
		case *ast.FuncDecl:
			if !f.isTest() || !strings.HasPrefix(n.Name.Name, "Test") {
				check(false, n.Name)
			}
		case *ast.TypeSpec:
			check(depth > 0, n.Name)
		case *ast.ValueSpec:
			check(depth > 0, n.Names...)
		case *ast.StructType:
			for _, field := range n.Fields.List {
				check(false, field.Names...)
			}
		case *ast.FuncType:
			for _, field := range n.Params.List {
				check(true, field.Names...)
			}
		case *ast.AssignStmt:
			if n.Tok.String() == ":=" {
				for _, left := range n.Lhs {
					if name, ok := left.(*ast.Ident); ok {
						check(true, name)
					}
				}
			}
		case *ast.BlockStmt:
			isBody = true
			depth++
		}
		stack = append(stack, isBody)
		return true
	})
	return found
}
