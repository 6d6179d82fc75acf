// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestSyncFiles_BothWays(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.json", "below/b.json"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for how, sync := range map[string]func(string) error{"together": syncFiles, "one by one": syncEach} {
		if err := sync(dir); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if err := sync(filepath.Join(dir, "missing")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a directory that is not there: %v", how, err)
		}
	}
}
