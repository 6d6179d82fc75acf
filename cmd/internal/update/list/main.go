// SPDX-License-Identifier: MPL-2.0

// Command list writes the release list that mimird update check reads, for
// release/release.sh. It takes the versions from the headings of the changelog:
//
//	go run ./cmd/internal/update/list -version 0.2.0 -issued 1764504000 -page https://example.org/v <CHANGELOG.md
//
// A version whose section has a part "Security" mends something that others can attack. One
// marked [YANKED] is left out.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/mimird/mimird/cmd/internal/update"
)

func main() {
	version := flag.String("version", "", "the version that is released, also when the changelog does not name it")
	issued := flag.Int64("issued", 0, "the date of the list, in seconds since 1970")
	page := flag.String("page", "", "`URL` of a release's page, without the version at its end")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *version, *page, time.Unix(*issued, 0).UTC()); err != nil {
		fmt.Fprintln(os.Stderr, "write release list:", err)
		os.Exit(1)
	}
}

func run(changelog io.Reader, out io.Writer, version, page string, issued time.Time) error {
	raw, err := io.ReadAll(changelog) //nolint:forbidigo // a file of ours
	if err != nil {
		return err
	}
	list := update.List{Product: update.Product, Issued: issued, Releases: releases(string(raw), version, page)}
	if err := list.Validate(); err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(list)
}

// heading is that of a version: "## 0.2.0" or "## [0.2.0] - 2026-11-30".
var heading = regexp.MustCompile(`^## \[?([0-9][^\] ]*)\]?(.*)$`)

// releases are those of a changelog, and the one that is released now.
func releases(changelog, version, page string) []update.Release {
	var all []update.Release
	var section *update.Release
	named := false
	for line := range strings.Lines(changelog) {
		line = strings.TrimSpace(line)
		if match := heading.FindStringSubmatch(line); match != nil {
			section = nil
			named = named || match[1] == version
			if !strings.Contains(match[2], "[YANKED]") {
				all = append(all, update.Release{Version: match[1], URL: page + match[1]})
				section = &all[len(all)-1]
			}
		} else if strings.HasPrefix(line, "## ") {
			section = nil
		} else if section != nil && line == "### Security" {
			section.Security = true
		}
	}
	if !named {
		all = append([]update.Release{{Version: version, URL: page + version}}, all...)
	}
	return all
}
