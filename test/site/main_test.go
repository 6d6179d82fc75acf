// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSite builds the site of the documents as they are.
func TestSite(t *testing.T) {
	out := t.TempDir()
	if err := build("../..", out); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(out, "docs", "start.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`<h2 id="for-a-phone-owner">`, `href="roles.html"`, `href="../index.html"`, `<a href="start.html" aria-current="page">`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("docs/start.html lacks %q", want)
		}
	}
	if strings.Contains(string(raw), "<script") {
		t.Error("a page has a script")
	}
}

func TestBuild_BrokenLinks_Named(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"README.md":    "# Home\n\n[a](docs/a.md#two) [b](docs/a.md#three) [c](LICENSE) [d](#home) [e](#nowhere)\n",
		"docs/a.md":    "# A\n\n## Two\n\n![p](pictures/missing.png) [home](../README.md) [go](../cmd/x.go)\n",
		"docs/b.md":    "# `B` is here\n\n## Two\n\n## Two\n\n[x](#two-1)\n",
		"docs/skip.go": "",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "site")
	err := build(root, out)
	if err == nil {
		t.Fatal("the site was built with broken links")
	}
	want := []string{`README.md: docs/a.html has no heading "three"`, `README.md: index.html has no heading "nowhere"`, "docs/a.md: pictures/missing.png is not in the site"}
	if got := strings.Split(err.Error(), "\n"); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	raw, err := os.ReadFile(filepath.Join(out, "docs", "b.html"))
	if err != nil || !strings.Contains(string(raw), "<title>B is here · mimird</title>") {
		t.Errorf("docs/b.html: %v\n%s", err, raw)
	}
	if raw, err = os.ReadFile(filepath.Join(out, "index.html")); err != nil || !strings.Contains(string(raw), `href="`+repository+`LICENSE"`) {
		t.Errorf("index.html: %v\n%s", err, raw)
	}
}
