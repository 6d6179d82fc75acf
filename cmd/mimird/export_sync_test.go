// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestSyncFiles_BothWays(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.json", "b.json"} {
		err := exportFile(filepath.Join(dir, name), func(w io.Writer) error {
			_, err := io.WriteString(w, name)
			return err
		})
		if err != nil {
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

func TestExportFile_NeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.json")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := exportFile(path, func(io.Writer) error {
		t.Error("it was written")
		return nil
	})
	if raw, readErr := os.ReadFile(path); !errors.Is(err, fs.ErrExist) || string(raw) != "mine" || readErr != nil {
		t.Errorf("%q, %v, %v", raw, err, readErr)
	}
}
