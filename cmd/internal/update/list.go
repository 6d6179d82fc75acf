// SPDX-License-Identifier: MPL-2.0

package update

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"golang.org/x/mod/semver"
)

const (
	// Product is the name in every list of ours.
	Product = "mimird"

	maxList     = 64 << 10
	maxReleases = 500
	maxWord     = 500 // of a version and of a URL
)

// List is a list of releases.
type List struct {
	Product  string    `json:"product"`
	Issued   time.Time `json:"issued"`
	Releases []Release `json:"releases"`
}

// Release is one version that people can install.
type Release struct {
	Version  string `json:"version"` // without v
	Security bool   `json:"security,omitempty"`
	URL      string `json:"url"`
}

// ParseList reads a list whose signature was verified. Its error says what of it is wrong.
func ParseList(raw []byte) (List, error) {
	var l List
	if err := json.Unmarshal(raw, &l); err != nil {
		return List{}, fmt.Errorf("not JSON of a release list: %w", err)
	}
	return l, l.Validate()
}

// Validate reports what of a list is wrong.
func (l *List) Validate() error {
	switch {
	case l.Product != Product:
		return errors.New("it is the list of another program")
	case l.Issued.IsZero():
		return errors.New("it has no date")
	case len(l.Releases) == 0:
		return errors.New("it names no release")
	case len(l.Releases) > maxReleases:
		return fmt.Errorf("it names more than %d releases", maxReleases)
	}
	for i, r := range l.Releases {
		if !IsRelease(r.Version) {
			return fmt.Errorf("release %d has no semantic version", i+1)
		}
		u, err := url.Parse(r.URL)
		if err != nil || u.Scheme != "https" || u.Host == "" || len(r.URL) > maxWord || u.String() != r.URL {
			return fmt.Errorf("release %d has no URL with https", i+1)
		}
	}
	return nil
}

// newest is the newest release of the list. One of a series for trying out (1.0.0-rc.1) counts
// only for who has such a one.
func (l *List) newest(current string) Release {
	var newest Release
	for _, r := range l.Releases {
		if isPreview(r.Version) && !isPreview(current) {
			continue
		}
		if newest.Version == "" || compare(r.Version, newest.Version) > 0 {
			newest = r
		}
	}
	return newest
}

// has reports whether the list names a version.
func (l *List) has(version string) bool {
	for _, r := range l.Releases {
		if compare(r.Version, version) == 0 {
			return true
		}
	}
	return false
}

// IsRelease reports whether a version is that of a release, such as 1.2.3 or 1.2.3-rc.1. What
// git describe says of a commit after a release (1.2.3-4-gabcdef0) is not.
func IsRelease(version string) bool {
	v := "v" + version
	return len(version) <= maxWord && semver.IsValid(v) && semver.Canonical(v) == v && !strings.Contains(semver.Prerelease(v), "-g")
}

func isPreview(version string) bool {
	return IsRelease(version) && semver.Prerelease("v"+version) != ""
}

func compare(a, b string) int { return semver.Compare("v"+a, "v"+b) }
