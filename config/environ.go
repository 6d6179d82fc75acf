// SPDX-License-Identifier: MPL-2.0

package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// environPrefix begins the variables that set a key: two underscores stand between
	// sections and keys, as in mautrix bridges.
	environPrefix = "MIMIRD_CONFIG__"
	// environFile ends those whose value is read from a file, such as a container's secret.
	environFile = "_FILE"
	// fileKey is the one key whose own name ends like that.
	fileKey = "MEDIA__MAX_FILE"
	// maxSecretFile bounds such a file.
	maxSecretFile = 64 << 10
)

// setFromEnviron sets the keys of the document that variables name. A value is read as
// YAML, so that it can be a list; that of a file is a text. An empty variable sets nothing. The error has a line for each
// variable that is wrong, and no values.
func setFromEnviron(root *yaml.Node, environ []string) error {
	var problems []error
	for _, variable := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(variable, "=")
		path, ours := strings.CutPrefix(name, environPrefix)
		if !ours || value == "" {
			continue
		}
		if err := setKey(root, path, value); err != nil {
			problems = append(problems, fmt.Errorf("environment variable %s: %w", clip(name), err))
		}
	}
	return errors.Join(problems...)
}

func setKey(root *yaml.Node, path, value string) error {
	node := new(yaml.Node)
	if key, isFile := strings.CutSuffix(path, environFile); isFile && path != fileKey {
		raw, err := readSecret(value)
		if err != nil {
			return err
		}
		path = key
		node.SetString(strings.TrimSpace(raw))
	} else if err := yaml.Unmarshal([]byte(value), node); err != nil {
		return errors.New("the value is not YAML; put a text with special characters into quotes")
	} else if len(node.Content) == 1 {
		node = withoutLines(node.Content[0])
	} else {
		return errors.New("the value is empty; leave the variable out, or write \"\"")
	}
	keys := strings.Split(strings.ToLower(path), "__")
	for i, key := range keys {
		if key == "" {
			return errors.New("want " + environPrefix + "SECTION__KEY")
		}
		if root.Kind == yaml.AliasNode {
			root = root.Alias
		}
		if root.Kind != yaml.MappingNode {
			if root.Kind == yaml.SequenceNode || root.Value != "" {
				return fmt.Errorf("%s is not a section", strings.Join(keys[:i], "."))
			}
			*root = yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"} // an empty one
		}
		root = valueOf(root, key)
	}
	*root = *node
	return nil
}

// withoutLines marks a node as one that is not in the file.
func withoutLines(n *yaml.Node) *yaml.Node {
	n.Line, n.Column = 0, 0
	for _, child := range n.Content {
		withoutLines(child)
	}
	return n
}

// valueOf returns the value of a key, which is added when it is missing.
func valueOf(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	name, value := new(yaml.Node), new(yaml.Node)
	name.SetString(key)
	mapping.Content = append(mapping.Content, name, value)
	return value
}

func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("open its file: %w", err)
	}
	if info.Size() > maxSecretFile {
		return "", fmt.Errorf("its file has %d bytes, more than %d", info.Size(), maxSecretFile)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read its file: %w", err)
	}
	return string(raw), nil
}
