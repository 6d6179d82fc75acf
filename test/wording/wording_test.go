// SPDX-License-Identifier: MPL-2.0

package wording

import (
	"flag"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

var all = flag.Bool("all", false, "also check the folders that were not reviewed yet")

// reviewed are the folders whose language has been reviewed: the folder itself and,
// when it ends in "/...", all below it.
var reviewed = []string{
	"actors/actorstest", "actors/appbackup", "actors/backup", "actors/control", "actors/crashpoint", "actors/durable",
	"actors/kernel/...", "actors/keyring", "actors/lru", "actors/media", "actors/overlay/...", "actors/store/...", "actors/strangerlog",
	"actors/fileserver", "actors/session", "actors/transfer",
	"actors/resolver", "actors/trackerserver", "actors/unixsocket", "actors/uplink", "cmd/...", "config", "docs", ".", "proto/...", "test/...",
	"bridge/appservice", "bridge/botcrypto", "bridge/config", "bridge/connector", "bridge/deliver", "bridge/fault", "bridge/homeserver", "bridge/library", "bridge/mimirid", "bridge/msgconv",
	"bridge/doctor",
}

func isReviewed(name string) bool {
	folder := path.Dir(name)
	for _, pattern := range reviewed {
		if below, ok := strings.CutSuffix(pattern, "/..."); ok && (folder == below || strings.HasPrefix(folder, below+"/")) || folder == pattern {
			return true
		}
	}
	return false
}

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
		if *all || isReviewed(f.File) {
			t.Error(f)
		}
	}
}
