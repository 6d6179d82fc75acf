// SPDX-License-Identifier: MPL-2.0

package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What is taken out of a bundle for a bug report. What stays is named, what is taken out
// is everything else: a new field is not told before somebody has thought about it.

// Redacted stands where something was taken out.
const Redacted = "(redacted)"

// plainStrings are the keys of texts that stay, of the status and of the checks: words of
// this program.
var plainStrings = []string{
	"version", "code", "kind", "state", "role", "strangers", "since", "created", "next_attempt", "announced_until",
	"last_answer", "last_seen", "requested", "result", "means", "remedy", "asked", "go", "system", "revision", "time", "last_attempt", "running_since",
}

// keyDigits finds keys, ids and hashes, of which the beginning is enough to tell them
// apart.
var keyDigits = regexp.MustCompile(`[0-9a-fA-F]{32,}`)

// hosts finds addresses and URIs.
var hosts = regexp.MustCompile(`[a-z]+://[^\s"'<>]+|\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b|\b[0-9a-fA-F]{1,4}(:[0-9a-fA-F]{0,4}){3,}\b|[@#!][^\s:"]+:[^\s"]+`)

// RedactJSON takes names, keys, addresses and texts of people out of JSON that this
// program has written. Numbers, words of this program and the beginnings of keys stay.
func RedactJSON(raw []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("redact: %w", err)
	}
	out, err := json.MarshalIndent(redactValue("", value), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("redact: %w", err)
	}
	return out, nil
}

func redactValue(key string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		for k, inner := range v {
			v[k] = redactValue(k, inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = redactValue(key, inner)
		}
	case string:
		switch {
		case v == "":
		case slices.Contains(plainStrings, key):
			return redactText(v)
		case keyDigits.MatchString(v) && len(keyDigits.FindString(v)) == len(v):
			return v[:8] + "…"
		default:
			return Redacted
		}
	}
	return value
}

// redactText takes keys, addresses and Matrix ids out of a sentence of this program.
func redactText(text string) string {
	text = hosts.ReplaceAllString(text, Redacted)
	return keyDigits.ReplaceAllStringFunc(text, func(key string) string { return key[:8] + "…" })
}

// plainKeys are the keys of the configuration whose texts stay.
var plainKeys = []string{"roles", "level", "format", "carriers", "idle", "ring", "quota", "max_file", "auto_download", "auto_download_strangers", "patience", "fetch_from", "keep", "per_identity", "every", "too_old", "database_type", "type"}

// RedactConfig takes everything out of a configuration that is not a number, yes or no,
// or a choice between words.
func RedactConfig(raw []byte) ([]byte, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return []byte("# it is not valid YAML, so nothing of it is told\n"), nil //nolint:nilerr // the checks say so
	}
	redactNode("", &doc)
	out, err := yaml.Marshal(&doc)
	if err != nil {
		return nil, fmt.Errorf("redact: %w", err)
	}
	return out, nil
}

func redactNode(key string, node *yaml.Node) {
	node.HeadComment, node.LineComment, node.FootComment = "", "", ""
	node.Anchor = ""
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			name := node.Content[i]
			redactNode(name.Value, node.Content[i+1])
			name.HeadComment, name.LineComment, name.FootComment = "", "", ""
			if strings.ContainsAny(name.Value, "@.:/") || len(name.Value) > 40 {
				name.Value = Redacted // such as a Matrix id under permissions
			}
		}
	case yaml.SequenceNode, yaml.DocumentNode:
		for _, inner := range node.Content {
			redactNode(key, inner)
		}
	case yaml.AliasNode:
		*node = yaml.Node{Kind: yaml.ScalarNode, Value: Redacted}
	case yaml.ScalarNode:
		if node.Tag != "!!str" || node.Value == "" || slices.Contains(plainKeys, key) {
			return
		}
		if u, err := url.Parse(node.Value); err == nil && u.Scheme != "" && u.Host != "" && (key == "peers" || key == "listen") {
			node.Value = u.Scheme + "://" + Redacted
			return
		}
		node.SetString(Redacted)
	}
}
