// SPDX-License-Identifier: MPL-2.0

package config

import (
	"fmt"
	"math"
	"time"

	"github.com/dustin/go-humanize"
	"go.yaml.in/yaml/v3"

	"github.com/mimird/mimird/proto/identity"
)

// Media says what becomes of the files of messages.
type Media struct {
	Server                NodeKey  `yaml:"server"`
	FetchFrom             string   `yaml:"fetch_from"`
	Quota                 Size     `yaml:"quota"`
	MaxFile               Size     `yaml:"max_file"`
	AutoDownload          Limit    `yaml:"auto_download"`
	AutoDownloadStrangers Limit    `yaml:"auto_download_strangers"`
	VerifyUploads         bool     `yaml:"verify_uploads"`
	Patience              Duration `yaml:"patience"`
}

// From which servers files are fetched.
const (
	FetchFromAny   = "any"
	FetchFromKnown = "known"
)

// Files configures the role of a file server.
type Files struct {
	Listen      []string `yaml:"listen"`
	Quota       Size     `yaml:"quota"`
	PerIdentity Size     `yaml:"per_identity"`
	Keep        Duration `yaml:"keep"`
}

// Size is a number of bytes, written like "5MiB" in the file.
type Size int64

// Limit is a number of bytes, or one of the words "never" and "always".
type Limit int64

// The limits that are words.
const (
	Never  Limit = -1
	Always Limit = math.MaxInt64
)

func defaultMedia() Media {
	return Media{
		Server:    mustNodeKey("0000128c1179f819faaa07fcada9f9803cb288bc68d278da82ca23d8b4b0ea9e"),
		FetchFrom: FetchFromAny,
		Quota:     4 << 30, MaxFile: 100 << 20,
		AutoDownload: 5 << 20, AutoDownloadStrangers: Never,
		VerifyUploads: true, Patience: Duration(5 * time.Minute),
	}
}

func defaultFiles() Files {
	return Files{Listen: []string{}, Quota: 20 << 30, PerIdentity: 3 << 30, Keep: Duration(15 * 24 * time.Hour)}
}

// UnmarshalYAML reads "5MiB".
func (s *Size) UnmarshalYAML(node *yaml.Node) error {
	n, err := humanize.ParseBytes(node.Value)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return fmt.Errorf("line %d: want a size such as 500KiB, 5MiB or 2GiB", node.Line)
	}
	*s = Size(n)
	return nil
}

// UnmarshalYAML reads "never", "always" or "5MiB".
func (l *Limit) UnmarshalYAML(node *yaml.Node) error {
	switch node.Value {
	case "never":
		*l = Never
		return nil
	case "always":
		*l = Always
		return nil
	}
	var s Size
	if s.UnmarshalYAML(node) != nil {
		return fmt.Errorf("line %d: want never, always, or a size such as 5MiB", node.Line)
	}
	*l = Limit(s)
	return nil
}

func (c *Config) validateMedia(bad func(format string, args ...any)) {
	if c.Media.FetchFrom != FetchFromAny && c.Media.FetchFrom != FetchFromKnown {
		bad("media.fetch_from: %q is none of any, known", clip(c.Media.FetchFrom))
	}
	if c.Media.Quota < 1<<20 {
		bad("media.quota: must be at least 1MiB")
	}
	if patience := time.Duration(c.Media.Patience); patience < time.Second || patience > 24*time.Hour {
		bad("media.patience: %v is not between 1s and 24h", patience)
	}
	if c.Files.Quota < 1<<20 {
		bad("files.quota: must be at least 1MiB")
	}
	if keep := time.Duration(c.Files.Keep); keep < time.Hour || keep > 365*24*time.Hour {
		bad("files.keep: %v is not between 1h and 8760h", keep)
	}
	for _, uri := range c.Files.Listen {
		if err := checkURI(uri); err != nil {
			bad("files.listen: %q: %w", clip(uri), err)
		}
	}
}

func mustNodeKey(s string) NodeKey {
	key, err := identity.ParseNodeKey(s)
	if err != nil {
		panic(err) // one of the constants above
	}
	return NodeKey{key}
}
