// SPDX-License-Identifier: MPL-2.0

package wording

import (
	"maps"
	"path"
	"slices"
	"testing"
)

// The rules of docs/style.md that a machine can check hold in the whole module.
func TestLanguage_WholeModule(t *testing.T) {
	t.Parallel()
	files, documents, err := load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 500 || len(documents) < 5 {
		t.Fatalf("found %d Go files and %d documents: this is not the module", len(files), len(documents))
	}
	keys, err := logKeys(documents["docs/style.md"])
	if err != nil {
		t.Fatal(err)
	}
	var found []Finding
	packages := make(map[string][]*goFile)
	for _, f := range files {
		if path.Dir(f.name) == "test/wording" {
			continue // the rules name what they ban
		}
		found = append(found, checkProse(f)...)
		found = append(found, checkNames(f)...)
		found = append(found, checkComments(f)...)
		packages[path.Dir(f.name)] = append(packages[path.Dir(f.name)], f)
	}
	for _, folder := range slices.Sorted(maps.Keys(packages)) {
		found = append(found, checkLogs(packages[folder], keys)...)
	}
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		if name != "docs/style.md" {
			found = append(found, checkDocument(name, documents[name])...)
		}
	}
	for _, f := range found {
		t.Error(f)
	}
}
