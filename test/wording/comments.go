// SPDX-License-Identifier: MPL-2.0

package wording

import (
	"go/ast"
	"go/token"
	"strings"
)

// checkComments checks that the comment of a declaration begins with its name, in
// files that are not tests.
func checkComments(f *goFile) []Finding {
	var found []Finding
	if f.isTest() {
		return nil
	}
	check := func(doc *ast.CommentGroup, name string) {
		if doc == nil || name == "_" {
			return
		}
		words := strings.Fields(doc.Text())
		if len(words) > 1 && (words[0] == "A" || words[0] == "An" || words[0] == "The") {
			words = words[1:]
		}
		if len(words) > 0 && !strings.HasPrefix(words[0], name) {
			found = append(found, Finding{f.name, f.line(doc.Pos()), "the comment of " + name + " does not begin with its name"})
		}
	}
	for _, declaration := range f.ast.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			check(d.Doc, d.Name.Name)
		case *ast.GenDecl:
			if d.Lparen.IsValid() || len(d.Specs) != 1 { // a comment of several
				continue
			}
			switch spec := d.Specs[0].(type) {
			case *ast.TypeSpec:
				check(d.Doc, spec.Name.Name)
			case *ast.ValueSpec:
				if d.Tok != token.IMPORT && len(spec.Names) == 1 {
					check(d.Doc, spec.Names[0].Name)
				}
			}
		}
	}
	return found
}
