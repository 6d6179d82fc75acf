// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/cmd/internal/update"
)

const changelog = `# Changelog

## Unreleased

### Security

- Not yet.

## [0.3.0] - 2026-03-01

### Added

## 0.2.1

### Security

- Something was mended.

## [0.2.0] - 2026-02-01 [YANKED]

### Security

## 0.1.0
`

func TestRun(t *testing.T) {
	for name, test := range map[string]struct {
		version string
		want    []update.Release
	}{
		"in the changelog": {"0.3.0", []update.Release{
			{Version: "0.3.0", URL: "https://example.org/v0.3.0"},
			{Version: "0.2.1", URL: "https://example.org/v0.2.1", Security: true},
			{Version: "0.1.0", URL: "https://example.org/v0.1.0"},
		}},
		"not in it": {"0.4.0-rc.1", []update.Release{
			{Version: "0.4.0-rc.1", URL: "https://example.org/v0.4.0-rc.1"},
			{Version: "0.3.0", URL: "https://example.org/v0.3.0"},
			{Version: "0.2.1", URL: "https://example.org/v0.2.1", Security: true},
			{Version: "0.1.0", URL: "https://example.org/v0.1.0"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			issued := time.Unix(1764504000, 0).UTC()
			if err := run(strings.NewReader(changelog), &out, test.version, "https://example.org/v", issued); err != nil {
				t.Fatal(err)
			}
			got, err := update.ParseList(out.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if !got.Issued.Equal(issued) || len(got.Releases) != len(test.want) {
				t.Fatalf("got %+v", got)
			}
			for i, r := range got.Releases {
				if r != test.want[i] {
					t.Errorf("got %+v, want %+v", r, test.want[i])
				}
			}
		})
	}
	if err := run(strings.NewReader(changelog), new(bytes.Buffer), "main", "https://example.org/v", time.Unix(1, 0)); err == nil {
		t.Error("a list with a version that is none was written")
	}
}
