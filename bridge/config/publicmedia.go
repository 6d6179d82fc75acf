// SPDX-License-Identifier: MPL-2.0

package config

import (
	"net/url"
	"regexp"
	"time"
)

// PublicMedia says whether files that the homeserver does not take are served by link. Its
// keys are those of mautrix bridges, without those of files on the homeserver.
type PublicMedia struct {
	// Enabled needs appservice.public_address.
	Enabled bool `yaml:"enabled"`
	// SigningKey is a secret. Another one makes all links invalid.
	SigningKey string `yaml:"signing_key"`
	// Expiry is how long a link is good, in seconds; 0 is for ever.
	Expiry int `yaml:"expiry"`
	// PathPrefix is where links lead below the public address. A proxy may turn it into the
	// path of the listener.
	PathPrefix string `yaml:"path_prefix"`
}

const (
	// defaultLinkTime is how long a link is good.
	defaultLinkTime = 7 * 24 * time.Hour
	// maxLinkTime bounds it.
	maxLinkTime = 10 * 365 * 24 * time.Hour
	// minSigningKey is the length of a key that cannot be guessed, in characters.
	minSigningKey = 32
)

func defaultPublicMedia() PublicMedia {
	return PublicMedia{SigningKey: placeholder, Expiry: int(defaultLinkTime / time.Second), PathPrefix: "/_mautrix/publicmedia"}
}

// linkPath matches a path below the public address.
var linkPath = regexp.MustCompile(`^(/[A-Za-z0-9._~\-]+)+/?$`)

func (c *Config) validatePublicMedia(bad report) {
	p := &c.PublicMedia
	if key := p.SigningKey; !missing(key) && len(key) < minSigningKey {
		bad("public_media.signing_key: must be generate, or at least %d characters long", minSigningKey)
	}
	if p.Expiry < 0 || p.Expiry > int(maxLinkTime/time.Second) {
		bad("public_media.expiry: %d is not a number of seconds from 0 to %d", p.Expiry, int(maxLinkTime/time.Second))
	}
	if !linkPath.MatchString(p.PathPrefix) {
		bad("public_media.path_prefix: %.64q is not a path such as /_mautrix/publicmedia", p.PathPrefix)
	}
	address := c.AppService.PublicAddress
	if address == "" {
		if p.Enabled {
			bad("appservice.public_address: must be the https address of the bridge for everybody when public_media.enabled is true")
		}
		return
	}
	checkAddress(bad, "appservice.public_address", address, "http", "https")
	if u, err := url.Parse(address); err == nil && (u.RawQuery != "" || u.Fragment != "" || u.User != nil) {
		bad("appservice.public_address: %.64q must be an address and a path alone", address)
	}
}
