// SPDX-License-Identifier: MPL-2.0

package config

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// placeholder is the value of a secret that was not generated yet.
const placeholder = "generate"

// secret is one generated value of the configuration.
type secret struct {
	path   []string
	value  *string
	needed bool // if false, it is generated only where the file has the key
}

func (c *Config) secrets() []secret {
	return []secret{
		{[]string{"appservice", "as_token"}, &c.AppService.ASToken, true},
		{[]string{"appservice", "hs_token"}, &c.AppService.HSToken, true},
		{[]string{"double_puppet", "as_token"}, &c.DoublePuppet.ASToken, c.DoublePuppet.Registration == DoublePuppetSeparate},
		{[]string{"provisioning", "shared_secret"}, &c.Provisioning.SharedSecret, true},
		{[]string{"encryption", "pickle_key"}, &c.Encryption.PickleKey, c.Encryption.Allow},
		{[]string{"public_media", "signing_key"}, &c.PublicMedia.SigningKey, c.PublicMedia.Enabled},
	}
}

// missing reports whether a secret was not generated yet.
func missing(value string) bool { return value == "" || value == placeholder }

// newSecret returns 52 characters with at least 256 random bits.
func newSecret() string { return rand.Text() + rand.Text() }

// GenerateSecrets generates the missing secrets of a configuration that has no file.
func (c *Config) GenerateSecrets() {
	for _, s := range c.secrets() {
		if missing(*s.value) {
			*s.value = newSecret()
		}
	}
}

// CheckSecrets returns [ErrNoTokens] if a secret is missing that the bridge needs.
func (c *Config) CheckSecrets() error {
	for _, s := range c.secrets() {
		if s.needed && missing(*s.value) {
			return ErrNoTokens
		}
	}
	return nil
}

// GenerateSecrets returns a YAML document with every missing secret of the section under
// the given keys filled in, and whether there was one. The rest of the document is
// unchanged, comments and blank lines included. The section must be valid.
func GenerateSecrets(document []byte, under ...string) (filled []byte, changed bool, err error) {
	config, err := parseUnder(document, under)
	if err != nil {
		return nil, false, fmt.Errorf("fill in secrets: %w", err)
	}
	lines := strings.SplitAfter(string(document), "\n")
	for _, s := range config.secrets() {
		if !missing(*s.value) {
			continue
		}
		// Every insertion changes line numbers, so the document is parsed again.
		var doc yaml.Node
		if err := yaml.Unmarshal([]byte(strings.Join(lines, "")), &doc); err != nil {
			return nil, false, fmt.Errorf("fill in secrets: %w", err)
		}
		node, rest := descend(&doc, slices.Concat(under, s.path))
		switch {
		case len(rest) == 0:
			err = replaceScalar(lines, node, newSecret())
		case s.needed:
			lines, err = insertKeys(lines, node, rest, newSecret())
		default:
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("fill in %s: %w", strings.Join(s.path, "."), err)
		}
		changed = true
	}
	return []byte(strings.Join(lines, "")), changed, nil
}

// parseUnder parses the section under the given keys of a document.
func parseUnder(document []byte, under []string) (*Config, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(document, &doc); err != nil {
		return nil, fmt.Errorf("not valid YAML: %w", err)
	}
	node, rest := descend(&doc, under)
	if len(rest) > 0 || node.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("there is no section %q", strings.Join(under, "."))
	}
	section, err := yaml.Marshal(node)
	if err != nil {
		return nil, err
	}
	return Parse(section)
}

// descend follows the keys as far as they exist. It returns the last node and the keys
// that do not exist below it.
func descend(doc *yaml.Node, path []string) (node *yaml.Node, rest []string) {
	node = doc
	if doc.Kind == yaml.DocumentNode {
		node = doc.Content[0]
	}
	for depth, key := range path {
		i := 0
		for node.Kind == yaml.MappingNode && i < len(node.Content) && node.Content[i].Value != key {
			i += 2
		}
		if node.Kind != yaml.MappingNode || i >= len(node.Content) {
			return node, path[depth:]
		}
		node = node.Content[i+1]
	}
	return node, nil
}

// replaceScalar replaces a value that is "generate" or empty.
func replaceScalar(lines []string, node *yaml.Node, value string) error {
	old := node.Value
	switch {
	case node.Kind != yaml.ScalarNode || node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return fmt.Errorf("line %d: write the value on one line", node.Line)
	case node.Style&yaml.DoubleQuotedStyle != 0:
		old = `"` + old + `"`
	case node.Style&yaml.SingleQuotedStyle != 0:
		old = `'` + old + `'`
	case old == "": // the colon ends the line
		line := lines[node.Line-1]
		colon := strings.Index(line, ":") + 1
		lines[node.Line-1] = line[:colon] + " " + value + line[colon:]
		return nil
	}
	line, at := lines[node.Line-1], node.Column-1
	if at > len(line) || !strings.HasPrefix(line[at:], old) {
		return fmt.Errorf("line %d: write the value in plain letters", node.Line)
	}
	lines[node.Line-1] = line[:at] + value + line[at+len(old):]
	return nil
}

var errOneKeyPerLine = errors.New("write the section with one key per line")

// insertKeys inserts a key, and the sections above it, before the first key of a mapping.
func insertKeys(lines []string, mapping *yaml.Node, keys []string, value string) ([]string, error) {
	if mapping.Kind != yaml.MappingNode || mapping.Style&yaml.FlowStyle != 0 || len(mapping.Content) == 0 {
		return nil, fmt.Errorf("line %d: %w", mapping.Line, errOneKeyPerLine)
	}
	first := mapping.Content[0]
	indent := lines[first.Line-1][:first.Column-1]
	if strings.TrimSpace(indent) != "" {
		return nil, fmt.Errorf("line %d: %w", first.Line, errOneKeyPerLine)
	}
	added := make([]string, 0, len(keys))
	for depth, key := range keys {
		line := indent + strings.Repeat("  ", depth) + key + ":"
		if depth == len(keys)-1 {
			line += " " + value
		}
		added = append(added, line+"\n")
	}
	return slices.Insert(lines, first.Line-1, added...), nil
}

// SecretValues returns the secrets of the configuration, which no log line may contain.
func (c *Config) SecretValues() []string {
	values := []string{c.Database.URI}
	if c.Database.Type == databaseSQLite {
		values = nil
	}
	for _, s := range c.secrets() {
		values = append(values, *s.value)
	}
	for _, s := range c.DoublePuppet.Secrets {
		values = append(values, s)
	}
	return slices.DeleteFunc(values, func(s string) bool { return missing(s) || s == "disable" })
}
