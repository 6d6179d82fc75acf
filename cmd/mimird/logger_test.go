// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/config"
	"github.com/mimird/mimird/test/poll"
)

func TestOpenLog_File_RotatedWithinItsBound(t *testing.T) {
	dir := t.TempDir()
	c := config.Log{Level: "info", Format: "auto", File: "logs/node.log", MaxSize: 1 << 20, Keep: 2}
	var stderr bytes.Buffer
	out, closeLog, err := openLog(&stderr, c, dir)
	if err != nil {
		t.Fatal(err)
	}
	log := newLogger(out, c)
	for i := range 5 << 10 {
		log.Info(strings.Repeat("x", 1<<10), "count", i)
	}
	files := func() (names []string, size int64) {
		entries, err := os.ReadDir(filepath.Join(dir, "logs"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if errors.Is(err, os.ErrNotExist) {
				continue // removed meanwhile
			}
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has the mode %s", e.Name(), info.Mode())
			}
			names, size = append(names, e.Name()), size+info.Size()
		}
		return names, size
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if !poll.Until(ctx, func() bool { names, _ := files(); return len(names) == 3 }) {
		names, _ := files()
		t.Fatalf("the files are %q", names)
	}
	if _, size := files(); size > 3<<20 {
		t.Errorf("the log has %d bytes", size)
	}
	if err := closeLog(); err != nil {
		t.Fatal(err)
	}
	newest, err := os.ReadFile(filepath.Join(dir, "logs", "node.log"))
	if err != nil || !strings.Contains(string(newest), `"count":5119`) || stderr.Len() > 0 {
		t.Errorf("the last line is not in the log: %v, %d bytes elsewhere", err, stderr.Len())
	}
}

func TestOpenLog_FileFails_LinesElsewhere(t *testing.T) {
	c := config.Log{Level: "info", Format: "json", File: "node.log", MaxSize: 1 << 20, Keep: 1}
	var stderr bytes.Buffer
	out, closeLog, err := openLog(&stderr, c, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	newLogger(out, c).Info(strings.Repeat("x", 2<<20)) // more than a file may have
	if err := closeLog(); err != nil || stderr.Len() < 2<<20 {
		t.Errorf("%v, %d bytes elsewhere", err, stderr.Len())
	}

	c.File = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(c.File, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.File = filepath.Join(c.File, "node.log") // below a file
	if _, _, err := openLog(io.Discard, c, ""); !errors.As(err, new(configError)) || !strings.Contains(err.Error(), "log.file") {
		t.Errorf("a log that cannot be written: %v", err)
	}
}
