// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The key of an account is worth nothing if its directory is gone after a power cut:
// the parent of each directory that is made is synced, and nothing else.
func TestMakeDirs_SyncsTheParentOfEach(t *testing.T) {
	root := t.TempDir()
	var synced []string
	note := func(dir string) error { synced = append(synced, dir); return nil }
	dir := filepath.Join(root, "deep", "data", "keys")
	if err := makeDirs(dir, note); err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(root, "deep", "data"), filepath.Join(root, "deep"), root}
	if !slices.Equal(synced, want) {
		t.Errorf("synced %q, want %q", synced, want)
	}
	synced = nil
	if err := makeDirs(dir, note); err != nil || len(synced) > 0 {
		t.Errorf("made again: synced %q, %v", synced, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
}
